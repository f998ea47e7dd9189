package main

import "testing"

// TestThePercentOfGarbage: a small heap may grow to the roomy one, a big one is left to the runtime's rule.
func TestThePercentOfGarbage(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		live, beside uint64
		want         int
	}{
		{0, 0, 6400},
		{8 * mib, 0, 700},
		{8 * mib, 2 * mib, 560},
		{30 * mib, 0, 113},
		{32 * mib, 0, 100},
		{30 * mib, 20 * mib, 100},
		{500 * mib, 0, 100},
	} {
		got := percentFor(c.live, c.beside)
		if got != c.want {
			t.Errorf("live %d MiB, beside %d MiB: %d, want %d", c.live/mib, c.beside/mib, got, c.want)
		}
		if goal := c.live + (c.live+c.beside)*uint64(got)/100; got > 100 && goal > roomyHeap {
			t.Errorf("live %d MiB, beside %d MiB: a collection at %d MiB", c.live/mib, c.beside/mib, goal/mib)
		}
	}
}
