package judge

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/coordinator/merge/mergetest"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const (
	pass         = pb.Verdict_VERDICT_PASS
	fail         = pb.Verdict_VERDICT_FAIL
	inconclusive = pb.Verdict_VERDICT_INCONCLUSIVE

	startedKind = pb.RunEventKind_RUN_EVENT_KIND_STARTED
	stopKind    = pb.RunEventKind_RUN_EVENT_KIND_STOP_REQUESTED
	abortKind   = pb.RunEventKind_RUN_EVENT_KIND_ABORTED
	lostKind    = pb.RunEventKind_RUN_EVENT_KIND_AGENT_LOST
	failedKind  = pb.RunEventKind_RUN_EVENT_KIND_AGENT_FAILED

	complete = pb.RunState_RUN_STATE_COMPLETE
	aborted  = pb.RunState_RUN_STATE_ABORTED
)

type (
	arrival = mergetest.Arrival
	answer  = mergetest.Answer
)

// game is a run to be judged: what the agents sent may be changed before it is merged.
type game struct {
	t      testing.TB
	header *pb.RunHeader
	sent   mergetest.Sent
	events []*pb.RunEvent
}

// open is a scenario of one phase: so many arrivals a second for so long.
func open(rate float64, length time.Duration, slo ...*pb.Objective) *pb.Scenario {
	s := mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", rate, length)})
	s.SetSlo(slo)
	return s
}

// play has agents a1 and a2 play a scenario to its end.
func play(t testing.TB, s *pb.Scenario, f func(arrival) answer) *game {
	t.Helper()
	return playedBy(t, s, f, "a1", "a2")
}

// playedBy has the agents play a scenario to its end.
func playedBy(t testing.TB, s *pb.Scenario, f func(arrival) answer, agents ...string) *game {
	t.Helper()
	h := mergetest.Header(s, agents...)
	sent, err := mergetest.Play(h, time.Minute, f)
	if err != nil {
		t.Fatal(err)
	}
	return &game{t: t, header: h, sent: sent, events: []*pb.RunEvent{
		mergetest.Event(startedKind, 0), mergetest.Ended(61*time.Second, complete),
	}}
}

