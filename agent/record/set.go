package record

import (
	"cmp"
	"maps"
	"slices"

	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// pair is a phase and a workload, as indexes into the scenario.
type pair struct{ phase, workload uint32 }

func (p pair) compare(o pair) int {
	return cmp.Or(cmp.Compare(p.phase, o.phase), cmp.Compare(p.workload, o.workload))
}

// set is what one shard gathered since the last swap.
type set struct {
	groups  map[pair]*group
	sample  sample
	leftOut uint64 // values of series that are not admitted

	// The last pair asked for: runs of requests of one pair are the rule.
	last      pair
	lastGroup *group
}

func newSet(limit int) *set {
	return &set{groups: make(map[pair]*group), sample: sample{limit: limit}}
}

// group holds the counts of one pair.
type group struct {
	used     bool
	idle     int // swaps since it was used
	admitted uint32
	totals   *counters // the shard's, over the whole run; nil in a sum of sets

	window counters
	errors []classCount
	series [measure.NumSeries]*hist.Histogram

	// What was in flight: sessions opened less those closed, and the ends of the closed less
	// the starts of the opened, in nanoseconds. Both wrap and are right in their sum over all
	// shards.
	open, balance uint64
}

// classCount counts the failures of one class. The classes are few: about 20, the statuses that
// HTTP knows and the checks of the scenario.
type classCount struct {
	class   string
	count   uint64
	example string
	hash    uint64
}

// group returns the counts of p and marks them as used.
func (s *set) group(p pair) *group {
	if s.lastGroup != nil && s.last == p {
		s.lastGroup.used = true
		return s.lastGroup
	}
	g := s.groups[p]
	if g == nil {
		g = new(group)
		s.groups[p] = g
	}
	g.used = true
	s.last, s.lastGroup = p, g
	return g
}

func (g *group) count(c counter, n uint64) {
	g.window[c] += n
	g.totals[c] += n
}

// value adds a value to a series of g and counts it over range or left out.
func (s *shard) value(g *group, series measure.Series, v uint64) {
	if g.admitted&(1<<series) == 0 {
		s.active.leftOut++
		return
	}
	h := g.histogram(series)
	if h.Record(v) {
		g.count(overRange, 1)
	}
	s.values++
}

func (g *group) histogram(series measure.Series) *hist.Histogram {
	h := g.series[series]
	if h == nil {
		h = new(hist.Histogram)
		g.series[series] = h
	}
	return h
}

// fail counts n failures of a class and keeps the example with the smallest hash.
func (g *group) fail(class, example string, hash, n uint64) {
	for i := range g.errors {
		e := &g.errors[i]
		if e.class != class {
			continue
		}
		e.count += n
		if hash < e.hash {
			e.example, e.hash = example, hash
		}
		return
	}
	g.errors = append(g.errors, classCount{class: class, count: n, example: example, hash: hash})
}

// merge adds everything that o gathered, its sample excepted.
func (s *set) merge(o *set) {
	s.leftOut += o.leftOut
	for p, from := range o.groups {
		if from.used {
			s.group(p).merge(from)
		}
	}
}

func (g *group) merge(o *group) {
	g.window.add(&o.window)
	g.open += o.open
	g.balance += o.balance
	for _, e := range o.errors {
		g.fail(e.class, e.example, e.hash, e.count)
	}
	for i, h := range o.series {
		if h != nil && h.Count() > 0 {
			g.histogram(measure.Series(i)).Merge(h)
		}
	}
}

// reset empties the set. It keeps the memory of the groups that were used lately.
func (s *set) reset() {
	for p, g := range s.groups {
		switch {
		case g.used:
			g.reset()
		case g.idle >= maxIdle:
			delete(s.groups, p)
		default:
			g.idle++
		}
	}
	s.leftOut = 0
	s.lastGroup = nil
	s.sample.reset()
}

func (g *group) reset() {
	g.used, g.idle = false, 0
	g.window = counters{}
	g.open, g.balance = 0, 0
	clear(g.errors) // lets go of the texts
	g.errors = g.errors[:0]
	for _, h := range g.series {
		if h != nil {
			h.Reset()
		}
	}
}

// proto returns the groups that were used, in order.
func (s *set) proto() []*pb.Group {
	var out []*pb.Group
	for _, p := range slices.SortedFunc(maps.Keys(s.groups), pair.compare) {
		if g := s.groups[p]; g.used {
			out = append(out, g.proto(p))
		}
	}
	return out
}

func (g *group) proto(p pair) *pb.Group {
	b := pb.Group_builder{Phase: p.phase, Workload: p.workload, Counters: g.window.proto()}
	slices.SortFunc(g.errors, func(a, b classCount) int { return cmp.Compare(a.class, b.class) })
	for _, e := range g.errors {
		b.Errors = append(b.Errors, pb.ClassCount_builder{
			Class: e.class, Count: e.count, Example: measure.CleanErr(e.example), ExampleHash: e.hash,
		}.Build())
	}
	for i, h := range g.series {
		if h != nil && h.Count() > 0 {
			b.Series = append(b.Series, pb.SeriesData_builder{Series: pb.Series(i), Histogram: h.AppendBinary(nil)}.Build())
		}
	}
	return b.Build()
}
