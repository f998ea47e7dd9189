package workload

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func uniformLaw(lo, hi float64) *pb.Distribution {
	return pb.Distribution_builder{Uniform: pb.Uniform_builder{Min: &lo, Max: &hi}.Build()}.Build()
}

func normalLaw(mean, stddev float64) *pb.Normal {
	return pb.Normal_builder{Mean: &mean, Stddev: &stddev}.Build()
}

func exponentialLaw(mean float64) *pb.Exponential {
	return pb.Exponential_builder{Mean: &mean}.Build()
}

// laws are distributions with their exact mean, and quantiles that they were given by or have.
func laws() map[string]struct {
	d         *pb.Distribution
	mean      float64 // 0: not given
	deviation float64
	quantiles map[float64]float64
} {
	bounded := normalLaw(100, 50)
	bounded.SetMin(80)
	bounded.SetMax(120)
	short := exponentialLaw(40)
	short.SetMax(50)
	type row = struct {
		d         *pb.Distribution
		mean      float64
		deviation float64
		quantiles map[float64]float64
	}
	// The log-normal law's mean is exp(μ + σ²/2).
	sigma := math.Log(900.0/220) / z95
	return map[string]row{
		"fixed":                    {fixedLaw(128), 128, 0, map[float64]float64{0.01: 128, 0.99: 128}},
		"uniform":                  {uniformLaw(10, 29), 19.5, 5.8, map[float64]float64{0.5: 19.5, 0.05: 10.5, 0.95: 28.5}},
		"normal":                   {pb.Distribution_builder{Normal: normalLaw(1000, 100)}.Build(), 1000, 100, map[float64]float64{0.5: 1000, 0.9: 1128}},
		"lognormal":                {lognormalLaw(220, 900), 220 * math.Exp(sigma*sigma/2), 340, map[float64]float64{0.5: 220, 0.95: 900}},
		"lognormal without spread": {lognormalLaw(64, 64), 64, 0, map[float64]float64{0.5: 64}},
		// Rounded half up and at least 1: 1 + Σ exp(−(k+½)/mean) over k ≥ 1.
		"exponential": {
			pb.Distribution_builder{Exponential: exponentialLaw(40)}.Build(),
			1 + math.Exp(-1.5/40)/(1-math.Exp(-1.0/40)), 40, map[float64]float64{0.5: 27.7, 0.9: 92.1},
		},
		"empirical": {
			pb.Distribution_builder{Empirical: pb.Empirical_builder{Values: []float64{7, 1, 1, 3}}.Build()}.Build(),
			3, 2.5, map[float64]float64{0.3: 1, 0.6: 3, 0.9: 7},
		},
		"bounds gather what lies beyond": {
			pb.Distribution_builder{Normal: bounded}.Build(), 100, 16, map[float64]float64{0.3: 80, 0.5: 100, 0.7: 120},
		},
		"bound above": {pb.Distribution_builder{Exponential: short}.Build(), 0, 17, map[float64]float64{0.9: 50}},
	}
}

func TestDrawsHaveTheLawsMeanAndQuantiles(t *testing.T) {
	const draws = 40_000
	for name, tt := range laws() {
		t.Run(name, func(t *testing.T) {
			l, err := newLaw(tt.d)
			if err != nil {
				t.Fatal(err)
			}
			stream := schedule.NewStream(1, name)
			values, sum := make([]float64, draws), 0.0
			for j := range values {
				values[j] = float64(l.draw(stream.Float64(uint64(j))))
				sum += values[j]
			}
			mean := Mean(tt.d)
			if tt.mean > 0 && math.Abs(mean-tt.mean) > 1e-3*tt.mean {
				t.Errorf("Mean = %v, want %v", mean, tt.mean)
			}
			if got := sum / draws; math.Abs(got-mean) > 4*tt.deviation/math.Sqrt(draws) {
				t.Errorf("mean of the draws = %v, want %v", got, mean)
			}
			slices.Sort(values)
			for p, want := range tt.quantiles {
				if got := values[int(p*draws)]; math.Abs(got-want) > 0.03*want+1 {
					t.Errorf("quantile %v = %v, want %v", p, got, want)
				}
			}
		})
	}
}

func TestDrawsAreWholeNumbersWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mean := rapid.Float64Range(1e-9, 1e7).Draw(t, "mean")
		n := normalLaw(mean, rapid.Float64Range(0, 1e7).Draw(t, "stddev"))
		lo := rapid.Float64Range(0, 1e7).Draw(t, "min")
		hi := rapid.Float64Range(max(lo, 1), 1e7).Draw(t, "max")
		n.SetMin(lo)
		n.SetMax(hi)
		l, _ := newLaw(pb.Distribution_builder{Normal: n}.Build())
		u := rapid.Float64Range(1e-16, 1-1e-16).Draw(t, "u")
		if got := float64(l.draw(u)); got < max(1, lo-0.5) || got > max(1, hi+0.5) || got > MaxTokens {
			t.Fatalf("draw(%v) = %v, want %v to %v", u, got, lo, hi)
		}
	})
}

func TestExpectedTokens(t *testing.T) {
	tests := map[string]struct {
		w             *pb.Workload
		input, output float64
	}{
		"synthetic": {pb.Workload_builder{Synthetic: pb.Synthetic_builder{
			InputTokens: fixedLaw(64), OutputTokens: uniformLaw(1, 9),
		}.Build()}.Build(), 64, 5},
		"no limit": {pb.Workload_builder{Synthetic: pb.Synthetic_builder{InputTokens: fixedLaw(64)}.Build()}.Build(), 64, 0},
		"data set": {pb.Workload_builder{Dataset: pb.Dataset_builder{OutputTokens: fixedLaw(3)}.Build()}.Build(), 0, 3},
		"http":     {echo(pb.HttpRequest_builder{}), 0, 0},
	}
	for name, tt := range tests {
		if input, output := Expected(tt.w); input != tt.input || math.Abs(output-tt.output) > 1e-3*tt.output {
			t.Errorf("%s: Expected = %v, %v, want %v, %v", name, input, output, tt.input, tt.output)
		}
	}
}

func TestTheWordsAreDifferentAndPlain(t *testing.T) {
	words := *newWordTable()
	seen := map[string]bool{}
	for _, word := range words {
		if seen[word] || len(word) < 3 || len(word) > 9 || word[0] != ' ' {
			t.Errorf("word %q", word)
		}
		seen[word] = true
		for _, c := range word[1:] {
			if c < 'a' || c > 'z' {
				t.Errorf("word %q is not plain", word)
			}
		}
	}
}

func TestPermuteIsAPermutation(t *testing.T) {
	check := func(t interface{ Fatalf(string, ...any) }, stream schedule.Stream, n uint64) {
		seen := make([]bool, n)
		for i := range n {
			got := permute(stream, n, i)
			if got >= n || seen[got] {
				t.Fatalf("of %d, %d goes to %d: outside or taken", n, i, got)
			}
			seen[got] = true
		}
	}
	for n := range uint64(70) {
		check(t, schedule.NewStream(n, "small"), n)
	}
	rapid.Check(t, func(t *rapid.T) {
		check(t, schedule.Stream(rapid.Uint64().Draw(t, "stream")), rapid.Uint64Range(1, 5000).Draw(t, "n"))
	})
}

func TestPermuteLeavesNoOrderBehind(t *testing.T) {
	const n = 1000
	stream := schedule.NewStream(7, "order")
	rising, near := 0, 0
	for i := range uint64(n - 1) {
		a, b := permute(stream, n, i), permute(stream, n, i+1)
		if b > a {
			rising++
		}
		if b == a+1 {
			near++
		}
	}
	if rising < 450 || rising > 550 || near > 6 { // half, within 3.5 standard deviations; Poisson of mean 1
		t.Errorf("%d of %d steps rise, %d by one: not shuffled", rising, n-1, near)
	}
}
