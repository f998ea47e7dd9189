package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentrun "github.com/loadline/loadline/agent/run"
	"github.com/loadline/loadline/coordinator"
	"github.com/loadline/loadline/coordinator/fleet"
	"github.com/loadline/loadline/coordinator/ingest"
	"github.com/loadline/loadline/coordinator/run"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// TestMachinesTogether drives every state machine of a run together, without a goroutine and without
// a clock: the run, the fleet, the agents' lives and the check of window numbers, over a network that
// drops, repeats and delays messages, with agents that die. Each seed is one history; a failure names
// the seed, which replays it.
func TestMachinesTogether(t *testing.T) {
	const seeds = 300
	seen := map[pb.RunState]int{}
	faults := 0
	for seed := range uint64(seeds) {
		w := newWorld(t, seed)
		w.play()
		seen[w.ended]++
		faults += w.dropped
	}
	// A suite in which nothing ever went wrong, or everything did, has shown nothing.
	for _, state := range []pb.RunState{pb.RunState_RUN_STATE_COMPLETE, pb.RunState_RUN_STATE_PARTIAL, pb.RunState_RUN_STATE_ABORTED} {
		if seen[state] < seeds/50 {
			t.Errorf("only %d of %d runs ended %v", seen[state], seeds, state)
		}
	}
	if faults < seeds {
		t.Errorf("only %d messages were lost in %d runs", faults, seeds)
	}
}

const tickLength = int64(50 * time.Millisecond)

var machineWaits = run.Config{
	Prepare: 30 * time.Second, StartAhead: time.Second, Load: 10 * time.Second, Drain: 2 * time.Second,
	Grace: 10 * time.Second, JournalPatience: 15 * time.Second,
}

// world is a coordinator and its agents on one simulated clock.
type world struct {
	t       *testing.T
	seed    uint64
	random  *rand.Rand
	now     int64
	queue   []message
	loss    float64
	dropped int
	fleet   *fleet.Fleet
	run     *run.Machine
	agents  map[string]*simAgent
	names   []string
	roster  []string // those of the run
	ended   pb.RunState
}

// message is delivered at an instant, unless it was lost.
type message struct {
	at      int64
	deliver func()
}

// simAgent is an agent's machine with the little of its shell that matters here.
type simAgent struct {
	name     string
	machine  *agentrun.Machine
	dead     bool
	lease    int64
	playing  bool
	playFrom int64
	stopped  int64 // when its load was stopped; 0: not
	windows  uint64
	totals   bool
	acked    uint64
	done     bool
	taken    ingest.Sequence // at the coordinator
	count    uint64          // windows taken as fresh there
	stored   bool            // totals taken there
	ready    bool
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 7)), fleet: fleet.New(fleet.Config{Lease: coordinator.LeaseLength}),
		agents: map[string]*simAgent{},
	}
	w.loss = []float64{0, 0.02, 0.2}[seed%3]
	for i := range 1 + w.random.IntN(5) {
		a := &simAgent{name: fmt.Sprint("a", i)}
		machine, commands := agentrun.New()
		a.machine = machine
		w.agents[a.name], w.names = a, append(w.names, a.name)
		w.carryOutAgent(a, commands)
	}
	return w
}

// send delivers after a random delay; it may lose the message or deliver it twice.
func (w *world) send(deliver func()) {
	for range 1 + w.random.IntN(2)*w.random.IntN(2) {
		if w.random.Float64() < w.loss {
			w.dropped++
			continue
		}
		w.queue = append(w.queue, message{at: w.now + w.random.Int64N(int64(150*time.Millisecond)), deliver: deliver})
	}
}

// repeat sends an intent again and again until it is answered, as bus.Call does.
func (w *world) repeat(answered func() bool, deliver func()) {
	var try func()
	try = func() {
		if answered() || w.ended != 0 {
			return
		}
		w.send(deliver)
		w.queue = append(w.queue, message{at: w.now + int64(time.Second), deliver: try})
	}
	try()
}

