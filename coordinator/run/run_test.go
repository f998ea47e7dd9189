package run_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/loadline/loadline/coordinator/run"
	pb "github.com/loadline/loadline/proto/loadline/v1"
	"pgregory.net/rapid"
)

var config = run.Config{
	Prepare: 60 * time.Second, StartAhead: 20 * time.Millisecond, Load: 10 * time.Second,
	Drain: 30 * time.Second, Grace: 10 * time.Second, Return: 15 * time.Second, JournalPatience: 15 * time.Second,
	Barrier: 10 * time.Second, Horizon: 300 * time.Millisecond, AckPatience: 5 * time.Second,
}

// step is one line of a scripted run: what happens when, and what must be done about it.
type step struct {
	at    time.Duration
	event run.Event
	want  string
}

// describe writes commands as a short line.
func describe(commands []run.Command) string {
	var words []string
	for _, c := range commands {
		switch c := c.(type) {
		case run.Assign:
			words = append(words, "assign "+c.Agent)
		case run.Start:
			words = append(words, fmt.Sprintf("start %s at %v", c.Agent, time.Duration(c.At)))
		case run.Propose:
			words = append(words, fmt.Sprintf("propose %s %d.%d", c.Agent, c.Change.GetEpoch(), c.Change.GetAttempt()))
		case run.Commit:
			words = append(words, fmt.Sprintf("commit %s %d", c.Agent, c.Change.GetEpoch()))
		case run.Deny:
			words = append(words, "deny "+c.Agent)
		case run.Adjusted:
			words = append(words, adjusted(c))
		case run.StopAgent:
			words = append(words, fmt.Sprintf("stop %s %s", c.Agent, short(c.Mode)))
		case run.Note:
			kind := strings.ToLower(strings.TrimPrefix(c.Event.GetKind().String(), "RUN_EVENT_KIND_"))
			if change := c.Event.GetChange(); change != nil {
				kind += fmt.Sprintf(" %d %v at %v", change.GetEpoch(), change.GetWeights(), time.Duration(change.GetAtNs()))
			}
			words = append(words, "note "+kind)
		case run.Reconcile:
			words = append(words, "reconcile")
		case run.Finish:
			words = append(words, "finish "+strings.ToLower(strings.TrimPrefix(c.State.String(), "RUN_STATE_")))
		}
	}
	return strings.Join(words, ", ")
}

func adjusted(c run.Adjusted) string {
	if c.Refusal != "" {
		return "adjust " + c.Request + " refused"
	}
	return "adjust " + c.Request + " done"
}

// id names an agent of the first incarnation.
func id(agent string) run.ID { return run.ID{Agent: agent, Incarnation: 1} }

// roster makes members of weight 1.
func roster(agents ...string) []run.Member {
	var out []run.Member
	for _, agent := range agents {
		out = append(out, run.Member{ID: id(agent), Weight: 1})
	}
	return out
}

func short(m pb.StopMode) string {
	return strings.ToLower(strings.TrimPrefix(m.String(), "STOP_MODE_"))
}

