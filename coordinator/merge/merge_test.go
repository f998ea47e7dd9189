package merge

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/loadline/loadline/coordinator/merge/mergetest"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const (
	started = pb.RunEventKind_RUN_EVENT_KIND_STARTED
	stop    = pb.RunEventKind_RUN_EVENT_KIND_STOP_REQUESTED
	lost    = pb.RunEventKind_RUN_EVENT_KIND_AGENT_LOST
	done    = pb.RunState_RUN_STATE_COMPLETE
)

// run is a run under test with what its agents sent.
type run struct {
	t testing.TB
	*Run
	header *pb.RunHeader
	sent   mergetest.Sent
}

// play begins a run of two agents and plays it until the given instant; nothing is added yet.
func play(t testing.TB, s *pb.Scenario, until time.Duration, answer func(mergetest.Arrival) mergetest.Answer) *run {
	t.Helper()
	h := mergetest.Header(s, "a1", "a2")
	sent, err := mergetest.Play(h, until, answer)
	if err != nil {
		t.Fatal(err)
	}
	return &run{t: t, Run: newRun(t, h), header: h, sent: sent}
}

// tester is what tests and property tests have in common.
type tester interface {
	Helper()
	Fatal(...any)
}

func newRun(t tester, h *pb.RunHeader) *Run {
	t.Helper()
	r, err := New(h)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *run) addWindows(windows ...*pb.Window) {
	r.t.Helper()
	for _, w := range windows {
		if err := r.AddWindow(w); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *run) addTotals(totals ...*pb.Totals) {
	r.t.Helper()
	for _, m := range totals {
		if err := r.AddTotals(m); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *run) addEvents(events ...*pb.RunEvent) {
	r.t.Helper()
	for _, e := range events {
		if err := r.AddEvent(e); err != nil {
			r.t.Fatal(err)
		}
	}
}

func quick(mergetest.Arrival) mergetest.Answer {
	return mergetest.Answer{TTFT: 100 * time.Millisecond, E2E: 300 * time.Millisecond, OutputTokens: 7}
}

// mixed gives every fate its share.
func mixed(a mergetest.Arrival) mergetest.Answer {
	x := mergetest.Answer{
		Lateness: time.Duration(a.Number%7) * 10 * time.Microsecond,
		TTFT:     time.Duration(50+a.Number*37%400) * time.Millisecond, ITL: 9 * time.Millisecond,
		E2E: time.Duration(500+a.Number*91%1500) * time.Millisecond, OutputTokens: a.Number % 50,
	}
	switch a.Number % 11 {
	case 3:
		x.Class = "http_500"
	case 4:
		x.Class = measure.ClassCanceled
	case 5:
		x.Missed = true
	case 6:
		x.Shed = true
	case 7:
		x.Unfinished = true
	case 8:
		x.Class = "reset"
	}
	return x
}

func twoPhases() []*pb.Phase {
	return []*pb.Phase{
		mergetest.Discarded(mergetest.Open("warm-up", 11, 2*time.Second)),
		mergetest.Open("hold", 40, 3*time.Second),
	}
}

func all(Key) bool { return true }

// canonical writes everything that a run exports, in the order of its accessors.
func canonical(r *Run) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "epoch %d, lost %+v\n", r.course.Epoch(), r.LostRanges())
	dump := func(name string, g *Group) {
		fmt.Fprintf(&b, "%s %v %v\n", name, g.Counters, g.Errors())
		for s := measure.Series(1); s < measure.NumSeries; s++ {
			fmt.Fprintf(&b, "%s %x\n", SeriesName(s), g.Histogram(s).AppendBinary(nil))
		}
	}
	dump("whole", r.Whole())
	for k, g := range r.Groups() {
		dump(fmt.Sprint(k), g)
	}
	for e := range r.Timeline() {
		fmt.Fprintf(&b, "second %d+%d: %d windows, %+v\n", e.Second, e.Seconds, e.Windows, e.Health)
		for i := range r.Scenario().GetLoad() {
			fmt.Fprintf(&b, "open %v\n", r.InFlight(e.Second, i))
		}
		for _, k := range e.Keys() {
			fmt.Fprintf(&b, "%v %v\n", k, e.Counters(k))
			for _, s := range e.Series(k) {
				fmt.Fprintf(&b, "%s %x\n", SeriesName(s), e.groups[k].series[s].sparse())
			}
		}
	}
	for _, a := range r.Agents() {
		fmt.Fprintf(&b, "%s %d %d %d %+v %x\n", a.Name, a.Windows(), a.MissingWindows(), a.BusyWindows(), a.Health, a.Lateness.AppendBinary(nil))
	}
	book := r.Ledger()
	for _, k := range book.Keys() {
		fmt.Fprintf(&b, "%v %+v\n", k, book.groups[k])
	}
	complete, missing := r.Reconcile()
	fmt.Fprintf(&b, "%v %q\n", complete, missing)
	for i := range r.Scenario().GetLoad() {
		open, most := r.OpenWithin(i, r.Span(i))
		fmt.Fprintf(&b, "%+v %d %d\n", r.Span(i), open, most)
	}
	fmt.Fprintf(&b, "%d %d %d %d\n", r.RecordsLeftOut(), r.SeriesLeftOut(), r.LastSecond(), r.LastEndUS())
	return b.Bytes()
}