// play runs the world to the end of its run.
func (w *world) play() {
	dies := map[int64]string{}
	if w.seed%5 == 1 {
		dies[tickLength*w.random.Int64N(300)] = w.names[w.random.IntN(len(w.names))]
	}
	stopAt := int64(-1)
	if w.seed%7 == 2 {
		stopAt = tickLength * w.random.Int64N(300)
	}
	for w.now = 0; w.now < int64(3*time.Minute); w.now += tickLength {
		if name, ok := dies[w.now]; ok {
			w.agents[name].dead = true
		}
		w.deliver()
		w.turn()
		if w.run != nil && w.now == stopAt {
			w.carryOut(w.run.Step(run.Stop{Mode: pb.StopMode_STOP_MODE_DRAIN, Reason: "test"}, w.now))
		}
		if w.ended != 0 {
			return
		}
	}
	w.t.Fatalf("seed %d: the run has not ended: %s", w.seed, w.run.Detail())
}

func (w *world) deliver() {
	for {
		slices.SortStableFunc(w.queue, func(a, b message) int { return int(a.at - b.at) })
		if len(w.queue) == 0 || w.queue[0].at > w.now {
			return
		}
		next := w.queue[0]
		w.queue = w.queue[1:]
		next.deliver()
	}
}

// turn is what happens by itself: renewals, ticks, windows, leases that lapse.
func (w *world) turn() {
	for _, name := range w.names {
		if a := w.agents[name]; !a.dead {
			w.turnAgent(a)
		}
	}
	for _, lost := range w.fleet.Expire(w.now) {
		if a := w.agents[lost.Info.GetName()]; a.playing && a.stopped == 0 && !a.dead && w.now < a.lease {
			w.t.Fatalf("seed %d: %s is declared lost while it may start requests", w.seed, a.name)
		}
		w.event(run.Lost{Agent: lost.Info.GetName(), Why: "lease"})
	}
	if w.run == nil && (len(w.fleet.Agents()) == len(w.names) || w.now > int64(5*time.Second)) && len(w.fleet.Agents()) > 0 {
		for _, a := range w.fleet.Agents() {
			w.roster = append(w.roster, a.Info.GetName())
		}
		machine, commands := run.New(machineWaits, w.roster, w.now)
		w.run = machine
		w.carryOut(commands)
	}
	w.event(run.Tick{})
}

func (w *world) turnAgent(a *simAgent) {
	if w.now%int64(time.Second) == 0 && a.machine.Incarnation() != 0 {
		w.renew(a)
		w.resend(a)
	}
	if a.playing && w.now >= a.playFrom {
		over := w.now >= a.playFrom+int64(machineWaits.Load) || a.stopped != 0 && w.now > a.stopped+int64(time.Second)
		if (w.now-a.playFrom)%int64(time.Second) == 0 || over {
			a.windows++
		}
		if over {
			a.playing = false
			w.stepAgent(a, agentrun.LoadOver{Run: "r"})
		}
	}
	w.stepAgent(a, agentrun.Tick{})
}

func (w *world) renew(a *simAgent) {
	asked, incarnation := w.now, a.machine.Incarnation()
	w.send(func() {
		refusal := w.fleet.Renew(a.name, incarnation, nil, w.now)
		w.send(func() {
			if refusal == "" {
				w.stepAgent(a, agentrun.Renewed{Incarnation: incarnation, Asked: asked})
			} else {
				w.stepAgent(a, agentrun.LeaseRefused{Incarnation: incarnation, Why: refusal})
			}
		})
	})
}

// resend is the uplink: what is not acknowledged goes up again, in order, and the totals after it.
func (w *world) resend(a *simAgent) {
	upTo, totals := a.windows, a.totals
	if a.acked == upTo && (!totals || a.done) {
		return
	}
	w.send(func() {
		for n := a.acked + 1; n <= upTo; n++ {
			switch a.taken.Offer(n) {
			case ingest.Fresh:
				a.count++
			case ingest.Gap, ingest.Late:
				w.t.Fatalf("seed %d: window %d of %s does not follow", w.seed, n, a.name)
			}
		}
		if totals && !a.stored {
			a.stored = true
			w.event(run.Totals{Agent: a.name})
		}
		acked := a.count
		w.send(func() {
			a.acked = max(a.acked, acked)
			if a.totals && a.acked == a.windows && a.stored && !a.done {
				a.done = true
				w.stepAgent(a, agentrun.Flushed{Run: "r"})
			}
		})
	})
}

