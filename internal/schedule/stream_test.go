package schedule

import (
	"math"
	"testing"
)

func TestStreamIsSplitMix64(t *testing.T) {
	// The first outputs of the reference implementation for the seed 1234567 (Vigna).
	for j, want := range []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821} {
		if got := Stream(1234567).Uint64(uint64(j) + 1); got != want {
			t.Errorf("draw %d = %d, want %d", j+1, got, want)
		}
	}
}

func TestStreamsDiffer(t *testing.T) {
	seen := map[Stream]string{}
	add := func(name string, s Stream) {
		if other, ok := seen[s]; ok {
			t.Errorf("%s is the stream of %s", name, other)
		}
		seen[s] = name
	}
	add("seed 1", NewStream(1, "a"))
	add("seed 2", NewStream(2, "a"))
	add("purpose", NewStream(1, "b"))
	add("longer purpose", NewStream(1, "aa"))
	add("part 0", NewStream(1, "a", 0))
	add("part 1", NewStream(1, "a", 1))
	add("parts 0 1", NewStream(1, "a", 0, 1))
	add("parts 1 0", NewStream(1, "a", 1, 0))
	add("no purpose, part a", NewStream(1, "", 'a'))
}

// chiSquare is the statistic of the counts against an even spread.
func chiSquare(counts []int) float64 {
	total := 0
	for _, c := range counts {
		total += c
	}
	expected, sum := float64(total)/float64(len(counts)), 0.0
	for _, c := range counts {
		sum += (float64(c) - expected) * (float64(c) - expected) / expected
	}
	return sum
}

func TestStreamIsUniform(t *testing.T) {
	// 256 cells: 255 degrees of freedom, 1 % at 311 and 99 % at 205. Along one stream, across keys that follow
	// each other, and in pairs of successive draws.
	along, across, pairs := make([]int, 256), make([]int, 256), make([]int, 256)
	for j := range uint64(200_000) {
		s := NewStream(3, "uniform")
		along[int(s.Float64(j)*256)]++
		across[int(NewStream(3, "uniform", j).Float64(0)*256)]++
		pairs[int(s.Float64(2*j)*16)*16+int(s.Float64(2*j+1)*16)]++
	}
	for name, counts := range map[string][]int{"along": along, "across": across, "pairs": pairs} {
		if x := chiSquare(counts); x < 205 || x > 311 {
			t.Errorf("%s: chi square %.1f of 255 degrees of freedom", name, x)
		}
	}
}

func TestFloat64IsOpen(t *testing.T) {
	// The formula at its ends: all bits clear, all bits set.
	for _, bits := range []uint64{0, math.MaxUint64} {
		u := (float64(int64(bits>>12)) + 0.5) * 0x1p-52
		if !(u > 0 && u < 1) || 1-(1-u) != u {
			t.Errorf("bits %x give %v", bits, u)
		}
	}
	s := NewStream(1, "open")
	for j := range uint64(10_000) {
		if u, want := s.Float64(j), (float64(s.Uint64(j)>>12)+0.5)*0x1p-52; u != want {
			t.Fatalf("draw %d = %v, want %v", j, u, want)
		}
	}
}

func TestBelowStaysBelow(t *testing.T) {
	counts := make([]int, 7)
	s := NewStream(1, "below")
	for j := range uint64(70_000) {
		counts[s.below(j, 7)]++
	}
	if x := chiSquare(counts); x > 16.8 {
		t.Errorf("chi square %.1f of 6 degrees of freedom", x)
	}
}