func (g *game) merged() *merge.Run {
	g.t.Helper()
	r, err := merge.New(g.header)
	for _, w := range g.sent.All() {
		if err == nil {
			err = r.AddWindow(w)
		}
	}
	for _, m := range g.sent.Totals {
		if err == nil {
			err = r.AddTotals(m)
		}
	}
	for _, e := range g.events {
		if err == nil {
			err = r.AddEvent(e)
		}
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return r
}

func (g *game) summary() *pb.Summary {
	g.t.Helper()
	return Summarize(g.merged())
}

// windows changes every window.
func (g *game) windows(f func(*pb.Window)) {
	for _, w := range g.sent.All() {
		f(w)
	}
}

func fast(arrival) answer {
	return answer{TTFT: 200 * time.Millisecond, E2E: 400 * time.Millisecond, OutputTokens: 10}
}

// every gives one in n arrivals another answer.
func every(n uint64, f func(*answer)) func(arrival) answer {
	return func(a arrival) answer {
		x := fast(a)
		if a.Number%n == 0 {
			f(&x)
		}
		return x
	}
}

func slow(x *answer)                                  { x.TTFT, x.E2E = 2*time.Second, 3*time.Second }
func broken(x *answer)                                { x.Class = "http_500" }
func shed(x *answer)                                  { x.Shed = true }
func canceled(x *answer)                              { x.Class, x.E2E = "canceled", 31*time.Second } // in the middle of its answer
func hung(x *answer)                                  { canceled(x); x.OutputTokens = 0 }
func cut(x *answer)                                   { hung(x); x.E2E = 29 * time.Second } // before the drain was over
func unfinished(x *answer)                            { x.Unfinished = true }
func everything(f func(*answer)) func(arrival) answer { return every(1, f) }

func p99() *pb.Objective { return mergetest.Objective("p99(ttft) < 800ms", 0.99, "ttft", 800_000) }
func p50() *pb.Objective { return mergetest.Objective("p50(ttft) < 800ms", 0.5, "ttft", 800_000) }
func errorRate() *pb.Objective {
	return mergetest.Share("error_rate < 1%", "error_rate", pb.Comparison_COMPARISON_LT, 0.01)
}

// with makes an objective of another aggregate or metric.
func with(o *pb.Objective, expression string, edit func(*pb.Objective)) *pb.Objective {
	o = proto.CloneOf(o)
	o.SetExpression(expression)
	edit(o)
	return o
}

// Each objective is judged twice; the cases are those of design §6.
func TestObjectives(t *testing.T) {
	e2e := mergetest.Objective("p99(e2e) < 5s", 0.99, "e2e", 5e6)
	long := mergetest.Objective("p99(e2e) < 60s", 0.99, "e2e", 60e6)
	tests := map[string]struct {
		rate   float64 // over 10 s
		answer func(arrival) answer
		o      *pb.Objective
		want   pb.Verdict
		exit   uint32
		reason string
	}{
		"all fast": {100, fast, p99(), pass, 0, ""},
		"too slow": {100, everything(slow), p99(), fail, 99, "p99(ttft) is 2 s, not below the bound of 800 ms"},
		"few slow": {100, every(200, slow), p99(), pass, 0, ""},
		"a failed request is infinitely slow": {100, every(50, broken), p99(), fail, 99,
			"p99(ttft) has no finite value: 20 of 1,000 requests failed, and that counts as infinitely slow; the bound is 800 ms"},
		"few failed":                        {100, every(200, broken), p99(), pass, 0, ""},
		"shed arrivals decide":              {100, every(50, shed), p99(), inconclusive, 97, "p99(ttft) is 200 ms if what has no answer had been fast, and infinite if not; the bound of 800 ms lies between: 20 arrivals have no answer (20 shed)"},
		"few shed":                          {100, every(200, shed), p99(), pass, 0, ""},
		"unfinished ones decide":            {100, every(50, unfinished), p99(), inconclusive, 97, "p99(ttft) is 200 ms if what has no answer had been fast, and infinite if not; the bound of 800 ms lies between: 20 arrivals have no answer (20 unfinished)"},
		"slow, whatever the shed ones were": {100, func(a arrival) answer { x := fast(a); slow(&x); x.Shed = a.Number%2 == 0; return x }, p99(), fail, 99, "p99(ttft) is 2 s, not below the bound of 800 ms; even if the 500 arrivals without an answer had been fast"},
		"canceled ones decide":              {100, every(50, canceled), p99(), inconclusive, 97, "p99(ttft) is 200 ms if what has no answer had been fast, and infinite if not; the bound of 800 ms lies between: 20 arrivals have no answer (20 canceled)"},
		"canceled ones outlast their drain": {100, every(50, canceled), e2e, fail, 99, "p99(e2e) has no finite value: 20 of 1,000 requests had no end when the drain time was over, and that counts as infinitely slow; the bound is 5 s"},
		"canceled ones within a long bound": {100, every(50, canceled), long, inconclusive, 97, "p99(e2e) is 400 ms if what has no answer had been fast, and infinite if not; the bound of 60 s lies between: 20 arrivals have no answer (20 canceled)"},
		"below the floor":                   {66.1, fast, p99(), inconclusive, 98, "p99(ttft) needs 662 values to be judged and has 661; run longer or at a higher rate"},
		"at the floor":                      {66.2, fast, p99(), pass, 0, ""},
		"slow below the floor":              {10, everything(slow), p99(), inconclusive, 98, "p99(ttft) needs 662 values to be judged and has 100; run longer or at a higher rate"},
		"dead below the floor":              {1, everything(broken), p99(), fail, 99, "p99(ttft) has no finite value: 10 of 10 requests failed, and that counts as infinitely slow; the bound is 800 ms"},
		"nearly dead below the floor": {10, func(a arrival) answer {
			x := fast(a)
			if a.Number > 4 {
				broken(&x)
			}
			return x
		}, p99(), fail, 99, "p99(ttft) has no finite value: 95 of 100 requests failed, and that counts as infinitely slow; the bound is 800 ms"},
		"one failed below the floor": {10, every(100, broken), p99(), inconclusive, 98, "p99(ttft) needs 662 values to be judged and has 100; run longer or at a higher rate"},
		"nothing measured":           {100, everything(shed), p99(), inconclusive, 97, "nothing was measured for p99(ttft): 1,000 arrivals have no answer (1,000 shed)"},
		"nothing answered in time":   {100, everything(canceled), e2e, fail, 99, "p99(e2e) has no finite value: 1,000 of 1,000 requests had no end when the drain time was over, and that counts as infinitely slow; the bound is 5 s"},
		"errors below":               {100, every(112, broken), errorRate(), pass, 0, ""},
		"errors at the bound":        {100, every(100, broken), errorRate(), fail, 99, "error_rate is 1%, not below the bound of 1%"},
		"errors with few shed":       {100, every(112, shed), errorRate(), pass, 0, ""},
		"errors with many shed":      {100, every(50, shed), errorRate(), inconclusive, 97, "error_rate is 0% if what has no answer had been fast, and 2% if not; the bound of 1% lies between: 20 arrivals have no answer (20 shed)"},
		"median, most unanswered":    {100, func(a arrival) answer { x := fast(a); slow(&x); x.Shed = a.Number%3 > 0; return x }, p50(), inconclusive, 97, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := play(t, open(test.rate, 10*time.Second, test.o), test.answer).summary()
			got := s.GetSlo()[0]
			if got.GetVerdict() != test.want || s.GetExitStatus() != test.exit {
				t.Errorf("verdict %v, exit status %d; want %v and %d", got.GetVerdict(), s.GetExitStatus(), test.want, test.exit)
			}
			if test.reason != "" && got.GetReason() != test.reason {
				t.Errorf("the reason is %q, want %q", got.GetReason(), test.reason)
			}
			if (test.want == pass) != (got.GetReason() == "") {
				t.Errorf("a verdict of %v has the reason %q", test.want, got.GetReason())
			}
		})
	}
}

