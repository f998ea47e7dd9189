// Package hist counts values into histograms with the bucket layout of hdrhistogram-go.
//
// One layout serves every series: 0 to 3,600,000,000 (one hour in microseconds) with three
// significant digits. Count, sum, minimum and maximum are exact beside the buckets. Merging is
// the addition of whole numbers, so neither grouping nor order matters: what comes out of a merge
// is what one histogram would hold that had seen every value.
//
// A histogram is not safe for concurrent use.
package hist

import (
	"iter"
	"math"
)

// Counters live in pages that are allocated when their first value comes: a series whose values
// lie within one factor of two needs about 8 kB of the full 188 kB.
const (
	pageBits = 8
	pageSize = 1 << pageBits
	numPages = NumBuckets / pageSize
)

type page [pageSize]uint64

// Histogram counts whole numbers from 0 to MaxValue. The zero value is empty and ready.
// It must not be copied once it holds values.
type Histogram struct {
	pages    [numPages]*page
	free     []*page // empty, from before a Reset
	count    uint64
	sum      uint64
	min, max uint64
}

// Record counts v once. A value above MaxValue is counted as MaxValue, and over is true.
// It allocates only when v is the first value of its page.
func (h *Histogram) Record(v uint64) (over bool) {
	if v > MaxValue {
		v, over = MaxValue, true
	}
	h.add(indexOf(v), 1)
	h.note(1, v, v, v)
	return over
}

// Merge adds everything that o counts. h and o may be the same.
func (h *Histogram) Merge(o *Histogram) {
	if o.count == 0 {
		return
	}
	for p, from := range o.pages {
		if from == nil {
			continue
		}
		for i, c := range from {
			if c > 0 {
				h.add(p<<pageBits|i, c)
			}
		}
	}
	h.note(o.count, o.sum, o.min, o.max)
}

func (h *Histogram) add(index int, n uint64) {
	p := h.pages[index>>pageBits]
	if p == nil {
		p = h.newPage()
		h.pages[index>>pageBits] = p
	}
	p[index&(pageSize-1)] += n
}

func (h *Histogram) newPage() *page {
	last := len(h.free) - 1
	if last < 0 {
		return new(page)
	}
	p := h.free[last]
	h.free = h.free[:last]
	return p
}

// note keeps the exact figures for count values of the given sum, minimum and maximum.
func (h *Histogram) note(count, sum, lowest, highest uint64) {
	if h.count == 0 {
		h.min, h.max = lowest, highest
	} else {
		h.min, h.max = min(h.min, lowest), max(h.max, highest)
	}
	h.count += count
	h.sum += sum
	if h.sum < sum {
		// Saturation keeps addition associative, which wrapping would too, but a sum that is
		// obviously too small could pass for a true one.
		h.sum = math.MaxUint64
	}
}

// Count is the number of values.
func (h *Histogram) Count() uint64 { return h.count }

// Sum is the exact sum of the values; it stays at math.MaxUint64 once it has got there.
func (h *Histogram) Sum() uint64 { return h.sum }

// Min is the smallest value, exactly; 0 when there is none.
func (h *Histogram) Min() uint64 { return h.min }

// Max is the largest value, exactly; 0 when there is none.
func (h *Histogram) Max() uint64 { return h.max }

// Mean is sum / count; 0 when there are no values.
func (h *Histogram) Mean() float64 {
	if h.count == 0 {
		return 0
	}
	return float64(h.sum) / float64(h.count)
}

// Reset empties the histogram and keeps its memory.
func (h *Histogram) Reset() {
	if h.count == 0 {
		return
	}
	for i, p := range h.pages {
		if p != nil {
			clear(p[:])
			h.free = append(h.free, p)
			h.pages[i] = nil
		}
	}
	h.count, h.sum, h.min, h.max = 0, 0, 0, 0
}

// All yields the buckets that hold values, in order, each with its count.
func (h *Histogram) All() iter.Seq2[Bucket, uint64] {
	return func(yield func(Bucket, uint64) bool) {
		for i, c := range h.counts {
			if !yield(bucketAt(i), c) {
				return
			}
		}
	}
}

// counts yields (index, count) of every bucket that holds values, in order.
func (h *Histogram) counts(yield func(int, uint64) bool) {
	if h.count == 0 {
		return
	}
	for p, counters := range h.pages {
		if counters == nil {
			continue
		}
		for i, c := range counters {
			if c > 0 && !yield(p<<pageBits|i, c) {
				return
			}
		}
	}
}
