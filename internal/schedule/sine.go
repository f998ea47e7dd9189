package schedule

import "math"

const (
	// sineCells is the number of cells of the table of first guesses.
	sineCells = 512
	// sineLattice is what the load within a period is rounded down to, as a share of the period's load. It is more than
	// twice the largest miss of a solution (sineTolerance and the rounding of the miss itself, below 2⁻⁴⁹ together), so that due
	// times cannot fall. It moves a due time by at most 2⁻⁴⁶ of a period, divided by the rate relative to the mean.
	sineLattice   = 0x1p-46
	sineTolerance = 0x1p-50
	// sineNewton and sineRounds bound the iteration: so many rounds of Newton's method, then halving.
	sineNewton = 16
	sineRounds = sineNewton + 64
)

// sine is the curve mean·(1 + depth·sin(2πt/period)).
type sine struct {
	mean, depth   float64
	period        float64 // ns
	load          float64 // sessions in a period
	end, endTotal float64
	scale         float64 // depth/2π
	bend          float64 // π·depth: half the largest second derivative of swing
	knots         [sineCells + 1]knot
}

// knot is a point of the inverse of swing: the share of the period at which i/sineCells of its load have been due, and how far
// the tangent there rises over a cell.
type knot struct{ at, rise float64 }

func newSine(mean, amplitude float64, period, length int64) *sine {
	s := &sine{mean: mean, depth: amplitude / mean, period: float64(period), end: float64(length)}
	s.load = float64(mean*s.period) / second
	s.scale = s.depth / (2 * math.Pi)
	s.bend = s.depth * math.Pi
	for i := range s.knots {
		at := 1.0
		if i < sineCells {
			at = s.solve(float64(i)/sineCells, 0, 1, float64(i)/sineCells)
		}
		sin, _ := sincosTurns(at)
		s.knots[i] = knot{at, 1 / (sineCells * max(1+float64(s.depth*sin), 0x1p-30))}
	}
	cycles := math.Floor(s.end / s.period)
	s.endTotal = float64((cycles + s.swing(s.end/s.period-cycles)) * s.load)
	return s
}

func (s *sine) total() float64 { return s.endTotal }

func (s *sine) rate(t float64) float64 {
	cycles := t / s.period
	sin, _ := sincosTurns(cycles - math.Floor(cycles))
	return float64(s.mean * (1 + float64(s.depth*sin)))
}

func (s *sine) due(x float64) int64 {
	if x >= s.endTotal {
		return int64(s.end)
	}
	cycles := x / s.load
	whole := float64(int64(cycles))
	v := float64(int64((cycles-whole)*(1/sineLattice))) * sineLattice
	return int64(min(float64((whole+s.inverse(v))*s.period), s.end))
}

// inverse is the share of the period at which the share v of its load has been due. It depends on v alone, not on the
// arrivals before, so that every way to an arrival gives the same bits.
func (s *sine) inverse(v float64) float64 {
	i := int(v * sineCells)
	a, b := &s.knots[i], &s.knots[i+1]
	// The guess is the cubic through both knots with their tangents.
	u := float64(v*sineCells) - float64(i)
	w := 1 - u
	across := b.at - a.at
	bent := float64((a.rise-across)*w) - float64((b.rise-across)*u)
	guess := a.at + float64(across*u) + float64(float64(u*w)*bent)
	return s.solve(v, a.at, b.at, max(a.at, min(guess, b.at)))
}

// swing is the share of a period's load that has been due after the share x of the period.
func (s *sine) swing(x float64) float64 {
	_, cos := sincosTurns(x)
	return x + float64(s.scale*(1-cos))
}

// solve finds the x between low and high with swing(x) = v by Newton's method from a first guess, kept within the bracket.
func (s *sine) solve(v, low, high, x float64) float64 {
	for round := range sineRounds {
		sin, cos := sincosTurns(x)
		miss := x + float64(s.scale*(1-cos)) - v
		if math.Abs(miss) <= sineTolerance {
			break
		}
		if miss > 0 {
			high = x
		} else {
			low = x
		}
		step := miss / (1 + float64(s.depth*sin))
		x -= step
		if round >= sineNewton || !(x > low && x < high) {
			x = (low + high) / 2
		} else if float64(s.bend*float64(step*step)) <= sineTolerance/4 {
			// By Taylor's theorem the next miss is no larger than this, so there is no need to look.
			break
		}
	}
	return x
}
