package merge

import (
	"iter"
	"maps"
	"math/bits"
	"slices"

	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
)

// second in nanoseconds.
const second = 1_000_000_000

// InFlight says how many requests were open.
type InFlight struct {
	// Max is the sum over agents of each one's most within its window of a second.
	Max uint64
	// Now is how many were open at the end of the second.
	Now uint64
	// OpenUS is the sum of the time they were open within the second, in microseconds.
	OpenUS uint64
}

func (f *InFlight) add(o InFlight) {
	f.Max += o.Max
	f.Now += o.Now
	f.OpenUS += o.OpenUS
}

// phaseSecond names one second of one phase.
type phaseSecond struct {
	second uint64
	phase  int
}

// Entry is one entry of the timeline: a second, or several in a long run.
type Entry struct {
	// Second is the first second, counted from the run's start; Seconds the length, at least 1.
	Second, Seconds uint64
	// Windows is the number of windows that began within it.
	Windows uint64
	// Health is the worst of any agent.
	Health Health
	groups map[Key]*entryGroup
}

type entryGroup struct {
	counters Counters
	series   map[measure.Series]*seriesSum
}

// Keys lists the (phase, workload)s of the entry in order.
func (e *Entry) Keys() []Key { return slices.SortedFunc(maps.Keys(e.groups), Key.compare) }

// Counters are the sums of one (phase, workload).
func (e *Entry) Counters(k Key) Counters {
	if g := e.groups[k]; g != nil {
		return g.counters
	}
	return Counters{}
}

// AddSeries adds the values of a series of one (phase, workload) to h. Only the series of
// Kept are there.
func (e *Entry) AddSeries(k Key, s measure.Series, h *hist.Histogram) {
	if g := e.groups[k]; g != nil && g.series[s] != nil {
		g.series[s].addTo(h)
	}
}

// Series lists the series of one (phase, workload) in order.
func (e *Entry) Series(k Key) []measure.Series {
	g := e.groups[k]
	if g == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(g.series))
}

// timeline is a run over time: the seconds of the last hour one by one, ten together in the nine
// hours before, and minutes before that. Its resolution follows from the last second alone, so that
// it does not depend on the order in which windows came.
type timeline struct {
	kept         [measure.NumSeries]bool
	last         uint64 // the latest second
	fine, middle uint64 // from here on seconds stand singly, or by tens; multiples of coarse
	coarse       uint64 // seconds of the entries before middle
	entries      map[uint64]*Entry
	recent       recent
}

func newTimeline(kept [measure.NumSeries]bool) *timeline {
	return &timeline{kept: kept, coarse: coarseSeconds, entries: make(map[uint64]*Entry)}
}

// add counts a window into the entry of its second.
func (t *timeline) add(p *parsed) {
	t.advance(p.second)
	e := t.at(p.second)
	e.Windows++
	e.Health.Worst(p.health)
	for i := range p.groups {
		t.addGroup(e, &p.groups[i])
	}
}

// stretch is the entry that a second belongs to: its first second and its length.
func (t *timeline) stretch(second uint64) (first, seconds uint64) {
	switch {
	case second >= t.fine:
		return second, 1
	case second >= t.middle:
		return second - second%middleSeconds, middleSeconds
	default:
		return second - second%t.coarse, t.coarse
	}
}

func (t *timeline) at(second uint64) *Entry {
	first, seconds := t.stretch(second)
	e := t.entries[first]
	if e == nil {
		e = &Entry{Second: first, Seconds: seconds, Health: noHealth(), groups: make(map[Key]*entryGroup)}
		t.entries[first] = e
	}
	return e
}

// advance takes note that the run has come to a second, and puts together what is too old to stand
// singly.
func (t *timeline) advance(second uint64) {
	if second <= t.last {
		return
	}
	t.last = second
	t.recent.close(second - min(second, openSeconds))
	coarse := t.coarse
	for second/coarse >= MaxEntries {
		coarse *= 2
	}
	fine := (second - min(second, FineSeconds)) / coarse * coarse
	middle := (second - min(second, MiddleSeconds)) / coarse * coarse
	if fine == t.fine && middle == t.middle && coarse == t.coarse {
		return
	}
	t.fine, t.middle, t.coarse = fine, middle, coarse
	var old []*Entry
	for first, e := range t.entries {
		if to, seconds := t.stretch(first); to != first || seconds != e.Seconds {
			old = append(old, e)
			delete(t.entries, first)
		}
	}
	for _, from := range old {
		t.fold(t.at(from.Second), from)
	}
	t.recent.close(fine)
}

func (e *Entry) group(k Key) *entryGroup {
	g := e.groups[k]
	if g == nil {
		g = &entryGroup{series: make(map[measure.Series]*seriesSum)}
		e.groups[k] = g
	}
	return g
}

func (t *timeline) addGroup(e *Entry, p *parsedGroup) {
	g := e.group(p.key)
	g.counters.Add(&p.counters)
	for _, s := range p.series {
		if t.kept[s.series] {
			t.recent.add(e.Second, g.sum(s.series), s.data)
		}
	}
}

func (g *entryGroup) sum(s measure.Series) *seriesSum {
	sum := g.series[s]
	if sum == nil {
		sum = &seriesSum{}
		g.series[s] = sum
	}
	return sum
}

// fold adds an entry up to one that spans it.
func (t *timeline) fold(to, from *Entry) {
	to.Windows += from.Windows
	to.Health.Worst(from.Health)
	for k, g := range from.groups {
		sum := to.group(k)
		sum.counters.Add(&g.counters)
		for s, from := range g.series {
			t.recent.add(to.Second, sum.sum(s), from.sparse())
		}
	}
}

// all yields the entries in order.
func (t *timeline) all() iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for _, index := range slices.Sorted(maps.Keys(t.entries)) {
			if !yield(t.entries[index]) {
				return
			}
		}
	}
}

// OpenWithin is how long requests of a phase were open within a span, all together, in
// microseconds, and the most that were open in any one second of the run. A second that lies
// partly in the span counts in proportion.
func (r *Run) OpenWithin(phase int, s Span) (openUS, most uint64) {
	for k, f := range r.inFlight {
		if k.phase != phase {
			continue
		}
		most = max(most, f.Max)
		from := int64(k.second) * second
		overlap := min(from+second, s.EndNS) - max(from, s.StartNS)
		if overlap <= 0 {
			continue
		}
		high, low := bits.Mul64(f.OpenUS, uint64(overlap))
		part, _ := bits.Div64(high, low, second)
		openUS += part
	}
	return openUS, most
}

// OpenIn is how many requests were open at the end of an entry's seconds, and the most within
// one of them, over all phases; of several seconds the largest.
func (r *Run) OpenIn(e *Entry) (now, most uint64) {
	for at := e.Second; at < e.Second+e.Seconds; at++ {
		var sum InFlight
		for phase := range r.scenario.GetLoad() {
			sum.add(r.InFlight(at, phase))
		}
		now, most = max(now, sum.Now), max(most, sum.Max)
	}
	return now, most
}
