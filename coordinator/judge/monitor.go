package judge

import (
	"time"

	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/internal/hist"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Monitor watches the abort conditions of a run, second by second.
//
// A second counts for a condition when it holds at least one value: an ended request within the
// condition's filter for shares, a value or a failed request for a quantile, a value for a mean,
// largest or smallest value; for rate(…), any second in which the filter's phases had load. Such
// a second holds or breaks: it holds when the condition is true of that second alone, by what was
// measured; a failed request counts as infinitely slow in a quantile of latency. A second without a value
// neither holds nor breaks. The condition fires when as many seconds as its "for" says, rounded
// up, have held with none between them that broke. Discarded phases count, unless the condition's filter
// names another: a target that fails its warm-up need not see the rest.
//
// A condition fires once.
type Monitor struct {
	watches []watch
	done    bool
}

type watch struct {
	condition *pb.AbortCondition
	need      uint64 // seconds
	held      uint64
}

// NewMonitor returns a monitor of the abort conditions in the header's scenario.
func NewMonitor(h *pb.RunHeader) *Monitor {
	m := &Monitor{}
	for _, c := range h.GetScenario().GetAbort() {
		need := max(1, uint64((c.GetFor().AsDuration()+time.Second-1)/time.Second))
		m.watches = append(m.watches, watch{condition: c, need: need})
	}
	return m
}

// Observe looks at one second of the run and returns the condition that fires with it, the first
// in the scenario's order; nil: none, or one has fired before. Seconds must come in ascending order,
// each once and when its windows are in.
func (m *Monitor) Observe(r *merge.Run, second uint64) *pb.AbortCondition {
	entry := r.At(second)
	if m.done || entry == nil {
		return nil
	}
	var fired *pb.AbortCondition
	for i := range m.watches {
		w := &m.watches[i]
		switch holds, counts := inSecond(r, entry, w.condition.GetCondition()); {
		case !counts:
			continue
		case !holds:
			w.held = 0
			continue
		}
		if w.held++; w.held >= w.need && fired == nil {
			fired = w.condition
		}
	}
	m.done = fired != nil
	return fired
}

// inSecond judges a condition by one second alone.
func inSecond(r *merge.Run, entry *merge.Entry, o *pb.Objective) (held, counts bool) {
	s, load := secondScope(r, entry, o)
	b := weigh(o, s)
	switch o.GetAggregate() {
	case pb.Aggregate_AGGREGATE_RATE:
		return holds(o, b.observed), load
	case pb.Aggregate_AGGREGATE_QUANTILE:
		// fast and slow are equal: nothing is known to have no answer within a second.
		return holds(o, b.fast), b.answers.measured+b.answers.failed > 0
	default:
		return holds(o, b.observed), b.answers.measured+b.answers.failed > 0
	}
}

// secondScope gathers what the filter of a condition lets through of one second.
func secondScope(r *merge.Run, entry *merge.Entry, o *pb.Objective) (s scope, load bool) {
	e := evidence{run: r}
	load = e.open(entry, o)
	series, isSeries := seriesOf(o)
	s = scope{values: &hist.Histogram{}, spanNS: int64(entry.Seconds * uint64(time.Second))}
	for _, k := range entry.Keys() {
		if !e.passes(o, k) || (isSeries && !applies(r.Scenario(), series, k)) {
			continue
		}
		c := entry.Counters(k)
		s.counters.Add(&c)
		if isSeries {
			entry.AddSeries(k, series, s.values)
		}
		load = load || c[merge.Due]+c[merge.Started]+c.RequestsEnded() > 0
	}
	c := &s.counters
	s.ledger = merge.Ledger{
		RequestsSucceeded: c[merge.RequestsSucceeded], RequestsFailed: c[merge.RequestsFailed],
		SessionsSucceeded: c[merge.SessionsSucceeded], SessionsFailed: c[merge.SessionsFailed],
	}
	// What ended in the second counts, whether within its phase's load or after it.
	c[merge.SpanSucceeded], c[merge.SpanGood] = c[merge.RequestsSucceeded], c[merge.Good]
	c[merge.SpanOutputTokens], c[merge.SpanInputTokens] = c[merge.OutputTokens], c[merge.InputTokens]
	return s, load
}

// passes is matches with discarded phases let through.
func (e evidence) passes(o *pb.Objective, k merge.Key) bool {
	return e.matches(o, k) || (o.GetPhase() == "" && e.matchesRest(o, k))
}

// open says that requests of the condition's phases were open at the end of the second.
func (e evidence) open(entry *merge.Entry, o *pb.Objective) bool {
	for i, p := range e.run.Scenario().GetLoad() {
		if (o.GetPhase() == "" || o.GetPhase() == p.GetName()) && e.run.InFlight(entry.Second, i).Now > 0 {
			return true
		}
	}
	return false
}
