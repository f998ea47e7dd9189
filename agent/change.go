package agent

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/loadline/loadline/agent/guard"
	"github.com/loadline/loadline/agent/pace"
	"github.com/loadline/loadline/agent/record"
	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// errLate refuses a change whose instant has passed here.
var errLate = errors.New("its instant has passed on this agent: propose a later one")

// courseOf is the course of an assignment: the plan's shares with the changes so far. A member that is about to join stands in the
// roster and in no change yet.
func courseOf(a *pb.Assignment, load *schedule.Schedule) (*schedule.Course, error) {
	phases := len(a.GetPhaseArrivals())
	if len(a.GetShares()) != max(phases, 1) || phases == 0 && !a.GetOpenEnded() {
		return nil, fmt.Errorf("the assignment has shares of %d phases, the plan %d", len(a.GetShares()), phases)
	}
	weights := a.GetShares()[0].GetWeights()
	for i, share := range a.GetShares() {
		if int(share.GetPhase()) != i || share.GetFirstArrival() != 0 || !slices.Equal(share.GetWeights(), weights) {
			return nil, fmt.Errorf("the assignment's share of phase %d does not fit its plan", i)
		}
	}
	c, err := schedule.NewCourse(load, weights).ApplyAll(a.GetChanges())
	if err != nil {
		return nil, err
	}
	members, _ := rosterOf(a)
	if c.Members() > members || uint64(a.GetMember()) >= uint64(members) || len(weights) == 0 {
		return nil, fmt.Errorf("the assignment has %d members and its changes %d", members, c.Members())
	}
	return c, nil
}

// hold lets nothing start that is due at or after a proposed change's instant, until it is committed or a later attempt comes.
// The error says why not; runNS is the run's clock here, 0 before the start.
func (p *part) hold(ch *pb.Change) (runNS int64, err error) {
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.course == nil {
		return 0, errors.New("this agent is not ready")
	}
	if ch.GetEpoch() == p.course.Epoch() && ch.GetEpoch() > 1 {
		return 0, nil // it is committed already: a repetition that was under way
	}
	next, err := p.try(ch)
	if err == nil {
		err = p.allowed(ch, next)
	}
	if err != nil {
		return 0, err
	}
	pl := p.player.Load()
	if pl == nil {
		return 0, nil // whatever starts later starts by the commitment
	}
	err = pl.hold(ch)
	return int64(pl.now()), err
}

// allowed refuses a change by which somebody wants more than the agent's owner allows. That the others are gone, and this agent has
// their share, is nobody's wish: what is above a ceiling then is shed.
func (p *part) allowed(ch *pb.Change, next *schedule.Course) error {
	member := int(p.place.Load())
	if p.own == nil || member >= next.Members() || len(ch.GetRevisions())+len(ch.GetAppended()) == 0 {
		return nil
	}
	share := guard.Share{Weight: uint64(next.Weights()[member])}
	for _, weight := range next.Weights() {
		share.Of += uint64(weight)
	}
	rate := 0.0
	for _, ph := range next.Phases() {
		rate += ph.RateAt(ch.GetAtNs())
	}
	return p.own.CheckChange(ch, rate, share)
}

// try is the course that a change leads to. That of the last change is kept, since a proposal is followed by its commitment, and a
// new rate may take long. p.changing is held.
func (p *part) try(ch *pb.Change) (*schedule.Course, error) {
	if p.next != nil && p.next.Epoch() == p.course.Epoch()+1 && proto.Equal(ch, p.proposed) {
		return p.next, nil
	}
	next, err := p.course.Apply(ch)
	if err == nil {
		p.proposed, p.next = ch, next
	}
	return next, err
}

// apply puts a committed change in force at its instant. Repeating it does nothing.
func (p *part) apply(ch *pb.Change) error {
	p.changing.Lock()
	defer p.changing.Unlock()
	switch {
	case p.course == nil:
		return errors.New("this agent is not ready")
	case ch.GetEpoch() <= p.course.Epoch():
		return nil
	}
	next, err := p.try(ch)
	if err != nil {
		return err
	}
	p.join(ch)
	if pl := p.player.Load(); pl != nil {
		if err := pl.apply(ch, next); err != nil {
			return err
		}
	}
	p.course, p.extra = next, append(p.extra, ch.GetAppended()...)
	return nil
}

