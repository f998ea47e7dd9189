package merge

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/loadline/loadline/coordinator/merge/mergetest"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// changed is a change at an instant.
func changed(epoch uint32, at time.Duration, weights ...uint32) *pb.Change {
	return pb.Change_builder{Epoch: epoch, Attempt: 1, Revision: 1, AtNs: int64(at), Weights: weights}.Build()
}

// joined lets an agent join by a change.
func joined(ch *pb.Change, name string, incarnation uint64) *pb.Change {
	ch.SetJoined(append(ch.GetJoined(), pb.Member_builder{Agent: name, Incarnation: incarnation, Weight: 1}.Build()))
	return ch
}

func toRate(ch *pb.Change, phase uint32, rate float64) *pb.Change {
	ch.SetRevision(2)
	ch.SetRevisions(append(ch.GetRevisions(), pb.Revision_builder{Phase: phase, Rate: &rate}.Build()))
	return ch
}

// playChanged begins a run of two agents with changes; only their windows up to the instant where each died are kept, and the totals of
// those that lived. alive gives for a member when it died; 0: never.
func playChanged(t testing.TB, s *pb.Scenario, until time.Duration, changes []*pb.Change, died map[int]time.Duration) *run {
	t.Helper()
	h := mergetest.Header(s, "a1", "a2")
	sent, err := mergetest.Play(h, until, quick, changes...)
	if err != nil {
		t.Fatal(err)
	}
	for m, at := range died {
		sent.Windows[m] = slices.DeleteFunc(sent.Windows[m], func(w *pb.Window) bool { return w.GetEndUs() > at.Microseconds() })
		sent.Totals[m] = nil
	}
	r := &run{t: t, Run: newRun(t, h), header: h, sent: sent}
	r.addEvents(mergetest.Event(started, 0))
	for _, ch := range changes {
		r.addEvents(mergetest.Changed(ch))
	}
	r.addWindows(sent.All()...)
	for _, m := range sent.Totals {
		if m != nil {
			r.addTotals(m)
		}
	}
	r.addEvents(mergetest.Ended(until, done))
	return r
}

func holdPhase(rate float64, length time.Duration) *pb.Scenario {
	return mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", rate, length)})
}

func TestTheLedgerFollowsTheCourse(t *testing.T) {
	r := playChanged(t, holdPhase(10, 10*time.Second), 12*time.Second,
		[]*pb.Change{toRate(joined(changed(2, 4*time.Second, 1, 1, 2), "a3", 7), 0, 50)}, nil)
	if complete, missing := r.Reconcile(); !complete {
		t.Errorf("missing %q", missing)
	}
	if l := r.Ledger().Sum(all); l.Due != 40+300 || l.Started != 340 || l.Lost != 0 {
		t.Errorf("ledger %+v, want 40 before and 300 after", l)
	}
	if a := r.Agents()[2]; a.Name != "a3" || a.Incarnation != 7 || a.Windows() == 0 {
		t.Errorf("the agent that joined: %+v", a)
	}
}

// TestWhatALostAgentOwnedIsNamedExactly: a2 dies in its sixth second, its share goes to a1 from 8.5 s on.
func TestWhatALostAgentOwnedIsNamedExactly(t *testing.T) {
	r := playChanged(t, holdPhase(10, 10*time.Second), 12*time.Second,
		[]*pb.Change{changed(2, 8500*time.Millisecond, 1, 0)}, map[int]time.Duration{1: 5 * time.Second})
	want := []LostRange{{Member: 1, FirstWindow: 6, First: 51, Last: 83, Count: 17}}
	if got := r.LostRanges(); !slices.Equal(got, want) {
		t.Errorf("lost %+v, want %+v", got, want)
	}
	if l := r.Ledger().Sum(all); l.Due != 100 || l.Lost != 17 || l.Started != 83 {
		t.Errorf("ledger %+v", l)
	}
	_, missing := r.Reconcile()
	if len(missing) != 1 || !strings.Contains(missing[0], "17 arrivals that it owned (arrivals 51 to 83 of phase hold)") {
		t.Errorf("missing %q", missing)
	}
}

func TestAMissingWindowIsNamedByItsArrivals(t *testing.T) {
	r := playChanged(t, holdPhase(10, 10*time.Second), 12*time.Second, nil, nil)
	again := &run{t: t, Run: newRun(t, r.header), header: r.header, sent: r.sent}
	again.addEvents(mergetest.Event(started, 0), mergetest.Ended(12*time.Second, done))
	for _, w := range r.sent.All() {
		if w.GetAgent() == "a1" && (w.GetSequence() == 4 || w.GetSequence() == 5) {
			continue
		}
		again.addWindows(w)
	}
	again.addTotals(r.sent.Totals...)
	want := []LostRange{{Member: 0, FirstWindow: 4, LastWindow: 5, First: 30, Last: 48, Count: 10}}
	if got := again.LostRanges(); !slices.Equal(got, want) {
		t.Errorf("lost %+v, want %+v", got, want)
	}
}

