package judge

import (
	"fmt"
	"math"
	"strings"

	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// cause says why an objective is undecided.
type cause int

const (
	// bySample: too few samples. The zero value is a decided objective.
	bySample cause = iota + 1
	// byMissing: arrivals without an answer decide.
	byMissing
)

// finding is one objective, judged.
type finding struct {
	bracket bracket
	verdict pb.Verdict
	cause   cause
	reason  string
}

// judge judges one objective.
func (e evidence) judge(o *pb.Objective) finding {
	b := weigh(o, e.scopeOf(o))
	f := finding{bracket: b}
	quantile := o.GetAggregate() == pb.Aggregate_AGGREGATE_QUANTILE
	fast, slow := holds(o, b.fast), holds(o, b.slow)
	switch {
	case quantile && !fast && !slow && failedAlone(o, b):
		f.verdict, f.reason = pb.Verdict_VERDICT_FAIL, failureReason(o, b)
	case nothing(o, b):
		f.verdict, f.cause, f.reason = pb.Verdict_VERDICT_INCONCLUSIVE, bySample, "nothing was measured for "+subject(o)
		if b.answers.unanswered() > 0 {
			f.cause = byMissing
			f.reason += ": " + silentWords(b.answers)
		}
	case quantile && b.samples < Floor(o.GetQuantile()):
		f.verdict, f.cause, f.reason = pb.Verdict_VERDICT_INCONCLUSIVE, bySample, sampleReason(o, b)
	case fast && slow:
		f.verdict = pb.Verdict_VERDICT_PASS
	case !fast && !slow:
		f.verdict, f.reason = pb.Verdict_VERDICT_FAIL, failureReason(o, b)
	default:
		f.verdict, f.cause, f.reason = pb.Verdict_VERDICT_INCONCLUSIVE, byMissing, missingReason(o, b)
	}
	return f
}

// nothing says that no value stands behind the objective.
func nothing(o *pb.Objective, b bracket) bool {
	if o.GetAggregate() == pb.Aggregate_AGGREGATE_RATE {
		return math.IsNaN(b.observed) || b.answers.all() == 0
	}
	return math.IsNaN(b.observed) || b.answers.measured+b.answers.failed == 0
}

// failedAlone says that the failed requests alone put a quantile out of bounds: there was no
// other answer at all, or so many failed that chance does not explain it (M7, read the other
// way round). So a dead target fails however small the sample.
func failedAlone(o *pb.Objective, b bracket) bool {
	if b.answers.failed == 0 || !math.IsInf(b.fast, 1) {
		return false
	}
	known := b.answers.measured + b.answers.failed + b.answers.silent + b.answers.cut
	return b.answers.measured == 0 || decisive(b.answers.failed, known, o.GetQuantile())
}

// holds compares a value with the bound; what has no value does not hold.
func holds(o *pb.Objective, v float64) bool {
	if math.IsNaN(v) {
		return false
	}
	switch o.GetComparison() {
	case pb.Comparison_COMPARISON_LT:
		return v < o.GetBound()
	case pb.Comparison_COMPARISON_LE:
		return v <= o.GetBound()
	case pb.Comparison_COMPARISON_GT:
		return v > o.GetBound()
	case pb.Comparison_COMPARISON_GE:
		return v >= o.GetBound()
	default:
		return false
	}
}

// message is the finding as a summary shows it.
func (f finding) message(o *pb.Objective) *pb.ObjectiveResult {
	b := pb.ObjectiveResult_builder{
		Expression: o.GetExpression(), Unit: unitOf(o), Verdict: f.verdict, Reason: f.reason,
		Observed: finite(f.bracket.observed),
		Low:      finite(min(f.bracket.fast, f.bracket.slow)), High: finite(max(f.bracket.fast, f.bracket.slow)),
	}
	return b.Build()
}

// finite is nil for what has no value or is infinite.
func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

func unitOf(o *pb.Objective) string {
	switch o.GetAggregate() {
	case pb.Aggregate_AGGREGATE_SHARE:
		return UnitShare
	case pb.Aggregate_AGGREGATE_RATE:
		return UnitPerSecond
	default:
		if s, ok := merge.SeriesNamed(o.GetMetric()); ok {
			return merge.SeriesUnit(s)
		}
		return ""
	}
}

// subject is the left-hand side of the expression: p99(ttft){phase=hold}.
func subject(o *pb.Objective) string {
	if i := strings.IndexAny(o.GetExpression(), "<>"); i > 0 {
		return strings.TrimSpace(o.GetExpression()[:i])
	}
	return o.GetMetric()
}

// beyond says on which side of the bound a failing value lies.
func beyond(o *pb.Objective) string {
	switch o.GetComparison() {
	case pb.Comparison_COMPARISON_LT:
		return "not below"
	case pb.Comparison_COMPARISON_LE:
		return "above"
	case pb.Comparison_COMPARISON_GT:
		return "not above"
	default:
		return "below"
	}
}

func failureReason(o *pb.Objective, b bracket) string {
	unit, a := unitOf(o), b.answers
	bound := Quantity(o.GetBound(), unit)
	if math.IsInf(b.fast, 1) {
		return fmt.Sprintf("%s has no finite value: %s, and that counts as infinitely slow; the bound is %s",
			subject(o), failedWords(o, a), bound)
	}
	value := b.observed
	tail := ""
	if !holds(o, value) && a.silent > 0 {
		tail = fmt.Sprintf("; even if the %s without an answer had been fast", number(a.silent, "arrival"))
	} else if holds(o, value) {
		// What was measured holds: it is the failed requests in the denominator that decide.
		value = b.fast
		tail = "; " + failedWords(o, a) + ", and that counts as infinitely slow"
	}
	return fmt.Sprintf("%s is %s, %s the bound of %s%s", subject(o), Quantity(value, unit), beyond(o), bound, tail)
}

// failedWords says what counts as infinitely slow both times.
func failedWords(o *pb.Objective, a answers) string {
	missing := "had no first token when the drain time was over"
	if s, _ := seriesOf(o); s == measure.E2E || s == measure.Session {
		missing = "had no end when the drain time was over"
	}
	what := "failed or " + missing
	switch a.outlasted {
	case 0:
		what = "failed"
	case a.failed:
		what = missing
	}
	return fmt.Sprintf("%s of %s requests %s", Count(a.failed), Count(a.all()), what)
}

func sampleReason(o *pb.Objective, b bracket) string {
	return fmt.Sprintf("%s needs %s values to be judged and has %s; run longer or at a higher rate",
		subject(o), Count(Floor(o.GetQuantile())), Count(b.samples))
}

func missingReason(o *pb.Objective, b bracket) string {
	unit := unitOf(o)
	return fmt.Sprintf("%s is %s if what has no answer had been fast, and %s if not; the bound of %s lies between: %s",
		subject(o), Quantity(b.fast, unit), Quantity(b.slow, unit), Quantity(o.GetBound(), unit), silentWords(b.answers))
}

// silentWords says what has no answer: "12 arrivals have no answer (5 shed, 7 lost)".
func silentWords(a answers) string {
	var parts []string
	for _, p := range []struct {
		n    uint64
		word string
	}{
		{a.parts.missed, "missed"}, {a.parts.shed, "shed"}, {a.parts.lost, "lost"},
		{a.parts.unfinished, "unfinished"}, {a.canceled, "canceled"},
	} {
		if p.n > 0 {
			parts = append(parts, Count(p.n)+" "+p.word)
		}
	}
	if len(parts) == 0 {
		return "nothing fell due"
	}
	verb := " have no answer ("
	if a.unanswered() == 1 {
		verb = " has no answer ("
	}
	return number(a.unanswered(), "arrival") + verb + strings.Join(parts, ", ") + ")"
}
