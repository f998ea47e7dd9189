// Package calibrate decides what `loadline calibrate` tries next, and says what it found: the search
// for the most that a machine sustains, and the form in which that is kept. It starts nothing itself.
package calibrate

// Search looks for the highest value that holds: it doubles while values hold, halves while none has,
// and then halves the interval between the highest that held and the lowest that did not.
//
// On a shared machine one step may fail through no fault of its own. So the step that ends the climb
// is tried twice before it counts.
type Search struct {
	// Start is the first value; Least and Most bound all of them. 0 < Least ≤ Start ≤ Most.
	Start, Least, Most uint64
	// Halvings is how often the last interval is halved.
	Halvings int

	next    uint64
	good    uint64 // highest that held; 0: none
	bad     uint64 // lowest that did not; 0: none
	again   bool   // next has failed once
	done    bool
	started bool
}

// Next is the value to try. It reports false when the search is over. It may be asked again before Report.
func (s *Search) Next() (uint64, bool) {
	if !s.started {
		s.started, s.next = true, s.Start
	}
	return s.next, !s.done
}

// Report says whether the value of Next held.
func (s *Search) Report(held bool) {
	climbing := s.bad == 0
	switch {
	case held:
		s.good, s.again = s.next, false
	case climbing && !s.again:
		s.again = true
		return
	default:
		s.bad, s.again = s.next, false
	}
	s.advance()
}

// advance chooses the next value.
func (s *Search) advance() {
	switch {
	case s.bad == 0: // the climb
		s.done = s.good >= s.Most
		s.next = min(2*s.good, s.Most)
	case s.good == 0: // the way down
		s.done = s.bad <= s.Least
		s.next = max(s.bad/2, s.Least)
	default:
		s.done = s.Halvings <= 0 || s.bad-s.good < 2
		s.Halvings--
		s.next = s.good + (s.bad-s.good)/2
	}
}

// Best is the highest value that held, 0 when none did. reached says that a higher one did not: then it
// is the limit, and otherwise only known to be no lower.
func (s *Search) Best() (value uint64, reached bool) { return s.good, s.bad > 0 }
