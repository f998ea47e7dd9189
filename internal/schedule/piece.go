package schedule

import (
	"math"
	"slices"
	"sort"
)

// piece is a stretch of an open phase between two changes: arrivals of a load, numbered on.
type piece struct {
	// at is the instant from which the piece holds, in ns since the run's start; until is where the next begins.
	at, until int64
	// first is the number of its first arrival within the phase.
	first uint64
	// source is the load as compiled, from the first of its arrivals that belongs here, count how many do.
	source *Phase
	from   uint64
	count  uint64
}

// pieceOf is the index of the piece that holds arrival n, or of the last one; −1 when there is none.
func (p *Phase) pieceOf(n uint64) int {
	return sort.Search(len(p.pieces), func(i int) bool { return p.pieces[i].first > n }) - 1
}

// pieceAt is the piece that holds at t ns of the run, nil for none.
func (p *Phase) pieceAt(t int64) *piece {
	i := sort.Search(len(p.pieces), func(i int) bool { return p.pieces[i].at > t }) - 1
	if i < 0 {
		return nil
	}
	return &p.pieces[i]
}

// pieceRate is RateAt of a phase with pieces.
func (p *Phase) pieceRate(t int64) float64 {
	if q := p.pieceAt(t); q != nil && t < q.until {
		return q.source.RateAt(t)
	}
	return 0
}

// pieceCount is CountUntil of a phase with pieces.
func (p *Phase) pieceCount(t int64) uint64 {
	q := p.pieceAt(t)
	if q == nil {
		return 0
	}
	n := q.source.CountUntil(t)
	return q.first + min(n-min(n, q.from), q.count)
}

// enter puts the walker at an arrival of a piece.
func (w *Walker) enter(i int, offset uint64) {
	q := &w.whole.pieces[i]
	w.piece, w.phase = i, q.source
	w.next, w.end, w.shift = q.from+offset, q.from+q.count, q.first-q.from
	w.sum = q.source.before(w.next)
}

// hop moves on to the next piece that holds anything.
func (w *Walker) hop() bool {
	if w.whole == nil {
		return false
	}
	for i := w.piece + 1; i < len(w.whole.pieces); i++ {
		if w.whole.pieces[i].count > 0 {
			w.enter(i, 0)
			return true
		}
	}
	return false
}

// cut is a copy of an open phase without what is due at or after the instant; further pieces may be added to it. The
// numbers of what is left are those of before.
func (p *Phase) cut(at int64) *Phase {
	c := *p
	if c.source == nil {
		c.source = p
	}
	if p.pieces == nil {
		c.pieces = []piece{{at: p.Start, until: math.MaxInt64, source: p, count: p.Arrivals}}
	}
	c.pieces = slices.Clone(c.pieces)
	for i := range c.pieces {
		q := &c.pieces[i]
		if q.at >= at {
			c.pieces = c.pieces[:i]
			break
		}
		if q.until > at {
			n := q.source.CountUntil(at - 1)
			q.until, q.count = at, min(n-min(n, q.from), q.count)
		}
	}
	c.count()
	return &c
}

// goOn adds what the source has from the instant on.
func (p *Phase) goOn(at int64) {
	at = max(at, p.Start)
	q := piece{at: at, until: math.MaxInt64, first: p.Arrivals, source: p.source, from: p.source.CountUntil(at - 1)}
	q.count = q.source.Arrivals - min(q.source.Arrivals, q.from)
	if left := p.most - min(p.most, p.Arrivals); left < q.count {
		q.count = left
	}
	p.pieces = append(p.pieces, q)
	p.count()
}

// count brings the number of arrivals up to date.
func (p *Phase) count() {
	p.Arrivals = 0
	if n := len(p.pieces); n > 0 {
		p.Arrivals = p.pieces[n-1].first + p.pieces[n-1].count
	}
	p.numbers = p.Arrivals
}
