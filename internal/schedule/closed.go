package schedule

import (
	"math/bits"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// MaxThink is the longest think time.
const MaxThink = 24 * time.Hour

// closed is what a phase of closed load knows beyond an open one.
type closed struct {
	users    uint64
	sessions uint64 // 0: no bound
	think    *pb.DurationDistribution
	pauses   Stream // key of the think times
	turns    Stream // key of the turns of Pick
}

// fan is the curve of the slots of a closed load: slot number x begins at over·x/users.
type fan struct{ users, over uint64 }

func (f fan) due(x float64) int64 {
	high, low := bits.Mul64(f.over, uint64(x))
	quotient, _ := bits.Div64(high, low, f.users)
	return int64(quotient)
}

func (f fan) rate(float64) float64 { return 0 }
func (f fan) total() float64       { return float64(f.users) }

// SlotStart is when a slot of closed load, counted from 1, begins, in ns since the run's start: the users begin evenly spread over the ramp-up,
// slot 1 with the phase. Users that a change added have none of their own: they begin with the change.
func (p *Phase) SlotStart(slot uint32) int64 {
	if f, ok := p.curve.(fan); ok && slot > 0 && uint64(slot) <= f.users {
		return p.Start + f.due(float64(slot-1))
	}
	return p.Start
}

// Iterations is how many sessions a slot plays in a phase with a number of sessions: slot s plays iteration i while
// i·users + (s−1) is below that number. 0 means without bound.
func (p *Phase) Iterations(slot uint32) uint64 {
	if p.Users == 0 || p.Arrivals == 0 || slot == 0 || slot > p.Users {
		return 0
	}
	return (p.Arrivals - uint64(slot) + uint64(p.Users)) / uint64(p.Users)
}

// Think is the pause in ns before an iteration of a slot, drawn from (seed, phase, slot, iteration) and kept within 0…24 h; none before the first.
func (p *Phase) Think(slot uint32, iteration uint64) int64 {
	d := p.closed.think
	if p.Users == 0 || iteration == 0 || d == nil {
		return 0
	}
	// One stream a slot, one draw an iteration.
	u := Stream(p.closed.pauses.Uint64(uint64(slot))).Float64(iteration)
	t, most := quantile(d, u)
	if most <= 0 || most > int64(MaxThink) {
		most = int64(MaxThink)
	}
	return int64(max(0, min(t, float64(most))))
}

// quantile is the u-quantile of a law in ns, and its own upper bound in ns, 0 for none.
func quantile(d *pb.DurationDistribution, u float64) (t float64, most int64) {
	switch d.WhichLaw() {
	case pb.DurationDistribution_Fixed_case:
		return float64(nanoseconds(d.GetFixed())), 0
	case pb.DurationDistribution_Uniform_case:
		low, high := float64(nanoseconds(d.GetUniform().GetMin())), float64(nanoseconds(d.GetUniform().GetMax()))
		return low + float64((high-low)*u), 0
	case pb.DurationDistribution_Exponential_case:
		e := d.GetExponential()
		return float64(float64(nanoseconds(e.GetMean())) * -Log(1-u)), nanoseconds(e.GetMax())
	case pb.DurationDistribution_Lognormal_case:
		l := d.GetLognormal()
		median, p95 := float64(nanoseconds(l.GetMedian())), float64(nanoseconds(l.GetP95()))
		// The 95th percentile lies z95 standard deviations above the median.
		sigma := Log(p95/median) / z95
		return float64(median * Exp(float64(sigma*NormalQuantile(u)))), nanoseconds(l.GetMax())
	}
	return 0, 0
}

// z95 is the 95th percentile of the standard normal law.
const z95 = 1.6448536269514722

// row is the place of iteration n/users in the numbering of Pick, and how far its slots are turned. Without turns a slot would
// meet the same workload in every iteration wherever the users are a multiple of the weights' sum, and the mix would follow the
// speed of the slots instead of the weights.
func (c *closed) row(n uint64) (start, length, turn uint64) {
	iteration := n / c.users
	start, length = iteration*c.users, c.users
	if c.sessions > start && c.sessions-start < length {
		length = c.sessions - start
	}
	return start, length, c.turns.below(iteration, length)
}

// turned maps the number of a session to its place among the draws of workloads: the same iteration, another slot.
func (c *closed) turned(n uint64) uint64 {
	start, length, turn := c.row(n)
	return start + (n-start+turn)%length
}

// count counts turned(0)…turned(n−1) by a function that counts 0…n−1.
func (c *closed) count(n uint64, below func(uint64) uint64) uint64 {
	start, length, turn := c.row(n)
	end := turn + n - start
	if end <= length {
		return below(start) + below(start+end) - below(start+turn)
	}
	return below(start) + below(start+length) - below(start+turn) + below(start+end-length) - below(start)
}