// However windows, totals and events come, how often, and in which order: what comes out is the same.
func TestOrderCannotBeSeen(t *testing.T) {
	first := play(t, mergetest.Scenario(twoPhases(), mergetest.Chat("short"), mergetest.Chat("long")), 5*time.Second, mixed)
	windows := first.sent.All()
	events := []*pb.RunEvent{mergetest.Event(started, 0), mergetest.Event(stop, 4*time.Second), mergetest.Event(stop, 4500*time.Millisecond),
		mergetest.Event(lost, 3*time.Second)}
	first.addWindows(windows...)
	first.addTotals(first.sent.Totals...)
	first.addEvents(events...)
	want := canonical(first.Run)
	rapid.Check(t, func(t *rapid.T) {
		r := newRun(t, first.header)
		var steps []func() error
		for _, w := range windows {
			for range rapid.IntRange(1, 3).Draw(t, "times") {
				steps = append(steps, func() error { return r.AddWindow(w) })
			}
		}
		for _, m := range first.sent.Totals {
			steps = append(steps, func() error { return r.AddTotals(m) }, func() error { return r.AddTotals(m) })
		}
		for _, e := range events {
			steps = append(steps, func() error { return r.AddEvent(e) })
		}
		for _, step := range rapid.Permutation(steps).Draw(t, "order") {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		if got := canonical(r); !bytes.Equal(got, want) {
			t.Fatalf("another order gives\n%s\nwant\n%s", got, want)
		}
		if extra := uint64(len(steps)-2*len(first.sent.Totals)-len(events)) - uint64(len(windows)); r.Duplicates() != extra {
			t.Fatalf("%d duplicates counted, %d were added", r.Duplicates(), extra)
		}
	})
}

func TestLedgerAddsUp(t *testing.T) {
	r := play(t, mergetest.Scenario(twoPhases(), mergetest.Chat("short"), mergetest.Chat("long")), 5*time.Second, mixed)
	r.addEvents(mergetest.Event(started, 0), mergetest.Ended(7*time.Second, done))
	r.addWindows(r.sent.All()...)
	r.addTotals(r.sent.Totals...)
	for _, k := range r.Ledger().Keys() {
		l := r.Ledger().Sum(func(o Key) bool { return o == k })
		checkSums(t, fmt.Sprint(k), l)
	}
	l := r.Ledger().Sum(all)
	if l.Due != 22+120 || l.Lost != 0 || l.RequestsUnfinished == 0 {
		t.Errorf("the ledger is %+v; 142 were due and none was lost", l)
	}
	if complete, missing := r.Reconcile(); !complete {
		t.Errorf("not complete: %q", missing)
	}
}

func checkSums(t *testing.T, name string, l Ledger) {
	t.Helper()
	if l.Due != l.Started+l.Missed+l.Shed+l.Lost {
		t.Errorf("%s: due is not the sum of its parts: %+v", name, l)
	}
	if l.Started != l.SessionsSucceeded+l.SessionsFailed+l.SessionsCanceled+l.SessionsUnfinished {
		t.Errorf("%s: started is not the sum of its parts: %+v", name, l)
	}
	if l.RequestsSent != l.RequestsSucceeded+l.RequestsFailed+l.RequestsCanceled+l.RequestsUnfinished {
		t.Errorf("%s: sent is not the sum of its parts: %+v", name, l)
	}
}

// An agent that dies loses exactly the arrivals that it owned and did not report, by workload too.
func TestLedgerKnowsWhatWasLost(t *testing.T) {
	s := mergetest.Scenario(twoPhases(), mergetest.Chat("short"), mergetest.Chat("long"))
	r := play(t, s, 5*time.Second, quick)
	r.addEvents(mergetest.Event(started, 0), mergetest.Ended(7*time.Second, pb.RunState_RUN_STATE_PARTIAL))
	r.addWindows(r.sent.Windows[0]...)
	r.addTotals(r.sent.Totals[0])
	// a2 reports its first three seconds and is not heard of again.
	r.addWindows(r.sent.Windows[1][:3]...)
	l := r.Ledger().Sum(all)
	var unknown uint64
	for _, w := range r.sent.Windows[1][3:] {
		for _, g := range w.GetGroups() {
			unknown += g.GetCounters().GetStarted()
		}
	}
	if l.Due != 142 || l.Lost != unknown || unknown == 0 {
		t.Errorf("due %d, lost %d; 142 were due and %d are unknown", l.Due, l.Lost, unknown)
	}
	for w := range 2 {
		l := r.Ledger().Sum(func(k Key) bool { return k.Workload == w })
		if l.Due != 71 {
			t.Errorf("workload %d: %d were due, want half of all", w, l.Due)
		}
		checkSums(t, fmt.Sprint("workload ", w), l)
	}
	complete, missing := r.Reconcile()
	want := fmt.Sprintf("agent a2 sent no totals after window 3: nothing is known of %d arrivals that it owned (arrivals 41 to 119 of phase hold)", unknown)
	if complete || len(missing) != 1 || missing[0] != want {
		t.Errorf("missing is %q, want %q", missing, want)
	}
	if got := r.LostSoFar(); got != 0 {
		t.Errorf("%d arrivals are lost so far, though no agent is known to be lost", got)
	}
	r.addEvents(pb.RunEvent_builder{Kind: lost, Agent: "a2", AtUs: 3_500_000}.Build())
	if got := r.LostSoFar(); got != unknown {
		t.Errorf("%d arrivals are lost so far, want %d", got, unknown)
	}
}

// A window that never came leaves a gap whose arrivals the totals know.
func TestReconcileNamesGaps(t *testing.T) {
	r := play(t, mergetest.Scenario(twoPhases()), 5*time.Second, quick)
	r.addEvents(mergetest.Event(started, 0), mergetest.Ended(7*time.Second, done))
	r.addWindows(r.sent.Windows[0]...)
	r.addTotals(r.sent.Totals...)
	r.addWindows(r.sent.Windows[1][0], r.sent.Windows[1][3], r.sent.Windows[1][5])
	complete, missing := r.Reconcile()
	if complete || len(missing) != 1 || !strings.HasPrefix(missing[0], "agent a2: windows 2 to 3 and 5 are missing, with ") {
		t.Errorf("missing is %q", missing)
	}
	if l := r.Ledger().Sum(all); !strings.HasSuffix(missing[0], fmt.Sprintf("missing, with %d arrivals (arrivals 11 to 21 of phase warm-up, 1 to 39 of phase hold, 81 to 107 of phase hold)", l.Lost)) {
		t.Errorf("the ledger lost %d, and %s", l.Lost, missing[0])
	}
	if r.Agents()[1].MissingWindows() != 3 {
		t.Errorf("%d windows are missing, want 3", r.Agents()[1].MissingWindows())
	}
}

func TestReconcileCompares(t *testing.T) {
	tests := map[string]struct {
		spoil func(*run)
		want  string
	}{
		"a counter": {func(r *run) {
			c := r.sent.Totals[1].GetGroups()[1].GetCounters()
			c.SetRequestsSent(c.GetRequestsSent() + 1)
		}, "agent a2: its windows and its own totals differ in phase hold, workload short: requests_sent is 60 in the windows and 61 in the totals"},
		"the values": {func(r *run) { r.sent.Totals[0].SetValues(1) }, "agent a1: its windows hold"},
		"the owned": {func(r *run) {
			groups := r.sent.Totals[1].GetGroups()
			for _, w := range r.sent.Windows[1] {
				groups = append(groups, w.GetGroups()...)
			}
			for _, g := range groups {
				g.GetCounters().SetStarted(0)
				g.GetCounters().SetSessionsSucceeded(0)
			}
		}, "agent a2 owned 11 arrivals of phase warm-up and accounted for 0"},
		"an agent": {func(r *run) { r.sent.Windows[0], r.sent.Totals = nil, r.sent.Totals[1:] }, "agent a1 sent nothing: nothing is known of 71 arrivals that it owned"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := play(t, mergetest.Scenario(twoPhases()), 5*time.Second, quick)
			r.addEvents(mergetest.Event(started, 0), mergetest.Ended(7*time.Second, done))
			test.spoil(r)
			r.addWindows(r.sent.All()...)
			r.addTotals(r.sent.Totals...)
			complete, missing := r.Reconcile()
			if complete || len(missing) == 0 || !strings.HasPrefix(missing[0], test.want) {
				t.Errorf("missing is %q, want %q", missing, test.want)
			}
		})
	}
}