func TestRuns(t *testing.T) {
	const drain, now = pb.StopMode_STOP_MODE_DRAIN, pb.StopMode_STOP_MODE_NOW
	ready := []step{
		{time.Second, run.Ready{id("a")}, ""},
		{2 * time.Second, run.Ready{id("b")}, "note started"},
		{2 * time.Second, run.StartDurable{}, "start a at 2.02s, start b at 2.02s"},
		{2 * time.Second, run.Started{id("a"), ""}, ""},
		{2 * time.Second, run.Started{id("b"), ""}, ""},
	}
	ended := []step{
		{13 * time.Second, run.Tick{}, ""},
		{14 * time.Second, run.Totals{id("a")}, ""},
		{14 * time.Second, run.Done{id("a")}, ""},
		{15 * time.Second, run.Done{id("b")}, ""},
		{15 * time.Second, run.Totals{id("b")}, "reconcile"},
	}
	bereaved := append(ready[:5:5],
		step{5 * time.Second, run.Lost{id("a"), "lease"}, "note agent_lost, propose b 2.1"},
		step{5 * time.Second, run.Lost{id("b"), "lease"}, "note agent_lost"},
	)
	for name, script := range map[string][]step{
		"a whole run": append(append(ready[:5:5], ended...),
			step{15 * time.Second, run.Reconciled{Complete: true}, "note ended, finish complete"},
			step{16 * time.Second, run.Stop{Mode: now, Reason: "late"}, ""}),
		"a hole in the ledger": append(append(ready[:5:5], ended...),
			step{15 * time.Second, run.Reconciled{Missing: []string{"window 7 of a"}}, "note ended, finish partial"}),
		"a refusal gives the run up": {
			{time.Second, run.Ready{id("a")}, ""},
			{time.Second, run.Assigned{id("b"), "no such file"}, "note agent_failed, stop a now, stop b now, note ended, finish aborted"},
		},
		"an agent that fails to get ready": {
			{time.Second, run.Failed{id("a"), "MODEL_API_KEY is not set"}, "note agent_failed, stop a now, stop b now, note ended, finish aborted"},
		},
		"an agent that is never ready": {
			{time.Second, run.Ready{id("a")}, ""},
			{59 * time.Second, run.Tick{}, ""},
			{60 * time.Second, run.Tick{}, "stop a now, stop b now, note ended, finish aborted"},
		},
		"an agent lost before the start": {
			{time.Second, run.Lost{id("a"), "lease"}, "note agent_failed, stop a now, stop b now, note ended, finish aborted"},
		},
		"an agent lost during the load": append(ready[:5:5],
			step{5 * time.Second, run.Lost{id("a"), "lease"}, "note agent_lost, propose b 2.1"},
			step{5 * time.Second, run.Lost{id("a"), "lease"}, ""},
			step{5 * time.Second, run.Acknowledged{id("b"), 2, 1}, "note changed 2 [0 1] at 3.28s"},
			step{5 * time.Second, run.ChangeDurable{2, 10 * time.Second}, "commit b 2"},
			step{13 * time.Second, run.Tick{}, ""},
			step{14 * time.Second, run.Totals{id("b")}, ""},
			step{14 * time.Second, run.Done{id("b")}, "reconcile"},
			step{14 * time.Second, run.Reconciled{Complete: true}, "note ended, finish partial"}),
		"all agents lost for good": append(bereaved[:7:7],
			step{19 * time.Second, run.Tick{}, ""},
			step{20 * time.Second, run.Tick{}, "reconcile"},
			step{20 * time.Second, run.Reconciled{}, "note ended, finish partial"}),
		"all agents lost, and they come back with what they have counted": append(bereaved[:7:7],
			step{6 * time.Second, run.Joined{run.Member{ID: run.ID{Agent: "a", Incarnation: 2}, Weight: 1}}, ""},
			step{6 * time.Second, run.Adjust{Request: "w", Revisions: []*pb.Revision{pb.Revision_builder{Rate: new(5.0)}.Build()}}, "adjust w refused"},
			step{7 * time.Second, run.Totals{id("b")}, ""},
			step{7 * time.Second, run.Done{id("b")}, ""},
			step{8 * time.Second, run.Lost{id("b"), "lease"}, ""},
			step{13 * time.Second, run.Tick{}, ""},
			step{14 * time.Second, run.Totals{id("a")}, "reconcile"},
			step{14 * time.Second, run.Reconciled{Complete: true}, "note ended, finish partial"}),
		"all agents lost, and nobody wants to wait": append(bereaved[:7:7],
			step{6 * time.Second, run.Stop{Mode: drain, Reason: "Ctrl-C"}, "note stop_requested, reconcile"}),
		"all agents lost after a stop": append(ready[:5:5],
			step{5 * time.Second, run.Stop{Mode: drain, Reason: "Ctrl-C"}, "note stop_requested, stop a drain, stop b drain"},
			step{6 * time.Second, run.Lost{id("a"), "lease"}, "note agent_lost"},
			step{6 * time.Second, run.Lost{id("b"), "lease"}, "note agent_lost, reconcile"}),
		"the last one lost while its results are waited for": append(ready[:5:5],
			step{13 * time.Second, run.Tick{}, ""},
			step{14 * time.Second, run.Totals{id("a")}, ""},
			step{14 * time.Second, run.Done{id("a")}, ""},
			step{20 * time.Second, run.Lost{id("b"), "lease"}, "note agent_lost"},
			step{21 * time.Second, run.Totals{id("b")}, "reconcile"}),
		"last results that never come": append(ready[:5:5],
			step{13 * time.Second, run.Tick{}, ""},
			step{14 * time.Second, run.Totals{id("a")}, ""},
			step{14 * time.Second, run.Done{id("a")}, ""},
			step{52 * time.Second, run.Tick{}, ""},
			step{54 * time.Second, run.Tick{}, "note agent_lost, reconcile"},
			step{54 * time.Second, run.Reconciled{}, "note ended, finish partial"}),
		"stopped, then stopped harder, then softer": append(ready[:5:5],
			step{5 * time.Second, run.Stop{Mode: drain, Reason: "Ctrl-C"}, "note stop_requested, stop a drain, stop b drain"},
			step{5 * time.Second, run.Stop{Mode: drain, Reason: "Ctrl-C"}, ""},
			step{6 * time.Second, run.Stop{Mode: now, Reason: "Ctrl-C"}, "note stop_requested, stop a now, stop b now"},
			step{7 * time.Second, run.Stop{Mode: drain, Reason: "Ctrl-C"}, ""},
			step{7 * time.Second, run.Totals{id("a")}, ""},
			step{7 * time.Second, run.Done{id("a")}, ""},
			step{7 * time.Second, run.Totals{id("b")}, ""},
			step{7 * time.Second, run.Done{id("b")}, "reconcile"},
			step{7 * time.Second, run.Reconciled{Complete: true}, "note ended, finish aborted"}),
		"stopped while getting ready": {
			{time.Second, run.Stop{Mode: drain, Reason: "Ctrl-C"}, "note stop_requested, stop a now, stop b now, note ended, finish aborted"},
		},
		"an abort condition fires once": append(ready[:5:5],
			step{5 * time.Second, run.Abort{Expression: "error_rate > 20%"}, "note aborted, stop a drain, stop b drain"},
			step{6 * time.Second, run.Abort{Expression: "error_rate > 20%"}, ""}),
		"a start that is refused is a loss once the lease has lapsed": append(ready[:3:3],
			step{2 * time.Second, run.Started{id("a"), "expired"}, "deny a"},
			step{9 * time.Second, run.Lost{id("a"), "lease"}, "note agent_lost, propose b 2.1"}),
		"a journal that fails for long stops the run": append(ready[:5:5],
			step{5 * time.Second, run.JournalFailed{Why: "no space left"}, "note degraded"},
			step{5 * time.Second, run.JournalFailed{Why: "no space left"}, ""},
			step{19 * time.Second, run.Tick{}, ""},
			step{20 * time.Second, run.Tick{}, "note stop_requested, stop a now, stop b now"}),
		"a journal that recovers does not": append(ready[:5:5],
			step{3 * time.Second, run.JournalFailed{Why: "no space left"}, "note degraded"},
			step{4 * time.Second, run.JournalRecovered{}, ""},
			step{25 * time.Second, run.Tick{}, ""}),
		"strangers change nothing": append(ready[:5:5],
			step{5 * time.Second, run.Lost{id("x"), "lease"}, ""},
			step{5 * time.Second, run.Done{id("x")}, ""},
			step{5 * time.Second, run.Ready{id("a")}, ""}),
	} {
		t.Run(name, func(t *testing.T) {
			m, commands := run.New(config, roster("a", "b"), 0)
			if got := describe(commands); got != "assign a, assign b" {
				t.Fatalf("beginning: %s", got)
			}
			for i, s := range script {
				if got := describe(m.Step(s.event, int64(s.at))); got != s.want {
					t.Fatalf("step %d, %v at %v: got %q, want %q", i, s.event, s.at, got, s.want)
				}
			}
		})
	}
}

