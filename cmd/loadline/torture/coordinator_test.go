package torture

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentrun "github.com/loadline/loadline/agent/run"
	"github.com/loadline/loadline/coordinator/fleet"
	"github.com/loadline/loadline/coordinator/run"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// simCoordinator is the coordinator's machines with the part of its shell that matters here. Its clock is true time.
type simCoordinator struct {
	w       *world
	fleet   *fleet.Fleet
	machine *run.Machine // nil: the run has not begun
	course  *schedule.Course
	ledger  *ledger
	start   int64
	ticking int64 // when a tick is planned; 0: none is
	opened  int64 // when it began to wait for agents
}

// newCoordinator begins a process, with what the journal holds.
func newCoordinator(w *world, records []simRecord) *simCoordinator {
	c := &simCoordinator{w: w, fleet: fleet.New(fleet.Config{Lease: leaseLength}), opened: w.now, ledger: newLedger()}
	w.coord = c
	if len(records) > 0 && records[0].roster != nil {
		c.restore(records)
	}
	c.expire()
	return c
}

func (c *simCoordinator) alive() bool { return c.w.coord == c && c.w.ended == 0 }

func (c *simCoordinator) describe() string {
	if c == nil || c.machine == nil {
		return "it has not begun"
	}
	return fmt.Sprintf("state %d: %s", c.machine.State(), c.machine.Detail())
}

func (c *simCoordinator) config() run.Config {
	config := simWaits
	config.Min = c.w.chaos.min
	config.Check = func(change *pb.Change) error {
		_, err := c.course.Apply(change)
		return err
	}
	return config
}

// expire looks at the leases four times a second, and begins the run once agents are there.
func (c *simCoordinator) expire() {
	if !c.alive() {
		return
	}
	for _, lost := range c.fleet.Expire(c.w.now) {
		id := run.ID{Agent: lost.Info.GetName(), Incarnation: lost.Incarnation}
		c.w.oracle.lost[id] = true
		if c.machine != nil && c.machine.State() == run.Running {
			c.w.oracle.mourned[id] = c.w.now
		}
		c.w.saw("lease given up")
		c.step(run.Lost{ID: id, Why: "lease"})
	}
	if c.machine == nil && c.w.now > c.opened+int64(3*time.Second) {
		c.begin()
	}
	c.w.after(250*time.Millisecond, c.expire)
}

// begin plans the run on the agents that are there.
func (c *simCoordinator) begin() {
	var roster []run.Member
	for _, a := range c.fleet.Select(nil, 0) {
		if _, _, ok := c.fleet.Clock(a.Info.GetName(), c.w.now); ok {
			roster = append(roster, run.Member{ID: run.ID{Agent: a.Info.GetName(), Incarnation: a.Incarnation}, Weight: uint32(1 + len(roster)%3)})
		}
	}
	if len(roster) == 0 {
		if c.w.now > c.opened+int64(agentWait) {
			c.w.ended = pb.RunState_RUN_STATE_ABORTED // nobody is there
		}
		return
	}
	c.plan(roster)
	c.w.disk.append(c.w, simRecord{roster: roster}, nil)
	machine, commands := run.New(c.config(), roster, c.w.now)
	c.machine = machine
	c.carryOut(commands)
	c.tick()
}

func (c *simCoordinator) plan(roster []run.Member) {
	weights := make([]uint32, len(roster))
	c.ledger.roster = nil
	for i, m := range roster {
		weights[i] = m.Weight
		c.ledger.join(m.ID)
	}
	c.course = schedule.NewCourse(c.w.base, weights)
}

// restore takes the run up from the journal.
func (c *simCoordinator) restore(records []simRecord) {
	h := run.History{Generation: 1}
	roster := records[0].roster
	c.plan(roster)
	for _, r := range records[1:] {
		switch {
		case r.event != nil:
			h.Events = append(h.Events, r.event)
			h.Generation += c.replay(r)
		default:
			c.ledger.add(r)
			if r.totals != nil {
				h.Totals = append(h.Totals, r.id)
			}
		}
	}
	h.Start = c.start
	c.w.disk.append(c.w, simRecord{event: pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_RESUMED}.Build()}, nil)
	c.w.disk.sync()
	config := c.config()
	config.Load = time.Duration(c.course.End())
	for _, id := range c.ledger.roster {
		if !c.ledger.entry(id).gone {
			c.fleet.Restore(id.Agent, id.Incarnation, c.w.chaos.hold, c.w.now)
			delete(c.w.oracle.lost, id)
		}
	}
	machine, commands := run.Restore(config, roster, h, c.w.now)
	c.machine = machine
	c.w.saw("coordinator took the run up")
	c.carryOut(commands)
	c.tick()
}

