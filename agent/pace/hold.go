package pace

import (
	"time"

	"github.com/loadline/loadline/internal/measure"
)

const (
	// again is how soon a pacer that may start nothing asks again.
	again = measure.Instant(10 * time.Millisecond)
	// idle bounds one wait of a pacer that waits for others; they wake it.
	idle = measure.Instant(time.Second)
)

// verdict is what became of a wait.
type verdict int

const (
	wait    verdict = iota // a moment longer
	ready                  // the arrival is taken up
	swapped                // another source has taken over
	over                   // there is nothing more to hand on
)

// swap is a source that takes over at an instant.
type swap struct {
	at     measure.Instant
	source Source
	then   func()
}

// decide says what to do about the next arrival of the source, and until when to wait. That it is taken up excludes Limit, Hold
// and Apply, so that what they answer is final.
func (p *Pacer) decide(due measure.Instant, more bool, now measure.Instant) (what verdict, until measure.Instant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case len(p.swaps) > 0 && due >= p.swaps[0].at:
		p.swapNow()
		return swapped, 0
	case due > p.limit, !more && p.held == unlimited && now >= p.end:
		p.ended = true
		return over, 0
	case !more && now < p.end:
		return wait, min(p.end, now+idle)
	case due >= p.held && p.limit < unlimited:
		p.ended = true
		return over, 0 // stopped while a change was open: nobody knows whose it is
	case due >= p.held:
		return wait, now + idle
	case now < due:
		return wait, due
	case p.cfg.May != nil && !p.cfg.May():
		if p.limit < unlimited {
			p.ended = true
			return over, 0 // nobody knows whose it is by now
		}
		return wait, now + again
	}
	p.reached = max(p.reached, due)
	return ready, 0
}

func (p *Pacer) swapNow() {
	s := p.swaps[0]
	p.swaps = p.swaps[1:]
	p.source = s.source
	if s.then != nil {
		s.then()
	}
}

// Hold lets arrivals due at or after the instant wait. It reports false, and nothing changes, when one of them has been handed on
// already. Once Run has returned there is nothing to hold. A later Hold takes the place of the one before. Safe for use by several goroutines.
func (p *Pacer) Hold(at measure.Instant) bool {
	p.mu.Lock()
	ok := p.reached < at || p.ended
	if ok {
		p.held = at
	}
	p.mu.Unlock()
	p.nudge()
	return ok
}

// Release ends a Hold. What waited is handed on, or missed where it is too late by now.
func (p *Pacer) Release() {
	p.mu.Lock()
	p.held = unlimited
	p.mu.Unlock()
	p.nudge()
}

// Apply lets a source that has everything due at or after the instant take the place of the present one from there on; end is the new
// Config.End, and then, which may be nil, is called on the pacer's thread when the source takes over. Instants of several
// Applies must rise. It reports false, and nothing changes, when something due at or after the instant has been handed on already, or Run
// has returned.
func (p *Pacer) Apply(at measure.Instant, source Source, end measure.Instant, then func()) bool {
	p.mu.Lock()
	ok := p.reached < at && !p.ended
	if ok {
		p.swaps = append(p.swaps, swap{at, source, then})
		p.end = end
	}
	p.mu.Unlock()
	p.nudge()
	return ok
}
