package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

// TestThePercentOfGarbage: a small heap may grow to the roomy one, a big one is left to the runtime's rule.
func TestThePercentOfGarbage(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		live, beside uint64
		want         int
	}{
		{0, 0, 1600},
		{1 * mib, 0, 1600},
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

// TestTheRuntimeCollectsAtTheRoomyHeap: where little is in use, Go has a rule of its own for the first collection.
func TestTheRuntimeCollectsAtTheRoomyHeap(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(percentFor(0, 0)))
	for range 2 {
		runtime.GC()
		goal := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
		metrics.Read(goal)
		live, beside := heapInUse()
		if most := live + (live+beside)*16; goal[0].Value.Uint64() > max(roomyHeap, most)+1<<20 {
			t.Errorf("with %d bytes in use the next collection is at %d", live, goal[0].Value.Uint64())
		}
		debug.SetGCPercent(percentFor(live, beside))
	}
}