// replay takes an event of the journal on and says by how much it raises the generation.
func (c *simCoordinator) replay(r simRecord) uint32 {
	e := r.event
	switch e.GetKind() {
	case pb.RunEventKind_RUN_EVENT_KIND_RESUMED:
		return 1
	case pb.RunEventKind_RUN_EVENT_KIND_STARTED:
		c.start = r.at
	case pb.RunEventKind_RUN_EVENT_KIND_CHANGED:
		c.change(e.GetChange())
	case pb.RunEventKind_RUN_EVENT_KIND_AGENT_LOST, pb.RunEventKind_RUN_EVENT_KIND_AGENT_FAILED:
		c.ledger.entry(run.ID{Agent: e.GetAgent(), Incarnation: e.GetIncarnation()}).gone = true
	}
	return 0
}

// change puts a change that is on record in force here.
func (c *simCoordinator) change(change *pb.Change) {
	course, err := c.course.Apply(change)
	if err != nil {
		c.w.broken("a change on record does not fit: %v", err)
		return
	}
	c.course = course
	for _, m := range change.GetJoined() {
		c.ledger.join(run.ID{Agent: m.GetAgent(), Incarnation: m.GetIncarnation()})
	}
}

func (c *simCoordinator) step(e run.Event) {
	if c.machine == nil || !c.alive() {
		return
	}
	before := c.machine.State()
	commands := c.machine.Step(e, c.w.now)
	c.w.oracle.stepped(c, e, before)
	if len(commands) > 0 {
		c.w.tell("coordinator  %T%v → %T%v", e, e, commands, commands)
	}
	c.carryOut(commands)
	c.tick()
}

// tick plans the machine's next deadline.
func (c *simCoordinator) tick() {
	at := c.machine.Deadline()
	if at == 0 || c.ticking != 0 && c.ticking <= at && c.ticking > c.w.now {
		return
	}
	at = max(at, c.w.now+int64(time.Millisecond))
	c.ticking = at
	c.w.at(at, func() {
		if c.alive() {
			c.step(run.Tick{})
		}
	})
}

func (c *simCoordinator) carryOut(commands []run.Command) {
	for _, command := range commands {
		switch x := command.(type) {
		case run.Note:
			c.note(x)
		case run.Deny:
			c.w.oracle.denied(x)
			c.fleet.Deny(x.Agent, x.Incarnation, x.Why)
		case run.Adjusted:
			c.w.oracle.adjusted(x)
		case run.Reconcile:
			missing := c.ledger.missing(c.course)
			c.step(run.Reconciled{Complete: len(missing) == 0, Missing: missing})
		case run.Finish:
			c.w.ended = x.State
		default:
			c.send(command)
		}
	}
}

// note appends an event and tells the machine once it is synced, if it waits for that.
func (c *simCoordinator) note(n run.Note) {
	kind := n.Event.GetKind()
	if kind == pb.RunEventKind_RUN_EVENT_KIND_STARTED {
		c.start = n.At
	}
	c.w.disk.append(c.w, simRecord{event: n.Event, at: n.At}, func() {
		switch kind {
		case pb.RunEventKind_RUN_EVENT_KIND_STARTED:
			c.step(run.StartDurable{})
		case pb.RunEventKind_RUN_EVENT_KIND_CHANGED:
			c.change(n.Event.GetChange())
			c.step(run.ChangeDurable{Epoch: n.Event.GetChange().GetEpoch(), Load: time.Duration(c.course.End())})
		}
	})
}

