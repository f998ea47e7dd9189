package schedule

import (
	"testing"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// shapes are the loads of the benchmarks: enough arrivals for any number of rounds.
func shapes() []struct {
	name string
	load *pb.OpenLoad
} {
	return []struct {
		name string
		load *pb.OpenLoad
	}{
		{"constant", rate(1000)},
		{"poisson", poisson(rate(1000))},
		{"poisson-ramp", poisson(ramp(500, 1500))},
		{"sine", sineLoad(1000, 800, 600)},
		{"poisson-sine", poisson(sineLoad(1000, 800, 600))},
		{"gamma-0.5", gammaOf(0.5, rate(1000))},
		{"gamma-2", gammaOf(2, rate(1000))},
	}
}

func benchmarkPhase(b *testing.B, load *pb.OpenLoad) *Phase {
	b.Helper()
	s, err := Compile(scenario(1, nil, open("hold", load, 2000)))
	if err != nil {
		b.Fatal(err)
	}
	return s.Phases[0]
}

// BenchmarkWalk is the cost of one arrival walked.
func BenchmarkWalk(b *testing.B) {
	for _, shape := range shapes() {
		b.Run(shape.name, func(b *testing.B) {
			p := benchmarkPhase(b, shape.load)
			b.ReportAllocs()
			b.ResetTimer()
			w := p.Walk(0)
			for range b.N {
				if _, _, ok := w.Next(); !ok {
					w = p.Walk(0)
				}
			}
			report(b)
		})
	}
}

// BenchmarkWalkOwned is the cost of one arrival walked by one of 1,000 agents; it plays one in a thousand.
func BenchmarkWalkOwned(b *testing.B) {
	weights := make([]uint32, 1000)
	for i := range weights {
		weights[i] = 1 + uint32(i%7)
	}
	o := NewOwnership(weights)
	for _, shape := range shapes() {
		b.Run(shape.name, func(b *testing.B) {
			p := benchmarkPhase(b, shape.load)
			b.ReportAllocs()
			b.ResetTimer()
			for left := b.N; left > 0; {
				w := p.WalkOwned(o, 500, 0)
				for {
					n, _, ok := w.Next()
					if !ok || int(n) >= left {
						break
					}
				}
				left -= int(p.Arrivals)
			}
			report(b)
		})
	}
}

// BenchmarkOwner is the cost of finding the owner of one arrival among 1,000 agents while walking.
func BenchmarkOwner(b *testing.B) {
	weights := make([]uint32, 1000)
	for i := range weights {
		weights[i] = 1 + uint32(i%7)
	}
	o := NewOwnership(weights)
	p := benchmarkPhase(b, rate(1000))
	b.ReportAllocs()
	b.ResetTimer()
	w := p.Walk(0)
	for range b.N {
		n, _, ok := w.Next()
		if !ok {
			w = p.Walk(0)
		}
		o.Owner(n)
	}
	report(b)
}

// BenchmarkCompile is the cost of compiling one day at 1,000 Poisson arrivals a second: 86.4 million.
func BenchmarkCompile(b *testing.B) {
	for range b.N {
		s, err := Compile(scenario(1, nil, open("day", poisson(rate(1000)), 86400)))
		if err != nil || s.Phases[0].Arrivals < 86e6 {
			b.Fatal(err)
		}
	}
}

// BenchmarkResume is the cost of getting to an arrival after 5·10⁷ others.
func BenchmarkResume(b *testing.B) {
	for _, load := range []struct {
		name string
		load *pb.OpenLoad
	}{{"poisson", poisson(rate(1000))}, {"gamma", gammaOf(2, rate(1000))}} {
		b.Run(load.name, func(b *testing.B) {
			s, err := Compile(scenario(1, nil, open("day", load.load, 50100)))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				w := s.Phases[0].Walk(763*markEvery - 1)
				w.Next()
			}
		})
	}
}

// BenchmarkCount is the cost of one CountUntil.
func BenchmarkCount(b *testing.B) {
	p := benchmarkPhase(b, poisson(rate(1000)))
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		p.CountUntil(int64(i%2000) * second)
	}
}

// BenchmarkFunctions is the cost of one value of each function.
func BenchmarkFunctions(b *testing.B) {
	s := NewStream(1, "bench")
	for _, f := range []struct {
		name string
		f    func(float64) float64
	}{{"log", Log}, {"exp", Exp}, {"normal", NormalQuantile}} {
		b.Run(f.name, func(b *testing.B) {
			for i := range b.N {
				f.f(s.Float64(uint64(i)))
			}
		})
	}
}

// BenchmarkApply is the hand-over of a run of 1,000 members: one is lost in the middle of a run of ten phases.
func BenchmarkApply(b *testing.B) {
	var phases []*pb.Phase
	for i := range 9 {
		phases = append(phases, at(0, open(string(rune('a'+i)), poisson(rate(1000)), 600)))
	}
	weights := make([]uint32, 1000)
	for i := range weights {
		weights[i] = 1 + uint32(i%7)
	}
	c := NewCourse(compiled(b, scenario(1, nil, append(phases, at(0, closedPhase("z", 20_000, 600)))...)), weights)
	weights[500] = 0
	ch := change(c, 300, weights)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if _, err := c.Apply(ch); err != nil {
			b.Fatal(err)
		}
	}
}

func report(b *testing.B) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "M/s")
}
