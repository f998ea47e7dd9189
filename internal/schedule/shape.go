package schedule

import (
	"math"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// shape makes the curve of an open phase, notes what does not fit, and fills in the length that steps have by themselves.
// The result is of no use when problems were noted.
func (c *checker) shape(p *pb.Phase, o *outline) curve {
	open := p.GetOpen()
	switch open.WhichShape() {
	case pb.OpenLoad_Rate_case:
		if c.rates("open.", "rate", open.GetRate()) {
			return line(nil).extend(c.lengthOrSessions(p, o), open.GetRate(), open.GetRate())
		}
	case pb.OpenLoad_Ramp_case:
		r := open.GetRamp()
		if c.needsLength(o, "a ramp") && c.rates("open.ramp.", "from to", r.GetFrom(), r.GetTo()) {
			return line(nil).extend(o.length, r.GetFrom(), r.GetTo())
		}
	case pb.OpenLoad_Steps_case:
		return c.steps(p, o)
	case pb.OpenLoad_Spike_case:
		return c.spike(open.GetSpike(), o)
	case pb.OpenLoad_Sine_case:
		return c.sine(open.GetSine(), p, o)
	case pb.OpenLoad_Trace_case:
		c.add("open.trace", "use another shape", "not in this version")
	default:
		c.add("open", "give rate, ramp, steps, spike or sine", "no shape of load")
	}
	return nil
}

// lengthOrSessions is how long the rate may go on: the phase's length, or the longest where sessions end it.
func (c *checker) lengthOrSessions(p *pb.Phase, o *outline) int64 {
	if o.length > 0 {
		return o.length
	}
	if !p.HasSessions() {
		c.add("", "give a duration, or a number of sessions", "nothing ends this phase")
	}
	return int64(MaxPhase)
}

func (c *checker) needsLength(o *outline, what string) bool {
	if o.length == 0 {
		c.add("", "give a duration", "%s is drawn over the phase's duration, and there is none", what)
	}
	return o.length > 0
}

func (c *checker) steps(p *pb.Phase, o *outline) curve {
	s := p.GetOpen().GetSteps()
	from, to, by, every := s.GetFrom(), s.GetTo(), s.GetBy(), nanoseconds(s.GetEvery())
	if !c.rates("open.steps.", "from to", from, to) {
		return nil
	}
	if !(by > 0 && by <= maxRate) {
		c.add("open.steps.by", "give the size of a step, greater than 0", "steps of %v", by)
		return nil
	}
	if every <= 0 {
		c.add("open.steps.every", "give a length above 0", "steps of %v", time.Duration(every))
		return nil
	}
	// The tolerance keeps 0.1…0.5 by 0.1 at five steps.
	last := math.Floor(math.Abs(to-from)/by + 1e-9)
	if last >= MaxSteps {
		c.add("open.steps.by", "take larger steps", "%.0f steps, more than %d", last+1, MaxSteps)
		return nil
	}
	count := int64(last) + 1
	if every > int64(MaxPhase)/count {
		c.add("open.steps.every", "take shorter or fewer steps", "%d steps of %v, longer than 30d", count, time.Duration(every))
		return nil
	}
	if o.length != 0 && o.length != count*every {
		c.add("duration", "leave it out", "steps last %v by themselves", time.Duration(count*every))
	}
	o.length = count * every
	return staircase(from, to, by, every, count)
}

// staircase holds count rates for every ns each; the last one does not pass to.
func staircase(from, to, by float64, every, count int64) line {
	l := make(line, 0, count)
	for i := range count {
		rate := max(from-float64(float64(i)*by), to)
		if to >= from {
			rate = min(from+float64(float64(i)*by), to)
		}
		l = l.extend(every, rate, rate)
	}
	return l
}

func (c *checker) spike(s *pb.Spike, o *outline) curve {
	rise, hold, fall := nanoseconds(s.GetRise()), nanoseconds(s.GetHold()), nanoseconds(s.GetFall())
	fits := true
	for _, part := range []struct {
		name   string
		length int64
	}{{"rise", rise}, {"hold", hold}, {"fall", fall}} {
		if part.length < 0 || part.length > int64(MaxPhase) {
			c.add("open.spike."+part.name, "give a length from 0s to 30d", "a %s of %v", part.name, time.Duration(part.length))
			fits = false
		}
	}
	if !c.needsLength(o, "a spike") || !c.rates("open.spike.", "base peak", s.GetBase(), s.GetPeak()) || !fits {
		return nil
	}
	around := o.length - rise - hold - fall
	if around < 0 {
		c.add("open.spike", "give a longer duration or a shorter spike", "rise, hold and fall last %v, longer than the phase of %v",
			time.Duration(rise+hold+fall), time.Duration(o.length))
		return nil
	}
	base, peak := s.GetBase(), s.GetPeak()
	return line(nil).extend(around/2, base, base).extend(rise, base, peak).extend(hold, peak, peak).
		extend(fall, peak, base).extend(around-around/2, base, base)
}

func (c *checker) sine(s *pb.Sine, p *pb.Phase, o *outline) curve {
	length := c.lengthOrSessions(p, o)
	period := nanoseconds(s.GetPeriod())
	if period <= 0 || period > int64(MaxPhase) {
		c.add("open.sine.period", "give a length above 0 and up to 30d", "a period of %v", time.Duration(period))
		return nil
	}
	if !c.rates("open.sine.", "mean", s.GetMean()) {
		return nil
	}
	if !(s.GetAmplitude() >= 0 && s.GetAmplitude() <= s.GetMean()) {
		c.add("open.sine.amplitude", "let it be at least 0 and at most the mean", "an amplitude of %v around a mean of %v", s.GetAmplitude(), s.GetMean())
		return nil
	}
	return newSine(s.GetMean(), s.GetAmplitude(), period, length)
}