// send tells an agent an order until it has answered.
func (c *simCoordinator) send(command run.Command) {
	switch x := command.(type) {
	case run.Assign:
		c.fleet.Hold(x.Agent, x.Incarnation, c.w.chaos.hold)
		assignment := c.assignment(x.ID)
		c.order(x.ID, func(a *simAgent, answer func(func())) {
			for _, command := range a.step(agentrun.Assigned{Assignment: assignment, Time: time.Unix(0, 0)}) {
				if r, ok := command.(agentrun.AnswerAssign); ok {
					answer(func() { c.step(run.Assigned{ID: x.ID, Refusal: r.Refusal}) })
				}
			}
		}, nil)
	case run.Start:
		c.begins(x)
	case run.Propose:
		c.order(x.ID, func(a *simAgent, _ func(func())) { a.propose(part(x.ID), x.Change) },
			func() bool { return c.machine.Proposed(x.ID) != x.Change })
	case run.Commit:
		c.order(x.ID, func(a *simAgent, answer func(func())) {
			for _, command := range a.step(agentrun.Committed{Part: part(x.ID), Change: x.Change}) {
				if r, ok := command.(agentrun.AnswerChange); ok && r.Refusal == "" {
					answer(func() { c.step(run.Applied{ID: x.ID, Epoch: x.Change.GetEpoch()}) })
				}
			}
		}, nil)
	case run.StopAgent:
		c.order(x.ID, func(a *simAgent, answer func(func())) {
			a.step(agentrun.Stopped{Run: "r", Mode: x.Mode})
			answer(func() {})
		}, nil)
	}
}

func part(id run.ID) agentrun.Part { return agentrun.Part{Run: "r", Incarnation: id.Incarnation} }

func (c *simCoordinator) assignment(id run.ID) *pb.Assignment {
	a := pb.Assignment_builder{
		RunId: "r", Digest: []byte("d"), Incarnation: id.Incarnation, Hold: durationpb.New(c.w.chaos.hold),
		ExpiresTime: timestamppb.New(time.Unix(1000, 0)), Changes: c.machineChanges(),
	}
	for i, m := range c.w.disk.roster() {
		if m.ID == id {
			a.Member = uint32(i)
		}
		a.Members = append(a.Members, pb.Member_builder{Agent: m.Agent, Incarnation: m.Incarnation, Weight: m.Weight}.Build())
	}
	return a.Build()
}

func (c *simCoordinator) machineChanges() []*pb.Change {
	if c.machine == nil {
		return nil
	}
	return c.machine.Committed()
}

// begins tells the start on the agent's own clock, once its offset is known.
func (c *simCoordinator) begins(x run.Start) {
	offset, _, ok := c.fleet.Clock(x.Agent, c.w.now)
	if !ok {
		c.w.after(100*time.Millisecond, func() {
			if c.alive() {
				c.begins(x)
			}
		})
		return
	}
	c.order(x.ID, func(a *simAgent, answer func(func())) {
		for _, command := range a.step(agentrun.Started{Part: part(x.ID), Epoch: 1, At: x.At - offset}) {
			if r, ok := command.(agentrun.AnswerStart); ok {
				answer(func() { c.step(run.Started{ID: x.ID, Refusal: r.Refusal}) })
			}
		}
	}, nil)
}

// order delivers something to the living process of that name until it has answered; done may end it earlier.
func (c *simCoordinator) order(id run.ID, deliver func(a *simAgent, answer func(func())), done func() bool) {
	answered := false
	var try func()
	try = func() {
		if answered || !c.alive() || done != nil && done() || c.w.oracle.lost[id] {
			return
		}
		c.w.net.send(way{id.Agent, false, false}, func() {
			a := c.w.living(id.Agent)
			if a == nil {
				return
			}
			a.after(0, func() {
				if a.machine == nil {
					return
				}
				deliver(a, func(then func()) {
					c.w.net.send(way{id.Agent, true, false}, func() {
						if c.alive() && !answered {
							answered = true
							then()
						}
					})
				})
			})
		})
		c.w.after(time.Second, try)
	}
	try()
}

// living is the process of that name; nil: there is none.
func (w *world) living(name string) *simAgent {
	for _, a := range w.agents {
		if a.name == name && !a.dead {
			return a
		}
	}
	return nil
}