// A run that is stopped has as many due as its agents played until they heard of it, and loses
// what a dead one did not report until the stop.
func TestLedgerOfAStoppedRun(t *testing.T) {
	s := mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", 100, 10*time.Second)}, mergetest.Chat("short"), mergetest.Chat("long"))
	tests := map[string]struct {
		played, stopped time.Duration
		dead            bool
		due, lost       uint64
	}{
		// Arrivals 0…n−1 are due at 0, 10 ms, …; the one at the instant itself counts.
		"at once":                 {3 * time.Second, 3 * time.Second, false, 301, 0},
		"agents hear of it later": {3100 * time.Millisecond, 3 * time.Second, false, 311, 0},
		"agents were just behind": {2950 * time.Millisecond, 3 * time.Second, false, 296, 0},
		"agents ended long before": {2 * time.Second, 3 * time.Second, false,
			// Everything until 250 ms before the stop was due: 276 arrivals, of which 201 were played.
			276, 75},
		"one is dead": {3 * time.Second, 3 * time.Second, true, 301, 50},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := play(t, s, test.played, quick)
			r.addEvents(mergetest.Event(started, 0), mergetest.Event(stop, test.stopped), mergetest.Ended(9*time.Second, pb.RunState_RUN_STATE_ABORTED))
			r.addWindows(r.sent.Windows[0]...)
			r.addTotals(r.sent.Totals[0])
			if test.dead {
				r.addWindows(r.sent.Windows[1][:2]...)
			} else {
				r.addWindows(r.sent.Windows[1]...)
				r.addTotals(r.sent.Totals[1])
			}
			l := r.Ledger().Sum(all)
			checkSums(t, "total", l)
			if l.Due != test.due || l.Lost != test.lost {
				t.Errorf("due %d, lost %d; want %d and %d", l.Due, l.Lost, test.due, test.lost)
			}
		})
	}
}

