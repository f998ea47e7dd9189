package run_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/loadline/loadline/coordinator/run"
	pb "github.com/loadline/loadline/proto/loadline/v1"
	"pgregory.net/rapid"
)

// running takes two agents to the middle of their load: the start is at 2.02 s, the load 100 s long.
var running = []step{
	{time.Second, run.Ready{id("a")}, ""},
	{2 * time.Second, run.Ready{id("b")}, "note started"},
	{2 * time.Second, run.StartDurable{}, "start a at 2.02s, start b at 2.02s"},
}

// rate is a wish for phase n.
func rate(request string, n uint32) run.Adjust {
	return run.Adjust{Request: request, Revisions: []*pb.Revision{pb.Revision_builder{Phase: n, Rate: new(80.0)}.Build()}, Reason: "rate"}
}

// ms is an instant.
func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

func TestChanges(t *testing.T) {
	const load = 100 * time.Second
	second := id("a")
	second.Incarnation = 2
	for name, script := range map[string][]step{
		"a lost agent's share goes to the others": {
			{ms(12020), run.Lost{id("a"), "lease"}, "note agent_lost, propose b 2.1"},
			{ms(12030), run.Acknowledged{id("b"), 2, 1}, "note changed 2 [0 1] at 10.3s"},
			{ms(12031), run.ChangeDurable{2, load}, "commit b 2"},
			{ms(12032), run.ChangeDurable{2, load}, ""},
			{ms(12040), run.Applied{id("b"), 2}, ""},
		},
		"everyone must acknowledge the same attempt": {
			{ms(12020), rate("r", 0), "propose a 2.1, propose b 2.1"},
			{ms(12030), run.Acknowledged{id("a"), 2, 1}, ""},
			{ms(12219), run.Tick{}, ""},
			{ms(12220), run.Tick{}, "propose a 2.2, propose b 2.2"},
			{ms(12230), run.Acknowledged{id("b"), 2, 1}, ""},
			{ms(12231), run.Acknowledged{id("b"), 2, 2}, ""},
			{ms(12232), run.Acknowledged{id("a"), 2, 2}, "note changed 2 [1 1] at 10.8s"},
			{ms(12233), run.ChangeDurable{2, load}, "adjust r done, commit a 2, commit b 2"},
		},
		"an excess that is told late counts, whatever attempt has followed": {
			{ms(12020), rate("r", 0), "propose a 2.1, propose b 2.1"},
			{ms(12220), run.Tick{}, "propose a 2.2, propose b 2.2"},
			{ms(12230), run.Refused{ID: id("a"), Epoch: 2, Attempt: 1, Excess: true, Why: "--max-rate"}, "adjust r refused, propose a 2.3, propose b 2.3"},
			{ms(12231), run.Refused{ID: id("a"), Epoch: 2, Attempt: 2, Excess: true, Why: "--max-rate"}, ""},
		},
		"an instant that has passed is tried again later": {
			{ms(12020), rate("r", 0), "propose a 2.1, propose b 2.1"},
			{ms(12030), run.Refused{ID: id("a"), Epoch: 2, Attempt: 1, RunNS: int64(ms(10500))}, "propose a 2.2, propose b 2.2"},
			{ms(12031), run.Refused{ID: id("a"), Epoch: 2, Attempt: 1, RunNS: int64(ms(10500))}, ""},
			{ms(12032), run.Acknowledged{id("b"), 2, 2}, ""},
			{ms(12033), run.Acknowledged{id("a"), 2, 2}, "note changed 2 [1 1] at 11.1s"},
		},
		"a change that takes long to compute lies further ahead": {
			{ms(12020), run.Adjust{Request: "r", Revisions: []*pb.Revision{pb.Revision_builder{Rate: new(80.0)}.Build()}, Cost: time.Second}, "propose a 2.1, propose b 2.1"},
			{ms(13000), run.Tick{}, ""},
			{ms(14000), run.Acknowledged{id("b"), 2, 1}, ""},
			{ms(14001), run.Acknowledged{id("a"), 2, 1}, "note changed 2 [1 1] at 14.3s"},
		},
		"a change that an agent may not play is refused, and the others are freed": {
			{ms(12020), rate("r", 0), "propose a 2.1, propose b 2.1"},
			{ms(12030), run.Acknowledged{id("b"), 2, 1}, ""},
			{ms(12031), run.Refused{ID: id("a"), Epoch: 2, Attempt: 1, Excess: true, Why: "--max-rate"}, "adjust r refused, propose a 2.2, propose b 2.2"},
			{ms(12032), run.Refused{ID: id("a"), Epoch: 2, Attempt: 2, Excess: true, Why: "--max-rate"}, ""},
			{ms(12033), run.Acknowledged{id("b"), 2, 2}, ""},
			{ms(12034), run.Acknowledged{id("a"), 2, 2}, "note changed 2 [1 1] at 10.611s"},
		},
		"a clock that is wrong moves nothing": {
			{ms(12020), rate("r", 0), "propose a 2.1, propose b 2.1"},
			{ms(12030), run.Refused{ID: id("a"), Epoch: 2, Attempt: 1, RunNS: int64(time.Hour)}, ""},
		},
		"who renews and does not answer is denied, then lost": {
			{ms(12020), rate("r", 0), "propose a 2.1, propose b 2.1"},
			{ms(12030), run.Acknowledged{id("b"), 2, 1}, ""},
			{ms(16900), run.Tick{}, "propose a 2.2, propose b 2.2"},
			{ms(17020), run.Tick{}, "deny a"}, // b has answered the first attempt and has not had the time for the second
			{ms(17030), run.Acknowledged{id("b"), 2, 2}, ""},
			{ms(24000), run.Lost{id("a"), "lease"}, "note agent_lost, propose b 2.3"},
			{ms(24010), run.Acknowledged{id("b"), 2, 3}, "note changed 2 [0 1] at 22.98s"},
		},
		"an agent leaves and loses nothing": {
			{ms(12020), run.Leaving{id("a")}, "propose a 2.1, propose b 2.1"},
			{ms(12020), run.Leaving{id("a")}, ""},
			{ms(12030), run.Acknowledged{id("b"), 2, 1}, ""},
			{ms(12030), run.Acknowledged{id("a"), 2, 1}, "note changed 2 [0 1] at 10.3s"},
			{ms(12031), run.ChangeDurable{2, load}, "commit a 2, commit b 2"},
			{ms(12500), run.Totals{id("a")}, ""},
			{ms(12500), run.Done{id("a")}, "note agent_left"},
			{ms(13000), rate("r", 0), "propose b 3.2"},
		},
		"the last one that leaves ends the run": {
			{ms(12020), run.Leaving{id("a")}, "propose a 2.1, propose b 2.1"},
			{ms(12030), run.Leaving{id("b")}, "note stop_requested, stop a drain, stop b drain"},
		},
		"an agent joins": {
			{ms(12020), run.Joined{run.Member{ID: id("c"), Weight: 3}}, "assign c"},
			{ms(12020), run.Joined{run.Member{ID: id("c"), Weight: 3}}, ""},
			{ms(13020), run.Ready{id("c")}, "propose a 2.1, propose b 2.1, propose c 2.1"},
			{ms(13030), run.Acknowledged{id("b"), 2, 1}, ""},
			{ms(13030), run.Acknowledged{id("a"), 2, 1}, ""},
			{ms(13030), run.Acknowledged{id("c"), 2, 1}, "note changed 2 [1 1 3] at 11.3s"},
			{ms(13031), run.ChangeDurable{2, load}, "commit a 2, commit b 2, commit c 2"},
			{ms(13032), run.Applied{id("a"), 2}, ""},
			{ms(13033), run.Applied{id("c"), 2}, "start c at 2.02s"},
		},
		"one that would join and dies is forgotten": {
			{ms(12020), run.Joined{run.Member{ID: id("c"), Weight: 3}}, "assign c"},
			{ms(13020), run.Ready{id("c")}, "propose a 2.1, propose b 2.1, propose c 2.1"},
			{ms(13030), run.Lost{id("c"), "lease"}, "propose a 2.2, propose b 2.2"},
		},
		"one that dies when its joining is final is lost": {
			{ms(12020), run.Joined{run.Member{ID: id("c"), Weight: 3}}, "assign c"},
			{ms(13020), run.Ready{id("c")}, "propose a 2.1, propose b 2.1, propose c 2.1"},
			{ms(13030), run.Acknowledged{id("b"), 2, 1}, ""},
			{ms(13030), run.Acknowledged{id("a"), 2, 1}, ""},
			{ms(13030), run.Acknowledged{id("c"), 2, 1}, "note changed 2 [1 1 3] at 11.3s"},
			{ms(13031), run.Lost{id("c"), "lease"}, "note agent_lost"},
			{ms(13032), run.ChangeDurable{2, load}, "commit a 2, commit b 2, propose a 3.2, propose b 3.2"},
		},
		"a lost agent comes back as another member": {
			{ms(12020), run.Lost{id("a"), "lease"}, "note agent_lost, propose b 2.1"},
			{ms(12030), run.Acknowledged{id("b"), 2, 1}, "note changed 2 [0 1] at 10.3s"},
			{ms(12031), run.ChangeDurable{2, load}, "commit b 2"},
			{ms(13000), run.Joined{run.Member{ID: second, Weight: 1}}, "assign a"},
			{ms(13010), run.Ready{second}, "propose b 3.2, propose a 3.2"},
			{ms(13020), run.Acknowledged{id("a"), 3, 2}, ""},
		},
		"wishes about other phases travel together, about the same one after the other": {
			{ms(12020), rate("one", 0), "propose a 2.1, propose b 2.1"},
			{ms(12021), rate("two", 0), ""},
			{ms(12022), rate("three", 1), ""},
			{ms(12023), rate("four", 1), ""},
			{ms(12030), run.Acknowledged{id("b"), 2, 1}, ""},
			{ms(12030), run.Acknowledged{id("a"), 2, 1}, "note changed 2 [1 1] at 10.3s"},
			{ms(12031), run.ChangeDurable{2, load}, "adjust one done, commit a 2, commit b 2, propose a 3.2, propose b 3.2"},
			{ms(12032), run.Acknowledged{id("b"), 3, 2}, ""},
			{ms(12032), run.Acknowledged{id("a"), 3, 2}, "note changed 3 [1 1] at 10.311s"},
			{ms(12033), run.ChangeDurable{3, load}, "adjust two done, adjust three done, commit a 3, commit b 3, propose a 4.3, propose b 4.3"},
		},
		"a stop puts an end to changes": {
			{ms(12020), rate("r", 0), "propose a 2.1, propose b 2.1"},
			{ms(12021), run.Stop{Mode: pb.StopMode_STOP_MODE_DRAIN}, "note stop_requested, adjust r refused, stop a drain, stop b drain"},
			{ms(12022), run.Acknowledged{id("a"), 2, 1}, ""},
			{ms(12023), rate("s", 0), "adjust s refused"},
		},
		"a member whose load is over takes nothing more": {
			{ms(12020), run.Lost{id("a"), "lease"}, "note agent_lost, propose b 2.1"},
			{ms(12030), run.Refused{ID: id("b"), Epoch: 2, Attempt: 1, Over: true}, ""},
			{ms(12040), run.Totals{id("b")}, ""},
			{ms(12040), run.Done{id("b")}, "reconcile"},
		},
		"a hold that this coordinator knows nothing of is freed by a change": {
			{ms(12020), run.Acknowledged{id("a"), 2, 7}, "propose a 2.1, propose b 2.1"},
		},
		"nothing is proposed while the journal fails": {
			{ms(12020), run.JournalFailed{Why: "full"}, "note degraded"},
			{ms(12021), rate("r", 0), ""},
			{ms(13020), run.JournalRecovered{}, "propose a 2.1, propose b 2.1"},
		},
		"a longer load moves the end": {
			{ms(12020), rate("r", 0), "propose a 2.1, propose b 2.1"},
			{ms(12030), run.Acknowledged{id("b"), 2, 1}, ""},
			{ms(12030), run.Acknowledged{id("a"), 2, 1}, "note changed 2 [1 1] at 10.3s"},
			{ms(12031), run.ChangeDurable{2, 20 * time.Second}, "adjust r done, commit a 2, commit b 2"},
			{ms(22020), run.Tick{}, ""},
			{ms(62020), run.Tick{}, "note agent_lost, note agent_lost, reconcile"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			long := config
			long.Load = load
			m, _ := run.New(long, roster("a", "b"), 0)
			for i, s := range append(slices.Clone(running), script...) {
				if got := describe(m.Step(s.event, int64(s.at))); got != s.want {
					t.Fatalf("step %d, %v at %v:\ngot  %q\nwant %q", i-len(running), s.event, s.at, got, s.want)
				}
			}
		})
	}
}

