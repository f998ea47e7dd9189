package schedule

import "math"

const (
	// sineCells is the number of cells of the table of first guesses.
	sineCells = 512
	// sineLattice is what the load within a period is rounded down to, as a share of the period's
	// load. It is more than twice sineTolerance and the rounding of swing.load together, so that
	// due times cannot fall.
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
	// guess[i] is the share of the period at which i/sineCells of its load have been due.
	guess [sineCells + 1]float64
}

func newSine(mean, amplitude float64, period, length int64) *sine {
	s := &sine{mean: mean, depth: amplitude / mean, period: float64(period), end: float64(length)}
	s.load = float64(mean*s.period) / second
	s.guess[sineCells] = 1
	for i := 1; i < sineCells; i++ {
		s.guess[i] = s.solve(float64(i)/sineCells, s.guess[i-1], 1, (s.guess[i-1]+1)/2)
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
	cycles := x / s.load
	whole := math.Floor(cycles)
	v := math.Floor((cycles-whole)*(1/sineLattice)) * sineLattice
	i := int(v * sineCells)
	low, high := s.guess[i], s.guess[i+1]
	start := low + float64((high-low)*(float64(v*sineCells)-float64(i)))
	t := float64((whole + s.solve(v, low, high, start)) * s.period)
	return int64(min(t, 0x1p62))
}

// swing is the share of a period's load that has been due after the share x of the period.
func (s *sine) swing(x float64) float64 {
	_, cos := sincosTurns(x)
	return x + float64(s.depth/(2*math.Pi)*(1-cos))
}

// solve finds the share of the period at which the share v of its load has been due, between low and
// high, by Newton's method, kept within the bracket. The result depends on v alone, not on
// the arrivals before, so that every way to an arrival gives the same bits.
func (s *sine) solve(v, low, high, x float64) float64 {
	scale := s.depth / (2 * math.Pi)
	for round := range sineRounds {
		sin, cos := sincosTurns(x)
		miss := x + float64(scale*(1-cos)) - v
		if math.Abs(miss) <= sineTolerance {
			break
		}
		if miss > 0 {
			high = x
		} else {
			low = x
		}
		next := x - miss/(1+float64(s.depth*sin))
		if round >= sineNewton || !(next > low && next < high) {
			next = (low + high) / 2
		}
		x = next
	}
	return x
}