// Agents may be done before the last phase is: it was whole all the same, and what a dead agent
// owned until its end is lost.
func TestEndBeforeTheLastPhaseIsOver(t *testing.T) {
	// The last arrival of a1 is due at 0 s, 2 s, …, 8 s; that of a2 at 9 s.
	s := mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", 1, 10*time.Second)})
	for name, state := range map[string]pb.RunState{"complete": done, "partial": pb.RunState_RUN_STATE_PARTIAL} {
		r := play(t, s, 8500*time.Millisecond, quick)
		r.addEvents(mergetest.Event(started, 0), mergetest.Ended(8500*time.Millisecond, state))
		r.addWindows(r.sent.Windows[0]...)
		r.addTotals(r.sent.Totals[0])
		if l := r.Ledger().Sum(all); l.Due != 10 || l.Lost != 5 {
			t.Errorf("%s: due %d, lost %d; want 10 and a2's 5", name, l.Due, l.Lost)
		}
		if s := r.Span(0); s.Length() != int64(10*time.Second) {
			t.Errorf("%s: the phase lasted %d ns, want 10 s", name, s.Length())
		}
	}
	// Where no agent got to its end, the run ended there.
	r := play(t, s, 4500*time.Millisecond, quick)
	r.addEvents(mergetest.Event(started, 0), mergetest.Ended(4500*time.Millisecond, pb.RunState_RUN_STATE_PARTIAL))
	r.addWindows(r.sent.Windows[0][:2]...)
	if l := r.Ledger().Sum(all); l.Due != 5 || l.Lost != 4 {
		t.Errorf("due %d, lost %d; want 5 and 4", l.Due, l.Lost)
	}
}

