package merge

import "slices"

// span is the numbers from first to last, both included.
type span struct{ first, last uint64 }

// sequences is a set of window numbers, kept as spans in ascending order that neither touch nor
// overlap. Windows come nearly in order, so it stays as short as there are gaps.
type sequences []span

// has reports whether n is in the set.
func (s sequences) has(n uint64) bool {
	i := s.after(n)
	return i > 0 && n <= s[i-1].last
}

// after is the index of the first span that begins after n.
func (s sequences) after(n uint64) int {
	i, _ := slices.BinarySearchFunc(s, n, func(e span, n uint64) int {
		if e.first <= n {
			return -1
		}
		return 1
	})
	return i
}

// add puts n, which must be greater than 0, into the set.
func (s sequences) add(n uint64) sequences {
	i := s.after(n)
	if i > 0 && n <= s[i-1].last {
		return s
	}
	left := i > 0 && s[i-1].last == n-1
	right := i < len(s) && s[i].first == n+1
	switch {
	case left && right:
		s[i-1].last = s[i].last
		return slices.Delete(s, i, i+1)
	case left:
		s[i-1].last = n
	case right:
		s[i].first = n
	default:
		return slices.Insert(s, i, span{n, n})
	}
	return s
}

// count is the size of the set.
func (s sequences) count() uint64 {
	var n uint64
	for _, e := range s {
		n += e.last - e.first + 1
	}
	return n
}

// last is the largest number; 0 when the set is empty.
func (s sequences) last() uint64 {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1].last
}

// longest is the length of the longest run of numbers without a gap.
func (s sequences) longest() uint64 {
	var n uint64
	for _, e := range s {
		n = max(n, e.last-e.first+1)
	}
	return n
}

// gaps are the numbers from 1 to last that are not in the set.
func (s sequences) gaps(last uint64) sequences {
	var out sequences
	next := uint64(1)
	for _, e := range s {
		if e.first > last {
			break
		}
		if e.first > next {
			out = append(out, span{next, e.first - 1})
		}
		next = e.last + 1
	}
	if next <= last {
		out = append(out, span{next, last})
	}
	return out
}
