package run

import (
	"fmt"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// arrived reports whether the agent is at the start barrier, or left out.
func (a *member) arrived() bool { return a.ready || a.out }

func (m *Machine) assigned(e Assigned, now int64) []Command {
	if e.Refusal == "" {
		return nil // taken on; Ready or Failed follows
	}
	return m.failed(e.ID, e.Refusal, now)
}

func (m *Machine) readied(e Ready, now int64) []Command {
	a := m.find(e.ID)
	if a == nil || a.ready || a.out {
		return nil
	}
	if m.state != Preparing {
		a.ready = true
		return m.propose(now) // one that joins late
	}
	if m.pending != nil {
		return nil // too late: the run begins without it
	}
	a.ready = true
	if len(m.without((*member).arrived)) == 0 {
		return m.fixStart(now)
	}
	if m.config.Min > 0 && m.present() >= m.config.Min {
		m.barrier = now + int64(m.config.Barrier)
	}
	return nil
}

// present is the number of agents at the barrier.
func (m *Machine) present() int {
	n := 0
	for _, a := range m.members {
		if a.ready && !a.out {
			n++
		}
	}
	return n
}

// barrierAt is when those at the barrier start without the rest; 0: they do not.
func (m *Machine) barrierAt() int64 {
	if m.state != Preparing || m.pending != nil || m.present() < m.config.Min {
		return 0
	}
	return m.barrier
}

// startWithout starts the run with those that are ready: a change that governs it from the first arrival on gives
// the shares of the others to them.
func (m *Machine) startWithout(now int64) []Command {
	var commands []Command
	for _, a := range m.without((*member).arrived) {
		commands = append(commands, m.leaveOut(a, fmt.Sprintf("not ready %v after the others", m.config.Barrier), now)...)
	}
	return append(commands, m.reweigh(now)...)
}

// leaveOut takes an agent out of a run that has not begun.
func (m *Machine) leaveOut(a *member, why string, now int64) []Command {
	a.out = true
	return []Command{
		noteAgent(pb.RunEventKind_RUN_EVENT_KIND_AGENT_FAILED, a.ID, why, now),
		StopAgent{ID: a.ID, Mode: pb.StopMode_STOP_MODE_NOW, Reason: "the run begins without this agent: " + why},
	}
}

// reweigh puts the change on record that leaves members out from the beginning on. Nobody has started, so nobody needs
// to acknowledge it.
func (m *Machine) reweigh(now int64) []Command {
	change := pb.Change_builder{
		Epoch: m.epoch + 1, Attempt: 1, Revision: m.revision, Weights: m.targets(nil),
		Reason: "left out at the start: " + names(m.without(func(a *member) bool { return !a.out })),
	}.Build()
	m.pending = &pending{change: change, noted: true}
	return []Command{noteChange(change, now)}
}

// fixStart puts the start instant on record, first the change that leaves members out.
func (m *Machine) fixStart(now int64) []Command {
	if m.epoch == planned && len(m.without(func(a *member) bool { return !a.out })) > 0 {
		return m.reweigh(now)
	}
	if len(m.without((*member).accounted)) == 0 {
		return m.giveUp("every agent was lost before the start", now)
	}
	m.state, m.start, m.deadline = Running, now+int64(m.config.StartAhead), 0
	for _, a := range m.members {
		a.needs = m.epoch
	}
	m.setDeadline()
	return []Command{Note{Event: pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_STARTED}.Build(), At: m.start}}
}

func (m *Machine) setDeadline() {
	m.deadline = 0
	if m.config.Load > 0 {
		m.deadline = m.start + int64(m.config.Load)
	}
}

// starts tells the start to everyone who may begin and was not told yet.
func (m *Machine) starts() []Command {
	var commands []Command
	for _, a := range m.members {
		if m.fixed && a.ready && !a.sent && !a.accounted() && a.applied >= a.needs && m.stop == pb.StopMode_STOP_MODE_UNSPECIFIED {
			a.sent, a.told = true, true
			commands = append(commands, Start{ID: a.ID, At: m.start})
		}
	}
	return commands
}

// failed handles an agent that cannot play its part. Before the start the run goes on without it if the scenario
// allows for fewer agents, else it is given up: a load that is not the one asked for would be measured. One that has
// not begun holds nothing; of one that has, only the lapse of its lease proves that it has stopped.
func (m *Machine) failed(id ID, why string, now int64) []Command {
	a := m.find(id)
	switch {
	case a == nil || a.accounted():
		return nil
	case m.state != Preparing && a.told:
		return m.deny(a, why)
	case m.state != Preparing || m.pending != nil:
		return m.lost(Lost{id, why}, now)
	}
	if m.config.Min == 0 || len(m.without(func(a *member) bool { return a.out })) <= m.config.Min {
		note := noteAgent(pb.RunEventKind_RUN_EVENT_KIND_AGENT_FAILED, id, why, now)
		return append([]Command{note}, m.giveUp(fmt.Sprintf("agent %s cannot play its part: %s", id.Agent, why), now)...)
	}
	commands := m.leaveOut(a, why, now)
	if len(m.without((*member).arrived)) == 0 {
		return append(commands, m.fixStart(now)...)
	}
	return commands
}

func (m *Machine) started(e Started) []Command {
	a := m.find(e.ID)
	switch {
	case a == nil || m.state == Preparing || a.accounted():
		return nil
	case e.Refusal != "":
		return m.deny(a, "did not start: "+e.Refusal)
	}
	return nil
}