// A journal without an end shows what had been acknowledged, and is not complete.
func TestLedgerOfACrashedRun(t *testing.T) {
	r := play(t, mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", 100, 10*time.Second)}), 3*time.Second, quick)
	r.addEvents(mergetest.Event(started, 0))
	r.addWindows(r.sent.Windows[0][:3]...)
	r.addWindows(r.sent.Windows[1][:2]...)
	l := r.Ledger().Sum(all)
	if l.Due != 301 || l.Lost != 51 {
		t.Errorf("due %d, lost %d; want all until the last window's end, 301, and a2's third second, 51", l.Due, l.Lost)
	}
	if complete, missing := r.Reconcile(); complete || missing[len(missing)-1] != "the journal ends before the run did" {
		t.Errorf("complete %v, missing %q", complete, missing)
	}
}

func TestRunThatNeverBegan(t *testing.T) {
	r := newRun(t, mergetest.Header(mergetest.Scenario(twoPhases()), "a1"))
	if l := r.Ledger().Sum(all); l != (Ledger{}) {
		t.Errorf("the ledger is %+v", l)
	}
	if complete, missing := r.Reconcile(); complete || missing[0] != "the run never began" {
		t.Errorf("complete %v, missing %q", complete, missing)
	}
	if s := r.Span(0); s.Begun {
		t.Errorf("phase 0 began: %+v", s)
	}
}

// Closed load has no schedule: what was lost is what totals know and windows do not.
func TestLedgerOfClosedLoad(t *testing.T) {
	closed := pb.Phase_builder{Name: new("f"), Closed: pb.ClosedLoad_builder{Users: new(uint32(4))}.Build(), Sessions: new(uint64(40))}.Build()
	h := mergetest.Header(mergetest.Scenario([]*pb.Phase{closed}), "a1", "a2")
	window := func(agent string, n, from uint64) *pb.Window {
		return pb.Window_builder{
			RunId: mergetest.RunID, Agent: agent, Incarnation: 1, Sequence: n, StartUs: int64(n-1) * 1e6, EndUs: int64(n) * 1e6,
			Groups: []*pb.Group{pb.Group_builder{Counters: pb.Counters_builder{
				Due: from, Started: from, SessionsSucceeded: from, RequestsSent: from, RequestsSucceeded: from,
			}.Build()}.Build()},
			Records: []*pb.RequestRecord{pb.RequestRecord_builder{DueUs: int64(n-1) * 1e6, EndUs: 250_000}.Build()},
		}.Build()
	}
	r := &run{t: t, Run: newRun(t, h)}
	r.addEvents(mergetest.Event(started, 0))
	r.addWindows(window("a1", 1, 10), window("a1", 2, 10), window("a2", 1, 12))
	r.addTotals(pb.Totals_builder{RunId: mergetest.RunID, Agent: "a2", Incarnation: 1, LastSequence: 2, Groups: []*pb.Group{
		pb.Group_builder{Counters: pb.Counters_builder{Due: 15, Started: 15}.Build()}.Build(),
	}}.Build())
	if l := r.Ledger().Sum(all); l.Due != 32 || l.Lost != 0 {
		t.Errorf("while a1 may still have more: due %d, lost %d; want what is known, 32 and 0", l.Due, l.Lost)
	}
	r.addEvents(mergetest.Ended(3*time.Second, pb.RunState_RUN_STATE_PARTIAL))
	if l := r.Ledger().Sum(all); l.Due != 40 || l.Lost != 8 {
		t.Errorf("due %d, lost %d; want the 40 sessions asked for, 8 of them lost", l.Due, l.Lost)
	}
	// The phase ends with its last request, which the records tell to the microsecond.
	if s := r.Span(0); s.EndNS != 1_250_000_000 {
		t.Errorf("the phase ends at %d ns, want 1.25 s", s.EndNS)
	}
}

func TestAddWindowRefuses(t *testing.T) {
	good := func() *pb.Window {
		h := mergetest.Header(mergetest.Scenario(twoPhases()), "a1")
		sent, err := mergetest.Play(h, time.Second, func(a mergetest.Arrival) mergetest.Answer {
			x := quick(a)
			if a.Number == 1 {
				x.Class = "reset"
			}
			return x
		})
		if err != nil {
			t.Fatal(err)
		}
		return sent.Windows[0][0]
	}
	tests := map[string]struct {
		spoil func(*pb.Window)
		want  string
	}{
		"another run":          {func(w *pb.Window) { w.SetRunId("x") }, `it belongs to run "x"`},
		"unknown agent":        {func(w *pb.Window) { w.SetAgent("b") }, "not in the run's plan"},
		"number 0":             {func(w *pb.Window) { w.SetSequence(0) }, "windows count from 1"},
		"no length":            {func(w *pb.Window) { w.SetEndUs(w.GetStartUs()) }, "it lasts from 0 µs to 0 µs"},
		"too late":             {func(w *pb.Window) { w.SetEndUs(MaxRunUS + 1) }, "it lasts from"},
		"phase":                {func(w *pb.Window) { w.GetGroups()[0].SetPhase(2) }, "phase 2; the scenario has 2"},
		"workload":             {func(w *pb.Window) { w.GetGroups()[0].SetWorkload(9) }, "workload 9; the scenario has 1"},
		"a group twice":        {func(w *pb.Window) { w.SetGroups(append(w.GetGroups(), w.GetGroups()[0])) }, "stands in it twice"},
		"a count too large":    {func(w *pb.Window) { w.GetGroups()[0].GetCounters().SetGood(MaxCount + 1) }, "good is"},
		"unknown series":       {func(w *pb.Window) { w.GetGroups()[0].GetSeries()[0].SetSeries(99) }, "unknown number 99"},
		"a series twice":       {func(w *pb.Window) { g := w.GetGroups()[0]; g.SetSeries(append(g.GetSeries(), g.GetSeries()[0])) }, "stands twice in one group"},
		"a broken histogram":   {func(w *pb.Window) { w.GetGroups()[0].GetSeries()[1].SetHistogram([]byte{1, 2, 3}) }, "the series SERIES_"},
		"a class twice":        {func(w *pb.Window) { g := w.GetGroups()[0]; g.SetErrors(append(g.GetErrors(), g.GetErrors()[0])) }, "stands twice in one group"},
		"a class without name": {func(w *pb.Window) { w.GetGroups()[0].GetErrors()[0].SetClass("") }, "a class of failure has 0 bytes"},
		"a long example":       {func(w *pb.Window) { w.GetGroups()[0].GetErrors()[0].SetExample(strings.Repeat("x", 2000)) }, "has 2000 bytes"},
		"a phase in flight":    {func(w *pb.Window) { w.GetInFlight()[0].SetPhase(7) }, "phase 7"},
		"a record":             {func(w *pb.Window) { w.SetRecords([]*pb.RequestRecord{pb.RequestRecord_builder{Workload: 5}.Build()}) }, "workload 5"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRun(t, mergetest.Header(mergetest.Scenario(twoPhases()), "a1"))
			before := canonical(r)
			w := good()
			test.spoil(w)
			if _, err := r.CheckWindow(w); err == nil {
				t.Error("the check finds nothing wrong")
			}
			err := r.AddWindow(w)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want %q", err, test.want)
			}
			if !bytes.Equal(canonical(r), before) {
				t.Error("something has changed")
			}
			if err := r.AddWindow(good()); err != nil {
				t.Errorf("the good window is refused afterwards: %v", err)
			}
		})
	}
}

