package schedule

import (
	"math"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// gaps draws the load between an arrival and the one before it, on the axis of Λ, where every law has mean 1.
type gaps struct {
	law    pb.Arrivals
	stream Stream
	gamma  gamma
}

// at is the gap before arrival j, in units of 2⁻⁴⁸. Constant spacing puts arrival 0 at the phase's start; the
// random laws put it one gap after it.
func (g *gaps) at(j uint64) uint64 {
	switch g.law {
	case pb.Arrivals_ARRIVALS_POISSON:
		// 1−U is as exact as U, and a normal number.
		return uint64(int64(-logNormal(math.Float64bits(1-g.stream.Float64(j)), 0) * one))
	case pb.Arrivals_ARRIVALS_GAMMA:
		return uint64(int64(g.gamma.draw(Stream(g.stream.Uint64(j))) * one))
	}
	if j == 0 {
		return 0
	}
	return one
}

// random reports whether the place of an arrival depends on all gaps before it.
func (g *gaps) random() bool {
	return g.law == pb.Arrivals_ARRIVALS_POISSON || g.law == pb.Arrivals_ARRIVALS_GAMMA
}

// gamma draws from the gamma law of mean 1 by the rejection method of Marsaglia and Tsang, "A simple method
// for generating gamma variables", ACM TOMS 26 (2000). It is exact in law.
type gamma struct {
	d, c  float64
	scale float64
	// boost is 1/shape where the shape is below 1: the law of shape+1 is drawn and multiplied by U^boost. 0 elsewhere.
	boost float64
}

const (
	// gammaTries bounds the rejections; each try is refused with probability below 0.05.
	gammaTries = 64
	// gammaLargest bounds a gap, in means; no law in reach comes near it.
	gammaLargest = 1 << 14
)

// newGamma makes the law with the given coefficient of variation, 0.1 to 10: shape 1/cv², mean 1.
func newGamma(cv float64) gamma {
	shape := 1 / float64(cv*cv)
	g := gamma{scale: 1 / shape}
	if shape < 1 {
		g.boost = 1 / shape
		shape++
	}
	g.d = shape - 1.0/3
	g.c = 1 / math.Sqrt(9*g.d)
	return g
}

// draw uses a stream that belongs to one arrival alone, so that no arrival depends on how often another was refused.
func (g *gamma) draw(s Stream) float64 {
	y := float64(g.scale * g.d)
	for try := range uint64(gammaTries) {
		x := NormalQuantile(s.Float64(2*try + 1))
		v := 1 + float64(g.c*x)
		if v <= 0 {
			continue
		}
		v = float64(float64(v*v) * v)
		u := s.Float64(2*try + 2)
		x2 := float64(x * x)
		if u < 1-float64(0.0331*float64(x2*x2)) || Log(u) < float64(0.5*x2)+float64(g.d*(1-v+Log(v))) {
			y = float64(y * v)
			break
		}
	}
	if g.boost > 0 {
		y = float64(y * Exp(float64(Log(s.Float64(0))*g.boost)))
	}
	return min(y, gammaLargest)
}
