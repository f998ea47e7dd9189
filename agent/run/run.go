// Package run is an agent's life as a state machine: join, prepare, start, change, lapse, hand over, drain, leave.
// It does no I/O and knows no clock; now is the agent's time in nanoseconds, on a clock that never
// runs backwards and counts the time that the machine sleeps.
//
//	joining ──► idle ──assigned──► preparing ──► ready ──start──► playing ──► flushing ──► idle
//	                                                   lease lapses │  ▲ granted again
//	                                                                ▼  │
//	                                                               paused
//
// It keeps these promises in every sequence of events: no request starts without a valid lease or after a stop, nothing
// starts that an acknowledged change may have given to another, and a run is forgotten only once its totals are
// acknowledged or nobody wants them.
package run

import (
	"fmt"
	"slices"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Patience is how long results are kept for a coordinator that does not answer, as they are by the uplink's spool.
const Patience = 15 * time.Minute

// State is what the agent is doing.
type State int

// The states.
const (
	// Joining: not registered, or the lease was refused.
	Joining State = iota + 1
	// Idle: registered, no run.
	Idle
	// Preparing: reads files and finds secrets for a run.
	Preparing
	// Ready: waits for the start.
	Ready
	// Playing: the start instant is fixed; arrivals are played until the load is over.
	Playing
	// Flushing: nothing in flight; the last windows and totals wait for their acknowledgement.
	Flushing
)

// Machine is one agent. New makes one. It is not safe for concurrent use.
type Machine struct {
	incarnation uint64
	joining     bool // not registered, or registering anew
	lease       time.Duration
	until       int64 // the lease is valid before this instant
	leaving     bool
	parts       []*part // those of older incarnations first; at most one is of the present one
}

// New makes an agent that wants to join, and the command that begins it.
func New() (*Machine, []Command) {
	return &Machine{joining: true}, []Command{Register{}}
}

// present is the part of the present incarnation; nil: none.
func (m *Machine) present() *part {
	if n := len(m.parts); n > 0 && m.parts[n-1].Incarnation == m.incarnation {
		return m.parts[n-1]
	}
	return nil
}

// find is the part; an incarnation of 0 means the present one.
func (m *Machine) find(id Part) *part {
	if p := m.present(); id.Incarnation == 0 && p != nil && p.Run == id.Run {
		return p
	}
	for _, p := range m.parts {
		if p.Part == id {
			return p
		}
	}
	return nil
}

// State is the present state.
func (m *Machine) State() State {
	switch p := m.present(); {
	case p != nil:
		return p.state
	case m.joining:
		return Joining
	default:
		return Idle
	}
}

// Part is what the agent plays under its present incarnation; the zero value: nothing.
func (m *Machine) Part() Part {
	if p := m.present(); p != nil {
		return p.Part
	}
	return Part{}
}

// Incarnation is the number of the agent's registration; 0: none.
func (m *Machine) Incarnation() uint64 { return m.incarnation }

// LeaseUntil is the instant from which on nothing may be started without another renewal.
func (m *Machine) LeaseUntil() int64 { return m.until }

// Leaving reports whether the agent wants to go.
func (m *Machine) Leaving() bool { return m.leaving }

// Progress is what a renewal tells of the present part: the change that is acknowledged, the epoch in force, and the
// run's clock; all 0: there is none.
func (m *Machine) Progress(now int64) (epoch, attempt, applied uint32, runNS int64) {
	p := m.present()
	if p == nil {
		return 0, 0, 0, 0
	}
	if p.state == Playing {
		runNS = now - p.start
	}
	if p.acked.epoch > p.applied {
		return p.acked.epoch, p.acked.attempt, p.applied, runNS
	}
	return p.applied, 0, p.applied, runNS
}

// Step takes one event and says what must be done about it, in this order.
func (m *Machine) Step(event Event, now int64) []Command {
	switch e := event.(type) {
	case Registered:
		return m.registered(e, now)
	case Renewed:
		return m.renewed(e, now)
	case LeaseRefused:
		return m.leaseRefused(e)
	case Assigned:
		return m.assigned(e)
	case Prepared:
		return m.prepared(e)
	case Started:
		return m.started(e, now)
	case Proposed:
		return m.proposed(e, now)
	case Held:
		return m.held(e)
	case Committed:
		return m.committed(e)
	case Stopped:
		return m.stopped(e)
	case Leave:
		return m.leave()
	case LoadOver:
		return m.loadOver(e, now)
	case Overdue:
		return m.overdue(e)
	case Flushed:
		return m.flushed(e)
	case Tick:
		return m.tick(now)
	default:
		panic(fmt.Sprintf("agent/run: event %T is not known", event))
	}
}

// registered takes up an incarnation. With the one that was held before, everything goes on; with another one, what
// was played before belongs to others by now: it stops, and its results are handed over under the old number.
func (m *Machine) registered(e Registered, now int64) []Command {
	if e.Incarnation < m.incarnation {
		return nil // an answer that was long under way
	}
	var commands []Command
	old := m.present()
	if m.incarnation != e.Incarnation && old != nil {
		commands = old.supersede()
		if old.state < Playing {
			m.remove(old)
		}
	}
	m.incarnation, m.lease, m.joining = e.Incarnation, e.Lease, false
	return append(commands, m.extend(e.Asked, now)...)
}

// renewed counts the lease from the moment it was asked for: the coordinator counts it from later.
func (m *Machine) renewed(e Renewed, now int64) []Command {
	if e.Incarnation != m.incarnation || m.joining {
		return nil
	}
	return m.extend(e.Asked, now)
}

// extend makes the lease longer, never shorter, and goes on with what had paused.
func (m *Machine) extend(asked, now int64) []Command {
	length := int64(m.lease)
	p := m.present()
	if p != nil {
		length += int64(p.hold)
	}
	if asked+length <= m.until {
		return nil
	}
	m.until = asked + length
	commands := []Command{Grant{Until: m.until}}
	if p == nil || !p.paused || now >= m.until {
		return commands
	}
	p.paused = false
	if p.stop == pb.StopMode_STOP_MODE_UNSPECIFIED {
		commands = append(commands, Resume{p.Part})
	}
	return commands
}

// leaseRefused means that the coordinator has given the agent up, or is another one. Registering shows which: what is
// played pauses until then.
func (m *Machine) leaseRefused(e LeaseRefused) []Command {
	if e.Incarnation != m.incarnation || m.joining {
		return nil
	}
	m.until, m.joining = 0, true
	commands := []Command{Grant{Until: 0}}
	if p := m.present(); p != nil {
		commands = append(commands, p.pause("the coordinator refused the lease: "+e.Why)...)
	}
	return append(commands, Register{Held: m.incarnation})
}

// assigned takes an assignment on, once; a repeated one is answered as the first was.
func (m *Machine) assigned(e Assigned) []Command {
	a, p := e.Assignment, m.present()
	switch {
	case p != nil && a.GetRunId() == p.Run && string(a.GetDigest()) == p.digest:
		return []Command{AnswerAssign{}}
	case m.joining:
		return []Command{AnswerAssign{Refusal: "this agent holds no lease"}}
	case m.leaving:
		return []Command{AnswerAssign{Refusal: "this agent leaves"}}
	case p != nil:
		return []Command{AnswerAssign{Refusal: fmt.Sprintf("this agent plays run %s", p.Run)}}
	case a.GetIncarnation() != 0 && a.GetIncarnation() != m.incarnation:
		return []Command{AnswerAssign{Refusal: fmt.Sprintf("the assignment is for incarnation %d, this is %d", a.GetIncarnation(), m.incarnation)}}
	case a.GetRunId() == "":
		return []Command{AnswerAssign{Refusal: "the assignment names no run"}}
	case !e.Time.Before(a.GetExpiresTime().AsTime()):
		return []Command{AnswerAssign{Refusal: "the assignment has expired"}}
	}
	p = newPart(Part{a.GetRunId(), m.incarnation}, a)
	m.parts = append(m.parts, p)
	return []Command{AnswerAssign{}, Prepare{Part: p.Part, Assignment: a}}
}

func (m *Machine) prepared(e Prepared) []Command {
	p := m.find(e.Part)
	if p == nil || p.state != Preparing {
		return nil
	}
	if len(e.Problems) > 0 {
		m.remove(p)
		return append([]Command{Report{Part: p.Part, State: pb.AgentState_AGENT_STATE_FAILED, Problems: e.Problems}}, m.depart()...)
	}
	p.state, p.endless = Ready, e.Endless
	return []Command{Report{Part: p.Part, State: pb.AgentState_AGENT_STATE_READY}}
}

func (m *Machine) started(e Started, now int64) []Command {
	p := m.find(e.Part)
	switch {
	case p != nil && p.state >= Playing:
		return []Command{AnswerStart{}}
	case p == nil || p.state != Ready:
		return []Command{AnswerStart{Refusal: fmt.Sprintf("this agent is not ready for run %s", e.Run)}}
	case e.Epoch > p.applied:
		return []Command{AnswerStart{Refusal: fmt.Sprintf("epoch %d is not known here yet", e.Epoch)}}
	}
	p.state, p.start = Playing, e.At
	commands := []Command{AnswerStart{}, Play{Part: p.Part, At: e.At, ClockBound: e.ClockBound}}
	if now >= m.until {
		commands = append(commands, p.pause("there is no lease")...)
	}
	return commands
}

// stopped hardens a stop; it is never softened. A run that has not begun is forgotten.
func (m *Machine) stopped(e Stopped) []Command {
	var commands []Command
	for _, p := range slices.Clone(m.parts) {
		switch {
		case p.Run != e.Run:
		case p.state < Playing:
			m.remove(p)
			commands = append(commands, Forget{p.Part})
		default:
			commands = append(commands, p.stopLoad(max(e.Mode, pb.StopMode_STOP_MODE_DRAIN), e.Reason)...)
		}
	}
	return append(commands, m.depart()...)
}

func (m *Machine) loadOver(e LoadOver, now int64) []Command {
	p := m.find(e.Part)
	if p == nil || p.state != Playing {
		return nil
	}
	p.state, p.paused, p.flushing = Flushing, false, now
	return []Command{Flush{p.Part}}
}

// overdue ends a load that has paused for so long that nothing of it is left to play: nobody else will end it.
func (m *Machine) overdue(e Overdue) []Command {
	p := m.find(e.Part)
	if p == nil || !p.paused {
		return nil
	}
	return p.stopLoad(pb.StopMode_STOP_MODE_NOW, "its schedule is over, and the coordinator has not answered")
}

func (m *Machine) flushed(e Flushed) []Command {
	p := m.find(e.Part)
	if p == nil || p.state != Flushing {
		return nil
	}
	m.remove(p)
	return append([]Command{Report{Part: p.Part, State: pb.AgentState_AGENT_STATE_DONE}}, m.depart()...)
}

func (m *Machine) remove(p *part) {
	m.parts = slices.DeleteFunc(m.parts, func(q *part) bool { return q == p })
}

// leave asks the coordinator to give the share to others. What has not begun is given up at once.
func (m *Machine) leave() []Command {
	if m.leaving {
		return nil
	}
	m.leaving = true
	var commands []Command
	if p := m.present(); p != nil {
		commands = append(commands, Report{Part: p.Part, State: pb.AgentState_AGENT_STATE_LEAVING})
		if p.state < Playing {
			m.remove(p)
			commands = append(commands, Forget{p.Part})
		}
	}
	return append(commands, m.depart()...)
}

// depart ends a leaving agent once nothing keeps it.
func (m *Machine) depart() []Command {
	if !m.leaving || len(m.parts) > 0 {
		return nil
	}
	return []Command{Depart{}}
}

// tick lets the lease lapse, and ends what nobody can end any more.
func (m *Machine) tick(now int64) []Command {
	var commands []Command
	if p := m.present(); p != nil && now >= m.until {
		commands = p.pause("the lease has lapsed: the coordinator has not answered")
	}
	for _, p := range slices.Clone(m.parts) {
		commands = append(commands, m.giveUp(p, now)...)
	}
	return commands
}

// giveUp ends a part whose coordinator has not come back for as long as results are kept: a load that has no end of its own, and
// the hand-over of results. A load with an end ends by Overdue.
func (m *Machine) giveUp(p *part, now int64) []Command {
	since := p.flushing
	if p == m.present() {
		since = max(since, m.until)
	}
	if now-since < int64(Patience) {
		return nil
	}
	why := fmt.Sprintf("no coordinator has answered for %v", Patience)
	switch {
	case p.state == Flushing:
		m.remove(p)
		return append([]Command{GiveUp{Part: p.Part, Why: why}}, m.depart()...)
	case p.paused && p.endless:
		return p.stopLoad(pb.StopMode_STOP_MODE_NOW, why)
	}
	return nil
}