// Whoever watches is told what a run waits for that nobody is left to play.
func TestABereavedRunSaysWhatItWaitsFor(t *testing.T) {
	m, _ := run.New(config, roster("a", "b"), 0)
	for _, event := range []run.Event{run.Ready{id("a")}, run.Ready{id("b")}, run.StartDurable{}, run.Lost{id("a"), "lease"}, run.Lost{id("b"), "lease"}, run.Totals{id("a")}} {
		m.Step(event, 1)
	}
	want := "no agent is left to play it; waiting up to 15s for results of those that were lost: b"
	if m.Detail() != want || m.State() != run.Draining || m.Deadline() != 1+int64(15*time.Second) {
		t.Errorf("state %d until %v: %q, want %q", m.State(), time.Duration(m.Deadline()), m.Detail(), want)
	}
}

func TestARunWithoutAgentsEndsAtOnce(t *testing.T) {
	_, commands := run.New(config, nil, 0)
	if got := describe(commands); got != "note ended, finish aborted" {
		t.Errorf("got %q", got)
	}
}

func TestUnknownLengthWaitsForTheAgents(t *testing.T) {
	open := config
	open.Load = 0
	m, _ := run.New(open, roster("a"), 0)
	m.Step(run.Ready{id("a")}, 0)
	if m.Deadline() != 0 {
		t.Errorf("deadline = %d, want none", m.Deadline())
	}
}

