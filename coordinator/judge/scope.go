package judge

import (
	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// evidence is a run with its ledger, ready to be judged.
type evidence struct {
	run  *merge.Run
	book *merge.Book
	use  *pb.RooflineUse // nil: the roofline is not known
}

// scope is the part of a run that an objective looks at.
type scope struct {
	values   *hist.Histogram // of the objective's series; empty for shares and rates
	counters merge.Counters
	ledger   merge.Ledger
	// spanNS is the length of the phases' load.
	spanNS int64
	// outlasted is how many of the canceled requests are known to have taken longer than the
	// objective's bound to what its series measures.
	outlasted uint64
	// mostOutput and mostInput are the most tokens of one answer and one prompt.
	mostOutput, mostInput uint64
}

// scopeOf gathers what the filter of an objective lets through.
func (e evidence) scopeOf(o *pb.Objective) scope {
	series, isSeries := seriesOf(o)
	include := func(k merge.Key) bool {
		return e.matches(o, k) && (!isSeries || applies(e.run.Scenario(), series, k))
	}
	s := scope{
		ledger: e.book.Sum(include), spanNS: e.span(o),
	}
	drain := float64(e.run.Scenario().GetDrain().AsDuration().Microseconds())
	var groups []*merge.Group
	for k, g := range e.run.Groups() {
		if include(k) {
			groups = append(groups, g)
			s.counters.Add(&g.Counters)
			s.outlasted += outlasted(series, o.GetBound(), drain, g)
			s.mostOutput = max(s.mostOutput, g.Histogram(measure.OutputTokens).Max())
			s.mostInput = max(s.mostInput, g.Histogram(measure.InputTokens).Max())
		}
	}
	s.values = &hist.Histogram{}
	if isSeries {
		s.values = e.values(o, series, groups)
	}
	return s
}

// outlasted counts the canceled requests of a group that are known to have taken longer than a
// bound: those that had waited the drain out, which is no shorter, without what the series
// measures. Bound and drain are in microseconds.
func outlasted(series measure.Series, bound, drain float64, g *merge.Group) uint64 {
	late, silent := g.Counters[merge.RequestsCanceledLate], g.Counters[merge.RequestsCanceledSilent]
	switch series {
	case measure.E2E, measure.Session: // a session is no shorter than its last request
		if bound <= drain {
			return late
		}
	case measure.TTFT, measure.TTFO:
		if bound <= drain {
			return silent
		}
	case measure.TTFTService, measure.TTFTWire:
		// The wait was counted from due, and this series counts from when the request was
		// dispatched: that was less by the lateness, at most 1 µs above the largest recorded.
		lateness := g.Histogram(measure.Lateness)
		if lateness.Count() > 0 && bound+float64(lateness.Max()+1) <= drain {
			return silent
		}
	}
	return 0
}

// values adds a series up over groups; the whole run's and a single group's are there already.
func (e evidence) values(o *pb.Objective, series measure.Series, groups []*merge.Group) *hist.Histogram {
	switch {
	case o.GetPhase() == "" && o.GetWorkload() == "" && o.GetTarget() == "":
		return e.run.Whole().Histogram(series)
	case len(groups) == 1:
		return groups[0].Histogram(series)
	}
	sum := &hist.Histogram{}
	for _, g := range groups {
		sum.Merge(g.Histogram(series))
	}
	return sum
}

// matches says that a group passes the filter. Without a phase, discarded phases are left out.
func (e evidence) matches(o *pb.Objective, k merge.Key) bool {
	phase := e.run.Scenario().GetLoad()[k.Phase]
	if o.GetPhase() == "" {
		return !phase.GetDiscard() && e.matchesRest(o, k)
	}
	return o.GetPhase() == phase.GetName() && e.matchesRest(o, k)
}

// matchesRest is the filter without the phase.
func (e evidence) matchesRest(o *pb.Objective, k merge.Key) bool {
	s := e.run.Scenario()
	if o.GetWorkload() != "" && o.GetWorkload() != s.GetWorkloads()[k.Workload].GetName() {
		return false
	}
	return o.GetTarget() == "" || o.GetTarget() == targetOf(s, k.Workload)
}

// span is the length of the load that an objective looks at.
func (e evidence) span(o *pb.Objective) int64 {
	return measuredSpan(e.run, func(phase int) bool {
		p := e.run.Scenario().GetLoad()[phase]
		if o.GetPhase() != "" {
			return p.GetName() == o.GetPhase()
		}
		return !p.GetDiscard()
	})
}

// targetOf is the name of a workload's target; with one target it need not be named.
func targetOf(s *pb.Scenario, workload int) string {
	if name := s.GetWorkloads()[workload].GetTarget(); name != "" || len(s.GetTargets()) != 1 {
		return name
	}
	return s.GetTargets()[0].GetName()
}

func seriesOf(o *pb.Objective) (measure.Series, bool) {
	switch o.GetAggregate() {
	case pb.Aggregate_AGGREGATE_SHARE, pb.Aggregate_AGGREGATE_RATE:
		return 0, false
	default:
		return merge.SeriesNamed(o.GetMetric())
	}
}

// applies says that a workload's requests can have a value of the series at all: a failed plain
// HTTP request must not count as a request without a first token.
func applies(s *pb.Scenario, series measure.Series, k merge.Key) bool {
	switch series {
	case measure.TTFT, measure.TTFTService, measure.TTFO, measure.ITL, measure.MaxITL, measure.TTFTWire, measure.ITLWire:
		w := s.GetWorkloads()[k.Workload]
		return w.GetStream() && (speaksModel(s, k.Workload) || w.HasGrpc())
	case measure.RoundTrip:
		w := s.GetWorkloads()[k.Workload]
		return w.GetStream() && w.HasGrpc()
	case measure.TPOT, measure.TokensPerEvent:
		return speaksModel(s, k.Workload) && s.GetWorkloads()[k.Workload].GetStream()
	case measure.InputTokens, measure.OutputTokens:
		return speaksModel(s, k.Workload)
	default:
		return true
	}
}

func speaksModel(s *pb.Scenario, workload int) bool {
	name := targetOf(s, workload)
	for _, t := range s.GetTargets() {
		if t.GetName() == name {
			return t.GetProtocol() == pb.Protocol_PROTOCOL_OPENAI_CHAT ||
				t.GetProtocol() == pb.Protocol_PROTOCOL_OPENAI_COMPLETIONS
		}
	}
	return false
}