func TestAddTotalsRefuses(t *testing.T) {
	r := play(t, mergetest.Scenario(twoPhases()), 5*time.Second, quick)
	r.addTotals(r.sent.Totals...)
	other := r.sent.Totals[0]
	other.SetValues(other.GetValues() + 1)
	if err := r.AddTotals(other); err == nil || !strings.Contains(err.Error(), "differ from those that came before") {
		t.Errorf("the error is %v", err)
	}
	if err := r.AddTotals(pb.Totals_builder{RunId: mergetest.RunID, Agent: "x"}.Build()); err == nil {
		t.Error("totals of an unknown agent are taken")
	}
}

func TestNewRefuses(t *testing.T) {
	s := mergetest.Scenario(twoPhases())
	for name, h := range map[string]*pb.RunHeader{
		"no scenario": {},
		"no agents":   mergetest.Header(s),
		"twice":       mergetest.Header(s, "a", "a"),
	} {
		if _, err := New(h); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}

// A long run has entries of several seconds; nothing is lost by that, and the seconds of the last
// hour stay there one by one. What validity needs stays second by second.
func TestTimelineOfALongRun(t *testing.T) {
	h := mergetest.Header(mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", 1, 24*time.Hour)}), "a1")
	r := &run{t: t, Run: newRun(t, h)}
	const seconds = 12*3600 + 100
	for i := range uint64(seconds) {
		r.addWindows(pb.Window_builder{
			RunId: mergetest.RunID, Agent: "a1", Incarnation: 1, Sequence: i + 1, StartUs: int64(i) * 1e6, EndUs: int64(i+1) * 1e6,
			Groups: []*pb.Group{pb.Group_builder{Counters: pb.Counters_builder{Due: 1, Started: 1, RequestsSucceeded: 1}.Build()}.Build()},
		}.Build())
	}
	var windows, sum uint64
	next, lengths := uint64(0), map[uint64]int{}
	for e := range r.Timeline() {
		if e.Second != next {
			t.Fatalf("an entry at %d, want %d", e.Second, next)
		}
		next += e.Seconds
		lengths[e.Seconds]++
		windows += e.Windows
		c := e.Counters(Key{})
		sum += c[Started]
	}
	if windows != seconds || sum != seconds {
		t.Errorf("%d windows and %d sessions in the timeline, want %d of each", windows, sum, seconds)
	}
	if lengths[60] != 121 || lengths[10] != 3240 || lengths[1] != 3640 {
		t.Errorf("entries by length: %v", lengths)
	}
	for back := range uint64(FineSeconds) {
		if e := r.At(seconds - 1 - back); e == nil || e.Seconds != 1 || e.Windows != 1 {
			t.Fatalf("second %d before the last is %+v", back, e)
		}
	}
	if e := r.At(0); e != nil {
		t.Errorf("second 0 stands singly: %+v", e)
	}
	single := 0
	for s := range r.JudgedSeconds() {
		if s.Requests != 1 {
			t.Fatalf("second %d: %+v", s.Second, s)
		}
		single++
	}
	if single != seconds {
		t.Errorf("%d seconds, want %d", single, seconds)
	}
}

// Whatever the order in which windows come, the run over time is the same.
func TestTimelineDoesNotDependOnOrder(t *testing.T) {
	h := mergetest.Header(mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", 1, 24*time.Hour)}), "a1")
	rapid.Check(t, func(t *rapid.T) {
		var windows []*pb.Window
		for i, second := range rapid.SliceOfNDistinct(rapid.Int64Range(0, 50_000), 1, 12, rapid.ID).Draw(t, "seconds") {
			windows = append(windows, pb.Window_builder{
				RunId: mergetest.RunID, Agent: "a1", Incarnation: 1, Sequence: uint64(i + 1), StartUs: second * 1e6, EndUs: (second + 1) * 1e6,
				Groups: []*pb.Group{pb.Group_builder{Counters: pb.Counters_builder{Due: uint64(second)}.Build()}.Build()},
			}.Build())
		}
		describe := func(windows []*pb.Window) (out []string) {
			r, err := New(h)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range windows {
				if err := r.AddWindow(w); err != nil {
					t.Fatal(err)
				}
			}
			for e := range r.Timeline() {
				c := e.Counters(Key{})
				out = append(out, fmt.Sprint(e.Second, e.Seconds, e.Windows, c[Due]))
			}
			return out
		}
		shuffled := rapid.Permutation(windows).Draw(t, "order")
		if a, b := describe(windows), describe(shuffled); !slices.Equal(a, b) {
			t.Fatalf("%v\n%v", a, b)
		}
	})
}

func TestBusyWindows(t *testing.T) {
	h := mergetest.Header(mergetest.Scenario(twoPhases()), "a1")
	r := &run{t: t, Run: newRun(t, h)}
	for i, cpu := range []float64{0.95, 0.95, 0.2, 0.95, 0.95, 0.95, 0.9} {
		g := pb.Group_builder{Phase: 1, Counters: pb.Counters_builder{Due: 1}.Build()}.Build()
		if i == 0 {
			g.SetPhase(0) // the warm-up is not judged
		}
		r.addWindows(pb.Window_builder{
			RunId: mergetest.RunID, Agent: "a1", Incarnation: 1, Sequence: uint64(i + 1), StartUs: int64(i) * 1e6, EndUs: int64(i+1) * 1e6,
			Groups: []*pb.Group{g}, Health: pb.Health_builder{CpuMachine: cpu}.Build(),
		}.Build())
	}
	if n := r.Agents()[0].BusyWindows(); n != 3 {
		t.Errorf("%d busy windows running, want 3: exactly 90%% is not above it", n)
	}
}

func TestSequences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOf(rapid.Uint64Range(1, 30)).Draw(t, "numbers")
		var s sequences
		set := map[uint64]bool{}
		for _, n := range numbers {
			s = s.add(n)
			set[n] = true
		}
		gaps := s.gaps(31)
		for n := uint64(1); n <= 31; n++ {
			if s.has(n) != set[n] || gaps.has(n) == set[n] {
				t.Fatalf("%v after %v: %d is wrong", s, numbers, n)
			}
		}
		if s.count() != uint64(len(set)) || s.count()+gaps.count() != 31 {
			t.Fatalf("%v counts %d, want %d", s, s.count(), len(set))
		}
		for i := 1; i < len(s); i++ {
			if s[i].first <= s[i-1].last+1 {
				t.Fatalf("%v: spans touch", s)
			}
		}
	})
}