// An agent that was lost and registered anew is another member; its old part's windows still count.
func TestAnAgentThatComesBackIsAnotherMember(t *testing.T) {
	r := playChanged(t, holdPhase(10, 10*time.Second), 12*time.Second,
		[]*pb.Change{changed(2, 4*time.Second, 1, 0), joined(changed(3, 6*time.Second, 1, 0, 1), "a2", 9)}, nil)
	if complete, missing := r.Reconcile(); !complete {
		t.Errorf("missing %q", missing)
	}
	var windows []uint64
	for _, a := range r.Agents() {
		var n uint64
		for _, s := range a.streams {
			for _, c := range s.groups {
				n += c.Accounted()
			}
		}
		windows = append(windows, n)
	}
	if !slices.Equal(windows, []uint64{20 + 20 + 20, 20, 20}) {
		t.Errorf("members account for %v", windows)
	}
}

func TestAMemberThatNeverOwnedAnythingOwesNothing(t *testing.T) {
	r := playChanged(t, holdPhase(10, 10*time.Second), 12*time.Second, []*pb.Change{joined(changed(2, 4*time.Second, 1, 1, 0), "a3", 3)}, nil)
	r.agents[2].streams = map[uint64]*stream{}
	if complete, missing := r.Reconcile(); !complete {
		t.Errorf("missing %q", missing)
	}
}

func TestAppendedPhasesHaveTheirSummary(t *testing.T) {
	ch := changed(2, 4*time.Second, 1, 1)
	ch.SetRevision(2)
	ch.SetRevisions([]*pb.Revision{pb.Revision_builder{Ended: new(true)}.Build()})
	ch.SetAppended([]*pb.Phase{mergetest.Open("step", 20, 3*time.Second)})
	r := playChanged(t, holdPhase(10, 10*time.Second), 9*time.Second, []*pb.Change{ch}, nil)
	if complete, missing := r.Reconcile(); !complete {
		t.Errorf("missing %q", missing)
	}
	step := r.Ledger().Sum(func(k Key) bool { return k.Phase == 1 })
	if s := r.Span(1); step.Due != 60 || s.StartNS != 4e9 || s.EndNS != 7e9 || r.Span(0).EndNS != 4e9 {
		t.Errorf("ledger %+v, span %+v", step, s)
	}
	if got := r.Scenario().GetLoad()[1].GetName(); got != "step" || len(r.header.GetScenario().GetLoad()) != 1 {
		t.Errorf("phase 1 is %q; the header's scenario has %d", got, len(r.header.GetScenario().GetLoad()))
	}
}

func TestMarksAreKeptInOrder(t *testing.T) {
	r := playChanged(t, holdPhase(10, time.Second), 2*time.Second, nil, nil)
	for _, us := range []int64{3, 1, 2, 1} {
		e := pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_MARKED, AtUs: us, Detail: "m"}.Build()
		if err := r.AddEvent(e); err != nil {
			t.Fatal(err)
		}
	}
	if m := r.Marks(); len(m) != 3 || m[0].AtUS != 1 || m[2].AtUS != 3 {
		t.Errorf("marks %v", m)
	}
}

func TestUsersThatBeganElsewhereAreCounted(t *testing.T) {
	closed := pb.Phase_builder{Name: new("c"), Closed: pb.ClosedLoad_builder{Users: new(uint32(6))}.Build(), Duration: mergetest.Open("", 1, 9*time.Second).GetDuration()}
	r := newRun(t, mergetest.Header(mergetest.Scenario([]*pb.Phase{closed.Build()}), "a1", "a2"))
	if err := r.AddEvent(mergetest.Changed(changed(2, 4*time.Second, 1, 0))); err != nil || r.Restarted(0) != 3 {
		t.Errorf("%d users restarted, want 3: %v", r.Restarted(0), err)
	}
}

func TestChangesThatAreRefused(t *testing.T) {
	r := newRun(t, mergetest.Header(holdPhase(10, time.Second), "a1", "a2"))
	for _, x := range []struct {
		want string
		ch   *pb.Change
	}{
		{"holds none", nil},
		{"at most 1024", changed(9999, 1, 1, 1)},
		{"no member has a weight", changed(2, 1, 0, 0)},
		{"is a member already", joined(changed(2, 1, 1, 1, 1), "a1", 1)},
		{"has no name", joined(changed(2, 1, 1, 1, 1), "", 1)},
	} {
		e := mergetest.Event(pb.RunEventKind_RUN_EVENT_KIND_CHANGED, 0)
		if x.ch != nil {
			e.SetChange(x.ch)
		}
		if err := r.AddEvent(e); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("error %v, want %q", err, x.want)
		}
	}
}

