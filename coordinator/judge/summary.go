package judge

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/loadline/loadline/coordinator/merge"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// SchemaVersion is the version of the summary's form.
const SchemaVersion = 1

// Summarize judges a run. It reads what has been added so far, so it may be called while the run
// goes on; what is missing then is missing in the summary too.
func Summarize(r *merge.Run) *pb.Summary {
	e := evidence{run: r, book: r.Ledger(), use: rooflineUse(r)}
	h := r.Header()
	total, whole := e.book.Sum(func(merge.Key) bool { return true }), r.Whole().Counters
	judged := e.book.Sum(func(k merge.Key) bool { return !r.Discarded(k.Phase) })
	started, ended := times(r)
	v := e.verdict()
	requests := ofRequests(judged, judged.RequestsSucceeded)
	return pb.Summary_builder{
		SchemaVersion: SchemaVersion, RunId: h.GetRunId(), ScenarioName: h.GetScenario().GetName(),
		ScenarioDigest: h.GetScenarioDigest(), Seed: h.GetScenario().GetSeed(),
		StartedTime: started, EndedTime: ended,
		State: v.state, Verdict: v.verdict, Reasons: v.reasons, ExitStatus: uint32(v.exit),
		Validity: pb.Validity_builder{Valid: len(v.invalid) == 0, Reasons: v.invalid}.Build(),
		Arrivals: arrivals(total), Sessions: sessions(total), Requests: requestLedger(total),
		Phases: e.phases(), Errors: errorList(r.Whole().Errors()),
		Throughput:   throughput(&whole, e.span(&pb.Objective{})),
		ErrorRate:    orZero(share(judged.RequestsFailed, judged.RequestsFailed+judged.RequestsSucceeded)),
		GoodputShare: orZero(share(whole[merge.Good], requests.all())),
		Series:       seriesList(r), Slo: v.slo, Agents: agentList(r), TokenSource: tokenSource(&whole), Notes: append(notes(r), rooflineNote(e.use)...), Roofline: e.use, Changes: changes(r), Marks: marks(r),
	}.Build()
}

// times are the start and the end of the run in words; empty: not known.
func times(r *merge.Run) (started, ended string) {
	start, ok := r.Started()
	if !ok {
		return "", ""
	}
	if e, ok := r.Event(pb.RunEventKind_RUN_EVENT_KIND_ENDED); ok && !e.Time.IsZero() {
		return stamp(start), stamp(e.Time)
	}
	return stamp(start), stamp(start.Add(time.Duration(r.LastEndUS()) * time.Microsecond))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func arrivals(l merge.Ledger) *pb.ArrivalLedger {
	return pb.ArrivalLedger_builder{Due: l.Due, Started: l.Started, Missed: l.Missed, Shed: l.Shed, Lost: l.Lost}.Build()
}

func sessions(l merge.Ledger) *pb.EndLedger {
	return pb.EndLedger_builder{
		Succeeded: l.SessionsSucceeded, Failed: l.SessionsFailed,
		Canceled: l.SessionsCanceled, Unfinished: l.SessionsUnfinished,
	}.Build()
}

func requestLedger(l merge.Ledger) *pb.RequestLedger {
	return pb.RequestLedger_builder{
		Sent: l.RequestsSent, Succeeded: l.RequestsSucceeded, Failed: l.RequestsFailed,
		Canceled: l.RequestsCanceled, Unfinished: l.RequestsUnfinished,
	}.Build()
}

func (e evidence) phases() []*pb.PhaseSummary {
	out := make([]*pb.PhaseSummary, 0, len(e.run.Scenario().GetLoad()))
	for i := range e.run.Scenario().GetLoad() {
		out = append(out, e.phase(i))
	}
	return out
}

func (e evidence) phase(i int) *pb.PhaseSummary {
	r, span := e.run, e.run.Span(i)
	l := e.book.Sum(func(k merge.Key) bool { return k.Phase == i })
	var sum merge.Group
	for k, g := range r.Groups() {
		if k.Phase == i {
			sum.AddCounts(g)
		}
	}
	openUS, most := r.OpenWithin(i, span)
	b := pb.PhaseSummary_builder{
		Name: r.Scenario().GetLoad()[i].GetName(), Discard: r.Discarded(i),
		AchievedRate: orZero(perSecond(l.Started, span.Length())),
		Arrivals:     arrivals(l), Sessions: sessions(l), Requests: requestLedger(l),
		Errors: errorList(sum.Errors()), Throughput: throughput(&sum.Counters, span.Length()),
		Labels: labels(r.Scenario().GetLoad()[i].GetLabels()), UsersRestarted: r.Restarted(i), InFlightMean: orZero(perSecond(openUS, span.Length()) / 1e6), InFlightMax: most,
	}
	if rate := perSecond(l.Due, span.Length()); r.Open(i) && !math.IsNaN(rate) {
		b.OfferedRate = &rate
	}
	if start, ok := r.Started(); ok && span.Begun {
		b.StartedTime, b.EndedTime = stamp(start.Add(time.Duration(span.StartNS))), stamp(start.Add(time.Duration(span.EndNS)))
	}
	return b.Build()
}

// labels are those of a phase, by name.
func labels(m map[string]string) []*pb.Label {
	out := make([]*pb.Label, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, pb.Label_builder{Name: name, Value: m[name]}.Build())
	}
	return out
}

// marks are the instants that a program has marked.
func marks(r *merge.Run) []*pb.MarkSummary {
	out := make([]*pb.MarkSummary, 0, len(r.Marks()))
	for _, m := range r.Marks() {
		out = append(out, pb.MarkSummary_builder{AtSeconds: float64(m.AtUS) / 1e6, Text: m.Detail}.Build())
	}
	return out
}

func throughput(c *merge.Counters, spanNS int64) *pb.Throughput {
	rate := func(i merge.Counter) float64 { return orZero(perSecond(c[i], spanNS)) }
	return pb.Throughput_builder{
		RequestsPerSecond: rate(merge.SpanSucceeded), OutputTokensPerSecond: rate(merge.SpanOutputTokens),
		InputTokensPerSecond: rate(merge.SpanInputTokens), GoodputPerSecond: rate(merge.SpanGood),
	}.Build()
}

func errorList(in []merge.ErrorCount) []*pb.ErrorSummary {
	out := make([]*pb.ErrorSummary, 0, len(in))
	for _, e := range in {
		out = append(out, pb.ErrorSummary_builder{Class: e.Class, Count: e.Count, Example: e.Example}.Build())
	}
	return out
}

func agentList(r *merge.Run) []*pb.AgentSummary {
	out := make([]*pb.AgentSummary, 0, len(r.Agents()))
	lost := lostStretches(r)
	for m, a := range r.Agents() {
		out = append(out, pb.AgentSummary_builder{
			Name: a.Name, Windows: a.Windows(), MissingWindows: a.MissingWindows(), CpuMax: a.Health.CPUMachine,
			LatenessP99: a.Lateness.Quantile(0.99), ClockErrorBound: a.Health.ClockErrorUS, Incarnation: a.Incarnation, Lost: lost[m],
		}.Build())
	}
	return out
}

func tokenSource(c *merge.Counters) *pb.TokenSource {
	return pb.TokenSource_builder{
		Server: c[merge.TokensFromServer], Events: c[merge.TokensFromEvents], Differ: c[merge.TokensDiffer],
		MeanDifference: orZero(share(c[merge.TokensDifference], c[merge.TokensDiffer])),
	}.Build()
}

// orZero is v, or 0 where there is none.
func orZero(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return v
}
