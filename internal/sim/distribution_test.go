package sim

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseDistribution(t *testing.T) {
	ms := time.Millisecond
	for text, want := range map[string]Distribution{
		"20ms":                  Fixed(20 * ms),
		"fixed:0s":              Fixed(0),
		"uniform:10ms..30ms":    {ShapeUniform, 10 * ms, 30 * ms},
		"normal:20ms,5ms":       {ShapeNormal, 20 * ms, 5 * ms},
		"lognormal:20ms, 60ms":  {ShapeLognormal, 20 * ms, 60 * ms},
		" exponential:50ms ":    {ShapeExponential, 50 * ms, 0},
		"uniform:10ms..10ms":    {ShapeUniform, 10 * ms, 10 * ms},
		"lognormal:200us,200us": {ShapeLognormal, 200 * time.Microsecond, 200 * time.Microsecond},
	} {
		got, err := ParseDistribution(text)
		if err != nil || got != want {
			t.Errorf("ParseDistribution(%q) = %v, %v; want %v", text, got, err, want)
		}
		if again, err := ParseDistribution(got.String()); err != nil || again != got {
			t.Errorf("%q does not read back: %v, %v", got.String(), again, err)
		}
	}
}

func TestParseDistributionRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "is not a duration",
		"20":                   "is not a duration",
		"-1s":                  "is not between",
		"25h":                  "is not between",
		"gauss:1s":             "none of fixed, uniform",
		"uniform:10ms":         "two durations wanted, as in uniform:10ms..30ms",
		"normal:10ms":          "two durations wanted, as in normal:20ms,5ms",
		"uniform:30ms..10ms":   "upper end 10ms lies below",
		"lognormal:0s,10ms":    "0 < median",
		"lognormal:60ms,20ms":  "0 < median",
		"exponential:10ms,1ms": "is not a duration",
	} {
		_, err := ParseDistribution(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseDistribution(%q): %v, want %q in it", text, err, want)
		}
	}
}

// TestDistributionDraws compares many draws of a fixed seed with mean and quantiles.
func TestDistributionDraws(t *testing.T) {
	for _, c := range []struct {
		text         string
		mean, median float64 // ms
		p95          float64
	}{
		{"fixed:20ms", 20, 20, 20},
		{"uniform:10ms..30ms", 20, 20, 29},
		{"normal:50ms,10ms", 50, 50, 66.4},
		{"lognormal:20ms,60ms", 25, 20, 60},
		{"exponential:50ms", 50, 34.7, 149.8},
	} {
		d, err := ParseDistribution(c.text)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(1, 2))
		draws, sum := make([]float64, 100_000), 0.0
		for i := range draws {
			draws[i] = float64(d.draw(rng)) / 1e6
			sum += draws[i]
		}
		slices.Sort(draws)
		near(t, c.text+" mean", sum/float64(len(draws)), c.mean)
		near(t, c.text+" stated mean", float64(d.Mean())/1e6, c.mean)
		near(t, c.text+" median", draws[len(draws)/2], c.median)
		near(t, c.text+" p95", draws[len(draws)*95/100], c.p95)
		if draws[0] < 0 {
			t.Errorf("%s drew %v", c.text, draws[0])
		}
	}
}

// near allows two percent.
func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 0.02*want {
		t.Errorf("%s is %.4g, want %.4g", what, got, want)
	}
}
