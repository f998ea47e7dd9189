package judge

import (
	"fmt"

	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/internal/hist"
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
	if h.Count() < minLate {
		return medianLag(h), true
	}
	return lag{value: float64(h.Quantile(0.99)), p: 0.99, name: "99th percentile", count: h.Count()}, true
}

func medianLag(h *hist.Histogram) lag {
	return lag{value: float64(h.Quantile(median)), p: median, name: "median", count: h.Count()}
}

const median = 0.5

// bound is what is allowed: a share of a quantile of the first of the series that has values, and at least
// so much. It says so in words, too.
func bound(g *merge.Group, p, least float64, yardsticks ...measure.Series) (most float64, words string) {
	name := "median"
	if p != median {
		name = fmt.Sprintf("%.0fth percentile of", 100*p)
	}
	for _, s := range yardsticks {
		if h := g.Histogram(s); h.Count() > 0 {
			value := float64(h.Quantile(p))
			return max(least, lateShare*value), fmt.Sprintf(" (5%% of the %s %s of %s, and at least %s)",
				name, merge.SeriesName(s), Quantity(value, UnitMicros), Quantity(least, UnitMicros))
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
		noticed, yardstick := bound(whole, median, lagNoteUS, measure.ITL, measure.E2E)
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
