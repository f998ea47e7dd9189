package schedule

import (
	"math"
	"math/bits"
)

// none is the number that no arrival has.
const none = math.MaxUint64

// Split deals numbered items out to parts in proportion to whole weights, as evenly as can be, and
// exactly: it is a binary tree, and at a node whose two sides weigh a and b the first n items that
// reach it send ⌈n·a/(a+b)⌉ to the left (Bresenham's line). Any item and any part's item is found
// directly, in one step a level. Over one period, the sum of the weights, each part gets exactly its weight, so equal
// weights over N parts give each every N-th item; elsewhere the count of a part differs from its fair share by less
// than the depth of the tree plus one. Item 0 goes to the first part with a weight. Numbers may be up
// to 2⁶³ and the sum of the weights up to 2⁶².
type Split struct {
	// sum[i] is the weight of the parts before part i.
	sum []uint64
}

// NewSplit makes a split among len(weights) parts. A part of weight 0 gets nothing.
func NewSplit(weights []uint32) *Split {
	s := &Split{sum: make([]uint64, len(weights)+1)}
	for i, w := range weights {
		s.sum[i+1] = s.sum[i] + uint64(w)
	}
	return s
}

// Len is the number of parts.
func (s *Split) Len() int { return len(s.sum) - 1 }

// total is the sum of the weights.
func (s *Split) total() uint64 { return s.sum[s.Len()] }

// At says which part item n belongs to, and how many items that part has before it; −1 when no part has a weight.
func (s *Split) At(n uint64) (index int, ordinal uint64) {
	low, high := 0, s.Len()
	if s.sum[high] == 0 {
		return -1, 0
	}
	for high-low > 1 {
		mid := (low + high) / 2
		a, all := s.sum[mid]-s.sum[low], s.sum[high]-s.sum[low]
		left, rest := mulDiv(n, a, all)
		// Left when one more item raises ⌈n·a/all⌉.
		goes := rest == 0 && a > 0
		if rest > 0 {
			goes = rest+a > all
			left++
		}
		if goes {
			high, n = mid, left
		} else {
			low, n = mid, n-left
		}
	}
	return low, n
}

// Count says how many of the items 0…n−1 belong to a part.
func (s *Split) Count(index int, n uint64) uint64 {
	low, high := 0, s.Len()
	if index < 0 || index >= high || s.sum[index] == s.sum[index+1] {
		return 0
	}
	for high-low > 1 {
		mid := (low + high) / 2
		left, rest := mulDiv(n, s.sum[mid]-s.sum[low], s.sum[high]-s.sum[low])
		if rest > 0 {
			left++
		}
		if index < mid {
			high, n = mid, left
		} else {
			low, n = mid, n-left
		}
	}
	return n
}

// Select is the inverse of At: the item that is a part's item of the given ordinal. It is the
// largest uint64 when the part has no weight or the number would not fit.
func (s *Split) Select(index int, ordinal uint64) (n uint64) {
	if index < 0 || index >= s.Len() || s.sum[index] == s.sum[index+1] {
		return none
	}
	return s.selectWithin(0, s.Len(), index, ordinal)
}

func (s *Split) selectWithin(low, high, index int, ordinal uint64) uint64 {
	if high-low == 1 {
		return ordinal
	}
	mid := (low + high) / 2
	all := s.sum[high] - s.sum[low]
	if index < mid {
		n := s.selectWithin(low, mid, index, ordinal)
		return saturated(n, all, s.sum[mid]-s.sum[low], 0)
	}
	n := s.selectWithin(mid, high, index, ordinal)
	if n == none {
		return none
	}
	// The smallest n with ⌊(n+1)·b/all⌋ = ordinal+1.
	b := s.sum[high] - s.sum[mid]
	n = saturated(n+1, all, b, b-1)
	if n == none {
		return none
	}
	return n - 1
}

// mulDiv is quotient and remainder of n·a divided by all; a ≤ all, all > 0.
func mulDiv(n, a, all uint64) (quotient, remainder uint64) {
	high, low := bits.Mul64(n, a)
	return bits.Div64(high, low, all)
}

// saturated is ⌊(n·a+add)/by⌋, or none where that does not fit.
func saturated(n, a, by, add uint64) uint64 {
	if n == none {
		return none
	}
	high, low := bits.Mul64(n, a)
	low, carry := bits.Add64(low, add, 0)
	high += carry
	if high >= by {
		return none
	}
	quotient, _ := bits.Div64(high, low, by)
	return quotient
}