// join takes the place that a change gives to the agent, if it lets it join.
func (p *part) join(ch *pb.Change) {
	own := p.member()
	for i, m := range ch.GetJoined() {
		if m.GetAgent() == own.GetAgent() && m.GetIncarnation() == p.incarnation {
			p.place.Store(int64(p.course.Members() + i))
		}
	}
}

// ceiling is the most requests in flight of this member by the weights of a course, within what the agent's owner allows: at
// epoch 1 what the plan says. narrow says that the owner's ceiling is the lower one.
func (p *part) ceiling(c *schedule.Course) (n uint32, narrow bool) {
	m := int(p.place.Load())
	if c.Epoch() == 1 {
		return p.member().GetMaxInFlight(), p.narrow
	}
	if m >= c.Members() {
		return 0, false
	}
	share := schedule.Ceilings(p.assignment.GetScenario().GetLimits().GetMaxInFlight(), c.Weights())[m]
	if p.own == nil {
		return share, false
	}
	n = p.own.InFlightOf(share)
	return n, n < share
}

// licensed reports whether something may be started at this moment.
func (pl *player) licensed() bool { return pl.lease.Valid(pl.agentNow()) }

// source has what this member owns from an instant on.
func (pl *player) source(c *schedule.Course, from int64) *pace.Merge {
	lanes := make([]pace.Lane, 0, len(c.Phases()))
	for i := range c.Phases() {
		walker := c.Walk(i, pl.member, from)
		lanes = append(lanes, pace.Lane{Phase: i, Walker: &walker})
	}
	return pace.NewMerge(lanes...)
}

// endOf is until when the pacer waits for what changes may bring: the end of the course, since another member's share may fall to
// this one until then; for ever where phases may be appended after it; and not at all once a change has taken the member's own share,
// for nobody gets one back.
func (pl *player) endOf(c *schedule.Course) measure.Instant {
	if pl.gone(c) {
		return math.MinInt64
	}
	if pl.part.assignment.GetOpenEnded() && !c.Closed() {
		return math.MaxInt64
	}
	return measure.Instant(c.End())
}

// gone reports whether a change has taken the member's share away.
func (pl *player) gone(c *schedule.Course) bool {
	return c.Epoch() > 1 && pl.member < c.Members() && c.Weights()[pl.member] == 0
}

// endOfPhase is the end of a phase's load, MaxInt64 where only its sessions tell.
func endOfPhase(p *schedule.Phase) int64 {
	if end, known := p.Lasts(); known {
		return end
	}
	return math.MaxInt64
}

func spansOf(c *schedule.Course) []record.Span {
	spans := make([]record.Span, len(c.Phases()))
	for i, p := range c.Phases() {
		spans[i] = record.Span{Start: p.Start, End: endOfPhase(p)}
	}
	return spans
}

// addPhases adds the phases of a course that are not there yet, and moves the ends of those that are.
func (pl *player) addPhases(c *schedule.Course) {
	all := append([]*phase{}, *pl.phases.Load()...)
	for i, p := range c.Phases() {
		if i == len(all) {
			ph := &phase{Phase: p}
			ph.life.Store(pl.newLife())
			all = append(all, ph)
		}
		all[i].until.Store(endOfPhase(p))
	}
	pl.phases.Store(&all)
}

func (pl *player) newLife() *life {
	l := &life{}
	l.ctx, l.cancel = context.WithCancelCause(pl.part.ctx)
	return l
}

// setTimer cancels what is in flight of a phase when its drain time is over. pl.changing is held.
func (pl *player) setTimer(ph *phase) {
	if ph.timer != nil {
		ph.timer.Stop()
	}
	if end := ph.until.Load(); end != math.MaxInt64 {
		ph.timer = time.AfterFunc(time.Duration(end-int64(pl.now()))+pl.drain, func() { ph.life.Load().cancel(errRun) })
	}
}

// setGate lets another gate take the place of the one there is.
func (pl *player) setGate(g *gate) { close(pl.gate.Swap(g).changed) }