func TestOtherAggregates(t *testing.T) {
	rate := func(metric string, sign pb.Comparison, bound float64) *pb.Objective {
		return with(p99(), "rate("+metric+")", func(o *pb.Objective) {
			o.SetAggregate(pb.Aggregate_AGGREGATE_RATE)
			o.SetMetric(metric)
			o.SetComparison(sign)
			o.SetBound(bound)
		})
	}
	of := func(a pb.Aggregate, bound float64) *pb.Objective {
		return with(p99(), a.String()+"(ttft)", func(o *pb.Objective) {
			o.SetAggregate(a)
			o.SetBound(bound)
		})
	}
	const gt = pb.Comparison_COMPARISON_GT
	tests := map[string]struct {
		answer              func(arrival) answer
		o                   *pb.Objective
		want                pb.Verdict
		observed, low, high float64 // −1: none
	}{
		"mean":              {fast, of(pb.Aggregate_AGGREGATE_MEAN, 250e3), pass, 200e3, 200e3, 200e3},
		"mean with shed":    {every(2, shed), of(pb.Aggregate_AGGREGATE_MEAN, 250e3), pass, 200e3, 200e3, 200e3},
		"mean of nothing":   {everything(broken), of(pb.Aggregate_AGGREGATE_MEAN, 250e3), inconclusive, -1, -1, -1},
		"max":               {every(100, slow), of(pb.Aggregate_AGGREGATE_MAX, 1e6), fail, 2e6, 2e6, 2e6},
		"min":               {every(100, slow), of(pb.Aggregate_AGGREGATE_MIN, 1e6), pass, 200e3, 200e3, 200e3},
		"requests":          {fast, rate("requests", gt, 90), pass, 96, 96, 96},
		"requests, shed":    {every(10, shed), rate("requests", gt, 90), inconclusive, 86.4, 86.4, 96.4},
		"requests, drowned": {every(2, broken), rate("requests", gt, 90), fail, 48, 48, 48},
		"tokens":            {fast, rate("output_tokens", gt, 1000), fail, 960, 960, 960},
		"tokens, shed":      {every(10, shed), rate("output_tokens", gt, 900), inconclusive, 864, 864, 964},
		"tokens, all shed":  {everything(shed), rate("output_tokens", gt, 900), inconclusive, 0, 0, -1},
		"goodput":           {fast, rate("goodput", gt, 90), pass, 96, 96, 96},
		"goodput share": {every(10, shed), mergetest.Share("goodput_share >= 95%", "goodput_share", pb.Comparison_COMPARISON_GE, 0.95),
			inconclusive, 0.9, 0.9, 1},
		"goodput share, failed": {every(10, broken), mergetest.Share("goodput_share >= 95%", "goodput_share", pb.Comparison_COMPARISON_GE, 0.95),
			fail, 0.9, 0.9, 0.9},
		"bracket of a quantile": {every(200, shed), p99(), pass, 200e3, 200e3, 200e3},
		"infinite":              {every(20, shed), p99(), inconclusive, 200e3, 200e3, -1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := play(t, open(100, 10*time.Second, test.o), test.answer).summary().GetSlo()[0]
			if got.GetVerdict() != test.want {
				t.Errorf("verdict %v, want %v: %s", got.GetVerdict(), test.want, got.GetReason())
			}
			for _, v := range []struct {
				name string
				has  bool
				got  float64
				want float64
			}{
				{"observed", got.HasObserved(), got.GetObserved(), test.observed},
				{"low", got.HasLow(), got.GetLow(), test.low}, {"high", got.HasHigh(), got.GetHigh(), test.high},
			} {
				if v.has != (v.want >= 0) || v.has && (v.got < v.want*0.9995 || v.got > v.want*1.001) {
					t.Errorf("%s is %v (%v), want %v", v.name, v.got, v.has, v.want)
				}
			}
		})
	}
}

