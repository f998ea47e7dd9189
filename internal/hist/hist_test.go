package hist

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func record(values ...uint64) *Histogram {
	h := new(Histogram)
	for _, v := range values {
		h.Record(v)
	}
	return h
}

// value draws from every part of the range, its edges and beyond.
func value() *rapid.Generator[uint64] {
	return rapid.OneOf(
		rapid.Uint64Range(0, 10),
		rapid.Uint64Range(0, 5_000),
		rapid.Uint64Range(0, 2_000_000),
		rapid.Uint64Range(0, MaxValue),
		rapid.SampledFrom([]uint64{0, 1, 2047, 2048, 2049, MaxValue - 1, MaxValue, MaxValue + 1, math.MaxUint64}),
	)
}

func TestZeroValueIsEmpty(t *testing.T) {
	var h Histogram
	if h.Count() != 0 || h.Sum() != 0 || h.Min() != 0 || h.Max() != 0 || h.Mean() != 0 || h.Quantile(0.5) != 0 || h.CountAbove(0) != 0 {
		t.Error("an empty histogram reports something")
	}
	for b := range h.All() {
		t.Errorf("an empty histogram has bucket %v", b)
	}
}

func TestRecordKeepsExactFigures(t *testing.T) {
	h := record(0, 123_457, 7)
	if h.Count() != 3 || h.Sum() != 123_464 || h.Min() != 0 || h.Max() != 123_457 || h.Mean() != 123_464.0/3 {
		t.Errorf("count %d, sum %d, min %d, max %d, mean %g", h.Count(), h.Sum(), h.Min(), h.Max(), h.Mean())
	}
}

func TestRecordAboveTheRange(t *testing.T) {
	var h Histogram
	if h.Record(MaxValue) {
		t.Error("the largest value is in the range")
	}
	if !h.Record(MaxValue + 1) {
		t.Error("one more is above it")
	}
	if h.Count() != 2 || h.Max() != MaxValue || h.Sum() != 2*MaxValue || h.Quantile(1) != MaxValue {
		t.Errorf("count %d, max %d, sum %d, p100 %d", h.Count(), h.Max(), h.Sum(), h.Quantile(1))
	}
}

func TestSumSaturates(t *testing.T) {
	h := record(5)
	h.note(1, math.MaxUint64-4, 0, MaxValue)
	if h.Sum() != math.MaxUint64 {
		t.Errorf("sum %d", h.Sum())
	}
	h.note(1, 1, 0, MaxValue)
	if h.Sum() != math.MaxUint64 {
		t.Errorf("sum after one more: %d", h.Sum())
	}
}

func TestResetKeepsPages(t *testing.T) {
	h := record(1, 5_000, 2_000_000)
	h.Reset()
	if h.Count() != 0 || h.Quantile(1) != 0 {
		t.Error("values survive a reset")
	}
	if n := testing.AllocsPerRun(100, func() { h.Record(1); h.Record(5_000); h.Record(2_000_000); h.Reset() }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	want := record(9)
	h.Record(9)
	if !bytes.Equal(h.AppendBinary(nil), want.AppendBinary(nil)) {
		t.Error("a histogram used again differs from a fresh one")
	}
}

func TestMergeWithItselfDoubles(t *testing.T) {
	h := record(3, 4_000, 4_000)
	h.Merge(h)
	if want := record(3, 3, 4_000, 4_000, 4_000, 4_000); !bytes.Equal(h.AppendBinary(nil), want.AppendBinary(nil)) {
		t.Error("not what recording everything twice gives")
	}
}

// However values are spread over histograms, and however those are merged, through memory or
// over the wire: the bytes are those of one histogram that saw every value.
func TestMergeInAnyGroupingAndOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(value(), 0, 200).Draw(t, "values")
		want := record(values...).AppendBinary(nil)
		parts := make([]*Histogram, rapid.IntRange(1, 8).Draw(t, "parts"))
		for i := range parts {
			parts[i] = new(Histogram)
		}
		for _, v := range values {
			parts[rapid.IntRange(0, len(parts)-1).Draw(t, "part")].Record(v)
		}
		for len(parts) > 1 {
			i := rapid.IntRange(1, len(parts)-1).Draw(t, "from")
			j := rapid.IntRange(0, i-1).Draw(t, "to")
			if rapid.Bool().Draw(t, "wire") {
				if err := parts[j].MergeBinary(parts[i].AppendBinary(nil)); err != nil {
					t.Fatal(err)
				}
			} else {
				parts[j].Merge(parts[i])
			}
			parts = slices.Delete(parts, i, i+1)
		}
		if got := parts[0].AppendBinary(nil); !bytes.Equal(got, want) {
			t.Fatalf("merged: %x\nrecorded: %x", got, want)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	var h Histogram
	values := make([]uint64, 1024)
	for i := range values {
		values[i] = uint64(i) * 7_919 % 3_000_000
		h.Record(values[i])
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		h.Record(values[i&1023])
	}
}

func BenchmarkMergeBinary(b *testing.B) {
	data := spread().AppendBinary(nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	var h Histogram
	for b.Loop() {
		if err := h.MergeBinary(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkQuantiles(b *testing.B) {
	h := spread()
	ps := []float64{0.5, 0.9, 0.95, 0.99, 0.999}
	out := make([]uint64, len(ps))
	b.ReportAllocs()
	for b.Loop() {
		h.Quantiles(ps, out)
	}
}

// spread is a histogram of 1,000 values between 20 ms and 1 s.
func spread() *Histogram {
	var h Histogram
	for i := range uint64(1000) {
		h.Record(20_000 + i*i)
	}
	return &h
}
