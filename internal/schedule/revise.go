package schedule

import (
	"errors"
	"fmt"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Limits of changes.
const (
	// MaxPhases is the largest number of phases of a course: the scenario's and the appended ones.
	MaxPhases = 1_000
	// MaxRevisions is the largest number of revisions of one change.
	MaxRevisions = 4 * MaxPhases
	// MaxUsers is the largest number of users of a phase.
	MaxUsers = 1_000_000
	// MaxChangedArrivals is the largest expected number of arrivals with random spacing that one change may bring: they are counted
	// while the run waits, in 4 s (gamma: 14 s) where it is that many.
	MaxChangedArrivals = 1 << 28
	// maxAt is the latest instant of a change, in ns since the run's start: 400 days.
	maxAt = 400 * 24 * 3600 * int64(second)
)

// admit checks everything about a change that can be told without the phases.
func (c *Course) admit(ch *pb.Change) error {
	if ch == nil {
		return errors.New("there is no change")
	}
	fault := func(format string, args ...any) error {
		return fmt.Errorf("change of epoch %d: "+format, append([]any{ch.GetEpoch()}, args...)...)
	}
	last := c.epochs[len(c.epochs)-1]
	members := c.members + len(ch.GetJoined())
	switch {
	case uint64(ch.GetEpoch()) != uint64(len(c.epochs))+1:
		return fault("it cannot follow epoch %d", len(c.epochs))
	case len(c.epochs) >= MaxEpochs:
		return fault("a run has at most %d epochs", MaxEpochs)
	case ch.GetAtNs() < last.at || ch.GetAtNs() == last.at && len(c.epochs) > 1 || ch.GetAtNs() > maxAt:
		return fault("its instant of %d ns does not lie after that of the change before, %d ns, and within 400 days", ch.GetAtNs(), last.at)
	case len(ch.GetWeights()) != members || members > MaxMembers:
		return fault("it has %d weights for %d members, of which there are at most %d", len(ch.GetWeights()), members, MaxMembers)
	case NewSplit(ch.GetWeights()).total() == 0:
		return fault("no member has a weight, so nobody would play what is left: stop the run instead")
	case c.closed && len(ch.GetAppended()) > 0:
		return fault("the load is closed: no phase can be appended any more")
	case len(ch.GetRevisions()) > MaxRevisions:
		return fault("%d revisions, more than %d", len(ch.GetRevisions()), MaxRevisions)
	case len(c.phases)+len(ch.GetAppended()) > MaxPhases:
		return fault("%d phases in all, more than %d", len(c.phases)+len(ch.GetAppended()), MaxPhases)
	}
	if err := c.admitRevision(ch, last.revision); err != nil {
		return fault("%w", err)
	}
	return c.admitWorkloads(ch.GetWorkloadWeights(), fault)
}

// admitRevision checks the number of the revision: one more where phases are revised, at most one more where some are
// appended, the same where neither.
func (c *Course) admitRevision(ch *pb.Change, last uint32) error {
	next := uint64(last) + 1
	got := uint64(ch.GetRevision())
	fits := got == next
	if len(ch.GetRevisions()) == 0 {
		fits = got == uint64(last) || got == next && len(ch.GetAppended()) > 0
	}
	if !fits {
		return fmt.Errorf("revision %d cannot follow revision %d", got, last)
	}
	return nil
}

func (c *Course) admitWorkloads(weights []uint32, fault func(string, ...any) error) error {
	if len(weights) == 0 {
		return nil
	}
	if len(weights) != len(c.weights) {
		return fault("it has %d workload_weights for %d workloads", len(weights), len(c.weights))
	}
	if NewSplit(weights).total() == 0 {
		return fault("no workload has a weight: let one of workload_weights be above 0")
	}
	return nil
}

// revise gives one phase another shape from the last epoch's instant on.
func (c *Course) revise(r *pb.Revision) error {
	i := r.GetPhase()
	if uint64(i) >= uint64(len(c.phases)) {
		return fmt.Errorf("there is no phase %d; the run has %d", i, len(c.phases))
	}
	p, e := c.phases[i], &c.epochs[len(c.epochs)-1]
	end, known := p.Lasts()
	over := p.ended || known && end <= e.at
	var err error
	switch r.WhichShape() {
	case pb.Revision_Rate_case:
		p, err = c.rerate(p, r.GetRate(), over)
	case pb.Revision_Users_case:
		p, err = p.withUsers(r.GetUsers(), e.at, over)
	case pb.Revision_Paused_case, pb.Revision_Resumed_case, pb.Revision_Ended_case:
		if !r.GetPaused() && !r.GetResumed() && !r.GetEnded() {
			return errors.New("paused, resumed or ended is false, which says nothing: leave the revision out")
		}
		if !over {
			p = p.steered(r, e.at)
		}
	default:
		return errors.New("no shape: give rate, users, paused, resumed or ended")
	}
	if err != nil {
		return err
	}
	c.phases[i] = p
	return nil
}

// rerate lets an open phase have a constant rate from the last epoch's instant to its end. Where a number of sessions is all that
// ends it, it ends when they are used up.
func (c *Course) rerate(p *Phase, rate float64, over bool) (*Phase, error) {
	e := &c.epochs[len(c.epochs)-1]
	switch {
	case p.Users > 0:
		return nil, fmt.Errorf("phase %s has users and no rate: give users", p.Name)
	case !(rate > 0 && rate <= maxRate):
		return nil, fmt.Errorf("a rate of %v: give one above 0 and up to 1,000,000 sessions per second", rate)
	case over:
		return nil, fmt.Errorf("phase %s is over by then, %v after the run's start", p.Name, time.Duration(e.at).Round(time.Millisecond))
	}
	d := p.cut(e.at)
	q := &Phase{Index: p.Index, Name: p.Name, Start: max(e.at, p.Start), gaps: p.gaps}
	q.Duration = p.Start + p.length - q.Start
	left := p.most - d.Arrivals
	if q.Duration <= 0 || left == 0 {
		return nil, fmt.Errorf("phase %s is over by then, %v after the run's start", p.Name, time.Duration(e.at).Round(time.Millisecond))
	}
	q.length, q.most = q.Duration, left
	q.curve = line(nil).extend(q.Duration, rate, rate)
	q.gaps.stream = NewStream(seedOf(c.schedule.scenario), "arrivals "+p.Name, uint64(e.revision))
	if q.gaps.random() {
		if err := c.count(min(q.curve.total(), float64(left))); err != nil {
			return nil, err
		}
	}
	q.fill(left)
	d.source = q
	if !d.paused {
		d.goOn(e.at)
	}
	d.Duration = q.End() - p.Start
	return d, nil
}

// count adds so many arrivals to those with random spacing that the change brings.
func (c *Course) count(expected float64) error {
	if c.fresh += expected; c.fresh > MaxChangedArrivals {
		return fmt.Errorf("about %.3g arrivals with random spacing, more than the %d that one change may bring: take a lower rate", c.fresh, MaxChangedArrivals)
	}
	return nil
}

// withUsers gives a phase of closed load another number of users.
func (p *Phase) withUsers(users uint32, at int64, over bool) (*Phase, error) {
	switch {
	case p.Users == 0:
		return nil, fmt.Errorf("phase %s has a rate and no users: give a rate", p.Name)
	case users == 0 || users > MaxUsers:
		return nil, fmt.Errorf("%d users: give 1 to %d", users, MaxUsers)
	case p.Arrivals > 0:
		return nil, fmt.Errorf("phase %s plays a number of sessions, which are dealt out to its users: their number cannot change", p.Name)
	case over:
		return nil, fmt.Errorf("phase %s is over by then, %v after the run's start", p.Name, time.Duration(at).Round(time.Millisecond))
	}
	d := *p
	d.Users, d.closed.users = users, uint64(users)
	if at <= p.Start {
		f, _ := p.curve.(fan)
		d.curve, d.numbers = fan{users: uint64(users), over: f.over}, uint64(users)
	}
	return &d, nil
}

// steered pauses, resumes or ends a phase that is not over. What is so already stays as it is.
func (p *Phase) steered(r *pb.Revision, at int64) *Phase {
	d := *p
	open := p.Users == 0
	switch {
	case r.GetEnded():
		if open {
			d = *p.cut(at)
		}
		d.ended, d.paused, d.Duration = true, false, max(0, at-p.Start)
	case r.GetPaused() && !p.paused:
		if open {
			d = *p.cut(at)
		}
		d.paused = true
	case r.GetResumed() && p.paused:
		if open {
			d = *p.cut(at)
			d.goOn(at)
		}
		d.paused = false
	}
	return &d
}

// Paused says that nothing starts in the phase at present.
func (p *Phase) Paused() bool { return p.paused }

// attach appends a phase that begins at the last epoch's instant.
func (c *Course) attach(src *pb.Phase) error {
	e := &c.epochs[len(c.epochs)-1]
	if src.GetName() == "" {
		return errors.New("the phase has no name")
	}
	if src.HasAt() {
		return fmt.Errorf("phase %s begins with the change: leave at out", src.GetName())
	}
	for _, p := range c.phases {
		if p.Name == src.GetName() {
			return fmt.Errorf("there is a phase %s already", p.Name)
		}
	}
	if src.GetClosed().GetUsers() > MaxUsers {
		return fmt.Errorf("phase %s has %d users: give 1 to %d", src.GetName(), src.GetClosed().GetUsers(), MaxUsers)
	}
	check := checker{path: "phase " + src.GetName()}
	o := check.outline(src)
	if len(check.problems) > 0 {
		return errors.New(check.problems[0].String())
	}
	if err := c.count(check.random); err != nil {
		return fmt.Errorf("phase %s: %w", src.GetName(), err)
	}
	b := builder{scenario: c.schedule.scenario, weights: c.weights, end: e.at, bases: c.sessions()}
	if err := b.add(len(c.phases), src, o); err != nil {
		return fmt.Errorf("phase %s: %w", src.GetName(), err)
	}
	p := b.schedule.Phases[0]
	if p.Arrivals == 0 && p.Users == 0 {
		return fmt.Errorf("phase %s has no arrivals: give a higher rate or a longer duration", p.Name)
	}
	c.phases = append(c.phases, p)
	c.own(p)
	return nil
}

// sessions counts the sessions of each workload over all phases, as far as their numbers are known.
func (c *Course) sessions() []uint64 {
	n := make([]uint64, len(c.weights))
	for _, p := range c.phases {
		for _, w := range p.workloads {
			n[w] += p.WorkloadCount(w, p.Arrivals)
		}
	}
	return n
}
