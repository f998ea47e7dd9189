package hist

import (
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Every bucket of the layout has the edges that the library gives it.
func TestLayoutIsTheLibrarys(t *testing.T) {
	library := hdrhistogram.New(1, MaxValue, significantDigits)
	// Distribution stops at the last value; this one lies in the last bucket.
	if err := library.RecordValue(1<<32 - 1); err != nil {
		t.Fatal(err)
	}
	bars := library.Distribution()
	if got := len(library.Export().Counts); got != NumBuckets {
		t.Fatalf("the library has %d counters, we have %d", got, NumBuckets)
	}
	if len(bars) != NumBuckets {
		t.Fatalf("the library has %d bars, we have %d buckets", len(bars), NumBuckets)
	}
	for i, bar := range bars {
		b := bucketAt(i)
		if b.Index != i || b.Low != uint64(bar.From) || b.High != uint64(bar.To) {
			t.Fatalf("bucket %d: %+v, the library says %d to %d", i, b, bar.From, bar.To)
		}
		if indexOf(b.Low) != i || indexOf(b.High) != i {
			t.Fatalf("bucket %d: its edges %d and %d go to buckets %d and %d", i, b.Low, b.High, indexOf(b.Low), indexOf(b.High))
		}
	}
	if got := indexOf(MaxValue); got != topIndex {
		t.Errorf("bucket of the largest value: %d, want %d", got, topIndex)
	}
	if got := BucketOf(1 << 40); got.Index != topIndex {
		t.Errorf("bucket above the range: %d, want %d", got.Index, topIndex)
	}
}

// The library puts a value where we put it, at both edges of every bucket in range.
func TestRecordMeetsTheLibrary(t *testing.T) {
	library := hdrhistogram.New(1, MaxValue, significantDigits)
	var h Histogram
	for i := 0; i <= topIndex; i++ {
		for _, v := range []uint64{bucketAt(i).Low, min(bucketAt(i).High, MaxValue)} {
			if err := library.RecordValue(int64(v)); err != nil {
				t.Fatal(err)
			}
			if h.Record(v) {
				t.Fatalf("%d is said to be above the range", v)
			}
		}
	}
	compareToLibrary(t, &h, library)
}

func compareToLibrary(t *testing.T, h *Histogram, library *hdrhistogram.Histogram) {
	t.Helper()
	counts := library.Export().Counts
	for b, c := range h.All() {
		if counts[b.Index] != int64(c) {
			t.Fatalf("bucket %d: %d, the library says %d", b.Index, c, counts[b.Index])
		}
		counts[b.Index] = 0
	}
	for i, c := range counts {
		if c != 0 {
			t.Fatalf("bucket %d: nothing, the library says %d", i, c)
		}
	}
}
