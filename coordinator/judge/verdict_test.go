package judge

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loadline/loadline/coordinator/merge/mergetest"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// The order of design §6, over all combinations of facts: the first that applies.
func TestExitStatus(t *testing.T) {
	seen := map[int]int{}
	for bits := range 1 << 8 {
		is := func(n int) bool { return bits>>n&1 == 1 }
		f := Facts{
			Unforeseen: is(0), Stopped: is(1), Invalid: is(2), Failed: is(3), Objectives: is(4),
			Missing: is(5), UndecidedMissing: is(6), UndecidedSample: is(7),
		}
		order := []struct {
			applies bool
			status  int
		}{
			{f.Unforeseen, 1},
			{f.Stopped, 105},
			{f.Invalid, 98},
			{f.Failed, 99},
			{f.UndecidedMissing || f.Missing && !f.Objectives, 97},
			{f.UndecidedSample, 98},
			{true, 0},
		}
		want := order[slices.IndexFunc(order, func(o struct {
			applies bool
			status  int
		}) bool {
			return o.applies
		})].status
		got := ExitStatus(f)
		if got != want {
			t.Errorf("%+v: exit status %d, want %d", f, got, want)
		}
		seen[got]++
	}
	for _, status := range []int{0, 1, 97, 98, 99, 105} {
		if seen[status] == 0 {
			t.Errorf("no combination ends with %d", status)
		}
	}
}