// The names are those of the schema.
func TestNamesOfSeries(t *testing.T) {
	for _, s := range measure.All() {
		want := strings.ToLower(strings.TrimPrefix(pb.Series(s).String(), "SERIES_"))
		if SeriesName(s) != want {
			t.Errorf("series %d is called %q, in the schema %q", s, SeriesName(s), want)
		}
		if got, ok := SeriesNamed(want); !ok || got != s {
			t.Errorf("%q is series %d, want %d", want, got, s)
		}
	}
}

// The counters are those of the schema, each under its own name.
func TestNamesOfCounters(t *testing.T) {
	m := &pb.Counters{}
	fields := m.ProtoReflect().Descriptor().Fields()
	if fields.Len() != int(NumCounters) {
		t.Fatalf("%d counters, the schema has %d", NumCounters, fields.Len())
	}
	for i := range fields.Len() {
		f := fields.Get(i)
		m := &pb.Counters{}
		m.ProtoReflect().Set(f, protoValue(7))
		c, err := countersOf(m, MaxCount)
		if err != nil || Counter(i).String() != string(f.Name()) || c[i] != 7 {
			t.Errorf("counter %d is %s, in the schema %s: %v", i, Counter(i), f.Name(), c)
		}
	}
}

func BenchmarkAddWindow(b *testing.B) {
	r := play(b, mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", 1000, time.Second)}), time.Second, mixed)
	w := r.sent.Windows[0][0]
	sequence := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		sequence++
		w.SetSequence(sequence)
		if err := r.AddWindow(w); err != nil {
			b.Fatal(err)
		}
	}
}

func protoValue(n uint64) protoreflect.Value { return protoreflect.ValueOfUint64(n) }
