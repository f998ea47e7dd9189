package judge

import (
	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/internal/scenario"
)

// Look judges what a program waits for by one second, as Monitor judges abort conditions: it holds or not, and counts where the second
// holds at least one value. A count looks at everything since the run's start, discarded phases included.
func Look(r *merge.Run, second uint64, c *scenario.Condition) (held, counts bool) {
	if c.Count != "" {
		return holds(c.Objective, float64(counted(r, c))), true
	}
	entry := r.At(second)
	if entry == nil {
		return false, false
	}
	return inSecond(r, entry, c.Objective)
}

// counted is what the condition counts, as far as windows have been merged.
func counted(r *merge.Run, c *scenario.Condition) uint64 {
	e := evidence{run: r}
	var sum merge.Counters
	for k, g := range r.Groups() {
		if e.passes(c.Objective, k) {
			sum.Add(&g.Counters)
		}
	}
	switch c.Count {
	case "arrivals":
		return sum[merge.Due]
	case "started":
		return sum[merge.Started]
	case "missed":
		return sum[merge.Missed]
	case "shed":
		return sum[merge.Shed]
	case "sessions":
		return sum.SessionsEnded()
	case "requests":
		return sum.RequestsEnded()
	case "succeeded":
		return sum[merge.RequestsSucceeded]
	case "errors":
		return sum[merge.RequestsFailed]
	case "input_tokens":
		return sum[merge.InputTokens]
	case "output_tokens":
		return sum[merge.OutputTokens]
	default:
		return 0
	}
}
