package judge

import (
	"fmt"

	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/internal/measure"
)

// lag is how late the generator was, in microseconds: with reading what had come, or with starting sessions.
type lag struct {
	value float64
	p     float64 // the quantile that value is
	name  string  // of the quantile
	count uint64  // of values
}

// lagOf is the lag of a group by one of its series; false: nothing is known of it.
func lagOf(g *merge.Group, s measure.Series) (lag, bool) {
	h := g.Histogram(s)
	if h.Count() == 0 {
		return lag{}, false
	}
	p, name := 0.99, "99th percentile"
	if h.Count() < minLate {
		p, name = 0.5, "median"
	}
	return lag{value: float64(h.Quantile(p)), p: p, name: name, count: h.Count()}, true
}

// bound is what is allowed: a share of the median of the first of the series that has values, and at least
// so much. It says so in words, too.
func (lag) bound(g *merge.Group, least float64, yardsticks ...measure.Series) (bound float64, words string) {
	for _, s := range yardsticks {
		if h := g.Histogram(s); h.Count() > 0 {
			median := float64(h.Quantile(0.5))
			return max(least, lateShare*median), fmt.Sprintf(" (5%% of the median %s of %s, and at least %s)",
				merge.SeriesName(s), Quantity(median, UnitMicros), Quantity(least, UnitMicros))
		}
	}
	return least, ""
}

// lagNotes warns where the lag is a part of what was measured that can be noticed, and tells of stamps
// that could not be used.
func lagNotes(r *merge.Run) []string {
	var out []string
	whole := r.Whole()
	if l, ok := lagOf(whole, measure.ReadLag); ok {
		noticed, yardstick := l.bound(whole, lagNoteUS, measure.ITL, measure.E2E)
		if l.value > noticed {
			out = append(out, fmt.Sprintf("the generator's own delay is part of the figures: the %s of read_lag is %s, more than %s%s",
				l.name, Quantity(l.value, UnitMicros), Quantity(noticed, UnitMicros), yardstick))
		}
	}
	if n := whole.Counters[merge.StampsDropped]; n > 0 {
		out = append(out, fmt.Sprintf("the wall clock of a generator was set during the run: %s left out of read_lag, ttft_wire and itl_wire",
			number(n, "read")))
	}
	return out
}