// A filter lets through only its phase, workload and target; without a phase, discarded phases
// are left out.
func TestFilters(t *testing.T) {
	s := mergetest.Scenario([]*pb.Phase{
		mergetest.Discarded(mergetest.Open("warm-up", 200, 10*time.Second)), mergetest.Open("hold", 400, 10*time.Second),
	}, mergetest.Chat("short"), mergetest.Chat("long"))
	filtered := func(expression, phase, workload, target string) *pb.Objective {
		return with(p99(), expression, func(o *pb.Objective) {
			o.SetPhase(phase)
			o.SetWorkload(workload)
			o.SetTarget(target)
		})
	}
	s.SetSlo([]*pb.Objective{
		filtered("all", "", "", ""), filtered("warm-up", "warm-up", "", ""), filtered("short", "", "short", ""),
		filtered("long", "", "long", ""), filtered("both", "hold", "long", ""), filtered("target", "", "", "chat"), filtered("other", "", "", "x"),
	})
	sum := play(t, s, func(a arrival) answer {
		x := fast(a)
		if a.Phase == 0 || a.Workload == 1 {
			slow(&x)
		}
		return x
	}).summary()
	want := map[string]pb.Verdict{
		"all": fail, "warm-up": fail, "short": pass, "long": fail, "both": fail, "target": fail, "other": inconclusive,
	}
	for _, o := range sum.GetSlo() {
		if o.GetVerdict() != want[o.GetExpression()] {
			t.Errorf("%s: %v, want %v: %s", o.GetExpression(), o.GetVerdict(), want[o.GetExpression()], o.GetReason())
		}
	}
}

// A failed request that could not have had a first token does not count as one without.
func TestFailuresOfOtherProtocols(t *testing.T) {
	http := mergetest.Chat("echo")
	http.SetTarget("api")
	http.SetSynthetic(nil)
	http.SetHttp(&pb.HttpRequest{})
	s := mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", 200, 10*time.Second)}, mergetest.Chat("short"), http)
	s.SetTargets(append(s.GetTargets(), pb.Target_builder{
		Name: new("api"), Url: new("http://127.0.0.1:2"), Protocol: new(pb.Protocol_PROTOCOL_HTTP),
	}.Build()))
	e2e := mergetest.Objective("p99(e2e) < 5s", 0.99, "e2e", 5e6)
	s.SetSlo([]*pb.Objective{p99(), e2e})
	sum := play(t, s, func(a arrival) answer {
		x := fast(a)
		if a.Workload == 1 {
			broken(&x)
		}
		return x
	}).summary()
	if v := sum.GetSlo()[0].GetVerdict(); v != pass {
		t.Errorf("ttft: %v, want a pass: %s", v, sum.GetSlo()[0].GetReason())
	}
	if v := sum.GetSlo()[1].GetVerdict(); v != fail {
		t.Errorf("e2e: %v, want a fail", v)
	}
}