func TestAWishThatDoesNotFitIsRefused(t *testing.T) {
	picky := config
	picky.Check = func(c *pb.Change) error {
		if len(c.GetRevisions()) > 0 && c.GetRevisions()[0].GetPhase() == 9 {
			return errors.New("there is no phase 9")
		}
		return nil
	}
	m, _ := run.New(picky, roster("a", "b"), 0)
	for _, s := range running {
		m.Step(s.event, int64(s.at))
	}
	if got := describe(m.Step(rate("r", 9), int64(ms(3000)))); got != "adjust r refused" {
		t.Errorf("got %q", got)
	}
	if got := describe(m.Step(rate("s", 1), int64(ms(3001)))); got != "propose a 2.2, propose b 2.2" {
		t.Errorf("the next one: got %q", got)
	}
}

func TestStartBarrier(t *testing.T) {
	few := config
	few.Min = 1
	for name, script := range map[string][]step{
		"the ready ones start without one that is missing": {
			{ms(1000), run.Ready{id("b")}, ""},
			{ms(10999), run.Tick{}, ""},
			{ms(11000), run.Tick{}, "note agent_failed, stop a now, note changed 2 [0 1] at 0s"},
			{ms(11001), run.Ready{id("a")}, ""},
			{ms(11002), run.ChangeDurable{2, 10 * time.Second}, "commit b 2, note started"},
			{ms(11003), run.StartDurable{}, ""},
			{ms(11004), run.Applied{id("b"), 2}, "start b at 11.022s"},
			{ms(12000), run.Totals{id("b")}, ""},
			{ms(12000), run.Done{id("b")}, "reconcile"},
			{ms(12000), run.Reconciled{Complete: true}, "note ended, finish complete"},
		},
		"one that fails is left out at once": {
			{ms(1000), run.Ready{id("b")}, ""},
			{ms(2000), run.Failed{id("a"), "no key"}, "note agent_failed, stop a now, note changed 2 [0 1] at 0s"},
		},
		"the ready one is lost while it waits for another": { // found by torture, seed 287
			{ms(1000), run.Ready{id("b")}, ""},
			{ms(2000), run.Lost{id("b"), "lease"}, "note agent_failed, stop b now"},
			{ms(11000), run.Tick{}, ""},
			{ms(12000), run.Ready{id("a")}, "note changed 2 [1 0] at 0s"},
		},
		"all are lost while the change that leaves one out is put on record": { // found by torture, seed 4217
			{ms(1000), run.Ready{id("b")}, ""},
			{ms(11000), run.Tick{}, "note agent_failed, stop a now, note changed 2 [0 1] at 0s"},
			{ms(11001), run.Lost{id("b"), "lease"}, "note agent_lost"},
			{ms(11002), run.ChangeDurable{2, 10 * time.Second}, "stop a now, stop b now, note ended, finish aborted"},
		},
		"too few are left": {
			{ms(1000), run.Failed{id("b"), "no key"}, "note agent_failed, stop b now"},
			{ms(2000), run.Failed{id("a"), "no key"}, "note agent_failed, stop a now, stop b now, note ended, finish aborted"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := run.New(few, roster("a", "b"), 0)
			for i, s := range script {
				if got := describe(m.Step(s.event, int64(s.at))); got != s.want {
					t.Fatalf("step %d, %v at %v:\ngot  %q\nwant %q", i, s.event, s.at, got, s.want)
				}
			}
		})
	}
}

