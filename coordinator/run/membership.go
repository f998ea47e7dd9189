package run

import (
	"slices"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// maxMembers bounds the members of a run over its whole length, lost ones included.
const maxMembers = 4096

// lost takes note of an agent that has provably stopped. Its share goes to the others by a change.
func (m *Machine) lost(e Lost, now int64) []Command {
	a := m.find(e.ID)
	switch {
	case a == nil || a.accounted():
		return nil
	case m.state == Preparing && m.pending == nil:
		return m.failed(e.ID, e.Why, now)
	}
	if m.findJoining(e.ID) != nil && !m.isFinal(a) {
		return m.removeJoining(a, now)
	}
	a.lost = true
	commands := []Command{noteAgent(pb.RunEventKind_RUN_EVENT_KIND_AGENT_LOST, e.ID, e.Why, now)}
	commands = append(commands, m.blocked(a, now)...)
	commands = append(commands, m.propose(now)...)
	commands = append(commands, m.bereave(now)...)
	return append(commands, m.settle(now)...)
}

// bereave ends the load of a run that nobody is left to play: nothing starts it again. Those that were lost may still have
// counted what nobody else knows; the run waits for it once, for a bounded time, which a stop cuts short.
func (m *Machine) bereave(now int64) []Command {
	switch {
	case m.state != Running && m.state != Draining, m.await != 0, m.stop != pb.StopMode_STOP_MODE_UNSPECIFIED:
		return nil
	case len(m.without((*member).accounted)) > 0 || len(m.owing()) == 0:
		return nil
	}
	m.await = now + int64(m.config.Return)
	m.state, m.deadline = Draining, m.await
	return m.dismiss("no agent is left to play it")
}

// owing are the lost members that may have played something and have not handed in their totals.
func (m *Machine) owing() []*member {
	return m.without(func(a *member) bool { return !a.lost || a.totals || !a.told })
}

// blocked makes another attempt of a change that still counts on a member which is gone.
func (m *Machine) blocked(a *member, now int64) []Command {
	if p := m.pending; p == nil || p.noted || m.state == Preparing || !a.accounted() && !a.over {
		return nil
	}
	if i := slices.Index(m.members, a); i >= 0 && m.pending.change.GetWeights()[i] == 0 && !a.lost {
		return m.tryCommit(now)
	}
	return m.attempt(now, 0)
}

// isFinal reports whether the change that makes the agent a member cannot be taken back.
func (m *Machine) isFinal(a *member) bool {
	return m.pending != nil && m.pending.noted && slices.Contains(m.pending.joiners, a)
}

// joined gives an agent that came late its assignment. It becomes a member by a change once it is ready.
func (m *Machine) joined(e Joined) []Command {
	if m.state != Running || !m.fixed || m.find(e.ID) != nil || len(m.members)+len(m.joining) >= maxMembers {
		return nil
	}
	m.joining = append(m.joining, &member{Member: e.Member, applied: m.epoch})
	return []Command{Assign{e.ID}}
}

// Joining are those that get ready to become members.
func (m *Machine) Joining() []ID {
	var ids []ID
	for _, a := range m.joining {
		ids = append(ids, a.ID)
	}
	return ids
}

// removeJoining forgets an agent that would have joined.
func (m *Machine) removeJoining(a *member, now int64) []Command {
	m.joining = slices.DeleteFunc(m.joining, func(b *member) bool { return a == b })
	if p := m.pending; p != nil && !p.noted && slices.Contains(p.joiners, a) {
		return m.attempt(now, 0)
	}
	return nil
}

// leaves hands the share of an agent over that wants to go. The last one ends the run.
func (m *Machine) leaves(e Leaving, now int64) []Command {
	a := m.find(e.ID)
	switch {
	case a == nil || a.leaving || a.accounted():
		return nil
	case m.state == Preparing && m.pending == nil:
		return m.failed(e.ID, "it leaves", now)
	case m.findJoining(e.ID) != nil && !m.isFinal(a):
		return m.removeJoining(a, now)
	}
	a.leaving = true
	if m.state != Running {
		return nil
	}
	if p := m.pending; p != nil && !p.noted {
		return m.attempt(now, 0)
	}
	return m.propose(now)
}

// deny lets an agent's lease lapse. What it may have started is known only then.
func (m *Machine) deny(a *member, why string) []Command {
	if a.denied || a.accounted() {
		return nil
	}
	a.denied = true
	return []Command{Deny{ID: a.ID, Why: why}}
}

// adjust takes a wish down. Wishes about different phases travel in one change.
func (m *Machine) adjust(e Adjust, now int64) []Command {
	switch {
	case m.state != Running || !m.fixed:
		return answer([]Adjust{e}, nil, "the run is not running")
	case len(e.Revisions) == 0 && len(e.Appended) == 0 && !e.Closed:
		return answer([]Adjust{e}, nil, "there is nothing to change")
	case len(e.Revisions)+len(e.Appended) > maxRevisions:
		return answer([]Adjust{e}, nil, "more phases than one change may have")
	}
	m.wishes = append(m.wishes, e)
	return m.propose(now)
}

// mark puts an instant on record that a program has marked, while the run is played.
func (m *Machine) mark(e Mark, now int64) []Command {
	if !m.fixed || m.state == Reconciling {
		return nil
	}
	return []Command{Note{Event: pb.RunEvent_builder{
		Kind: pb.RunEventKind_RUN_EVENT_KIND_MARKED, Detail: e.Text, RequestId: e.Request,
	}.Build(), At: now}}
}

// takeWishes takes the wishes that fit together into one change, oldest first.
func (m *Machine) takeWishes() []Adjust {
	var taken []Adjust
	for len(m.wishes) > 0 {
		next := m.wishes[0]
		if !combines(taken, next) {
			break
		}
		m.wishes = m.wishes[1:]
		taken = append(taken, next)
	}
	return taken
}

// combines reports whether a wish may share a change with others: they speak of other phases, and the sum is within the limit.
func combines(taken []Adjust, next Adjust) bool {
	phases, n := map[uint32]bool{}, len(next.Revisions)+len(next.Appended)
	for _, w := range taken {
		n += len(w.Revisions) + len(w.Appended)
		if len(w.Appended) > 0 && len(next.Appended) > 0 {
			return false
		}
		for _, r := range w.Revisions {
			phases[r.GetPhase()] = true
		}
	}
	for _, r := range next.Revisions {
		if phases[r.GetPhase()] {
			return false
		}
	}
	return n <= maxRevisions
}