// TestOrderCannotBeSeenWithChanges: windows before or after the changes, and all of it in any order and repeatedly, add up to what
// one agent alone would have shown, as long as a change comes before the windows of the members that it brings.
func TestOrderCannotBeSeenWithChanges(t *testing.T) {
	changes := []*pb.Change{
		changed(2, 1500*time.Millisecond, 1, 0), joined(changed(3, 2300*time.Millisecond, 1, 0, 2), "a2", 2), changed(4, 3100*time.Millisecond, 0, 0, 1),
	}
	s := mergetest.Scenario(twoPhases())
	h, alone := mergetest.Header(s, "a1", "a2"), mergetest.Header(s, "a1")
	sent, err := mergetest.Play(h, 6*time.Second, mixed, changes...)
	if err != nil {
		t.Fatal(err)
	}
	single, err := mergetest.Play(alone, 6*time.Second, mixed)
	if err != nil {
		t.Fatal(err)
	}
	reference := newRun(t, alone)
	for _, w := range single.All() {
		if err := reference.AddWindow(w); err != nil {
			t.Fatal(err)
		}
	}
	whole := func(r *Run) string {
		var b bytes.Buffer
		for k, g := range r.Groups() {
			fmt.Fprintf(&b, "%v %v %v\n", k, g.Counters, g.Errors())
		}
		return b.String()
	}
	var first []byte
	rapid.Check(t, func(t *rapid.T) {
		r := newRun(t, h)
		late := func(w *pb.Window) bool { return w.GetIncarnation() == 2 }
		var steps []func() error
		add := func(f func() error) { steps = append(steps, f) }
		for _, w := range sent.All() {
			if !late(w) {
				add(func() error { return r.AddWindow(w) })
			}
		}
		for _, ch := range append(changes, changes[0]) {
			add(func() error { return r.AddEvent(mergetest.Changed(ch)) })
		}
		add(func() error { return r.AddEvent(mergetest.Event(started, 0)) })
		add(func() error { return r.AddEvent(mergetest.Ended(6*time.Second, done)) })
		for _, step := range rapid.Permutation(steps).Draw(t, "order") {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		rest := slices.DeleteFunc(sent.All(), func(w *pb.Window) bool { return !late(w) })
		for _, w := range rapid.Permutation(append(rest, sent.Windows[0][0])).Draw(t, "later") {
			if err := r.AddWindow(w); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range sent.Totals {
			if err := r.AddTotals(m); err != nil {
				t.Fatal(err)
			}
		}
		if got := canonical(r); first == nil {
			first = got
		} else if !bytes.Equal(got, first) {
			t.Fatalf("another order gives\n%s\nafter\n%s", got, first)
		}
		if got, want := whole(r), whole(reference); got != want {
			t.Fatalf("three members show\n%s\none alone\n%s", got, want)
		}
		if complete, missing := r.Reconcile(); !complete {
			t.Fatalf("missing %q", missing)
		}
	})
}

// TestACheckpointHoldsTheCourse: a run restored from a checkpoint knows the members and phases that changes brought, and what was lost.
func TestACheckpointHoldsTheCourse(t *testing.T) {
	ch := joined(changed(2, 4*time.Second, 1, 0, 1), "a2", 9)
	ch.SetRevision(2)
	ch.SetAppended([]*pb.Phase{mergetest.Open("step", 20, 3*time.Second)})
	r := playChanged(t, holdPhase(10, 10*time.Second), 12*time.Second, []*pb.Change{ch}, map[int]time.Duration{1: 2 * time.Second})
	again := newRun(t, r.header)
	for m := range r.Records() {
		if m.HasHeader() {
			continue
		}
		if err := again.AddRecord(m); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range []*pb.RunEvent{mergetest.Event(started, 0), mergetest.Changed(ch), mergetest.Ended(12*time.Second, done)} {
		if err := again.AddEvent(e); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := again.LostRanges(), r.LostRanges(); !slices.Equal(got, want) || len(want) != 1 || want[0].First != 21 {
		t.Errorf("lost %+v after a checkpoint, %+v before", got, want)
	}
	if !bytes.Equal(canonical(again), canonical(r.Run)) {
		t.Error("a run restored from a checkpoint shows something else")
	}
}

// TestAnAgentThatStoodStillNamesWhatItLost: a2 stands still from its sixth second on, its share goes to a1 from 8.5 s on, and then it
// wakes up and ends its part in good order: with totals that agree with its windows.
func TestAnAgentThatStoodStillNamesWhatItLost(t *testing.T) {
	changes := []*pb.Change{changed(2, 8500*time.Millisecond, 1, 0)}
	r := playChanged(t, holdPhase(10, 10*time.Second), 12*time.Second, changes, map[int]time.Duration{1: 0})
	sent, err := mergetest.Play(r.header, 5*time.Second, quick)
	if err != nil {
		t.Fatal(err)
	}
	r.addWindows(sent.Windows[1]...)
	r.addTotals(sent.Totals[1])
	want := []LostRange{{Member: 1, FirstWindow: 7, First: 51, Last: 83, Count: 17}}
	if got := r.LostRanges(); !slices.Equal(got, want) {
		t.Errorf("lost %+v, want %+v", got, want)
	}
	_, missing := r.Reconcile()
	if len(missing) != 1 || !strings.Contains(missing[0], "arrivals 51 to 83 of phase hold") {
		t.Errorf("missing %q", missing)
	}
}
