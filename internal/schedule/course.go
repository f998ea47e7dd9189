package schedule

import (
	"fmt"
	"iter"
	"slices"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Course is a schedule with the changes that were made to it while it was played, and says who owns what. A change
// holds from one instant of the run's clock on: what is due before it is as it was, and arrivals are numbered on without
// a gap. Everything follows from the schedule and the changes alone, so every member computes the same course.
//
// A Course never changes; Apply makes another one. It may be used by many goroutines at once.
type Course struct {
	schedule *Schedule
	phases   []*Phase
	owners   []*Ownership // by phase; epochs of open load
	slots    []*slots     // by phase; nil for open load
	epochs   []courseEpoch
	members  int
	end      int64
	fresh    float64  // expected arrivals with random spacing that the last change brought
	weights  []uint32 // of the workloads, for appended phases
	closed   bool     // nothing is appended any more
}

// courseEpoch is what a change set beside the phases.
type courseEpoch struct {
	at       int64
	revision uint32
	weights  []uint32
	split    *Split
}

// NewCourse is the course of a schedule as it was planned, owned by members of the given weights: epoch 1 and revision 1.
func NewCourse(s *Schedule, weights []uint32) *Course {
	c := &Course{
		schedule: s, phases: slices.Clone(s.Phases), members: len(weights), end: s.End,
		epochs: []courseEpoch{{revision: 1, weights: slices.Clone(weights), split: NewSplit(weights)}},
	}
	if s.scenario != nil {
		c.weights = WorkloadWeights(s.scenario)
	}
	for _, p := range c.phases {
		c.own(p)
	}
	return c
}

// own lets the members own a phase from its beginning on, by the weights in force.
func (c *Course) own(p *Phase) {
	e := &c.epochs[len(c.epochs)-1]
	o := &Ownership{epochs: make([]epoch, len(c.epochs))}
	before := make([]uint64, c.members)
	for i := range o.epochs {
		o.epochs[i] = epoch{split: e.split, before: before}
	}
	c.owners = append(c.owners, o)
	var s *slots
	if p.Users > 0 {
		s = newSlots(p, e.split, len(c.epochs))
	}
	c.slots = append(c.slots, s)
}

// Epoch is the number of the last epoch; the plan's is 1.
func (c *Course) Epoch() uint32 { return uint32(len(c.epochs)) }

// Revision is the number of the schedule's revision in the last epoch; the plan's is 1.
func (c *Course) Revision() uint32 { return c.epochs[len(c.epochs)-1].revision }

// Members is the number of members, those without a share included.
func (c *Course) Members() int { return c.members }

// At is the instant from which an epoch holds, in ns since the run's start; 0 for the plan's and for one that there is not.
func (c *Course) At(epoch uint32) int64 {
	if epoch == 0 || int(epoch) > len(c.epochs) {
		return 0
	}
	return c.epochs[epoch-1].at
}

// Weights are those of the last epoch, by member; they must not be changed.
func (c *Course) Weights() []uint32 { return c.epochs[len(c.epochs)-1].weights }

// Phases are the phases as they are by now: those of the scenario, then those that changes appended. A phase that a change
// revised is a Phase like any other. They must not be changed.
func (c *Course) Phases() []*Phase { return c.phases }

// Closed says that a change has closed an open-ended load: it is over with its last phase.
func (c *Course) Closed() bool { return c.closed }

// End is when the last phase's load is over, in ns since the run's start, as Schedule.End.
func (c *Course) End() int64 { return c.end }

// Owner says which member plays an arrival of a phase, −1 for none, and in which epoch. Closed load: n is a slot less 1, and
// the epoch is that in which the slot began.
func (c *Course) Owner(phase int, n uint64) (member int, epoch uint32) {
	if s := c.slots[phase]; s != nil {
		return s.ownerOf(n)
	}
	return c.owners[phase].Owner(n)
}

// Count says how many of the arrivals 0…n−1 of a phase a member owns. Closed load: how many of the slots 1…n.
func (c *Course) Count(phase, member int, n uint64) uint64 {
	if s := c.slots[phase]; s != nil {
		return s.count(member, n)
	}
	return c.owners[phase].Count(member, n)
}

// Next is the first arrival of a member in an open phase that is not before the given one; ok is false when there is none.
func (c *Course) Next(phase, member int, from uint64) (n uint64, ok bool) {
	if c.slots[phase] != nil {
		return 0, false
	}
	n, ok = c.owners[phase].Next(member, from)
	return n, ok && n < c.phases[phase].Arrivals
}

// First is the first arrival of an open phase that an epoch governs: the number of arrivals due before its instant.
func (c *Course) First(phase int, epoch uint32) uint64 {
	o := c.owners[phase]
	if epoch == 0 || int(epoch) > len(o.epochs) {
		return c.phases[phase].Arrivals
	}
	return o.epochs[epoch-1].first
}

// Walk is a walker over the arrivals of a phase that a member owns and that are due at or after the instant, in ns since the
// run's start. Closed load: over the slots that begin for the member at or after it, number slot−1; those that one
// epoch gave and another took away before they began are not among them.
func (c *Course) Walk(phase, member int, from int64) OwnedWalker {
	p := c.phases[phase]
	if s := c.slots[phase]; s != nil {
		return OwnedWalker{slots: s.starts(c, p, member, from)}
	}
	n := uint64(0)
	if from > p.Start {
		n = p.CountUntil(from - 1)
	}
	return p.WalkOwned(c.owners[phase], member, n)
}

// Slots yields the slots of a phase of closed load that begin for a member by an epoch, in order: at the epoch's instant, or
// at the slot's own start where that is later.
func (c *Course) Slots(phase, member int, epoch uint32) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		s := c.slots[phase]
		if s == nil || epoch == 0 || int(epoch) > len(s.begun) {
			return
		}
		for _, b := range s.begun[epoch-1].slots {
			if int(b.member) == member && !yield(b.slot) {
				return
			}
		}
	}
}