func TestVerdictAndState(t *testing.T) {
	never := []*pb.RunEvent{mergetest.Ended(0, aborted)}
	failed := pb.RunEvent_builder{Kind: failedKind, Agent: "a1", Detail: "MODEL_API_KEY is not set"}.Build()
	stop := mergetest.Event(stopKind, 10*time.Second)
	stop.SetDetail("ctrl-c")
	abort := mergetest.Event(abortKind, 10*time.Second)
	abort.SetDetail("error_rate > 20% for 10s")
	start, end := mergetest.Event(startedKind, 0), mergetest.Ended(61*time.Second, complete)
	tests := map[string]struct {
		answer func(arrival) answer
		slo    []*pb.Objective
		events []*pb.RunEvent
		spoil  func(*game)
		state  string
		want   pb.Verdict
		exit   uint32
		reason string // the first
	}{
		"pass":             {answer: fast, slo: []*pb.Objective{p99()}, state: "COMPLETE", want: pass},
		"no objective":     {answer: fast, state: "COMPLETE", want: pass},
		"fail":             {answer: everything(slow), slo: []*pb.Objective{p99(), errorRate()}, state: "COMPLETE", want: fail, exit: 99, reason: "p99(ttft) is 2 s"},
		"stopped":          {answer: fast, slo: []*pb.Objective{p99()}, events: []*pb.RunEvent{start, stop, end}, state: "ABORTED", want: inconclusive, exit: 105, reason: "the run was stopped 10 s after its start: ctrl-c"},
		"stopped, failing": {answer: everything(slow), slo: []*pb.Objective{p99()}, events: []*pb.RunEvent{start, stop, end}, state: "ABORTED", want: fail, exit: 105, reason: "the run was stopped"},
		"aborted":          {answer: fast, slo: []*pb.Objective{p99()}, events: []*pb.RunEvent{start, abort, end}, state: "ABORTED", want: fail, exit: 99, reason: "an abort condition ended the run 10 s after its start: error_rate > 20% for 10s"},
		"aborted, then stopped": {answer: fast, events: []*pb.RunEvent{start, abort, mergetest.Event(stopKind, 11*time.Second), end},
			state: "ABORTED", want: fail, exit: 99, reason: "an abort condition"},
		"stopped, then aborted": {answer: fast, events: []*pb.RunEvent{start, stop, mergetest.Event(abortKind, 11*time.Second), end},
			state: "ABORTED", want: inconclusive, exit: 105, reason: "the run was stopped"},
		"never began":     {answer: fast, slo: []*pb.Objective{p99()}, events: append(never, failed), spoil: silent, state: "ABORTED", want: inconclusive, exit: 1, reason: "the run never began"},
		"ended too early": {answer: fast, slo: []*pb.Objective{p99()}, events: []*pb.RunEvent{start, mergetest.Ended(20*time.Second, aborted)}, state: "ABORTED", want: inconclusive, exit: 1, reason: "the run ended before its plan did"},
		"crashed": {answer: fast, slo: []*pb.Objective{p99()}, events: []*pb.RunEvent{start}, spoil: func(g *game) { g.sent.Totals = nil },
			state: "PARTIAL", want: inconclusive, exit: 97, reason: "agent a1 sent no totals after window 61"},
		"crashed, failing": {answer: everything(slow), slo: []*pb.Objective{p99()}, events: []*pb.RunEvent{start}, spoil: func(g *game) { g.sent.Totals = nil },
			state: "PARTIAL", want: fail, exit: 99, reason: "p99(ttft) is 2 s"},
		"crashed when all was in": {answer: fast, slo: []*pb.Objective{p99()}, events: []*pb.RunEvent{start}, state: "PARTIAL", want: pass, exit: 0, reason: "the journal ends before the run did"},
		"dead agent":              {answer: fast, slo: []*pb.Objective{p99()}, spoil: deadAgent, state: "PARTIAL", want: inconclusive, exit: 97, reason: "p99(ttft) is 200 ms if what has no answer had been fast"},
		"dead agent, alone":       {answer: fast, spoil: deadAgent, state: "PARTIAL", want: inconclusive, exit: 97, reason: "agent a2 sent no totals"},
		"agent dead at the end": {answer: fast, slo: []*pb.Objective{p99()}, spoil: func(g *game) {
			g.sent.Totals = g.sent.Totals[:1] // all its windows came
		}, state: "PARTIAL", want: pass, reason: "agent a2 sent no totals"},
		"dead agent, drowned target": {answer: everything(slow), slo: []*pb.Objective{p99()}, spoil: deadAgent, state: "PARTIAL", want: fail, exit: 99, reason: "p99(ttft) is 2 s"},
		"too few":                    {answer: fast, slo: []*pb.Objective{with(p99(), "p99.9(ttft) < 800ms", func(o *pb.Objective) { o.SetQuantile(0.999) })}, state: "COMPLETE", want: inconclusive, exit: 98, reason: "p99.9(ttft) needs 6,636 values"},
		"not valid, failing":         {answer: everything(func(x *answer) { slow(x); x.Lateness = time.Second }), slo: []*pb.Objective{p99()}, state: "COMPLETE", want: inconclusive, exit: 98, reason: "the generator started sessions late"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := play(t, open(100, 10*time.Second, test.slo...), test.answer)
			if test.events != nil {
				g.events = test.events
			}
			if test.spoil != nil {
				test.spoil(g)
			}
			s := g.summary()
			if got := strings.TrimPrefix(s.GetState().String(), "SUMMARY_STATE_"); got != test.state {
				t.Errorf("state %s, want %s", got, test.state)
			}
			if s.GetVerdict() != test.want || s.GetExitStatus() != test.exit {
				t.Errorf("verdict %v, exit status %d; want %v and %d: %q", s.GetVerdict(), s.GetExitStatus(), test.want, test.exit, s.GetReasons())
			}
			if got := append(s.GetReasons(), ""); !strings.HasPrefix(got[0], test.reason) || test.reason == "" && got[0] != "" {
				t.Errorf("the reasons are %q, want first %q", got, test.reason)
			}
		})
	}
}

func silent(g *game) { g.sent = mergetest.Sent{} }

// deadAgent lets a2 die after its second window.
func deadAgent(g *game) {
	g.sent.Windows[1] = g.sent.Windows[1][:2]
	g.sent.Totals = g.sent.Totals[:1]
}