func (w *world) event(e run.Event) {
	if w.run != nil {
		w.carryOut(w.run.Step(e, w.now))
	}
}

func (w *world) stepAgent(a *simAgent, e agentrun.Event) {
	if !a.dead {
		w.carryOutAgent(a, a.machine.Step(e, w.now))
	}
}

func (w *world) carryOutAgent(a *simAgent, commands []agentrun.Command) {
	for _, command := range commands {
		switch c := command.(type) {
		case agentrun.Register:
			w.repeat(func() bool { return a.machine.State() != agentrun.Joining || a.dead }, func() { w.register(a) })
		case agentrun.Grant:
			a.lease = c.Until
		case agentrun.Prepare:
			w.queue = append(w.queue, message{at: w.now + int64(200*time.Millisecond), deliver: func() {
				w.stepAgent(a, agentrun.Prepared{Run: "r"})
			}})
		case agentrun.Report:
			w.report(a, c)
		case agentrun.Play:
			a.playing, a.playFrom = true, (c.At+tickLength-1)/tickLength*tickLength
			for _, other := range w.roster {
				if !w.agents[other].ready {
					w.t.Fatalf("seed %d: %s plays and %s was never ready", w.seed, a.name, other)
				}
			}
		case agentrun.StopLoad:
			a.stopped = w.now
		case agentrun.Flush:
			a.totals = true
		case agentrun.Forget:
			a.playing = false
		}
	}
}

func (w *world) register(a *simAgent) {
	asked := w.now
	info := pb.AgentInfo_builder{Name: a.name, Protocol: fleet.Protocol, Cores: 1}.Build()
	incarnation, refusal := w.fleet.Register(info, uint64(len(a.name)), w.now)
	if refusal == "" {
		w.send(func() {
			w.stepAgent(a, agentrun.Registered{Incarnation: incarnation, Lease: coordinator.LeaseLength, Asked: asked})
		})
	}
}

// report repeats an agent's change of state until the coordinator has it.
func (w *world) report(a *simAgent, c agentrun.Report) {
	heard := false
	w.repeat(func() bool { return heard || a.dead }, func() {
		heard = true
		switch c.State {
		case pb.AgentState_AGENT_STATE_READY:
			a.ready = true
			w.event(run.Ready{Agent: a.name})
		case pb.AgentState_AGENT_STATE_DONE:
			w.event(run.Done{Agent: a.name})
		}
	})
}

func (w *world) carryOut(commands []run.Command) {
	for _, command := range commands {
		switch c := command.(type) {
		case run.Assign:
			w.order(c.Agent, agentrun.Assigned{Assignment: pb.Assignment_builder{
				RunId: "r", Digest: []byte("d"), ExpiresTime: timestamppb.New(time.Unix(1000, 0)),
			}.Build(), Time: time.Unix(0, 0)})
		case run.Start:
			w.order(c.Agent, agentrun.Started{Run: "r", At: c.At})
		case run.StopAgent:
			w.order(c.Agent, agentrun.Stopped{Run: "r", Mode: c.Mode})
		case run.Reconcile:
			w.event(run.Reconciled{Complete: w.whole()})
		case run.Finish:
			w.finish(c.State)
		}
	}
}

// order repeats an intent until it has arrived once.
func (w *world) order(name string, e agentrun.Event) {
	a, heard := w.agents[name], false
	w.repeat(func() bool { return heard || a.dead }, func() {
		heard = true
		w.stepAgent(a, e)
	})
}

// whole is the ledger: every window that an agent made was taken, once.
func (w *world) whole() bool {
	for _, name := range w.roster {
		if a := w.agents[name]; !a.stored || a.count != a.windows {
			return false
		}
	}
	return true
}

func (w *world) finish(state pb.RunState) {
	w.ended = state
	if state != pb.RunState_RUN_STATE_COMPLETE {
		return
	}
	for _, name := range w.roster {
		if a := w.agents[name]; a.count != a.windows || !a.stored {
			w.t.Fatalf("seed %d: complete, and %s made %d windows of which %d came", w.seed, name, a.windows, a.count)
		}
	}
}
