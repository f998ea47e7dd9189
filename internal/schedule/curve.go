package schedule

import (
	"math"
	"sort"
)

// curve is a rate over time. Times are nanoseconds since the phase's start.
type curve interface {
	// due is the last whole nanosecond not after the moment at which the load passes x sessions:
	// ⌊inf{t: Λ(t) > x}⌋. It never falls as x rises. Where x is not reached it is at least the curve's end.
	due(x float64) int64
	// rate is the rate at time t, in sessions per second.
	rate(t float64) float64
	// total is Λ at the curve's end, in sessions.
	total() float64
}

const second = 1e9

// segment is a stretch in which the rate is a straight line.
type segment struct {
	start, end   float64 // ns
	before       float64 // Λ at the start
	through      float64 // Λ at the end
	from         float64 // rate at the start, per second
	slope        float64 // per second²
	squared      float64 // from²
	doubledSlope float64
}

// line is a curve of segments that follow each other without a gap.
type line []segment

// extend adds a segment of the given length in ns.
func (l line) extend(length int64, from, to float64) line {
	s := segment{end: float64(length), from: from, squared: float64(from * from)}
	if n := len(l); n > 0 {
		s.start, s.before = l[n-1].end, l[n-1].through
		s.end += s.start
	}
	if length == 0 {
		return l
	}
	s.slope = (to - from) / (float64(length) / second)
	s.doubledSlope = 2 * s.slope
	s.through = s.before + float64((from+to)*float64(length))/(2*second)
	return append(l, s)
}

func (l line) total() float64 { return l[len(l)-1].through }

func (l line) rate(t float64) float64 {
	i := min(sort.Search(len(l), func(i int) bool { return l[i].end > t }), len(l)-1)
	return l[i].from + float64(l[i].slope*((t-l[i].start)/second))
}

func (l line) due(x float64) int64 {
	low := 0
	for high := len(l); low < high; {
		if mid := int(uint(low+high) / 2); l[mid].through > x {
			high = mid
		} else {
			low = mid + 1
		}
	}
	if low == len(l) {
		return int64(l[low-1].end)
	}
	s := &l[low]
	return int64(min(s.start+s.reach(x-s.before), s.end))
}

// reach is the time in ns from the segment's start until u sessions have been due; it never falls as u rises.
func (s *segment) reach(u float64) float64 {
	if s.slope == 0 {
		return float64(u*second) / s.from
	}
	if s.slope > 0 {
		// A relative step of 2⁻⁴⁸ in u moves the result by more than its rounding error (at most 2⁻⁵¹),
		// so that the result cannot fall; when the rate rises, the quotient below alone would not see to that.
		u = math.Float64frombits(math.Float64bits(u) &^ 31)
	}
	// The root of from·t + slope·t²/2 = u in the form that subtracts nothing of its own size.
	root := math.Sqrt(max(0, s.squared+float64(s.doubledSlope*u)))
	below := s.from + root
	if below == 0 {
		return 0
	}
	return 2 * u / below * second
}
