package torture

import (
	"time"

	agentrun "github.com/loadline/loadline/agent/run"
	"github.com/loadline/loadline/coordinator/fleet"
	"github.com/loadline/loadline/coordinator/run"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// simAgent is an agent's machine with the part of its shell that matters here. A process that dies and begins anew is
// another life of the same name.
type simAgent struct {
	w       *world
	name    string
	life    int
	dead    bool
	asleep  int64 // true time until which the process is stopped; 0: it runs
	offset  int64 // its clock − true time at the beginning
	drift   float64
	nonce   uint64
	machine *agentrun.Machine
	lease   int64 // on its clock
	parts   map[agentrun.Part]*simPart
	clock   *pb.ClockSample
}

// addAgent begins a process of that name.
func (w *world) addAgent(name string, in time.Duration) *simAgent {
	a := &simAgent{
		w: w, name: name, offset: int64(20*time.Second) + int64(w.between(-5*time.Second, 5*time.Second)),
		drift: (w.random.Float64()*2 - 1) * 200e-6, nonce: w.random.Uint64() | 1, parts: map[agentrun.Part]*simPart{},
	}
	for _, other := range w.agents {
		if other.name == name {
			a.life = max(a.life, other.life+1)
		}
	}
	w.agents = append(w.agents, a)
	w.after(in, func() {
		machine, commands := agentrun.New()
		a.machine = machine
		a.carryOut(commands)
		a.every(100*time.Millisecond, func() { a.step(agentrun.Tick{}) })
		a.every(renewEvery, func() { a.renew(false) })
		a.after(500*time.Millisecond, func() { a.every(renewEvery, func() { a.renew(true) }) })
		a.every(time.Second, a.uplink)
	})
	return a
}

// own is the agent's clock.
func (a *simAgent) own() int64 {
	return a.w.now + a.offset + int64(float64(a.w.now)*a.drift)
}

// instant is the true time at which the agent's clock shows at, or a little later.
func (a *simAgent) instant(at int64) int64 {
	return int64(float64(at-a.offset)/(1+a.drift)) + 2
}

// at does something when the process runs: at an instant, or as soon as it has woken up after it.
func (a *simAgent) at(at int64, do func()) {
	a.w.at(at, func() {
		switch {
		case a.dead:
		case a.w.now < a.asleep:
			a.at(a.asleep, do)
		default:
			do()
		}
	})
}

func (a *simAgent) after(d time.Duration, do func()) { a.at(a.w.now+int64(d), do) }

func (a *simAgent) every(d time.Duration, do func()) {
	a.after(d, func() {
		do()
		a.every(d, do)
	})
}

// ask sends a request to the coordinator and takes its answer; either may be lost.
func (a *simAgent) ask(stream bool, request func(*simCoordinator) func()) {
	a.w.net.send(way{a.name, true, stream}, func() {
		c := a.w.coord
		if c == nil {
			return
		}
		if answer := request(c); answer != nil {
			a.w.net.send(way{a.name, false, stream}, func() { a.after(0, answer) })
		}
	})
}

// repeat asks again and again until that is done.
func (a *simAgent) repeat(done func() bool, try func()) {
	if done() || a.dead {
		return
	}
	try()
	a.after(time.Second, func() { a.repeat(done, try) })
}

func (a *simAgent) step(e agentrun.Event) []agentrun.Command {
	if a.dead || a.machine == nil {
		return nil
	}
	commands := a.machine.Step(e, a.own())
	if _, tick := e.(agentrun.Tick); len(commands) > 0 || !tick {
		a.w.tell("%s.%d  %T%v → %T%v", a.name, a.life, e, e, commands, commands)
	}
	a.carryOut(commands)
	return commands
}

func (a *simAgent) carryOut(commands []agentrun.Command) {
	for _, command := range commands {
		switch c := command.(type) {
		case agentrun.Register:
			a.repeat(func() bool { return a.machine.State() != agentrun.Joining && !a.joining(c.Held) }, func() { a.register(c.Held) })
		case agentrun.Grant:
			a.lease = c.Until
		case agentrun.Prepare:
			a.prepare(c)
		case agentrun.Report:
			a.report(c)
		case agentrun.Depart:
			a.depart()
		default:
			a.carryOutPart(command)
		}
	}
}

// joining reports whether the machine still waits for its registration: its lease is void.
func (a *simAgent) joining(uint64) bool { return a.machine.LeaseUntil() == 0 }

// carryOutPart carries out what is about one part.
func (a *simAgent) carryOutPart(command agentrun.Command) {
	switch c := command.(type) {
	case agentrun.Play:
		a.parts[c.Part].play(c.At)
	case agentrun.Hold:
		a.parts[c.Part].hold(c.Change.GetAtNs())
	case agentrun.Apply:
		a.parts[c.Part].apply(c.Change)
	case agentrun.Pause:
		a.w.saw("lease lapsed")
		a.parts[c.Part].paused = true
	case agentrun.Resume:
		a.w.saw("went on after a lapse")
		a.parts[c.Part].resume()
	case agentrun.StopLoad:
		a.parts[c.Part].stop()
	case agentrun.Flush:
		a.parts[c.Part].finish()
	case agentrun.Forget:
		delete(a.parts, c.Part)
	}
}

// register asks for an incarnation.
func (a *simAgent) register(held uint64) {
	asked, nonce := a.own(), a.nonce
	info := pb.AgentInfo_builder{Name: a.name, Protocol: fleet.Protocol, Cores: 1}.Build()
	a.ask(false, func(c *simCoordinator) func() {
		received := a.w.now
		incarnation, refusal := c.fleet.Register(info, nonce, held, received)
		if refusal != "" {
			return nil
		}
		return func() {
			a.remember(asked, received)
			if old := a.machine.Incarnation(); old != 0 && incarnation > old && a.parts[agentrun.Part{Run: "r", Incarnation: old}] != nil {
				a.w.oracle.reborn[run.ID{Agent: a.name, Incarnation: old}] = a.w.now
				a.w.saw("went on as another")
			}
			a.step(agentrun.Registered{Incarnation: incarnation, Lease: leaseLength, Asked: asked})
			a.renew(false)
		}
	})
}

func (a *simAgent) remember(asked, received int64) {
	a.clock = pb.ClockSample_builder{SentNs: asked, ReceivedNs: received, RepliedNs: received, ReturnedNs: a.own()}.Build()
}

// renew asks for another lease and takes what comes with it.
func (a *simAgent) renew(stream bool) {
	if a.machine.Incarnation() == 0 || a.machine.LeaseUntil() == 0 {
		return
	}
	asked := a.own()
	epoch, attempt, applied, runNS := a.machine.Progress(asked)
	request := pb.RenewRequest_builder{
		Agent: a.name, Incarnation: a.machine.Incarnation(), RunId: a.machine.Part().Run, Clock: a.clock, RunNs: runNS,
		AcknowledgedEpoch: epoch, AcknowledgedAttempt: attempt, AppliedEpoch: applied, Leaving: a.machine.Leaving(),
	}.Build()
	a.ask(stream, func(c *simCoordinator) func() {
		received := a.w.now
		reply := c.renew(request)
		return func() {
			a.remember(asked, received)
			a.renewed(request, reply, asked)
		}
	})
}

// renewed takes the changes first: what is played goes on only as it is owned by now.
func (a *simAgent) renewed(q *pb.RenewRequest, r *pb.RenewResponse, asked int64) {
	part := agentrun.Part{Run: q.GetRunId(), Incarnation: q.GetIncarnation()}
	if !r.GetGranted() {
		a.step(agentrun.LeaseRefused{Incarnation: q.GetIncarnation(), Why: r.GetRefusal()})
		return
	}
	if r.GetStop() != 0 && len(a.step(agentrun.Stopped{Run: q.GetRunId(), Mode: r.GetStop()})) > 0 {
		a.w.saw("stop learned from a renewal")
	}
	for _, change := range r.GetCommitted() {
		a.step(agentrun.Committed{Part: part, Change: change})
	}
	a.step(agentrun.Renewed{Incarnation: q.GetIncarnation(), Asked: asked})
	if change := r.GetProposed(); change != nil {
		a.propose(part, change)
	}
}

// propose tells the machine of a proposal and the coordinator of its answer.
func (a *simAgent) propose(part agentrun.Part, change *pb.Change) {
	if a.w.chaos.deaf && a.name == "a0" && a.life == 0 {
		a.w.saw("deaf agent")
		return
	}
	commands := a.step(agentrun.Proposed{Part: part, Change: change})
	if len(commands) == 1 {
		if _, holds := commands[0].(agentrun.Hold); holds {
			commands = a.step(agentrun.Held{Part: part, Change: change})
			a.w.acknowledged(a.parts[part], change)
		}
	}
	for _, command := range commands {
		if answer, ok := command.(agentrun.AnswerChange); ok {
			if answer.RunNS != 0 && a.w.chaos.ahead {
				a.w.saw("instant passed on a clock ahead")
			}
			a.ask(false, func(c *simCoordinator) func() {
				c.answered(part, change, answer)
				return nil
			})
		}
	}
}

// report tells the coordinator of a state until it has heard.
func (a *simAgent) report(r agentrun.Report) {
	heard := false
	a.repeat(func() bool { return heard }, func() {
		a.ask(false, func(c *simCoordinator) func() {
			c.reported(a, r)
			return func() { heard = true }
		})
	})
}

// prepare gets ready, unless this is the agent that never does.
func (a *simAgent) prepare(c agentrun.Prepare) {
	a.parts[c.Part] = newPart(a, c)
	if a.w.chaos.absent && a.name == "a0" && a.life == 0 {
		return
	}
	a.after(a.w.between(20*time.Millisecond, 2*time.Second), func() { a.step(agentrun.Prepared{Part: c.Part}) })
}

// depart ends the process in good order.
func (a *simAgent) depart() {
	a.w.saw("agent left")
	name, incarnation := a.name, a.machine.Incarnation()
	a.ask(false, func(c *simCoordinator) func() {
		c.fleet.Leave(name, incarnation, true)
		return nil
	})
	a.after(3*time.Second, func() { a.dead = true })
}
