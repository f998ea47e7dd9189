package merge

import (
	"iter"
	"maps"
	"slices"
)

// secondSum is what validity needs of one second. It is kept for every second of the run, so that
// validity does not depend on the resolution of the timeline.
type secondSum struct {
	requests, events uint64
	judged           bool // there was a group of a phase that is not discarded
}

func (r *Run) addSecond(p *parsed) {
	if len(p.groups) == 0 {
		return
	}
	s := r.seconds[p.second]
	if s == nil {
		s = &secondSum{}
		r.seconds[p.second] = s
	}
	for i := range p.groups {
		g := &p.groups[i]
		s.requests += g.counters.RequestsEnded()
		s.events += g.counters[ContentEvents]
		s.judged = s.judged || !r.Discarded(g.key.Phase)
	}
}

// Second is one second of load.
type Second struct {
	// Second counted from the run's start.
	Second uint64
	// Requests that ended and content events, over all agents and phases.
	Requests, Events uint64
	// Open is the sum over agents and phases of each one's most requests in flight.
	Open uint64
}

// JudgedSeconds yields the seconds, in order, in which there was load of a phase that is not
// discarded: something counted, or requests in flight. In them all phases count.
func (r *Run) JudgedSeconds() iter.Seq[Second] {
	open, judged := make(map[uint64]uint64), make(map[uint64]bool)
	for k, f := range r.inFlight {
		open[k.second] += f.Max
		judged[k.second] = judged[k.second] || f.Max > 0 && !r.Discarded(k.phase)
	}
	for second, s := range r.seconds {
		judged[second] = judged[second] || s.judged
	}
	return func(yield func(Second) bool) {
		for _, at := range slices.Sorted(maps.Keys(judged)) {
			if !judged[at] {
				continue
			}
			out := Second{Second: at, Open: open[at]}
			if s := r.seconds[at]; s != nil {
				out.Requests, out.Events = s.requests, s.events
			}
			if !yield(out) {
				return
			}
		}
	}
}