// Only the generator's own faults void a run.
func TestValidity(t *testing.T) {
	late := func(d time.Duration) func(arrival) answer {
		return func(a arrival) answer {
			x := fast(a)
			if a.Number%50 == 0 {
				x.Lateness = d
			}
			return x
		}
	}
	lag := func(d time.Duration, n uint64) func(arrival) answer {
		return func(a arrival) answer {
			x := fast(a)
			if x.ReadLag = 10 * time.Microsecond; a.Number%n == 0 {
				x.ReadLag = d
			}
			return x
		}
	}
	stalled := func(d time.Duration) func(arrival) answer {
		return func(a arrival) answer {
			x := fast(a)
			if x.ReadLag = 10 * time.Microsecond; a.Number%50 == 0 {
				x.TTFT, x.E2E, x.ReadLag = 900*time.Millisecond, 950*time.Millisecond, d
			}
			return x
		}
	}
	busy := func(agent string, share float64, from, n uint64) func(*game) {
		return func(g *game) {
			g.windows(func(w *pb.Window) {
				if w.GetAgent() == agent && w.GetSequence() >= from && w.GetSequence() < from+n {
					w.GetHealth().SetCpuMachine(share)
				}
			})
		}
	}
	restarted := func(g *game) {
		g.events = append(g.events, pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_RESUMED, AtUs: 2_300_000}.Build())
	}
	tests := map[string]struct {
		answer func(arrival) answer
		spoil  func(*game)
		want   string // empty: valid
	}{
		"good":                         {fast, nil, ""},
		"late within 5% of ttft":       {late(9 * time.Millisecond), nil, ""},
		"late beyond 5% of ttft":       {late(11 * time.Millisecond), nil, "the generator started sessions late: the 99th percentile of lateness is 11 ms over 1,000 sessions, more than 10 ms (5% of the median ttft of 200 ms, and at least 1 ms); agent a1 is the latest with 11 ms; lower the rate, add agents, or give the generator a machine of its own"},
		"late, all fails":              {func(a arrival) answer { return answer{Class: "reset", Lateness: 2 * time.Millisecond} }, nil, "the generator started sessions late: the 99th percentile of lateness is 2 ms over 1,000 sessions, more than 1 ms; "},
		"missed 1%":                    {every(100, func(x *answer) { x.Missed = true }), nil, ""},
		"missed more than 1%":          {every(99, func(x *answer) { x.Missed = true }), nil, "the generator missed 11 of 1,000 arrivals (1.1%), more than 1%"},
		"missed without a coordinator": {every(99, func(x *answer) { x.Missed = true }), restarted, "the generator missed 11 of 1,000 arrivals (1.1%), more than 1%: it came to them later than limits.max_lateness allows; the coordinator was started again meanwhile, and agents start nothing once they have no lease: orphan.hold"},
		"shed half":                    {every(2, shed), nil, ""},
		"busy two windows":             {fast, busy("a1", 0.95, 3, 2), ""},
		"busy three windows":           {fast, busy("a2", 0.95, 3, 3), "the machine of agent a2 was more than 90% busy for 3 windows running (95% at most)"},
		"busy at 90%":                  {fast, busy("a1", 0.9, 1, 9), ""},
		"busy when nothing is due":     {fast, busy("a1", 1, 30, 9), ""},
		"clock off by 5 ms":            {fast, func(g *game) { g.windows(func(w *pb.Window) { w.GetHealth().SetClockErrorBoundUs(5_000) }) }, ""},
		"clock off by more":            {fast, func(g *game) { g.sent.Windows[1][4].GetHealth().SetClockErrorBoundUs(5_001) }, "the clock of agent a2 may be off by 5 ms, more than 5 ms"},
		"lateness of the discarded":    {fast, nil, ""},
		"reads late within 5% of ttft": {lag(10*time.Millisecond, 50), nil, ""},
		"reads late beyond 5% of ttft": {lag(11*time.Millisecond, 50), nil, "the generator read late what had come: the 99th percentile of read_lag is 11 ms over 1,000 reads, more than 10 ms (5% of the 99th percentile of ttft of 200 ms, and at least 5 ms); lower the rate, add agents, or give the generator a machine of its own"},
		"few reads late":               {lag(time.Second, 150), nil, ""},
		"reads late after a stall":     {stalled(11 * time.Millisecond), nil, ""},
		"reads later after a stall":    {stalled(46 * time.Millisecond), nil, "the generator read late what had come: the 99th percentile of read_lag is 46 ms over 1,000 reads, more than 45 ms (5% of the 99th percentile of ttft of 900 ms, and at least 5 ms)"},
		"all reads late, some slow": {func(a arrival) answer {
			x := stalled(11 * time.Millisecond)(a)
			x.ReadLag = 11 * time.Millisecond
			return x
		}, nil, "the generator read late what had come: the median of read_lag is 11 ms over 1,000 reads, more than 10 ms (5% of the median ttft of 200 ms, and at least 5 ms)"},
		"reads late, all fails": {func(arrival) answer { return answer{Class: "reset", ReadLag: 6 * time.Millisecond} }, nil, "the generator read late what had come: the 99th percentile of read_lag is 6 ms over 1,000 reads, more than 5 ms; lower"},
		"reads late, fast target": {func(a arrival) answer {
			return answer{TTFT: time.Millisecond, E2E: 2 * time.Millisecond, OutputTokens: 1, ReadLag: 5 * time.Millisecond}
		}, nil, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := play(t, open(100, 10*time.Second), test.answer)
			if test.spoil != nil {
				test.spoil(g)
			}
			v := g.summary().GetValidity()
			if v.GetValid() != (test.want == "") {
				t.Fatalf("valid %v: %q", v.GetValid(), v.GetReasons())
			}
			if test.want != "" && !strings.HasPrefix(v.GetReasons()[0], test.want) {
				t.Errorf("the reason is %q, want %q", v.GetReasons()[0], test.want)
			}
		})
	}
}