// A program's wishes travel with their requests, so that they are known after a restart; its marks are put on record.
func TestADrivenRun(t *testing.T) {
	m, _ := run.New(config, roster("a", "b"), 0)
	if got := describe(m.Step(run.Mark{Request: "early", Text: "x"}, 1)); got != "" {
		t.Errorf("a mark before the start: %q", got)
	}
	for _, s := range running {
		m.Step(s.event, int64(s.at))
	}
	commands := m.Step(run.Mark{Request: "mark", Text: "here"}, int64(ms(3000)))
	if got := describe(commands); got != "note marked" || commands[0].(run.Note).Event.GetRequestId() != "mark" || commands[0].(run.Note).Event.GetDetail() != "here" {
		t.Errorf("a mark: %q", got)
	}
	for _, c := range m.Step(run.Adjust{Request: "stop", Closed: true}, int64(ms(3001))) {
		change := c.(run.Propose).Change
		if !change.GetClosed() || len(change.GetRequestIds()) != 1 || change.GetRequestIds()[0] != "stop" || change.GetRevision() != 1 {
			t.Errorf("%v", change)
		}
	}
}

func TestRestore(t *testing.T) {
	started := pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_STARTED}.Build()
	changed := pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_CHANGED, Change: pb.Change_builder{
		Epoch: 2, Revision: 1, AtNs: int64(time.Second), Weights: []uint32{0, 1, 1},
		Joined: []*pb.Member{pb.Member_builder{Agent: "c", Incarnation: 1, Weight: 1}.Build()},
	}.Build()}.Build()
	lost := pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_AGENT_LOST, Agent: "a", Incarnation: 1}.Build()
	stopped := pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_STOP_REQUESTED, Mode: pb.StopMode_STOP_MODE_DRAIN}.Build()
	ended := pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_ENDED}.Build()
	for name, test := range map[string]struct {
		events []*pb.RunEvent
		totals []run.ID
		begins string
		script []step
	}{
		"before the start": {nil, nil, "stop a now, stop b now, note ended, finish aborted", nil},
		"ended":            {[]*pb.RunEvent{started, ended}, nil, "", nil},
		"running": {[]*pb.RunEvent{started}, nil, "", []step{
			{ms(4000), run.Applied{id("a"), 1}, "start a at 1s"},
			{ms(4001), rate("r", 0), "propose a 2.131073, propose b 2.131073"},
		}},
		"with a loss and a change behind it": {[]*pb.RunEvent{started, lost, changed}, nil, "", []step{
			{ms(4001), rate("r", 0), "propose b 3.131073, propose c 3.131073"},
		}},
		"with a loss that nobody has taken over": {[]*pb.RunEvent{started, lost}, nil, "propose b 2.131073", nil},
		"stopped":                                {[]*pb.RunEvent{started, stopped}, nil, "stop a drain, stop b drain", nil},
		"with all totals at hand":                {[]*pb.RunEvent{started}, []run.ID{id("a"), id("b")}, "reconcile", nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := run.History{Start: int64(time.Second), Events: test.events, Totals: test.totals, Generation: 2}
			m, commands := run.Restore(config, roster("a", "b"), h, int64(ms(3000)))
			if got := describe(commands); got != test.begins {
				t.Fatalf("beginning: got %q, want %q", got, test.begins)
			}
			for i, s := range test.script {
				if got := describe(m.Step(s.event, int64(s.at))); got != s.want {
					t.Fatalf("step %d, %v at %v:\ngot  %q\nwant %q", i, s.event, s.at, got, s.want)
				}
			}
		})
	}
}

