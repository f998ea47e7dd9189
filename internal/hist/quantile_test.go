package hist

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestRank(t *testing.T) {
	for _, c := range []struct {
		p    float64
		n    uint64
		want uint64
	}{
		{0.5, 0, 0},
		{0.5, 1, 1},
		{0.5, 2, 1},
		{0.5, 3, 2},
		{0.99, 60, 60}, // the library's nearest rank would be 59
		{0.99, 100, 99},
		{0.99, 101, 100},
		{0.95, 20, 19},
		{0.95, 100, 95},
		{0.9, 10, 9},
		{0.1, 11, 2},
		{0.999, 1000, 999},
		{0.999, 1001, 1000},
		{0.9999, 10_000, 9_999},
		{0.07, 100, 7},  // 0.07·100 is 7.000000000000001 in floats
		{0.55, 100, 55}, // 0.55·100 is 55.00000000000001
		{0.29, 100, 29}, // 0.29·100 is 28.999999999999996
		{1 - 1e-5, 100_000, 99_999},
		{0.99, 1 << 53, 8917127262193583},
		{0, 5, 1},
		{-1, 5, 1},
		{1, 5, 5},
		{1.5, 5, 5},
		{math.NaN(), 5, 5},
		{math.SmallestNonzeroFloat64, 5, 1},
		{1e-30, 1 << 60, 1},
		{math.Nextafter(1, 0), 10, 10},
	} {
		if got := Rank(c.p, c.n); got != c.want {
			t.Errorf("Rank(%v, %d) = %d, want %d", c.p, c.n, got, c.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { Rank(0.999, 12345) }); n != 0 {
		t.Errorf("Rank allocates %v times", n)
	}
}

// The rank of k/10^d among any multiple of 10^d is a whole number, and no float may move it.
func TestRankOfEveryPercent(t *testing.T) {
	for _, scale := range []uint64{10, 100, 1000, 10_000} {
		for k := uint64(1); k < scale; k++ {
			p := float64(k) / float64(scale)
			for _, times := range []uint64{1, 7, 1000, 1 << 40} {
				if got := Rank(p, scale*times); got != k*times {
					t.Fatalf("Rank(%v, %d) = %d, want %d", p, scale*times, got, k*times)
				}
			}
		}
	}
}

// A quantile is the value of its rank among all values, moved to its bucket's upper edge and
// never above the maximum.
func TestQuantilesAgainstSortedValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(value(), 1, 300).Draw(t, "values")
		ps := rapid.SliceOfN(rapid.OneOf(rapid.Float64Range(0, 1), rapid.SampledFrom([]float64{0.5, 0.9, 0.99, 0.999})), 0, 8).Draw(t, "ps")
		h := record(values...)
		for i := range values {
			values[i] = min(values[i], MaxValue)
		}
		slices.Sort(values)
		out := make([]uint64, len(ps))
		h.Quantiles(ps, out)
		for i, p := range ps {
			exact := values[Rank(p, uint64(len(values)))-1]
			want := min(BucketOf(exact).High, values[len(values)-1])
			if got := h.Quantile(p); got != want || out[i] != want {
				t.Fatalf("p%v: Quantile %d, Quantiles %d, want %d (exactly %d)", p, got, out[i], want, exact)
			}
			if float64(want-exact) > 0.001*float64(exact) {
				t.Fatalf("p%v: %d is more than 0.1 %% above %d", p, want, exact)
			}
		}
	})
}

func TestCountAboveAgainstSortedValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(value(), 0, 100).Draw(t, "values")
		h := record(values...)
		bound := rapid.OneOf(value(), rapid.Map(rapid.IntRange(0, topIndex), func(i int) uint64 { return bucketAt(i).High })).Draw(t, "bound")
		if len(values) > 0 && rapid.Bool().Draw(t, "at a value") {
			bound = rapid.SampledFrom(values).Draw(t, "value")
		}
		var want uint64
		for _, v := range values {
			if min(BucketOf(v).High, h.Max()) > bound {
				want++
			}
		}
		if got := h.CountAbove(bound); got != want {
			t.Fatalf("CountAbove(%d) = %d, want %d", bound, got, want)
		}
	})
}

func TestQuantilesOutOfOrder(t *testing.T) {
	h := record(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	out := make([]uint64, 5)
	h.Quantiles([]float64{0.9, 0.1, 1, 0, 0.5}, out)
	if want := []uint64{9, 1, 10, 1, 5}; !slices.Equal(out, want) {
		t.Errorf("got %v, want %v", out, want)
	}
	new(Histogram).Quantiles([]float64{0.5}, out)
	if out[0] != 0 {
		t.Errorf("quantile of nothing: %d", out[0])
	}
}
