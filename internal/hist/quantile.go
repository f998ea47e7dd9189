package hist

import (
	"bytes"
	"math"
	"math/bits"
	"strconv"
)

// maxDecimals is the largest k for which 10^k fits 64 bits.
const maxDecimals = 19

// Rank returns ⌈p·n⌉, at least 1 and at most n; 0 when n is 0. It is the rank, counted from 1,
// of the p-quantile of n values (M4 of the reliability page).
//
// p stands for the decimal that it is printed as, so the rank of 0.99 among 100 is 99: the
// product of the floats can lie a hair above a whole number. A p above 1 or not a number counts
// as 1.
func Rank(p float64, n uint64) uint64 {
	switch {
	case n == 0:
		return 0
	case p <= 0:
		return 1
	case !(p < 1):
		return n
	}
	digits, decimals := decimal(p)
	if decimals > maxDecimals {
		// More decimals than a person writes: the float is as good as any reading of it.
		return min(max(uint64(math.Ceil(p*float64(n))), 1), n)
	}
	scale := uint64(1)
	for range decimals {
		scale *= 10
	}
	// digits < scale because p < 1, so the quotient is below n and fits.
	high, low := bits.Mul64(digits, n)
	rank, rest := bits.Div64(high, low, scale)
	if rest > 0 {
		rank++
	}
	return max(rank, 1)
}

// decimal returns the shortest decimal that reads back as p, as digits / 10^decimals.
func decimal(p float64) (digits uint64, decimals int) {
	var space [32]byte
	// The form is d.ddde-dd or de-dd, with at most 17 digits.
	text := strconv.AppendFloat(space[:0], p, 'e', -1, 64)
	e := bytes.IndexByte(text, 'e')
	for _, c := range text[:e] {
		if c != '.' {
			digits = digits*10 + uint64(c-'0')
		}
	}
	fraction := max(e-2, 0)
	exponent := 0
	for _, c := range text[e+2:] {
		exponent = exponent*10 + int(c-'0')
	}
	return digits, exponent + fraction
}

// Quantile returns the p-quantile: the value of rank ⌈p·n⌉, as ValueAtRank reports it; 0 when
// there are no values.
func (h *Histogram) Quantile(p float64) uint64 { return h.ValueAtRank(Rank(p, h.count)) }

// ValueAtRank returns the k-th smallest value, counted from 1, as the upper edge of its bucket
// and never above Max; 0 when there are no values. A k outside 1…Count is moved into it.
func (h *Histogram) ValueAtRank(k uint64) uint64 {
	var seen uint64
	for i, c := range h.counts {
		seen += c
		if seen >= k {
			return min(bucketAt(i).High, h.max)
		}
	}
	return h.max
}

// Quantiles writes the quantile of each of ps to the same place in out, which must be as long.
// When ps ascends, as it usually does, one walk over the buckets serves them all.
func (h *Histogram) Quantiles(ps []float64, out []uint64) {
	clear(out[:len(ps)])
	if h.count == 0 || len(ps) == 0 {
		return
	}
	next, rank := 0, Rank(ps[0], h.count)
	var passed, seen uint64 // values before this bucket, and with it
	for i, c := range h.counts {
		passed, seen = seen, seen+c
		for rank <= seen {
			if rank > passed {
				out[next] = min(bucketAt(i).High, h.max)
			} else { // out of order: it stands before where the walk is
				out[next] = h.ValueAtRank(rank)
			}
			if next++; next == len(ps) {
				return
			}
			rank = Rank(ps[next], h.count)
		}
	}
}

// CountAbove returns the number of values in buckets whose upper edge, or Max where that is
// smaller, is greater than v: the values that a quantile would report as above v.
func (h *Histogram) CountAbove(v uint64) uint64 {
	if v >= h.max {
		return 0
	}
	// The bucket of v itself is above v unless v is its upper edge.
	first := indexOf(v)
	if bucketAt(first).High == v {
		first++
	}
	var n uint64
	for p := first >> pageBits; p < numPages; p++ {
		counters := h.pages[p]
		if counters == nil {
			continue
		}
		for i := max(first-p<<pageBits, 0); i < pageSize; i++ {
			n += counters[i]
		}
	}
	return n
}