// In no sequence is a change put on record that a member has not acknowledged which may start what the change takes
// away; instants, epochs and attempts only rise; and while a run is running, no change waits for ever.
func TestNoChangeWithoutAcknowledgement(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		long := config
		long.Load = time.Hour
		m, _ := run.New(long, roster("a", "b", "c"), 0)
		for _, agent := range []string{"a", "b", "c"} {
			m.Step(run.Ready{id(agent)}, 0)
		}
		m.Step(run.StartDurable{}, 0)
		w := changeWatcher{t: t, owners: map[string]uint32{"a": 1, "b": 1, "c": 1}, acked: map[string]bool{}, gone: map[string]bool{}}
		now := int64(time.Second)
		for i := range rapid.IntRange(1, 80).Draw(t, "events") {
			now += rapid.Int64Range(0, int64(2*time.Second)).Draw(t, fmt.Sprint("pause ", i))
			event := w.draw(i)
			w.before(event)
			w.saw(m.Step(event, now))
			if now >= m.Deadline() && m.Deadline() != 0 {
				w.saw(m.Step(run.Tick{}, now))
			}
		}
	})
}

type changeWatcher struct {
	t        *rapid.T
	owners   map[string]uint32 // weight in force
	acked    map[string]bool   // of the last attempt
	gone     map[string]bool
	change   *pb.Change // last proposed
	noted    *pb.Change
	attempts uint32
	at       int64
}

