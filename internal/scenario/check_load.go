package scenario

import (
	"fmt"
	"time"

	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func (c *checker) eachPhase() {
	for i, p := range c.s.GetLoad() {
		at := (*path)(nil).field("load").index(i)
		c.unique(c.phases, at, i, p.GetName(), "phase", true)
		for j, w := range p.GetWorkloads() {
			c.known(c.workloads, at.field("workloads").index(j), w, "workload")
		}
		c.labels(at.field("labels"), p.GetLabels())
		switch {
		case p.HasOpen():
			c.open(at, p)
		case p.HasClosed():
			c.closed(at, p)
		}
	}
	c.schedule()
}

// schedule asks the schedule itself whether it can be made, so that a scenario that reads well
// never fails later. Phases with problems of their own are left out.
func (c *checker) schedule() {
	for _, problem := range schedule.Check(c.s) {
		steps, err := parsePath(problem.Path)
		if err != nil {
			continue
		}
		var p, from *path
		for i, s := range steps {
			if s.index == noIndex {
				p = p.key(s.name)
			} else {
				p = p.index(s.index)
			}
			if i < 2 {
				from = p // the phase, or all of load
			}
		}
		c.unless(p, problem.Message, problem.Hint, from)
	}
}

// lengthOf are the fields from which a phase's length follows.
func lengthOf(p *path) []*path {
	return []*path{p.field("duration"), p.field("sessions"), p.field("open"), p.field("closed")}
}

func (c *checker) noLength(p *path) {
	c.unless(p, "the phase has no length", "give it a duration, as in duration: 1m, or a number of sessions", lengthOf(p)...)
}

func (c *checker) open(at *path, p *pb.Phase) {
	o, shape := p.GetOpen(), at.field("open")
	c.arrivals(shape, o)
	timed := p.HasDuration()
	switch o.WhichShape() {
	case pb.OpenLoad_Steps_case:
		return // their length follows from themselves
	case pb.OpenLoad_Ramp_case:
		if r := o.GetRamp(); r.GetFrom() == 0 && r.GetTo() == 0 {
			c.value(shape.field("ramp"), "goes from 0 to 0: nothing would ever arrive", "one of from and to must be greater than 0")
		}
		c.needsDuration(at, timed, "a ramp")
	case pb.OpenLoad_Spike_case:
		c.spike(at, p)
		c.needsDuration(at, timed, "a spike")
	case pb.OpenLoad_Sine_case:
		if s := o.GetSine(); s.GetAmplitude() > s.GetMean() {
			c.value(shape.field("sine").field("amplitude"), fmt.Sprintf("must be at most the mean (%s), got %s", thousands(s.GetMean()), thousands(s.GetAmplitude())), "a rate is never below 0")
		}
	}
	if !timed && !p.HasSessions() {
		c.noLength(at)
	}
}

// needsDuration: shapes laid over the whole phase need its length.
func (c *checker) needsDuration(at *path, timed bool, what string) {
	if !timed {
		c.unless(at, what+" needs the phase's duration", "add duration: 1m beside open", at.field("duration"), at.field("open"))
	}
}

func (c *checker) arrivals(p *path, o *pb.OpenLoad) {
	gamma := o.GetArrivals() == pb.Arrivals_ARRIVALS_GAMMA
	switch {
	case gamma && !o.HasCv():
		c.unless(p, "arrivals: gamma needs cv, the coefficient of variation of the gaps", "add cv: 2; 1 is poisson", p.field("arrivals"), p.field("cv"))
	case !gamma && o.HasCv():
		c.unless(p.field("cv"), "cv belongs to arrivals: gamma alone", "write arrivals: gamma, or leave cv out", p.field("arrivals"), p.field("cv"))
	}
}

func (c *checker) spike(at *path, p *pb.Phase) {
	k, d := p.GetOpen().GetSpike(), p.GetDuration().AsDuration()
	spike := at.field("open").field("spike")
	total := k.GetRise().AsDuration() + k.GetHold().AsDuration() + k.GetFall().AsDuration()
	if p.HasDuration() && total > d {
		c.unless(spike, fmt.Sprintf("rise, hold and fall take %s; the phase lasts %s", formatDuration(total), formatDuration(d)),
			"shorten them or make the phase longer", spike, at.field("duration"))
	}
}

func (c *checker) closed(at *path, p *pb.Phase) {
	k, closed := p.GetClosed(), at.field("closed")
	if !p.HasDuration() && !p.HasSessions() {
		c.noLength(at)
	}
	limits := (*path)(nil).field("limits").field("max_in_flight")
	if most := c.s.GetLimits().GetMaxInFlight(); k.GetUsers() > most {
		c.unless(closed.field("users"), fmt.Sprintf("%s users are more than limits.max_in_flight (%s) lets run", thousands(float64(k.GetUsers())), thousands(float64(most))),
			"raise limits.max_in_flight", closed.field("users"), limits)
	}
	if d := p.GetDuration().AsDuration(); p.HasDuration() && k.GetRampUp().AsDuration() > d {
		c.unless(closed.field("ramp_up"), fmt.Sprintf("must be at most the phase's duration (%s), got %s", formatDuration(d), formatDuration(k.GetRampUp().AsDuration())),
			"", closed.field("ramp_up"), at.field("duration"))
	}
	c.think(closed.field("think"), k.GetThink())
}

func (c *checker) think(p *path, t *pb.DurationDistribution) {
	less := func(field, small *path, a, b time.Duration, name string) {
		if a < b {
			c.unless(field, fmt.Sprintf("must be at least %s (%s), got %s", name, formatDuration(b), formatDuration(a)), "", field, small)
		}
	}
	switch t.WhichLaw() {
	case pb.DurationDistribution_Uniform_case:
		u, at := t.GetUniform(), p.field("uniform")
		less(at.field("max"), at.field("min"), u.GetMax().AsDuration(), u.GetMin().AsDuration(), "min")
	case pb.DurationDistribution_Lognormal_case:
		l, at := t.GetLognormal(), p.field("lognormal")
		less(at.field("p95"), at.field("median"), l.GetP95().AsDuration(), l.GetMedian().AsDuration(), "median")
	}
}