// events draws a random event about agents that may or may not be of the run.
func events(t *rapid.T, i int) run.Event {
	agent := rapid.SampledFrom([]string{"a", "b", "c", "d", "stranger"}).Draw(t, fmt.Sprintf("agent %d", i))
	refusal := rapid.SampledFrom([]string{"", "", "", "no"}).Draw(t, fmt.Sprintf("refusal %d", i))
	return rapid.SampledFrom([]run.Event{
		run.Assigned{id(agent), refusal}, run.Ready{id(agent)}, run.Ready{id(agent)}, run.Ready{id(agent)}, run.Failed{id(agent), "why"},
		run.Started{id(agent), refusal}, run.Lost{id(agent), "lease"}, run.Totals{id(agent)}, run.Totals{id(agent)}, run.Done{id(agent)}, run.Done{id(agent)},
		run.Stop{Mode: pb.StopMode_STOP_MODE_DRAIN, Reason: "one"}, run.Stop{Mode: pb.StopMode_STOP_MODE_NOW, Reason: "two"}, run.Abort{Expression: "x"},
		run.JournalFailed{Why: "disk"}, run.JournalRecovered{}, run.Reconciled{Complete: true}, run.Reconciled{}, run.Tick{}, run.StartDurable{}, run.StartDurable{},
		run.Leaving{id(agent)}, run.ChangeDurable{Epoch: uint32(2 + i%3), Load: 10 * time.Second}, run.Acknowledged{id(agent), uint32(2 + i%3), uint32(i%4 + 1)},
		run.Refused{ID: id(agent), Epoch: 2, Attempt: 1, RunNS: int64(i) * int64(time.Second), Over: i%5 == 0}, run.Applied{id(agent), uint32(2 + i%3)},
		run.Adjust{Request: fmt.Sprint("w", i), Revisions: []*pb.Revision{pb.Revision_builder{Rate: new(5.0)}.Build()}},
		run.Joined{run.Member{ID: id("d"), Weight: 1}},
	}).Draw(t, fmt.Sprintf("event %d", i))
}