func (w *changeWatcher) draw(i int) run.Event {
	agent := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(w.t, fmt.Sprint("agent ", i))
	epoch, attempt := w.change.GetEpoch(), w.change.GetAttempt()-uint32(rapid.IntRange(0, 1).Draw(w.t, fmt.Sprint("old ", i)))
	events := []run.Event{
		run.Acknowledged{id(agent), epoch, attempt}, run.Acknowledged{id(agent), epoch, attempt}, run.Acknowledged{id(agent), epoch, attempt},
		run.Refused{ID: id(agent), Epoch: epoch, Attempt: attempt, RunNS: w.change.GetAtNs()},
		run.Applied{id(agent), epoch}, run.Lost{id(agent), "lease"}, run.Leaving{id(agent)}, rate(fmt.Sprint(i), 0), run.Tick{},
		run.Joined{run.Member{ID: id("d"), Weight: 1}}, run.Ready{id("d")},
	}
	if w.noted != nil {
		events = append(events, run.ChangeDurable{w.noted.GetEpoch(), time.Hour}, run.ChangeDurable{w.noted.GetEpoch(), time.Hour})
	}
	return rapid.SampledFrom(events).Draw(w.t, fmt.Sprint("event ", i))
}

func (w *changeWatcher) before(event run.Event) {
	switch e := event.(type) {
	case run.Acknowledged:
		if e.Epoch == w.change.GetEpoch() && e.Attempt == w.change.GetAttempt() {
			w.acked[e.Agent] = true
		}
	case run.Lost:
		w.gone[e.Agent] = true
	case run.ChangeDurable:
		if w.noted != nil && e.Epoch == w.noted.GetEpoch() {
			for i, weight := range w.noted.GetWeights() {
				w.owners[[]string{"a", "b", "c", "d"}[i]] = weight
			}
			w.noted = nil
		}
	}
}

