package judge

import (
	"cmp"
	"slices"

	"github.com/loadline/loadline/coordinator/merge"
)

// measuredSpan is the length of the union of the phases for which include is true, in
// nanoseconds: overlapping phases count once.
func measuredSpan(r *merge.Run, include func(phase int) bool) int64 {
	var spans []merge.Span
	for i := range r.Scenario().GetLoad() {
		if s := r.Span(i); s.Begun && include(i) {
			spans = append(spans, s)
		}
	}
	slices.SortFunc(spans, func(a, b merge.Span) int { return cmp.Compare(a.StartNS, b.StartNS) })
	var length, until int64
	for _, s := range spans {
		if s.EndNS > until {
			length += s.EndNS - max(s.StartNS, until)
			until = s.EndNS
		}
	}
	return length
}