// Holds reports whether a slot that began for a member in an epoch is still the member's: if not, no session of it may start
// at or after the instant of the change that took it away. A slot of a phase that is paused waits and goes on.
func (c *Course) Holds(phase, member int, slot, epoch uint32) bool {
	s := c.slots[phase]
	if s == nil || slot == 0 || int(slot) > len(s.owner) {
		return false
	}
	return int(s.owner[slot-1]) == member && s.epoch[slot-1] == epoch
}

// Restarted is the number of users of a phase of closed load that an epoch took from a member that had begun them, and that
// begin anew with another.
func (c *Course) Restarted(phase int, epoch uint32) uint64 {
	s := c.slots[phase]
	if s == nil || epoch == 0 || int(epoch) > len(s.begun) {
		return 0
	}
	return s.begun[epoch-1].restarted
}

// Apply makes the course that a change leads to. The error says what is wrong with the change; whatever came over the wire,
// there is no panic.
func (c *Course) Apply(ch *pb.Change) (*Course, error) {
	d := *c
	d.fresh = 0
	if err := d.admit(ch); err != nil {
		return nil, err
	}
	d.epochs = append(slices.Clip(c.epochs), courseEpoch{
		at: ch.GetAtNs(), revision: ch.GetRevision(), weights: slices.Clone(ch.GetWeights()), split: NewSplit(ch.GetWeights()),
	})
	d.members, d.closed = len(ch.GetWeights()), c.closed || ch.GetClosed()
	d.phases, d.owners, d.slots = slices.Clone(c.phases), slices.Clone(c.owners), slices.Clone(c.slots)
	if w := ch.GetWorkloadWeights(); len(w) > 0 {
		d.weights = slices.Clone(w)
	}
	for i, r := range ch.GetRevisions() {
		if err := d.revise(r); err != nil {
			return nil, fmt.Errorf("change of epoch %d: revisions[%d]: %w", ch.GetEpoch(), i, err)
		}
	}
	if err := d.handOver(); err != nil {
		return nil, err
	}
	for i, p := range ch.GetAppended() {
		if err := d.attach(p); err != nil {
			return nil, fmt.Errorf("change of epoch %d: appended[%d]: %w", ch.GetEpoch(), i, err)
		}
	}
	d.end = 0
	for _, p := range d.phases {
		d.end = max(d.end, p.End())
	}
	return &d, nil
}

// ApplyAll applies changes one after the other.
func (c *Course) ApplyAll(changes []*pb.Change) (*Course, error) {
	for _, ch := range changes {
		next, err := c.Apply(ch)
		if err != nil {
			return nil, err
		}
		c = next
	}
	return c, nil
}

// handOver lets the last epoch own every phase from its instant on.
func (c *Course) handOver() error {
	before := c.epochs[len(c.epochs)-2].weights
	e := &c.epochs[len(c.epochs)-1]
	for i, p := range c.phases {
		if s := c.slots[i]; s != nil {
			c.slots[i] = s.change(p, before, e, len(c.epochs))
			continue
		}
		first := uint64(0)
		if e.at > p.Start {
			first = p.CountUntil(e.at - 1)
		}
		o, err := c.owners[i].followedBy(first, e.split)
		if err != nil {
			return fmt.Errorf("change of epoch %d: phase %s: %w", len(c.epochs), p.Name, err)
		}
		c.owners[i] = o
	}
	return nil
}