func (w *changeWatcher) saw(commands []run.Command) {
	for _, command := range commands {
		switch c := command.(type) {
		case run.Propose:
			w.proposed(c)
		case run.Note:
			if change := c.Event.GetChange(); change != nil {
				w.committed(change)
			}
		case run.Commit:
			if w.noted != nil && c.Change.GetEpoch() >= w.noted.GetEpoch() {
				w.t.Fatalf("epoch %d is told before it is on record", c.Change.GetEpoch())
			}
		}
	}
}

func (w *changeWatcher) proposed(c run.Propose) {
	if c.Change == w.change {
		return
	}
	if c.Change.GetAttempt() <= w.attempts || c.Change.GetAtNs() <= w.at || w.noted != nil {
		w.t.Fatalf("attempt %v follows attempt %d at %d; on its way to the journal: %v", c.Change, w.attempts, w.at, w.noted)
	}
	w.change, w.attempts, w.at = c.Change, c.Change.GetAttempt(), c.Change.GetAtNs()
	clear(w.acked)
}

func (w *changeWatcher) committed(change *pb.Change) {
	if change != w.change {
		w.t.Fatalf("%v was never proposed", change)
	}
	for agent, weight := range w.owners {
		if weight > 0 && !w.gone[agent] && !w.acked[agent] {
			w.t.Fatalf("%v is put on record, and %s has not acknowledged; acknowledged: %v", change, agent, slices.Collect(maps.Keys(w.acked)))
		}
	}
	w.noted = change
}
