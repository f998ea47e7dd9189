// Package run is an agent's life as a state machine: join, prepare, start, lapse, drain, leave.
// It does no I/O and knows no clock; now is the agent's time in nanoseconds, on a clock that never
// runs backwards.
//
//	joining ──► idle ──assigned──► preparing ──► ready ──start──► playing ──► flushing ──► idle
//
// It keeps two promises in every sequence of events: no request starts without a valid lease or
// after a stop, and a run is forgotten only once its totals are acknowledged or nobody wants them.
package run

import (
	"fmt"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

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
	state       State
	incarnation uint64
	lease       time.Duration
	until       int64 // the lease is valid before this instant
	lapsed      bool  // the lease was let lapse; arrivals have been stopped for it
	run         string
	digest      string
	stop        pb.StopMode
}

// New makes an agent that wants to join, and the command that begins it.
func New() (*Machine, []Command) {
	return &Machine{state: Joining}, []Command{Register{}}
}

// State is the present state.
func (m *Machine) State() State { return m.state }

// Run is the id of the run that the agent plays; empty: none.
func (m *Machine) Run() string { return m.run }

// Incarnation is the number of the agent's registration; 0: none.
func (m *Machine) Incarnation() uint64 { return m.incarnation }

// LeaseUntil is the instant from which on nothing may be started without another renewal.
func (m *Machine) LeaseUntil() int64 { return m.until }

// Step takes one event and says what must be done about it, in this order.
func (m *Machine) Step(event Event, now int64) []Command {
	switch e := event.(type) {
	case Registered:
		return m.registered(e)
	case Renewed:
		return m.renewed(e)
	case LeaseRefused:
		return m.leaseRefused(e)
	case Assigned:
		return m.assigned(e)
	case Prepared:
		return m.prepared(e)
	case Started:
		return m.started(e)
	case Stopped:
		return m.stopped(e)
	case LoadOver:
		return m.loadOver(e)
	case Flushed:
		return m.flushed(e)
	case Tick:
		return m.tick(now)
	default:
		panic(fmt.Sprintf("agent/run: event %T is not known", event))
	}
}

// registered takes up a new incarnation. A run of the old one goes on to its end: its windows are
// still wanted, but nothing new starts, because its shares may belong to others by now.
func (m *Machine) registered(e Registered) []Command {
	m.incarnation, m.lease, m.until = e.Incarnation, e.Lease, e.Asked+int64(e.Lease)
	if m.state == Joining {
		m.state = Idle
	}
	return []Command{Grant{Until: m.until}}
}

// renewed counts the lease from the moment it was asked for: the coordinator counts it from later.
func (m *Machine) renewed(e Renewed) []Command {
	if e.Incarnation != m.incarnation || e.Asked+int64(m.lease) <= m.until {
		return nil
	}
	m.until = e.Asked + int64(m.lease)
	return []Command{Grant{Until: m.until}}
}

// leaseRefused means that the coordinator has given the agent up, or is another one.
func (m *Machine) leaseRefused(e LeaseRefused) []Command {
	if e.Incarnation != m.incarnation || m.state == Joining {
		return nil
	}
	m.until = 0
	commands := []Command{Grant{Until: 0}}
	switch m.state {
	case Playing:
		commands = append(commands, m.lapse("the coordinator refused the lease: "+e.Why)...)
	case Preparing, Ready:
		commands = append(commands, Forget{Run: m.run})
		m.forget()
	}
	if m.state == Idle {
		m.state = Joining
	}
	return append(commands, Register{})
}

// lapse stops new arrivals; what is in flight keeps its drain time.
func (m *Machine) lapse(why string) []Command {
	if m.lapsed || m.stop != pb.StopMode_STOP_MODE_UNSPECIFIED {
		return nil
	}
	m.lapsed, m.stop = true, pb.StopMode_STOP_MODE_DRAIN
	return []Command{StopLoad{Run: m.run, Mode: m.stop, Reason: why}}
}

// assigned takes an assignment on, once; a repeated one is answered as the first was.
func (m *Machine) assigned(e Assigned) []Command {
	a := e.Assignment
	same := a.GetRunId() == m.run && string(a.GetDigest()) == m.digest
	switch {
	case m.state >= Preparing && same:
		return []Command{AnswerAssign{}}
	case m.state == Joining:
		return []Command{AnswerAssign{Refusal: "this agent holds no lease"}}
	case m.state != Idle:
		return []Command{AnswerAssign{Refusal: fmt.Sprintf("this agent plays run %s", m.run)}}
	case a.GetRunId() == "":
		return []Command{AnswerAssign{Refusal: "the assignment names no run"}}
	case !e.Time.Before(a.GetExpiresTime().AsTime()):
		return []Command{AnswerAssign{Refusal: "the assignment has expired"}}
	}
	m.state, m.run, m.digest = Preparing, a.GetRunId(), string(a.GetDigest())
	m.stop, m.lapsed = pb.StopMode_STOP_MODE_UNSPECIFIED, false
	return []Command{AnswerAssign{}, Prepare{Assignment: a}}
}

func (m *Machine) prepared(e Prepared) []Command {
	if m.state != Preparing || e.Run != m.run {
		return nil
	}
	if len(e.Problems) > 0 {
		failed := Report{Run: m.run, State: pb.AgentState_AGENT_STATE_FAILED, Problems: e.Problems}
		m.forget()
		return []Command{failed}
	}
	m.state = Ready
	return []Command{Report{Run: m.run, State: pb.AgentState_AGENT_STATE_READY}}
}

func (m *Machine) started(e Started) []Command {
	switch {
	case m.state >= Playing && e.Run == m.run:
		return []Command{AnswerStart{}}
	case m.state != Ready || e.Run != m.run:
		return []Command{AnswerStart{Refusal: fmt.Sprintf("this agent is not ready for run %s", e.Run)}}
	}
	m.state = Playing
	return []Command{AnswerStart{}, Play{Run: m.run, At: e.At}}
}

// stopped hardens a stop; it is never softened. A run that has not begun is forgotten.
func (m *Machine) stopped(e Stopped) []Command {
	if e.Run != m.run || m.run == "" {
		return nil
	}
	switch m.state {
	case Preparing, Ready:
		m.forget()
		return []Command{Forget{Run: e.Run}}
	case Playing:
		mode := max(e.Mode, pb.StopMode_STOP_MODE_DRAIN)
		if mode <= m.stop {
			return nil
		}
		m.stop = mode
		return []Command{StopLoad{Run: m.run, Mode: mode, Reason: e.Reason}}
	default:
		return nil
	}
}

func (m *Machine) loadOver(e LoadOver) []Command {
	if m.state != Playing || e.Run != m.run {
		return nil
	}
	m.state = Flushing
	return []Command{Flush{Run: m.run}}
}

func (m *Machine) flushed(e Flushed) []Command {
	if m.state != Flushing || e.Run != m.run {
		return nil
	}
	done := Report{Run: m.run, State: pb.AgentState_AGENT_STATE_DONE}
	m.forget()
	return []Command{done}
}

func (m *Machine) forget() {
	m.run, m.digest, m.stop, m.lapsed = "", "", pb.StopMode_STOP_MODE_UNSPECIFIED, false
	m.state = Idle
	if m.until == 0 {
		m.state = Joining
	}
}

// tick lets the lease lapse.
func (m *Machine) tick(now int64) []Command {
	if m.state != Playing || now < m.until {
		return nil
	}
	return m.lapse("the lease has lapsed: the coordinator has not answered")
}
