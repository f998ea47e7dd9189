package schedule

import (
	"slices"
	"sort"
)

// Phase is one phase of a schedule. Nothing about it changes after Compile; it may be used by many goroutines at once.
type Phase struct {
	// Index is the phase's place in the scenario, Name its name.
	Index int
	Name  string
	// Start is when it begins, in ns since the run's start.
	Start int64
	// Duration is its length in ns: as given, or shorter where the sessions of open load are used up
	// before, then the last due time + 1. 0 for closed load that sessions alone end.
	Duration int64
	// Arrivals is the number of sessions over all agents. Closed load: the number asked for, 0 when the duration alone ends it.
	Arrivals uint64
	// Users is the number of slots of closed load, at most the number of sessions; 0 for open load.
	Users uint32
	// Discard says that the phase is left out of objectives and totals.
	Discard bool

	curve   curve
	gaps    gaps
	numbers uint64 // what Walk walks over: arrivals or slots
	length  int64  // the longest that its load may last: the duration as given, or MaxPhase
	most    uint64 // most sessions of open load
	marks   []mark // random spacing: the load before every arrival whose number is a multiple of markEvery

	split     *Split
	workloads []int    // index in the scenario of each part of the split
	bases     []uint64 // sessions of each workload in the phases before
	closed    closed

	// What follows is set by changes alone.
	pieces []piece // open load; nil: as compiled
	source *Phase  // open load: the load that goes on, or that is paused; nil: the phase itself
	paused bool
	ended  bool
}

const (
	// markEvery is the number of arrivals between two marks: at most so many gaps are drawn to get to any arrival.
	markEvery = 1 << 15
)

// End is when the phase's load is over, in ns since the run's start; its sessions may drain longer.
func (p *Phase) End() int64 { return p.Start + p.Duration }

// Lasts is End, and false where only the sessions tell: closed load without a duration that no change has ended.
func (p *Phase) Lasts() (end int64, known bool) {
	return p.End(), p.Users == 0 || p.Duration > 0 || p.ended
}

// RateAt is the rate at t ns of the run, in sessions per second; 0 outside the phase and for closed load.
func (p *Phase) RateAt(t int64) float64 {
	if p.Users > 0 || t < p.Start || t >= p.End() {
		return 0
	}
	if p.pieces != nil {
		return p.pieceRate(t)
	}
	return p.curve.rate(float64(t - p.Start))
}

// CountUntil is the number of arrivals due at or before t ns of the run; 0 for closed load, which has no due times of its own.
// Random spacing takes a fraction of a millisecond at most.
func (p *Phase) CountUntil(t int64) uint64 {
	if p.Users > 0 || t < p.Start {
		return 0
	}
	if t >= p.End()-1 {
		return p.Arrivals
	}
	if p.pieces != nil {
		return p.pieceCount(t)
	}
	limit, ok := reach(p.curve, t-p.Start)
	if !ok {
		return 0
	}
	if !p.gaps.random() {
		return min(limit.whole+1, p.Arrivals)
	}
	i := sort.Search(len(p.marks), func(i int) bool { return p.marks[i].after(limit) }) - 1
	n, _ := p.gaps.count(uint64(i)*markEvery, p.marks[i], limit, p.Arrivals)
	return n
}

// reach is the largest mark whose due time is at most t, for t before the curve's end; ok is false when there is none.
func reach(c curve, t int64) (limit mark, ok bool) {
	if c.due(0) > t {
		return mark{}, false
	}
	whole := first(uint64(c.total())+2, func(w uint64) bool { return c.due(mark{whole: w}.float()) > t }) - 1
	part := first(one, func(p uint64) bool { return c.due(mark{whole, p}.float()) > t }) - 1
	return mark{whole, part}, true
}

// first is the smallest number below n for which f holds, n when there is none; f must not change back to false.
func first(n uint64, f func(uint64) bool) uint64 {
	low := uint64(0)
	for low < n {
		if mid := low + (n-low)/2; f(mid) {
			n = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// Pick says which workload, by its index in the scenario, arrival n asks for, and its ordinal among the sessions of that workload
// over the run: those of earlier phases, in the order of the scenario, come first. Closed load: n = iteration·users + (slot−1), and
// earlier phases without a number of sessions count nothing.
func (p *Phase) Pick(n uint64) (workload int, ordinal uint64) {
	if p.Users > 0 {
		n = p.closed.turned(n)
	}
	part, ordinal := p.split.At(n)
	workload = p.workloads[part]
	return workload, p.bases[workload] + ordinal
}

// WorkloadCount says how many of the phase's arrivals 0…n−1 ask for workload w, n as in Pick.
func (p *Phase) WorkloadCount(w int, n uint64) uint64 {
	part := slices.Index(p.workloads, w)
	if p.Users > 0 {
		return p.closed.count(n, func(n uint64) uint64 { return p.split.Count(part, n) })
	}
	return p.split.Count(part, n)
}
