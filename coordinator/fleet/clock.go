package fleet

import pb "github.com/loadline/loadline/proto/loadline/v1"

const (
	// samples is how many exchanges are remembered (M17).
	samples = 8
	// drift is the greatest rate by which two clocks are assumed to part: 200 millionths.
	drift = 200e-6
)

// clock remembers the last exchanges with one agent.
type clock struct {
	ring  [samples]*pb.ClockSample
	added int
}

// add remembers one exchange. One whose instants contradict each other is left out.
func (c *clock) add(s *pb.ClockSample) {
	if roundTrip(s) < 0 || s.GetRepliedNs() < s.GetReceivedNs() {
		return
	}
	c.ring[c.added%samples] = s
	c.added++
}

// offset is coordinator − agent, from the exchange with the shortest round trip; its error is at
// most half that round trip plus what the clocks have drifted since (Cristian; M17).
func (c *clock) offset(now int64) (offset, bound int64, ok bool) {
	var best *pb.ClockSample
	for _, s := range c.ring {
		if s != nil && (best == nil || roundTrip(s) < roundTrip(best)) {
			best = s
		}
	}
	if best == nil {
		return 0, 0, false
	}
	forth := best.GetReceivedNs() - best.GetSentNs()
	back := best.GetRepliedNs() - best.GetReturnedNs()
	// Halves are added apart: the two clocks may differ by more than half the range of int64.
	offset = forth/2 + back/2 + (forth%2+back%2)/2
	age := max(0, now-best.GetRepliedNs())
	return offset, roundTrip(best)/2 + int64(drift*float64(age)), true
}

// roundTrip is the time of an exchange without the coordinator's own.
func roundTrip(s *pb.ClockSample) int64 {
	return (s.GetReturnedNs() - s.GetSentNs()) - (s.GetRepliedNs() - s.GetReceivedNs())
}
