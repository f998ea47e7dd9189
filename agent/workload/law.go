package workload

import (
	"errors"
	"math"
	"slices"

	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// z95 is the 95th percentile of the standard normal law.
const z95 = 1.6448536269514722

var errNoLaw = errors.New("no distribution is given: write fixed, uniform, normal, lognormal, exponential or empirical")

// law draws whole numbers of tokens. A draw is the law's quantile at a random level, rounded half
// up and then moved into lo…hi, both at least 1 and at most MaxTokens. Bounds thus gather the values beyond
// them and leave every quantile between them where the law has it: a median of 220 stays one.
type law struct {
	quantile func(l *law, u float64) float64
	// a and b are the parameters: the value, min and width, mean and deviation, log median and deviation, mean.
	a, b   float64
	lo, hi float64
	values []float64
}

// newLaw compiles a distribution that has been validated.
func newLaw(d *pb.Distribution) (law, error) {
	switch d.WhichLaw() {
	case pb.Distribution_Fixed_case:
		return bounded(law{quantile: fixed, a: d.GetFixed()}, 0, 0), nil
	case pb.Distribution_Uniform_case:
		lo, hi := round(d.GetUniform().GetMin()), round(d.GetUniform().GetMax())
		return bounded(law{quantile: uniform, a: lo, b: hi - lo + 1}, lo, hi), nil
	case pb.Distribution_Normal_case:
		n := d.GetNormal()
		return bounded(law{quantile: normal, a: n.GetMean(), b: n.GetStddev()}, n.GetMin(), n.GetMax()), nil
	case pb.Distribution_Lognormal_case:
		n := d.GetLognormal()
		mu := schedule.Log(n.GetMedian())
		sigma := (schedule.Log(n.GetP95()) - mu) / z95
		return bounded(law{quantile: lognormal, a: mu, b: sigma}, n.GetMin(), n.GetMax()), nil
	case pb.Distribution_Exponential_case:
		e := d.GetExponential()
		return bounded(law{quantile: exponential, a: e.GetMean()}, e.GetMin(), e.GetMax()), nil
	case pb.Distribution_Empirical_case:
		values := slices.Sorted(slices.Values(d.GetEmpirical().GetValues()))
		if len(values) == 0 {
			return law{}, errNoLaw
		}
		return bounded(law{quantile: empirical, values: values}, 0, 0), nil
	default:
		return law{}, errNoLaw
	}
}

// bounded sets the bounds of a law; 0 stands for none.
func bounded(l law, lo, hi float64) law {
	l.lo = min(max(round(lo), 1), MaxTokens)
	l.hi = MaxTokens
	if hi > 0 {
		l.hi = min(max(round(hi), l.lo), MaxTokens)
	}
	return l
}

// draw is the number of tokens at level u of the open interval (0,1).
func (l *law) draw(u float64) uint64 {
	return uint64(min(max(round(l.quantile(l, u)), l.lo), l.hi))
}

// The quantile functions keep each product in a float64 of its own, so that no processor fuses it with the sum.

func fixed(l *law, _ float64) float64       { return l.a }
func uniform(l *law, u float64) float64     { return l.a + math.Floor(float64(l.b*u)) }
func normal(l *law, u float64) float64      { return l.a + float64(l.b*schedule.NormalQuantile(u)) }
func exponential(l *law, u float64) float64 { return float64(-l.a * schedule.Log(u)) }

func lognormal(l *law, u float64) float64 {
	return schedule.Exp(l.a + float64(l.b*schedule.NormalQuantile(u)))
}

func empirical(l *law, u float64) float64 {
	return l.values[min(int(float64(len(l.values))*u), len(l.values)-1)]
}

// round rounds half up. It is exact for every value that may occur.
func round(x float64) float64 { return math.Floor(x + 0.5) }

// meanPoints is the number of levels that Mean takes its draws at.
const meanPoints = 1 << 16

// Mean is the expected number of tokens of a distribution that has been validated, rounding and
// bounds included; 0 when none is given. It is the integral of the quantile function over the
// levels u = t²(3−2t), t in (0,1), by the midpoint rule: the substitution sets the levels dense in both tails.
// The result is good to about 1e-4 of itself.
func Mean(d *pb.Distribution) float64 {
	l, err := newLaw(d)
	if err != nil {
		return 0
	}
	if d.HasFixed() {
		return float64(l.draw(0.5))
	}
	sum, weights := 0.0, 0.0
	for i := range meanPoints {
		t := (float64(i) + 0.5) / meanPoints
		weight := t * (1 - t)
		sum += weight * float64(l.draw(t*t*(3-2*t)))
		weights += weight
	}
	return sum / weights
}

// Expected gives the expected tokens of one request of a workload: of its prompt and of the answer
// asked for; 0 where the scenario alone does not tell (a data set's prompts, an answer without a limit).
// Limits written in rows or in the workload's body are not considered.
func Expected(w *pb.Workload) (input, output float64) {
	switch w.WhichContent() {
	case pb.Workload_Synthetic_case:
		return Mean(w.GetSynthetic().GetInputTokens()), Mean(w.GetSynthetic().GetOutputTokens())
	case pb.Workload_Dataset_case:
		return 0, Mean(w.GetDataset().GetOutputTokens())
	default:
		return 0, 0
	}
}
