package schedule

import (
	"cmp"
	"math/bits"
	"slices"
)

// slots says who plays the slots of a phase of closed load, and since when. It never changes; change makes another one.
type slots struct {
	owner []int32  // by slot−1; −1: nobody
	epoch []uint32 // by slot−1: in which the slot began for its owner
	begun []began  // by epoch−1
}

// began is what began anew by one epoch.
type began struct {
	slots     []slotOf
	restarted uint64
}

type slotOf struct {
	slot   uint32
	member int32
}

// slotStart is a slot and when it begins, in ns since the run's start.
type slotStart struct {
	slot uint32
	at   int64
}

// newSlots deals the slots of a phase that has not begun out to the members: all of them begin by the epoch of that number.
func newSlots(p *Phase, split *Split, number int) *slots {
	s := &slots{owner: make([]int32, p.Users), epoch: make([]uint32, p.Users), begun: make([]began, number)}
	for i := range s.owner {
		m, _ := split.At(uint64(i))
		s.give(i, m, number)
	}
	return s
}

// give lets slot i+1 begin for a member by the last epoch.
func (s *slots) give(i, member, number int) {
	s.owner[i], s.epoch[i] = int32(member), uint32(number)
	if member >= 0 {
		b := &s.begun[number-1]
		b.slots = append(b.slots, slotOf{uint32(i) + 1, int32(member)})
	}
}

// change is the ownership after an epoch of the given number. Slots move only from members whose share has fallen, as few as
// can be, the highest first; they and new ones go in order to the members that have too few. In a phase that plays a number of
// sessions no slot moves, since nobody else knows how far it got: the sessions left of a member without a share are lost.
func (s *slots) change(p *Phase, before []uint32, e *courseEpoch, number int) *slots {
	if e.at <= p.Start {
		return newSlots(p, e.split, number)
	}
	d := &slots{owner: slices.Clone(s.owner), epoch: slices.Clone(s.epoch), begun: append(slices.Clip(s.begun), began{})}
	if p.Arrivals > 0 {
		for i, m := range d.owner {
			if m >= 0 && e.weights[m] == 0 {
				d.owner[i] = -1
			}
		}
		return d
	}
	d.resize(int(p.Users))
	counts := d.counts(len(e.weights))
	targets := quotas(e.weights, counts, uint64(p.Users))
	d.release(counts, targets, fallen(before, e.weights))
	d.deal(counts, targets, number)
	for _, b := range d.begun[number-1].slots {
		if i := int(b.slot) - 1; i < len(s.owner) && s.owner[i] >= 0 && p.SlotStart(b.slot) < e.at {
			d.begun[number-1].restarted++
		}
	}
	return d
}

// resize ends the slots above a number or adds slots that nobody has yet.
func (s *slots) resize(users int) {
	for len(s.owner) < users {
		s.owner, s.epoch = append(s.owner, -1), append(s.epoch, 0)
	}
	s.owner, s.epoch = s.owner[:users], s.epoch[:users]
}

// counts is how many slots each of so many members has.
func (s *slots) counts(members int) []uint64 {
	n := make([]uint64, members)
	for _, m := range s.owner {
		if m >= 0 {
			n[m]++
		}
	}
	return n
}

// release takes from the members whose share has fallen what is above their target.
func (s *slots) release(counts, targets []uint64, fallen []bool) {
	for i := len(s.owner) - 1; i >= 0; i-- {
		if m := s.owner[i]; m >= 0 && fallen[m] && counts[m] > targets[m] {
			s.owner[i] = -1
			counts[m]--
		}
	}
}

// deal gives the slots that nobody has to the members that have fewer than their target.
func (s *slots) deal(counts, targets []uint64, number int) {
	wanted := make([]uint32, len(counts))
	for m := range counts {
		wanted[m] = uint32(targets[m] - min(targets[m], counts[m]))
	}
	split, next := NewSplit(wanted), uint64(0)
	for i, m := range s.owner {
		if m < 0 {
			to, _ := split.At(next)
			s.give(i, to, number)
			next++
		}
	}
}

// fallen reports for each member whether its share of all weights is smaller than before.
func fallen(before, weights []uint32) []bool {
	was, is := NewSplit(before).total(), NewSplit(weights).total()
	out := make([]bool, len(weights))
	for m := range before {
		h1, l1 := bits.Mul64(uint64(weights[m]), was)
		h2, l2 := bits.Mul64(uint64(before[m]), is)
		out[m] = h1 < h2 || h1 == h2 && l1 < l2
	}
	return out
}

// quotas divides n slots by weight: whole parts that sum to n, each the rounded down or the rounded up share. Rounded up are first
// those that have more than the former, so that little moves, then the largest remainders, then the first in the roster.
func quotas(weights []uint32, have []uint64, n uint64) []uint64 {
	all := NewSplit(weights).total()
	parts := make([]uint64, len(weights))
	rests := make([]uint64, len(weights))
	left := n
	var open []int
	for m, w := range weights {
		parts[m], rests[m] = mulDiv(n, uint64(w), all)
		left -= parts[m]
		if rests[m] > 0 {
			open = append(open, m)
		}
	}
	more := func(m int) int {
		if have != nil && have[m] > parts[m] {
			return 0
		}
		return 1
	}
	slices.SortFunc(open, func(a, b int) int {
		return cmp.Or(cmp.Compare(more(a), more(b)), cmp.Compare(rests[b], rests[a]), cmp.Compare(a, b))
	})
	for _, m := range open[:left] {
		parts[m]++
	}
	return parts
}

// Ceilings divides a ceiling of requests in flight among members by weight: largest remainders, at least 1 for each that has a
// weight, 0 for the others. The parts sum to the ceiling, or to the number of members with a weight where that is larger.
func Ceilings(ceiling uint32, weights []uint32) []uint32 {
	var with uint64
	for _, w := range weights {
		if w > 0 {
			with++
		}
	}
	out := make([]uint32, len(weights))
	if with == 0 {
		return out
	}
	rest := quotas(weights, nil, uint64(ceiling)-min(uint64(ceiling), with))
	for m, w := range weights {
		if w > 0 {
			out[m] = uint32(1 + rest[m])
		}
	}
	return out
}

func (s *slots) ownerOf(n uint64) (member int, epoch uint32) {
	if n >= uint64(len(s.owner)) {
		return -1, 0
	}
	return int(s.owner[n]), s.epoch[n]
}

func (s *slots) count(member int, n uint64) uint64 {
	var have uint64
	for _, m := range s.owner[:min(n, uint64(len(s.owner)))] {
		if int(m) == member {
			have++
		}
	}
	return have
}

// starts lists the slots that begin for a member at or after the instant, in the order of their beginnings.
func (s *slots) starts(c *Course, p *Phase, member int, from int64) []slotStart {
	out := []slotStart{}
	for i, m := range s.owner {
		if int(m) != member {
			continue
		}
		slot := uint32(i) + 1
		if at := max(c.epochs[s.epoch[i]-1].at, p.SlotStart(slot)); at >= from {
			out = append(out, slotStart{slot, at})
		}
	}
	slices.SortStableFunc(out, func(a, b slotStart) int { return cmp.Compare(a.at, b.at) })
	return out
}

// nextSlot is Next of a walker over slots.
func (w *OwnedWalker) nextSlot() (n uint64, due int64, ok bool) {
	if len(w.slots) == 0 {
		return 0, 0, false
	}
	s := w.slots[0]
	w.slots = w.slots[1:]
	return uint64(s.slot) - 1, s.at, true
}