// One agent has nobody to be out of step with, whatever is known of its clock.
func TestTheClockOfASingleAgent(t *testing.T) {
	g := playedBy(t, open(100, 10*time.Second), fast, "a1")
	g.windows(func(w *pb.Window) { w.GetHealth().SetClockErrorBoundUs(50_000) })
	if v := g.summary().GetValidity(); !v.GetValid() {
		t.Errorf("not valid: %q", v.GetReasons())
	}
}

// Discarded phases have no part in validity, and few sessions are judged by their median.
func TestValidityOfFewSessions(t *testing.T) {
	lateBy := func(n uint64) func(arrival) answer {
		return func(a arrival) answer {
			x := fast(a)
			if a.Number < n {
				x.Lateness = 30 * time.Millisecond
			}
			return x
		}
	}
	few := open(5, 10*time.Second)
	if v := play(t, few, lateBy(3)).summary().GetValidity(); !v.GetValid() {
		t.Errorf("three of 50 late: %q", v.GetReasons())
	}
	if v := play(t, few, lateBy(30)).summary().GetValidity(); v.GetValid() || !strings.Contains(v.GetReasons()[0], "the median of lateness is 30 ms over 50 sessions") {
		t.Errorf("30 of 50 late: %q", v.GetReasons())
	}
	discarded := mergetest.Scenario([]*pb.Phase{
		mergetest.Discarded(mergetest.Open("warm-up", 100, 5*time.Second)), mergetest.Open("hold", 100, 5*time.Second),
	})
	v := play(t, discarded, func(a arrival) answer {
		x := fast(a)
		if a.Phase == 0 {
			x.Lateness, x.Missed = time.Second, a.Number%2 == 0
		}
		return x
	}).summary().GetValidity()
	if !v.GetValid() {
		t.Errorf("a late warm-up voids: %q", v.GetReasons())
	}
}

func TestNotes(t *testing.T) {
	s := open(100, 10*time.Second)
	s.GetTargets()[0].SetTls(pb.Tls_builder{Insecure: new(true)}.Build())
	g := play(t, s, fast)
	g.events = append(g.events, pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_RESUMED, AtUs: 2_300_000}.Build(),
		pb.RunEvent_builder{Kind: lostKind, Agent: "a2", AtUs: 4_200_000, Detail: "its lease lapsed"}.Build(),
		pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_DEGRADED, Detail: "no space left on device"}.Build())
	g.sent.Windows[0][1].SetRecordsLeftOut(1200)
	g.sent.Windows[0][1].SetSeriesLeftOut(3)
	g.sent.Totals[1].SetOverRate(1400)
	g.sent.Totals[1].SetOverInFlight(1)
	c := g.sent.Windows[0][0].GetGroups()[0].GetCounters()
	c.SetOverRange(1)
	c.SetTokensFromEvents(40)
	c.SetTokensDiffer(4)
	c.SetTokensDifference(10)
	c.SetCoalesced(5000)
	want := []string{
		"target chat: its certificate was not checked (tls.insecure)",
		"the coordinator was started again; it took the run up 2.3 s after the start",
		"agent a2 was lost 4.2 s after the start: its lease lapsed",
		"the journal could not be written for a time: no space left on device",
		"agent a2: its owner's ceiling of requests a second kept back 1,400 requests (shed, or failed as refused); raise it with: loadline agent --max-rate, or add agents",
		"agent a2: its owner's ceiling of requests in flight kept back 1 request (shed, or failed as refused); raise it with: loadline agent --max-in-flight, or add agents",
		"the records of 1,200 requests were not kept (capture.records); every one is in the counts and distributions",
		"3 values left out of the distributions: the limit of live series was met",
		"1 value above the largest that a distribution holds, and counted as that",
		"output tokens of 40 requests are the number of content events, as the server sent no usage",
		"the server's usage and the number of content events differ in 4 requests, by 2.5 tokens on average",
		"50% of the content events came in one read with the one before: read itl with care",
	}
	got := g.summary().GetNotes()
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("the notes are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
