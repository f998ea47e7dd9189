package torture

import (
	"fmt"
	"slices"
	"time"

	agentrun "github.com/loadline/loadline/agent/run"
	"github.com/loadline/loadline/coordinator/ingest"
	"github.com/loadline/loadline/coordinator/run"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// renew answers a renewal, with all that the agent may have missed.
func (c *simCoordinator) renew(q *pb.RenewRequest) *pb.RenewResponse {
	id := run.ID{Agent: q.GetAgent(), Incarnation: q.GetIncarnation()}
	if refusal := c.fleet.Renew(id.Agent, id.Incarnation, q.GetClock(), c.w.now); refusal != "" {
		return pb.RenewResponse_builder{Refusal: refusal}.Build()
	}
	if q.GetLeaving() {
		c.fleet.Leave(id.Agent, id.Incarnation, false)
	}
	r := pb.RenewResponse_builder{Granted: true}
	if c.machine == nil {
		return r.Build()
	}
	if q.GetRunId() == "" {
		c.offer(id)
		return r.Build()
	}
	c.step(run.Applied{ID: id, Epoch: q.GetAppliedEpoch()})
	if q.GetAcknowledgedAttempt() > 0 {
		if proposed := c.machine.Proposed(id); proposed.GetEpoch() == q.GetAcknowledgedEpoch() && proposed.GetAttempt()>>16 > q.GetAcknowledgedAttempt()>>16 {
			c.w.saw("acknowledgement for an earlier coordinator")
		}
		c.step(run.Acknowledged{ID: id, Epoch: q.GetAcknowledgedEpoch(), Attempt: q.GetAcknowledgedAttempt()})
	}
	if q.GetLeaving() {
		c.step(run.Leaving{ID: id})
	}
	for _, change := range c.machine.Committed() {
		if change.GetEpoch() > q.GetAppliedEpoch() {
			r.Committed = append(r.Committed, change)
		}
	}
	r.Proposed, r.Stop = c.machine.Proposed(id), c.machine.Told(id)
	return r.Build()
}

// offer lets an agent without a run join this one.
func (c *simCoordinator) offer(id run.ID) {
	for _, a := range c.fleet.Select(nil, 0) {
		if _, _, ok := c.fleet.Clock(id.Agent, c.w.now); ok && a.Info.GetName() == id.Agent && a.Incarnation == id.Incarnation {
			c.step(run.Joined{Member: run.Member{ID: id, Weight: 2}})
		}
	}
}

// answered takes an agent's answer to a proposal.
func (c *simCoordinator) answered(p agentrun.Part, change *pb.Change, r agentrun.AnswerChange) {
	if c.machine == nil {
		return
	}
	for _, id := range c.ids(p) {
		switch {
		case r.Refusal == "":
			c.step(run.Acknowledged{ID: id, Epoch: change.GetEpoch(), Attempt: change.GetAttempt()})
		case r.Over || r.RunNS != 0:
			c.w.saw("proposal refused")
			c.step(run.Refused{ID: id, Epoch: change.GetEpoch(), Attempt: change.GetAttempt(), RunNS: r.RunNS, Over: r.Over})
		}
	}
}

// ids finds the agent of a part by its incarnation.
func (c *simCoordinator) ids(p agentrun.Part) []run.ID {
	for _, a := range c.fleet.Agents() {
		if a.Incarnation == p.Incarnation {
			return []run.ID{{Agent: a.Info.GetName(), Incarnation: a.Incarnation}}
		}
	}
	return nil
}

func (c *simCoordinator) reported(a *simAgent, r agentrun.Report) {
	id := run.ID{Agent: a.name, Incarnation: r.Incarnation}
	switch r.State {
	case pb.AgentState_AGENT_STATE_READY:
		c.step(run.Ready{ID: id})
	case pb.AgentState_AGENT_STATE_FAILED:
		c.step(run.Failed{ID: id, Why: "problems"})
	case pb.AgentState_AGENT_STATE_DONE:
		c.step(run.Done{ID: id})
	case pb.AgentState_AGENT_STATE_LEAVING:
		c.fleet.Leave(id.Agent, id.Incarnation, false)
		c.step(run.Leaving{ID: id})
	}
}

// push takes windows and totals: checked, appended, synced, and only then counted and acknowledged.
func (c *simCoordinator) push(p agentrun.Part, name string, windows []simWindow, totals *simTotals) {
	id := run.ID{Agent: name, Incarnation: p.Incarnation}
	if c.machine == nil || !slices.Contains(c.ledger.roster, id) {
		return
	}
	e := c.ledger.entry(id)
	for _, window := range windows {
		switch e.taken.Offer(window.sequence) {
		case ingest.Fresh:
			c.w.disk.append(c.w, simRecord{id: id, window: &window}, func() {
				c.ledger.add(simRecord{id: id, window: &window})
				c.acknowledge(p, name)
			})
			e.accepted = window.sequence
		case ingest.Repeated:
			c.w.saw("window repeated")
		case ingest.Gap:
			c.w.saw("gap refused")
			if !c.w.chaos.gaps {
				c.w.broken("window %d of %s does not follow %d", window.sequence, name, e.accepted)
			}
			return // as the stream ends
		default:
			c.w.broken("window %d of %s does not follow %d", window.sequence, name, e.accepted)
		}
	}
	if totals != nil && !e.closed && totals.last == e.accepted {
		e.closed = true
		c.w.disk.append(c.w, simRecord{id: id, totals: totals}, func() {
			c.ledger.add(simRecord{id: id, totals: totals})
			c.step(run.Totals{ID: id})
			c.acknowledge(p, name)
		})
	}
	c.acknowledge(p, name)
}

// acknowledge tells an agent what is on record.
func (c *simCoordinator) acknowledge(p agentrun.Part, name string) {
	e := c.ledger.entry(run.ID{Agent: name, Incarnation: p.Incarnation})
	last, totals := e.last, e.totals != nil
	c.w.net.send(way{name, false, true}, func() {
		if a := c.w.living(name); a != nil {
			a.after(0, func() { a.acknowledged(p, last, totals) })
		}
	})
}

// ledger is what the coordinator knows of every member's results.
type ledger struct {
	roster  []run.ID
	entries map[run.ID]*entry
}

type entry struct {
	taken           ingest.Sequence
	accepted        uint64
	closed          bool
	last            uint64 // window on record
	started, missed []uint64
	next            []uint64
	totals          *simTotals
	gone            bool // lost, or left out at the start
}

func newLedger() *ledger { return &ledger{entries: map[run.ID]*entry{}} }

func (l *ledger) join(id run.ID) { l.roster = append(l.roster, id) }

func (l *ledger) entry(id run.ID) *entry {
	if l.entries[id] == nil {
		l.entries[id] = &entry{}
	}
	return l.entries[id]
}

// add counts what is on record. After a restart it also stands for what was accepted.
func (l *ledger) add(r simRecord) {
	e := l.entry(r.id)
	if r.totals != nil {
		e.totals, e.closed = r.totals, true
		return
	}
	w := r.window
	e.last, e.next = w.sequence, w.next
	if e.accepted < w.sequence {
		e.taken.Offer(w.sequence)
		e.accepted = w.sequence
	}
	for i := range w.started {
		if i >= len(e.started) {
			e.started, e.missed = append(e.started, 0), append(e.missed, 0)
		}
		e.started[i] += w.started[i]
		e.missed[i] += w.missed[i]
	}
}

// at is element i, 0 where there is none.
func at(s []uint64, i int) uint64 {
	if i < len(s) {
		return s[i]
	}
	return 0
}

// missing says what is not accounted for: windows against totals, and both against the arrivals owned.
func (l *ledger) missing(course *schedule.Course) []string {
	var out []string
	for m, id := range l.roster {
		e := l.entry(id)
		for i, phase := range course.Phases() {
			if e.totals != nil && (at(e.started, i) != at(e.totals.started, i) || at(e.missed, i) != at(e.totals.missed, i)) {
				out = append(out, fmt.Sprintf("%s: windows and totals of phase %d differ", id.Agent, i))
			}
			if phase.Users > 0 {
				continue
			}
			if owned := course.Count(i, m, phase.Arrivals); owned != at(e.started, i)+at(e.missed, i) {
				out = append(out, fmt.Sprintf("%s owned %d of phase %d and accounted for %d", id.Agent, owned, i, at(e.started, i)+at(e.missed, i)))
			}
		}
		if e.last > 0 && e.totals == nil {
			out = append(out, id.Agent+" sent no totals")
		}
	}
	return out
}

// journalDisk keeps what was appended; what is not synced may be gone after a crash.
type journalDisk struct {
	synced   []simRecord
	waiting  []simRecord
	callback []func()
	busy     bool
}

// simRecord is one of a roster, an event, a window and totals.
type simRecord struct {
	roster []run.Member
	event  *pb.RunEvent
	at     int64
	id     run.ID
	window *simWindow
	totals *simTotals
}

// append writes a record; done is called once it is synced, if the same coordinator is still alive.
func (d *journalDisk) append(w *world, r simRecord, done func()) {
	owner := w.coord
	d.waiting = append(d.waiting, r)
	d.callback = append(d.callback, func() {
		if done != nil && w.coord == owner && w.ended == 0 {
			done()
		}
	})
	if !d.busy {
		d.busy = true
		d.later(w)
	}
}

func (d *journalDisk) later(w *world) {
	pause := w.between(time.Millisecond, 10*time.Millisecond)
	if w.chaos.slowDisk && w.random.IntN(10) == 0 {
		pause = w.between(100*time.Millisecond, time.Second)
		w.saw("slow disk")
	}
	owner := w.coord
	w.after(pause, func() {
		if w.coord != owner {
			return
		}
		for _, done := range d.sync() {
			done()
		}
		if d.busy = len(d.waiting) > 0; d.busy {
			d.later(w)
		}
	})
}

func (d *journalDisk) sync() []func() {
	done := d.callback
	d.synced, d.waiting, d.callback = append(d.synced, d.waiting...), nil, nil
	return done
}

// crash leaves a part of what was not synced, from its beginning on.
func (d *journalDisk) crash(w *world) {
	d.synced = append(d.synced, d.waiting[:w.random.IntN(len(d.waiting)+1)]...)
	d.waiting, d.callback, d.busy = nil, nil, false
}

func (d *journalDisk) roster() []run.Member {
	for _, r := range append(slices.Clone(d.synced), d.waiting...) {
		if r.roster != nil {
			return r.roster
		}
	}
	return nil
}
