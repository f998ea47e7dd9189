package schedule

import (
	"math"
	"math/bits"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// weightsOf draws 1 to most weights, one of them at least above 0.
func weightsOf(t *rapid.T, most int) []uint32 {
	k := rapid.OneOf(rapid.IntRange(1, 9), rapid.IntRange(1, most), rapid.Just(most)).Draw(t, "parts")
	small, large := rapid.Uint32Range(0, 9), rapid.Uint32()
	w := rapid.SliceOfN(rapid.OneOf(small, small, large), k, k).Draw(t, "weights")
	if i := rapid.IntRange(0, len(w)-1).Draw(t, "present"); w[i] == 0 {
		w[i] = 1
	}
	return w
}

func TestSplitDealsInOrder(t *testing.T) {
	for _, c := range []struct {
		name    string
		weights []uint32
		want    []int
	}{
		{"one part", []uint32{5}, []int{0, 0, 0}},
		{"three to one", []uint32{3, 1}, []int{0, 0, 0, 1, 0, 0, 0, 1}},
		{"halves", []uint32{1, 1}, []int{0, 1, 0, 1}},
		{"a part without weight", []uint32{1, 0, 1}, []int{0, 2, 0, 2}},
		{"the first without weight", []uint32{0, 2, 1}, []int{1, 1, 2, 1, 1, 2}},
		{"nobody", []uint32{0, 0}, []int{-1, -1}},
	} {
		s := NewSplit(c.weights)
		var got []int
		for n := range c.want {
			i, _ := s.At(uint64(n))
			got = append(got, i)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: dealt to %v, want %v", c.name, got, c.want)
		}
	}
}

// TestSplitPartitions: every item has one owner, and ordinals count up without a gap.
func TestSplitPartitions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := weightsOf(t, 1000)
		s := NewSplit(w)
		counts := make([]uint64, len(w))
		for n := range uint64(300) {
			i, ordinal := s.At(n)
			if w[i] == 0 {
				t.Fatalf("item %d went to part %d, which has no weight", n, i)
			}
			if ordinal != counts[i] {
				t.Fatalf("item %d is number %d of part %d, which had %d", n, ordinal, i, counts[i])
			}
			counts[i]++
		}
		for i := range w {
			if got := s.Count(i, 300); got != counts[i] {
				t.Fatalf("part %d counts %d of 300, has %d", i, got, counts[i])
			}
		}
	})
}

// TestSplitInverts: At, Select and Count agree anywhere up to 2⁶³, with sums of weights up to 2⁴⁰.
func TestSplitInverts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewSplit(weightsOf(t, 256))
		n := rapid.Uint64Range(0, 1<<63).Draw(t, "n") >> rapid.IntRange(0, 63).Draw(t, "shift")
		i, ordinal := s.At(n)
		if got := s.Select(i, ordinal); got != n {
			t.Fatalf("item %d is number %d of part %d, whose number %d is item %d", n, ordinal, i, ordinal, got)
		}
		if before, with := s.Count(i, n), s.Count(i, n+1); before != ordinal || with != ordinal+1 {
			t.Fatalf("part %d has %d before item %d and %d with it, want %d and one more", i, before, n, with, ordinal)
		}
		var all uint64
		for part := range s.Len() {
			all += s.Count(part, n)
		}
		if all != n {
			t.Fatalf("the parts count %d of %d", all, n)
		}
	})
}

func TestSplitIsFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := weightsOf(t, 300)
		s := NewSplit(w)
		n := rapid.Uint64Range(0, 1<<40).Draw(t, "n")
		bound := float64(bits.Len(uint(len(w)-1)) + 1) // ⌈log₂ k⌉ + 1
		for i := range w {
			fair := float64(n) * (float64(w[i]) / float64(s.sum[len(w)]))
			// The reference is a float64 of up to 2⁴⁰.
			if miss := math.Abs(float64(s.Count(i, n)) - fair); miss > bound+0x1p-8 {
				t.Fatalf("part %d of weight %d has %d of %d, fair %.3f: off by more than %v", i, w[i], s.Count(i, n), n, fair, bound)
			}
		}
		period := s.sum[len(w)]
		for i := range w {
			if got := s.Count(i, 3*period); got != 3*uint64(w[i]) {
				t.Fatalf("part %d of weight %d has %d of three periods", i, w[i], got)
			}
		}
	})
}

func TestEqualWeightsGiveEveryNth(t *testing.T) {
	for _, k := range []int{1, 2, 3, 5, 7, 8, 100, 999, 1000} {
		w := slices.Repeat([]uint32{4}, k)
		s := NewSplit(w)
		for i := range k {
			first := s.Select(i, 0)
			for ordinal := range uint64(50) {
				if got, want := s.Select(i, ordinal), first+ordinal*uint64(k); got != want {
					t.Fatalf("item %d of part %d of %d is %d, want %d", ordinal, i, k, got, want)
				}
			}
		}
	}
}

func TestSplitBeyondItsRange(t *testing.T) {
	s := NewSplit([]uint32{1, math.MaxUint32, 0})
	for _, c := range []struct {
		index   int
		ordinal uint64
	}{{0, math.MaxUint64}, {0, 1 << 40}, {2, 0}, {-1, 0}, {3, 0}} {
		if got := s.Select(c.index, c.ordinal); got != none {
			t.Errorf("Select(%d, %d) = %d, want none", c.index, c.ordinal, got)
		}
	}
	if got := s.Count(2, 1000) + s.Count(-1, 1000) + s.Count(3, 1000); got != 0 {
		t.Errorf("parts without weight or place count %d", got)
	}
}
