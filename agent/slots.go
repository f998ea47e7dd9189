package agent

import (
	"context"
	"math"
	"time"

	"github.com/loadline/loadline/agent/pace"
	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/schedule"
)

// askAgain is how soon a user that has no lease looks again.
const askAgain = 50 * time.Millisecond

// gate is what changes say of the present; a new one takes its place with every change.
type gate struct {
	courses []*schedule.Course // the one in force, then those whose instant is to come; at least one
	held    int64              // no session starts at or after it; MaxInt64: none is held
	epoch   uint32             // of the change that holds; 0: none
	attempt uint32
	changed chan struct{} // closed when another gate takes the place of this one
}

func newGate(courses ...*schedule.Course) *gate {
	return &gate{courses: courses, held: math.MaxInt64, changed: make(chan struct{})}
}

// at is the course in force at an instant.
func (g *gate) at(now measure.Instant) *schedule.Course {
	c := g.courses[0]
	for _, next := range g.courses[1:] {
		if next.At(next.Epoch()) <= int64(now) {
			c = next
		}
	}
	return c
}

// user is one slot of closed load for as long as this agent plays it.
type user struct {
	phase   *phase
	planned *schedule.Phase // as it was when the slot began
	slot    uint32
	epoch   uint32 // in which the slot began
}

// user plays the sessions of one slot of closed load, one when the one before has ended.
func (pl *player) user(u user, due measure.Instant) {
	defer pl.sessions.Done()
	quota := u.planned.Iterations(u.slot)
	var w worker
	for i := uint64(0); quota == 0 || i < quota; i++ {
		if i > 0 {
			due = pl.free(u, i)
		}
		if due = pl.admit(u, due); due == measure.None {
			return
		}
		index, ordinal := u.planned.Pick(i*uint64(u.planned.Users) + uint64(u.slot-1))
		pl.recorder.Due(u.phase.Index, index, 1)
		pl.recorder.Started(u.phase.Index, index, pl.now())
		pl.session(&w, job{
			phase: u.phase, id: measure.ID{Number: i, Slot: u.slot, Epoch: u.epoch}, due: due, workload: index, ordinal: ordinal,
		})
	}
}

// free waits out the think time and returns when the slot is free, or None when the load is over.
func (pl *player) free(u user, iteration uint64) measure.Instant {
	think := u.planned.Think(u.slot, iteration)
	if think == 0 {
		return pl.now()
	}
	at := pl.now() + measure.Instant(think)
	if int64(at) >= u.phase.until.Load() || pace.SleepUntil(pl.load, pl.now, at) != nil {
		return measure.None
	}
	return pl.now()
}

// admit waits while the phase is paused, while a change is proposed, and while there is no lease. It gives the instant at which the
// next session of the slot is due, or None when the slot, its phase or the run is over.
func (pl *player) admit(u user, due measure.Instant) measure.Instant {
	for waited := false; due != measure.None; waited = true {
		now := pl.now() // before the gate is looked at: whoever closes it looks at the clock afterwards
		if waited {
			due = now
		}
		g := pl.gate.Load()
		c := g.at(now)
		switch {
		case int64(due) >= u.phase.until.Load() || int64(due) > pl.limit.Load():
			return measure.None
		case !c.Holds(u.phase.Index, pl.member, u.slot, u.epoch):
			return measure.None
		case int64(now) >= g.held || c.Phases()[u.phase.Index].Paused():
			if !pl.waitGate(g, u.phase) {
				return measure.None
			}
		case !pl.licensed():
			if pace.SleepUntil(pl.load, pl.now, now+measure.Instant(askAgain)) != nil {
				return measure.None
			}
		default:
			return due
		}
	}
	return measure.None
}

// waitGate waits until another gate takes the place of this one; false: the load is over before.
func (pl *player) waitGate(g *gate, ph *phase) bool {
	ctx, cancel := pl.load, context.CancelFunc(func() {})
	if end := ph.until.Load(); end != math.MaxInt64 {
		ctx, cancel = context.WithTimeout(pl.load, time.Duration(end-int64(pl.now())))
	}
	defer cancel()
	// The course that resumes the phase may be here already, and its instant to come.
	next := time.NewTimer(g.untilNext(pl.now()))
	defer next.Stop()
	select {
	case <-g.changed:
		return true
	case <-next.C:
		return true
	case <-ctx.Done():
		return pl.load.Err() == nil && ph.until.Load() > int64(pl.now())
	}
}

// untilNext is how long until the next course is in force.
func (g *gate) untilNext(now measure.Instant) time.Duration {
	for _, c := range g.courses[1:] {
		if at := c.At(c.Epoch()); at > int64(now) {
			return time.Duration(at - int64(now))
		}
	}
	return math.MaxInt64
}