// hold is part.hold while playing.
func (pl *player) hold(ch *pb.Change) error {
	pl.changing.Lock()
	defer pl.changing.Unlock()
	before := pl.gate.Load()
	switch {
	case pl.over:
		return errors.New("the load is over on this agent")
	case before.epoch == ch.GetEpoch() && before.attempt >= ch.GetAttempt():
		if before.attempt == ch.GetAttempt() && before.held == ch.GetAtNs() {
			return nil
		}
		return fmt.Errorf("attempt %d of epoch %d has taken its place", before.attempt, before.epoch)
	}
	g := newGate(before.courses...)
	g.held, g.epoch, g.attempt = ch.GetAtNs(), ch.GetEpoch(), ch.GetAttempt()
	if !pl.pacer.Hold(measure.Instant(g.held)) {
		return errLate
	}
	pl.setGate(g)
	if int64(pl.now()) < g.held {
		return nil
	}
	// Too late: a user may have started. What was held before stays held, or nothing is.
	undone := newGate(before.courses...)
	undone.held, undone.epoch, undone.attempt = before.held, before.epoch, before.attempt
	pl.pacer.Release()
	if undone.held != math.MaxInt64 {
		pl.pacer.Hold(measure.Instant(undone.held))
	}
	pl.setGate(undone)
	return errLate
}

// apply lets a course take over at the instant of its last change: the pacer goes on with it, what was held is released, users whose
// slot is gone end and others begin.
func (pl *player) apply(ch *pb.Change, c *schedule.Course) error {
	pl.changing.Lock()
	defer pl.changing.Unlock()
	if pl.over {
		if pl.gone(c) {
			return nil // a change among the others
		}
		return errors.New("the load is over on this agent")
	}
	pl.recorder.Reshape(ch.GetAppended(), spansOf(c))
	pl.addPhases(c)
	for _, ph := range *pl.phases.Load() {
		pl.setTimer(ph)
	}
	if g := pl.part.guard; len(ch.GetAppended())+len(ch.GetRevisions()) > 0 {
		if g.Follow(pl.part.assignment.GetScenario(), ch); g.Rate > 0 {
			pl.rate.Store(g.Bucket())
		}
	}
	at := measure.Instant(ch.GetAtNs())
	ceiling, narrow := pl.part.ceiling(c)
	source := pl.source(c, ch.GetAtNs())
	fits := pl.pacer.Apply(at, source, pl.endOf(c), func() {
		pl.playing, pl.narrow = c, narrow
		pl.inFlight.Set(ceiling)
	})
	if !fits && source.Len() > 0 {
		return fmt.Errorf("change of epoch %d: this agent has started arrivals due after its instant, or its load is over", ch.GetEpoch())
	}
	before := pl.gate.Load()
	courses := []*schedule.Course{before.at(min(pl.now(), at-1))}
	for _, later := range before.courses {
		if later.Epoch() > courses[0].Epoch() {
			courses = append(courses, later)
		}
	}
	g := newGate(append(courses, c)...)
	if before.epoch > ch.GetEpoch() {
		g.held, g.epoch, g.attempt = before.held, before.epoch, before.attempt
	} else {
		pl.pacer.Release()
	}
	pl.setGate(g)
	return nil
}

// overdueAfter is how long after the schedule and its drain time a load that has paused waits for its coordinator: one that is
// started again meanwhile finds everything that was due counted.
const overdueAfter = 15 * time.Second

// overdue reports whether the schedule, its drain time and overdueAfter are over.
func (pl *player) overdue() bool {
	end := int64(0)
	for _, ph := range *pl.phases.Load() {
		end = max(end, ph.until.Load())
	}
	return !pl.part.assignment.GetOpenEnded() && end != math.MaxInt64 && int64(pl.now()) >= end+int64(pl.drain+overdueAfter)
}

// pause is for a lease that is gone: nothing starts without one anyway, and what is in flight has the drain time.
func (pl *player) pause() {
	pl.changing.Lock()
	defer pl.changing.Unlock()
	if pl.orphan != nil || pl.over {
		return
	}
	pl.orphan = time.AfterFunc(pl.drain, func() {
		for _, ph := range *pl.phases.Load() {
			ph.life.Swap(pl.newLife()).cancel(errRun)
		}
	})
}

// resume is for a lease that is there again: what fell due meanwhile is missed, and the load goes on.
func (pl *player) resume() {
	pl.changing.Lock()
	defer pl.changing.Unlock()
	if pl.orphan != nil {
		pl.orphan.Stop()
		pl.orphan = nil
	}
}
