package run

import (
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// History is what the journal says of a run whose coordinator was restarted.
type History struct {
	// Start is the common instant in coordinator time; it holds if a STARTED is among the events.
	Start int64
	// Events are all that happened, in order.
	Events []*pb.RunEvent
	// Totals are the members whose totals are on record.
	Totals []ID
	// Generation counts the restarts, this one included. The shell has put a RESUMED on record for each before it made
	// the machine, so that no two have the same number.
	Generation uint32
}

// Restore makes the machine of a run that was going on when its coordinator ended, and the commands that take it up
// again. config.Load is the length of the load with all changes on record. A run that had not started is given up.
// Whether its members are alive only their leases can tell: the fleet holds each for alive until its lease would have lapsed.
func Restore(config Config, roster []Member, h History, now int64) (*Machine, []Command) {
	m := &Machine{config: config, state: Preparing}
	m.changes = newChanges(roster, h.Generation)
	for _, r := range roster {
		m.members = append(m.members, &member{Member: r, ready: true, told: true, needs: planned})
	}
	started := false
	for _, e := range h.Events {
		started = m.replay(e) || started
	}
	for _, id := range h.Totals {
		if a := m.find(id); a != nil {
			a.done, a.totals, a.over = true, true, true
		}
	}
	switch {
	case m.state == Ended:
		return m, nil
	case !started:
		return m, m.giveUp("the coordinator was restarted before the run had started", now)
	}
	m.state, m.start, m.fixed = Running, h.Start, true
	m.setDeadline()
	if m.stop != pb.StopMode_STOP_MODE_UNSPECIFIED {
		return m, m.halt(m.stop, m.detail, now)
	}
	commands := append(m.propose(now), m.bereave(now)...)
	return m, append(commands, m.settle(now)...)
}

// replay takes one event of the journal on and reports whether it fixed the start.
func (m *Machine) replay(e *pb.RunEvent) (started bool) {
	a := m.find(ID{e.GetAgent(), e.GetIncarnation()})
	switch e.GetKind() {
	case pb.RunEventKind_RUN_EVENT_KIND_STARTED:
		return true
	case pb.RunEventKind_RUN_EVENT_KIND_CHANGED:
		m.replayChange(e.GetChange())
	case pb.RunEventKind_RUN_EVENT_KIND_AGENT_LOST:
		if a != nil {
			a.lost = true
		}
	case pb.RunEventKind_RUN_EVENT_KIND_AGENT_FAILED:
		if a != nil {
			a.out = true
		}
	case pb.RunEventKind_RUN_EVENT_KIND_STOP_REQUESTED:
		m.stop, m.aborted, m.detail = max(m.stop, e.GetMode()), true, e.GetDetail()
	case pb.RunEventKind_RUN_EVENT_KIND_ABORTED:
		m.stop, m.aborted = max(m.stop, pb.StopMode_STOP_MODE_DRAIN), true
		m.detail = "abort condition fired: " + e.GetDetail()
	case pb.RunEventKind_RUN_EVENT_KIND_ENDED:
		m.state, m.detail = Ended, e.GetDetail()
	}
	return false
}

// replayChange takes a committed change on. Who lost its share without being lost was about to leave.
func (m *Machine) replayChange(change *pb.Change) {
	var joiners []*member
	for _, j := range change.GetJoined() {
		joiners = append(joiners, &member{
			Member: Member{ID{j.GetAgent(), j.GetIncarnation()}, j.GetWeight()}, ready: true, told: true, needs: change.GetEpoch(),
		})
	}
	m.admit(change, joiners)
	for i, a := range m.members {
		a.leaving = a.leaving || m.weights[i] == 0
	}
}
