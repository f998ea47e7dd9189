package schedule

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// compiled is a scenario's schedule; it must compile.
func compiled(t interface {
	Helper()
	Fatal(...any)
}, s *pb.Scenario) *Schedule {
	t.Helper()
	c, err := Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestShapesFollowTheirFormula holds due times and rates of constant spacing against the plain formulas of Λ: as
// arrival j is due, j sessions have been due.
func TestShapesFollowTheirFormula(t *testing.T) {
	clip := func(t, from, to float64) float64 { return max(0, min(t, to)-from) }
	for _, c := range []struct {
		name    string
		load    *pb.OpenLoad
		length  float64
		want    uint64
		through func(t float64) float64
	}{
		{"rate", rate(3), 100, 300, func(t float64) float64 { return 3 * t }},
		{"fractional rate", rate(0.1), 1000, 100, func(t float64) float64 { return 0.1 * t }},
		{"ramp up", ramp(5, 50), 120, 3300, func(t float64) float64 { return 5*t + 45.0/240*t*t }},
		{"ramp from nothing", ramp(0, 10), 60, 300, func(t float64) float64 { return 10.0 / 120 * t * t }},
		{"ramp to nothing", ramp(10, 0), 60, 300, func(t float64) float64 { return 10*t - 10.0/120*t*t }},
		{"flat ramp", ramp(7, 7), 10, 70, func(t float64) float64 { return 7 * t }},
		{"steps", steps(10, 50, 10, 30), 0, 4500, func(t float64) (sum float64) {
			for i := range 5 {
				sum += float64(10*i+10) * clip(t, float64(30*i), float64(30*i+30))
			}
			return sum
		}},
		{"steps down", steps(50, 12, 20, 10), 0, 800, func(t float64) float64 { return 50*clip(t, 0, 10) + 30*clip(t, 10, 20) }},
		{"spike", spike(10, 200, 5, 20, 5), 120, 5950, func(t float64) float64 {
			up, down := clip(t, 45, 50), clip(t, 70, 75)
			return 10*t + 19*up*up + 190*clip(t, 50, 70) + 190*down - 19*down*down
		}},
		{"square spike from nothing", spike(0, 100, 0, 4, 0), 10, 400, func(t float64) float64 { return 100 * clip(t, 3, 7) }},
		{"sine", sineLoad(50, 30, 60), 150, 8073, func(t float64) float64 {
			return 50*t + 30*60/(2*math.Pi)*(1-math.Cos(2*math.Pi*t/60))
		}},
		{"deep sine", sineLoad(20, 20, 10), 100, 2000, func(t float64) float64 {
			return 20*t + 20*10/(2*math.Pi)*(1-math.Cos(2*math.Pi*t/10))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := compiled(t, scenario(1, nil, open("a", c.load, c.length))).Phases[0]
			if p.Arrivals != c.want {
				t.Errorf("%d arrivals, want %d", p.Arrivals, c.want)
			}
			w := p.Walk(0)
			for _, a := range take(&w, 10_000) {
				s := float64(a.due) / second
				// Within the nanosecond that was rounded off, and the rounding of the reference.
				low, high := c.through(s)-1e-8*float64(a.n+1), c.through(s+2e-9)+1e-8*float64(a.n+1)
				if float64(a.n) < low || float64(a.n) > high {
					t.Fatalf("arrival %d is due at %.9f s, where the load is %.9f", a.n, s, c.through(s))
				}
			}
			for s := 0.05; s < float64(p.Duration)/second-0.1; s += 0.37 {
				slope := (c.through(s+1e-4) - c.through(s-1e-4)) / 2e-4
				if got := p.RateAt(int64(s * second)); math.Abs(got-slope) > 1e-3*(slope+1) {
					t.Fatalf("rate %.6f at %.3f s, want %.6f", got, s, slope)
				}
			}
		})
	}
}

func TestStepsDoNotPassTheLast(t *testing.T) {
	for _, c := range []struct {
		from, to, by float64
		want         []float64
	}{
		{10, 50, 10, []float64{10, 20, 30, 40, 50}},
		{10, 45, 10, []float64{10, 20, 30, 40}},
		{50, 12, 20, []float64{50, 30}},
		{0.1, 0.5, 0.1, []float64{0.1, 0.2, 0.30000000000000004, 0.4, 0.5}},
		{0.1, 0.7, 0.1, []float64{0.1, 0.2, 0.30000000000000004, 0.4, 0.5, 0.6, 0.7}},
		{5, 5, 1, []float64{5}},
		{5, 1, 100, []float64{5}},
	} {
		p := compiled(t, scenario(1, nil, open("a", steps(c.from, c.to, c.by, 10), 0))).Phases[0]
		if want := int64(len(c.want)) * 10 * second; p.Duration != want {
			t.Errorf("%v: %d ns long, want %d", c, p.Duration, want)
		}
		for i, want := range c.want {
			if got := p.RateAt(int64(10*i+5) * second); math.Abs(got-want) > 1e-12 {
				t.Errorf("%v: step %d has rate %v, want %v", c, i, got, want)
			}
		}
		if got := p.RateAt(p.Duration); got != 0 {
			t.Errorf("%v: rate %v after the end", c, got)
		}
	}
}

// loadOf draws a shape, of up to a few thousand arrivals in the seconds given, and a spacing.
func loadOf(t *rapid.T) (load *pb.OpenLoad, length float64) {
	// Drawn ranges lean towards their small end; the lists see to it that there are many arrivals as well.
	r := rapid.OneOf(rapid.Float64Range(0.01, 500), rapid.SampledFrom([]float64{7.3, 50, 333.3, 499, 500}))
	length = rapid.OneOf(rapid.Float64Range(0.001, 8), rapid.SampledFrom([]float64{0.5, 2, 5, 7.77, 8})).Draw(t, "length")
	switch rapid.IntRange(0, 5).Draw(t, "shape") {
	case 0:
		load = rate(r.Draw(t, "rate"))
	case 1:
		load = ramp(r.Draw(t, "from"), rapid.Float64Range(0, 500).Draw(t, "to"))
	case 2:
		load = ramp(rapid.Float64Range(0, 500).Draw(t, "from"), r.Draw(t, "to"))
	case 3:
		load, length = steps(r.Draw(t, "from"), r.Draw(t, "to"), rapid.Float64Range(20, 300).Draw(t, "by"), length/8), 0
	case 4:
		parts := rapid.SliceOfN(rapid.Float64Range(0, length/4), 3, 3).Draw(t, "parts")
		load = spike(rapid.Float64Range(0, 500).Draw(t, "base"), r.Draw(t, "peak"), parts[0], parts[1], parts[2])
		length += 0.01
	default:
		mean := r.Draw(t, "mean")
		load = sineLoad(mean, mean*rapid.SampledFrom([]float64{0, 0.3, 0.99, 1}).Draw(t, "depth"),
			rapid.OneOf(rapid.Float64Range(0.001, 20), rapid.SampledFrom([]float64{0.1, 1.3, 10})).Draw(t, "period"))
	}
	switch rapid.IntRange(0, 2).Draw(t, "spacing") {
	case 1:
		load = poisson(load)
	case 2:
		load = gammaOf(rapid.Float64Range(0.1, 10).Draw(t, "cv"), load)
	}
	return load, length
}

// TestDueTimesNeverFall looks at marks that lie as close together as marks can.
func TestDueTimesNeverFall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		load, length := loadOf(t)
		c := checker{}
		o := c.outline(open("a", load, length))
		if len(c.problems) > 0 {
			t.Fatal(c.problems)
		}
		m := mark{rapid.Uint64().Draw(t, "whole") % (uint64(o.curve.total()) + 2), rapid.Uint64().Draw(t, "part") % one}
		due := o.curve.due(m.float())
		for range 200 {
			m = m.plus(1)
			next := o.curve.due(m.float())
			if next < due {
				t.Fatalf("due at %d, and at %d for a little more load", due, next)
			}
			due = next
		}
	})
}

// TestLongCurvesNeverFall: where a due time has 2⁵¹ ns, neighbours differ in the last bits only.
func TestLongCurvesNeverFall(t *testing.T) {
	month := int64(MaxPhase)
	for name, c := range map[string]curve{
		"ramp": line(nil).extend(month, 0, 1e6), "slow ramp": line(nil).extend(month, 999_999, 1e6),
		"falling": line(nil).extend(month, 1e6, 0), "flat": line(nil).extend(month, 1e6, 1e6),
		"sine": newSine(1e6, 1e6, month, month), "short sine": newSine(1e6, 1e6, second, month),
	} {
		s := NewStream(1, name)
		for j := range uint64(3000) {
			x := s.Float64(j) * c.total()
			before := c.due(x)
			for range 20 {
				x = math.Nextafter(x, math.Inf(1))
				due := c.due(x)
				if due < before {
					t.Fatalf("%s: due at %d, and at %d for a little more load", name, before, due)
				}
				before = due
			}
		}
	}
}