// In no sequence of events does a run start without a ready agent, end complete with something
// missing, forget a stop, end twice, or hang for ever.
func TestPromisesHoldInEverySequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, commands := run.New(config, roster("a", "b", "c"), 0)
		w := watcher{t: t, ready: map[string]bool{}, accounted: map[string]int{}, lost: map[string]bool{}, told: map[string]pb.StopMode{}, excused: map[string]bool{}}
		w.saw(commands)
		now := int64(0)
		for i := range rapid.IntRange(0, 60).Draw(t, "events") {
			now += rapid.Int64Range(0, int64(20*time.Second)).Draw(t, fmt.Sprintf("pause %d", i))
			event := events(t, i)
			w.before(event, m)
			w.saw(m.Step(event, now))
			w.after(event, m)
		}
		// Time alone ends every run that was stopped or whose length is known.
		for range 20 {
			now += int64(time.Minute)
			w.saw(m.Step(run.Tick{}, now))
			if m.State() == run.Reconciling {
				w.before(run.Reconciled{}, m)
				w.saw(m.Step(run.Reconciled{}, now))
			}
		}
		if m.State() != run.Ended || w.finished != 1 {
			t.Fatalf("state %d after all time, finished %d times", m.State(), w.finished)
		}
	})
}

// watcher holds what a run must keep against what it does.
type watcher struct {
	t         *rapid.T
	ready     map[string]bool
	accounted map[string]int
	lost      map[string]bool
	told      map[string]pb.StopMode
	excused   map[string]bool // could not play their part
	stop      pb.StopMode
	complete  bool
	finished  int
}

func (w *watcher) before(event run.Event, m *run.Machine) {
	switch e := event.(type) {
	case run.Ready:
		w.ready[e.Agent] = true
	case run.Totals:
		if m.State() != run.Preparing {
			w.accounted[e.Agent] |= 1
		}
	case run.Done:
		if m.State() != run.Preparing {
			w.accounted[e.Agent] |= 2
		}
	case run.Lost:
		w.loses(e.Agent)
	case run.Failed:
		w.excused[e.Agent] = true
	case run.Assigned:
		w.excused[e.Agent] = w.excused[e.Agent] || e.Refusal != ""
	case run.Reconciled:
		if m.State() == run.Reconciling {
			w.complete = e.Complete
		}
	}
}

// loses: an agent that is not accounted for when it fails stays lost.
func (w *watcher) loses(agent string) {
	w.lost[agent] = w.lost[agent] || w.accounted[agent] != 3
}

func (w *watcher) saw(commands []run.Command) {
	for _, command := range commands {
		switch c := command.(type) {
		case run.Start:
			for _, agent := range []string{"a", "b", "c"} {
				if !w.ready[agent] {
					w.t.Fatalf("started while %s was not ready", agent)
				}
			}
		case run.StopAgent:
			w.told[c.Agent] = max(w.told[c.Agent], c.Mode)
		case run.Finish:
			w.finish(c)
		}
	}
}

func (w *watcher) finish(c run.Finish) {
	if w.finished++; w.finished > 1 {
		w.t.Fatal("finished twice")
	}
	if c.State != pb.RunState_RUN_STATE_COMPLETE {
		return
	}
	for _, agent := range []string{"a", "b", "c"} {
		if w.accounted[agent] != 3 || w.lost[agent] || !w.complete {
			w.t.Fatalf("complete, though %s is not accounted for (%d, lost %v, ledger %v)", agent, w.accounted[agent], w.lost[agent], w.complete)
		}
	}
	if w.stop != pb.StopMode_STOP_MODE_UNSPECIFIED {
		w.t.Fatal("complete, though it was stopped")
	}
}

func (w *watcher) after(event run.Event, m *run.Machine) {
	e, ok := event.(run.Stop)
	if !ok || m.State() == run.Ended && w.finished > 0 && m.Stopped() < e.Mode {
		return
	}
	w.stop = max(w.stop, e.Mode)
	if m.State() == run.Ended || m.State() == run.Reconciling {
		return
	}
	for _, agent := range []string{"a", "b", "c"} {
		if w.told[agent] < w.stop && !w.excused[agent] && w.accounted[agent] != 3 && !w.lost[agent] {
			w.t.Fatalf("%s was not told of stop %v", agent, w.stop)
		}
	}
}
