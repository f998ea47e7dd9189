package merge

import (
	"cmp"
	"maps"
	"slices"

	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
)

// Key names a (phase, workload) by their indexes in the scenario.
type Key struct{ Phase, Workload int }

func (k Key) compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Phase, o.Phase), cmp.Compare(k.Workload, o.Workload))
}

// ErrorCount is the failures of one class.
type ErrorCount struct {
	// Class of failure.
	Class string
	// Count of requests.
	Count uint64
	// Example is the failure in words with the smallest Hash; the alphabet breaks ties.
	Example string
	Hash    uint64
}

// Group is what was counted for one (phase, workload), or for several together.
type Group struct {
	// Counters are the sums.
	Counters Counters
	errors   map[string]ErrorCount
	series   [measure.NumSeries]*hist.Histogram
}

// Histogram returns the distribution of a series; it is never nil, and must not be changed.
func (g *Group) Histogram(s measure.Series) *hist.Histogram {
	if h := g.series[s]; h != nil {
		return h
	}
	return &hist.Histogram{}
}

// Errors lists the failures by class, largest first, then by name.
func (g *Group) Errors() []ErrorCount {
	return slices.SortedFunc(maps.Values(g.errors), func(a, b ErrorCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Class, b.Class))
	})
}

// AddCounts adds the counters and the failures of o up, without its distributions.
func (g *Group) AddCounts(o *Group) {
	g.Counters.Add(&o.Counters)
	for _, e := range o.errors {
		g.addError(e)
	}
}

func (g *Group) histogram(s measure.Series) *hist.Histogram {
	if g.series[s] == nil {
		g.series[s] = new(hist.Histogram)
	}
	return g.series[s]
}

func (g *Group) addError(e ErrorCount) {
	if g.errors == nil {
		g.errors = make(map[string]ErrorCount)
	}
	if old, ok := g.errors[e.Class]; ok {
		e.Count += old.Count
		if cmp.Or(cmp.Compare(old.Hash, e.Hash), cmp.Compare(old.Example, e.Example)) <= 0 {
			e.Hash, e.Example = old.Hash, old.Example
		}
	}
	g.errors[e.Class] = e
}

// add counts what one window holds for this group.
func (g *Group) add(p *parsedGroup) {
	g.Counters.Add(&p.counters)
	for _, e := range p.errors {
		g.addError(e)
	}
	for _, s := range p.series {
		mustMerge(g.histogram(s.series), s.data)
	}
}

// merge adds another group up.
func (g *Group) merge(o *Group) {
	g.AddCounts(o)
	for s, h := range o.series {
		if h != nil {
			g.histogram(measure.Series(s)).Merge(h)
		}
	}
}

// mustMerge adds bytes that were checked or written by this process.
func mustMerge(h *hist.Histogram, data []byte) {
	if err := h.MergeChecked(data); err != nil {
		panic("merge: a histogram that was checked cannot be read: " + err.Error())
	}
}
