package schedule

import (
	"fmt"
	"math"
	"slices"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// builder makes phases one after the other, since each needs the end and the counts of those before.
type builder struct {
	scenario *pb.Scenario
	schedule Schedule
	end      int64    // of the phase before
	weights  []uint32 // of the workloads
	bases    []uint64 // sessions of each workload so far
}

// WorkloadWeights are the weights of a scenario's workloads, in its order; 1 where none is written.
func WorkloadWeights(s *pb.Scenario) []uint32 {
	weights := make([]uint32, len(s.GetWorkloads()))
	for i, w := range s.GetWorkloads() {
		weights[i] = 1
		if w.HasWeight() {
			weights[i] = w.GetWeight()
		}
	}
	return weights
}

func (b *builder) add(index int, src *pb.Phase, o outline) error {
	p := &Phase{Index: index, Name: src.GetName(), Start: b.end, Duration: o.length, Discard: src.GetDiscard(), bases: slices.Clone(b.bases)}
	if src.HasAt() {
		p.Start = o.start
	}
	if err := b.mix(p, src.GetWorkloads()); err != nil {
		return err
	}
	if src.HasClosed() {
		b.close(p, src)
	} else {
		b.open(p, src, o)
	}
	for _, w := range p.workloads {
		b.bases[w] += p.WorkloadCount(w, p.Arrivals)
	}
	b.end = p.End()
	b.schedule.End = max(b.schedule.End, b.end)
	b.schedule.Phases = append(b.schedule.Phases, p)
	return nil
}

// mix sets up the draw of workloads: those named, or all.
func (b *builder) mix(p *Phase, names []string) error {
	all := b.scenario.GetWorkloads()
	for i, w := range all {
		if len(names) == 0 || slices.Contains(names, w.GetName()) {
			p.workloads = append(p.workloads, i)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(w *pb.Workload) bool { return w.GetName() == name }) {
			return fmt.Errorf("there is no workload %q", name)
		}
	}
	weights := make([]uint32, len(p.workloads))
	for i, w := range p.workloads {
		weights[i] = b.weights[w]
	}
	p.split = NewSplit(weights)
	if p.split.total() == 0 {
		return fmt.Errorf("no workload with a weight to draw from")
	}
	return nil
}

// key is the stream of a phase for one purpose. It goes by the phase's name, so that a phase added before it changes nothing.
func (b *builder) key(p *Phase, purpose string) Stream {
	return NewStream(seedOf(b.scenario), purpose+" "+p.Name)
}

func seedOf(s *pb.Scenario) uint64 {
	if s.HasSeed() {
		return s.GetSeed()
	}
	return 1
}

func (b *builder) open(p *Phase, src *pb.Phase, o outline) {
	load := src.GetOpen()
	p.curve = o.curve
	p.gaps = gaps{law: load.GetArrivals(), stream: b.key(p, "arrivals")}
	if p.gaps.law == pb.Arrivals_ARRIVALS_GAMMA {
		p.gaps.gamma = newGamma(load.GetCv())
	}
	p.most = math.MaxUint64
	if src.HasSessions() {
		p.most = src.GetSessions()
	}
	if p.Duration == 0 {
		p.Duration = int64(MaxPhase)
	}
	p.length = p.Duration
	p.fill(p.most)
}

// fill counts the arrivals of open load until its end, or until most are used up and the phase ends with the last of them.
func (p *Phase) fill(most uint64) {
	p.enumerate(most)
	p.numbers = p.Arrivals
	if p.Arrivals == most {
		last := p.Walk(p.Arrivals - 1)
		_, due, _ := last.Next()
		p.Duration = due + 1 - p.Start
	}
}

// enumerate finds the number of arrivals before the phase's end, at most most.
func (p *Phase) enumerate(most uint64) {
	limit, ok := reach(p.curve, p.Duration-1)
	switch {
	case !ok:
	case p.gaps.random():
		p.Arrivals, p.marks = p.gaps.survey(limit, most)
	default:
		p.Arrivals = min(limit.whole+1, most)
	}
}

func (b *builder) close(p *Phase, src *pb.Phase) {
	load := src.GetClosed()
	users := max(1, load.GetUsers())
	p.curve = fan{users: uint64(users), over: uint64(nanoseconds(load.GetRampUp()))}
	p.Arrivals = src.GetSessions()
	p.Users = users
	if src.HasSessions() {
		p.Users = uint32(min(uint64(users), p.Arrivals))
	}
	p.numbers = uint64(p.Users)
	p.closed = closed{
		users: uint64(p.Users), sessions: p.Arrivals, think: load.GetThink(),
		pauses: b.key(p, "think"), turns: b.key(p, "turns"),
	}
}
