package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

// Shape names the family of a Distribution.
type Shape string

// The families and what Distribution.A and Distribution.B mean in each.
const (
	// ShapeFixed: always A.
	ShapeFixed Shape = "fixed"
	// ShapeUniform: between A and B.
	ShapeUniform Shape = "uniform"
	// ShapeNormal: mean A, standard deviation B; what falls below zero counts as zero.
	ShapeNormal Shape = "normal"
	// ShapeLognormal: median A, 95th percentile B.
	ShapeLognormal Shape = "lognormal"
	// ShapeExponential: mean A.
	ShapeExponential Shape = "exponential"
)

// z95 is the 95th percentile of the standard normal distribution.
const z95 = 1.6448536269514722

// Distribution is a law of durations. The zero value is a fixed duration of zero.
type Distribution struct {
	Shape Shape
	A, B  time.Duration
}

// Fixed is the distribution of one value.
func Fixed(d time.Duration) Distribution { return Distribution{Shape: ShapeFixed, A: d} }

// ParseDistribution reads "20ms" or "fixed:20ms", "uniform:10ms..30ms", "normal:20ms,5ms" (mean,
// standard deviation), "lognormal:20ms,60ms" (median, 95th percentile) and "exponential:50ms".
func ParseDistribution(text string) (Distribution, error) {
	name, rest, found := strings.Cut(strings.TrimSpace(text), ":")
	if !found {
		name, rest = string(ShapeFixed), name
	}
	d := Distribution{Shape: Shape(name)}
	var first, second string
	switch d.Shape {
	case ShapeFixed, ShapeExponential:
		first, second = rest, "0s"
	case ShapeUniform:
		first, second, found = strings.Cut(rest, "..")
	case ShapeNormal, ShapeLognormal:
		first, second, found = strings.Cut(rest, ",")
	default:
		return d, fmt.Errorf("distribution %q: %q is none of fixed, uniform, normal, lognormal, exponential", text, name)
	}
	if second == "" && !found {
		return d, fmt.Errorf("distribution %q: two durations wanted, as in %s", text, d.example())
	}
	var err error
	if d.A, err = parseDuration(first); err != nil {
		return d, fmt.Errorf("distribution %q: %w", text, err)
	}
	if d.B, err = parseDuration(second); err != nil {
		return d, fmt.Errorf("distribution %q: %w", text, err)
	}
	if err := d.check(); err != nil {
		return d, fmt.Errorf("distribution %q: %w", text, err)
	}
	return d, nil
}

func (d Distribution) example() string {
	switch d.Shape {
	case ShapeUniform:
		return "uniform:10ms..30ms"
	case ShapeNormal:
		return "normal:20ms,5ms"
	default:
		return "lognormal:20ms,60ms"
	}
}

// parseDuration reads a duration between zero and MaxDelay.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(strings.TrimSpace(text))
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 20ms or 1.5s", text)
	}
	if d < 0 || d > MaxDelay {
		return 0, fmt.Errorf("%s is not between 0s and %s", d, MaxDelay)
	}
	return d, nil
}

func (d Distribution) check() error {
	for _, v := range []time.Duration{d.A, d.B} {
		if v < 0 || v > MaxDelay {
			return fmt.Errorf("%s is not between 0s and %s", v, MaxDelay)
		}
	}
	switch d.Shape {
	case "", ShapeFixed, ShapeNormal, ShapeExponential:
		return nil
	case ShapeUniform:
		if d.B < d.A {
			return fmt.Errorf("upper end %s lies below lower end %s", d.B, d.A)
		}
		return nil
	case ShapeLognormal:
		if d.A <= 0 || d.B < d.A {
			return fmt.Errorf("median %s and 95th percentile %s wanted as 0 < median ≤ p95", d.A, d.B)
		}
		return nil
	default:
		return fmt.Errorf("%q is none of fixed, uniform, normal, lognormal, exponential", d.Shape)
	}
}

// String is the form that ParseDistribution reads.
func (d Distribution) String() string {
	switch d.Shape {
	case ShapeUniform:
		return fmt.Sprintf("uniform:%s..%s", d.A, d.B)
	case ShapeNormal, ShapeLognormal:
		return fmt.Sprintf("%s:%s,%s", d.Shape, d.A, d.B)
	case ShapeExponential:
		return fmt.Sprintf("exponential:%s", d.A)
	default:
		return fmt.Sprintf("fixed:%s", d.A)
	}
}

// Mean is the expectation. That of a normal distribution ignores the clipping at zero; that of a
// lognormal one is median·exp(σ²/2) with σ = ln(p95/median)/z95.
func (d Distribution) Mean() time.Duration {
	switch d.Shape {
	case ShapeUniform:
		return d.A + (d.B-d.A)/2
	case ShapeLognormal:
		sigma := d.sigma()
		return time.Duration(float64(d.A) * math.Exp(sigma*sigma/2))
	default:
		return d.A
	}
}

func (d Distribution) sigma() float64 { return math.Log(float64(d.B)/float64(d.A)) / z95 }

// zero reports whether every draw is zero.
func (d Distribution) zero() bool { return d.A == 0 && d.B == 0 }

// draw takes one value, between zero and MaxDelay.
func (d Distribution) draw(r *rand.Rand) int64 {
	var v float64
	switch d.Shape {
	case ShapeUniform:
		v = float64(d.A) + r.Float64()*float64(d.B-d.A)
	case ShapeNormal:
		v = float64(d.A) + r.NormFloat64()*float64(d.B)
	case ShapeLognormal:
		v = float64(d.A) * math.Exp(r.NormFloat64()*d.sigma())
	case ShapeExponential:
		v = r.ExpFloat64() * float64(d.A)
	default:
		return int64(d.A)
	}
	return int64(min(max(v, 0), float64(MaxDelay)))
}
