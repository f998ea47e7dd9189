package schedule

// Walker walks over the arrivals of a phase in order. It is a value: a copy goes on by itself.
type Walker struct {
	phase *Phase // as compiled: the phase itself, or the source of one of its pieces
	next  uint64 // by the numbers of phase
	end   uint64 // first number that is not walked over
	sum   mark   // load before arrival next

	// Where changes have cut the phase into pieces:
	whole *Phase // nil: there are none
	piece int
	shift uint64 // from the numbers of phase to those of whole; it wraps
}

// Walk is a walker over all arrivals from the given number on. For closed load it walks over the slots as they were compiled: number
// slot−1, due when the slot begins. Getting to any arrival draws at most 32,768 gaps.
func (p *Phase) Walk(from uint64) Walker {
	from = min(from, p.numbers)
	if p.pieces == nil {
		return Walker{phase: p, next: from, end: p.numbers, sum: p.before(from)}
	}
	w := Walker{phase: p, whole: p}
	if i := p.pieceOf(from); i >= 0 {
		w.enter(i, from-p.pieces[i].first)
	}
	return w
}

// Next gives the next arrival: its number and when it is due, in ns since the run's start. Due times never fall.
func (w *Walker) Next() (n uint64, due int64, ok bool) {
	if w.next >= w.end && !w.hop() {
		return 0, 0, false
	}
	n = w.next
	w.next++
	w.sum = w.sum.plus(w.phase.gaps.at(n))
	return n + w.shift, w.phase.Start + w.phase.curve.due(w.sum.float()), true
}

// OwnedWalker walks over the arrivals of a phase that one member plays.
type OwnedWalker struct {
	walker    Walker
	ownership *Ownership
	cursor    cursor
	numbers   uint64 // of the phase

	slots []slotStart // closed load of a course: what is left; nil: the arrivals are walked over
}

// WalkOwned is a walker over the member's arrivals from the given number on. Epochs that are appended while it walks
// count from its next step on; the caller keeps steps and appending apart.
func (p *Phase) WalkOwned(o *Ownership, member int, from uint64) OwnedWalker {
	return OwnedWalker{walker: p.Walk(from), ownership: o, cursor: o.cursor(member, from), numbers: p.numbers}
}

// Next gives the member's next arrival as Walker.Next does.
func (w *OwnedWalker) Next() (n uint64, due int64, ok bool) {
	if w.ownership == nil {
		return w.nextSlot()
	}
	n, ok = w.cursor.next(w.ownership)
	if !ok || n >= w.numbers {
		return 0, 0, false
	}
	w.walker.skipTo(n)
	return w.walker.Next()
}

// skipTo moves on to arrival n, which is not before the next one.
func (w *Walker) skipTo(n uint64) {
	own := n - w.shift
	if own >= w.end && w.whole != nil {
		*w = w.whole.Walk(n)
		return
	}
	g := &w.phase.gaps
	if !g.random() {
		w.next, w.sum = own, w.phase.before(own)
		return
	}
	if own/markEvery > w.next/markEvery {
		w.next = own - own%markEvery
		w.sum = w.phase.marks[own/markEvery]
	}
	w.sum = g.sum(w.sum, w.next, own)
	w.next = own
}

// before is the load before arrival n.
func (p *Phase) before(n uint64) mark {
	if !p.gaps.random() {
		return mark{whole: max(n, 1) - 1}
	}
	if n >= p.numbers {
		return mark{}
	}
	i := n / markEvery
	return p.gaps.sum(p.marks[i], i*markEvery, n)
}

// sum adds the gaps of arrivals from…to−1.
func (g *gaps) sum(m mark, from, to uint64) mark {
	for j := from; j < to; j++ {
		m = m.plus(g.at(j))
	}
	return m
}

// count counts on from arrival n, with the load m before it, to the first arrival that lies beyond the limit, or to most.
// It gives that arrival's number and the load before it.
func (g *gaps) count(n uint64, m, limit mark, most uint64) (uint64, mark) {
	for ; n < most; n++ {
		next := m.plus(g.at(n))
		if next.after(limit) {
			break
		}
		m = next
	}
	return n, m
}

// survey counts the arrivals up to the limit, at most most, and notes the load before every markEvery-th.
func (g *gaps) survey(limit mark, most uint64) (n uint64, marks []mark) {
	var m mark
	for stop := uint64(0); n == stop && n < most; {
		marks = append(marks, m)
		stop = min(most, n+markEvery)
		n, m = g.count(n, m, limit, stop)
	}
	return n, marks
}
