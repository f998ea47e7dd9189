package schedule

import (
	"fmt"
	"slices"
	"sort"
)

// Limits of ownership.
const (
	// MaxMembers is the largest number of members of one epoch.
	MaxMembers = 1 << 16
	// MaxEpochs is the largest number of epochs of one phase.
	MaxEpochs = 1 << 10
)

// Ownership says which member plays which arrival of a phase: a table of epochs, each "from
// arrival J on, these weights". Within an epoch the arrivals are dealt out by a Split that begins
// anew at J. A phase of closed load deals out its slots: slot s is number s−1.
//
// An Ownership never changes.
type Ownership struct {
	epochs []epoch
}

// epoch is one row of the table.
type epoch struct {
	first uint64
	split *Split
	// before[m] is the number of arrivals that member m has in the epochs before.
	before []uint64
}

// NewOwnership makes a table with one epoch, number 1, from arrival 0 on.
func NewOwnership(weights []uint32) *Ownership {
	return &Ownership{epochs: []epoch{{split: NewSplit(weights), before: make([]uint64, len(weights))}}}
}

// followedBy is the table with one more epoch; the table itself stays as it is. The first arrival of the epoch may not lie before
// that of the last one; the caller sees to it that it lies in the future. It may have more members than the ones before.
func (o *Ownership) followedBy(first uint64, split *Split) (*Ownership, error) {
	last := &o.epochs[len(o.epochs)-1]
	switch {
	case first < last.first:
		return nil, fmt.Errorf("epoch %d would begin at arrival %d, before epoch %d, which begins at %d",
			len(o.epochs)+1, first, len(o.epochs), last.first)
	case split.Len() > MaxMembers:
		return nil, fmt.Errorf("epoch of %d members, more than %d", split.Len(), MaxMembers)
	case len(o.epochs) >= MaxEpochs:
		return nil, fmt.Errorf("more than %d epochs", MaxEpochs)
	}
	before := last.before
	if first > last.first || split.Len() > len(before) {
		before = make([]uint64, max(split.Len(), len(last.before)))
		copy(before, last.before)
		for m := range last.split.Len() {
			before[m] += last.split.Count(m, first-last.first)
		}
	}
	return &Ownership{epochs: append(slices.Clip(o.epochs), epoch{first: first, split: split, before: before})}, nil
}

// Epochs is the number of epochs.
func (o *Ownership) Epochs() int { return len(o.epochs) }

// Owner says which member plays arrival n, −1 for none, and in which epoch, counted from 1.
func (o *Ownership) Owner(n uint64) (member int, epoch uint32) {
	i := o.at(n)
	e := &o.epochs[i]
	member, _ = e.split.At(n - e.first)
	return member, uint32(i) + 1
}

// Count says how many of the arrivals 0…n−1 a member plays.
func (o *Ownership) Count(member int, n uint64) uint64 {
	e := &o.epochs[0]
	if n > 0 {
		e = &o.epochs[o.at(n-1)]
	}
	if member < 0 || member >= len(e.before) {
		return 0
	}
	return e.before[member] + e.split.Count(member, n-e.first)
}

// Next is the first arrival of a member that is not before the given one; ok is false when there is none.
func (o *Ownership) Next(member int, from uint64) (n uint64, ok bool) {
	c := o.cursor(member, from)
	return c.next(o)
}

// at is the index of the epoch that governs arrival n: the last one whose first arrival is not after it.
func (o *Ownership) at(n uint64) int {
	if last := len(o.epochs) - 1; o.epochs[last].first <= n {
		return last
	}
	return sort.Search(len(o.epochs), func(i int) bool { return o.epochs[i].first > n }) - 1
}

// cursor walks over the arrivals of one member.
type cursor struct {
	member  int
	epoch   int
	ordinal uint64 // of the next arrival within the epoch
}

func (o *Ownership) cursor(member int, from uint64) cursor {
	i := o.at(from)
	e := &o.epochs[i]
	return cursor{member: member, epoch: i, ordinal: e.split.Count(member, from-e.first)}
}

// next gives the member's next arrival. Epochs that were appended meanwhile count; after ok = false it may be asked again.
func (c *cursor) next(o *Ownership) (n uint64, ok bool) {
	for {
		e := &o.epochs[c.epoch]
		n = e.split.Select(c.member, c.ordinal)
		// Beyond 2⁶⁴ there are no arrivals.
		fits := n < none-e.first
		n += e.first
		last := c.epoch == len(o.epochs)-1
		if fits && (last || n < o.epochs[c.epoch+1].first) {
			c.ordinal++
			return n, true
		}
		if last {
			return 0, false
		}
		c.epoch, c.ordinal = c.epoch+1, 0
	}
}
