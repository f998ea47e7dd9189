package schedule

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Limits of a schedule.
const (
	// MaxPhase is the longest phase. A phase that a number of sessions ends is held to it as well.
	MaxPhase = 30 * 24 * time.Hour
	// MaxSteps is the largest number of steps of one phase.
	MaxSteps = 100_000
	// MaxRandomArrivals is the largest expected number of arrivals of a scenario's phases with random spacing: they are
	// counted one by one, about 7·10⁷ a second (gamma: 2·10⁷).
	MaxRandomArrivals = 1 << 32
	// maxRate is the highest rate, in sessions per second.
	maxRate = 1e6
)

// Problem is something about the load that cannot be scheduled.
type Problem struct {
	// Path of the field in the scenario, such as load[2].duration.
	Path string
	// Message says what is wrong, Hint how to mend it.
	Message, Hint string
}

// String is path, message and hint in one line.
func (p Problem) String() string { return p.Path + ": " + p.Message + "; " + p.Hint }

// Check says what keeps the load of a scenario from being scheduled, everything at once: lengths that do not
// follow from what is given, shapes that do not fit their phase, phases that follow one whose end is only known at run
// time, and numbers beyond the limits. A phase after closed load that has a duration as well as a number of sessions
// begins when the duration is over. Check looks at nothing but the phases' times, loads and sessions.
func Check(s *pb.Scenario) []Problem {
	c := checker{}
	c.outlines(s)
	return c.problems
}

// outline is a phase as far as it is known without counting.
type outline struct {
	start  int64 // ns since the run's start
	length int64 // ns; 0: only the sessions end it
	curve  curve // nil for closed load and for what has problems
}

type checker struct {
	problems []Problem
	path     string // of the phase being looked at
	random   float64
}

// add notes a problem with a field of the phase being looked at; an empty field is the phase itself.
func (c *checker) add(field, hint, format string, args ...any) {
	path := c.path
	if field != "" {
		path += "." + field
	}
	c.problems = append(c.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// outlines looks at all phases. Starts are those of phases of fixed length; Compile moves the others.
func (c *checker) outlines(s *pb.Scenario) []outline {
	all := make([]outline, 0, len(s.GetLoad()))
	var before *pb.Phase
	for i, p := range s.GetLoad() {
		c.path = fmt.Sprintf("load[%d]", i)
		if before != nil && !p.HasAt() && endsUnknown(before) {
			c.add("", "give the former a duration, or this one its own start with at:",
				"phase %q begins when phase %q ends, which is only known at run time, since sessions alone end it", p.GetName(), before.GetName())
		}
		all = append(all, c.outline(p))
		before = p
	}
	c.path = "load"
	if c.random > MaxRandomArrivals {
		c.add("", "use constant spacing, lower rates or shorter phases",
			"about %.3g arrivals with random spacing, more than %d", c.random, uint64(MaxRandomArrivals))
	}
	return all
}

// endsUnknown reports whether a phase's end depends on the target: closed load that sessions alone end.
func endsUnknown(p *pb.Phase) bool { return p.HasClosed() && !p.HasDuration() }

func (c *checker) outline(p *pb.Phase) outline {
	o := outline{start: nanoseconds(p.GetAt()), length: nanoseconds(p.GetDuration())}
	if p.HasDuration() && (o.length <= 0 || o.length > int64(MaxPhase)) {
		c.add("duration", "give a length above 0 and up to 30d", "a phase of %v", time.Duration(o.length))
		return o
	}
	if o.start < 0 || o.start > int64(MaxPhase) {
		c.add("at", "give a start from 0s to 30d", "a start at %v", time.Duration(o.start))
		return o
	}
	if p.HasSessions() && p.GetSessions() == 0 {
		c.add("sessions", "give a number above 0", "a phase of no sessions")
		return o
	}
	switch {
	case p.HasOpen():
		c.open(p, &o)
	case p.HasClosed():
		c.closed(p, o.length)
	default:
		c.add("", "give it open or closed", "a phase without a load")
	}
	return o
}

func (c *checker) closed(p *pb.Phase, length int64) {
	if !p.HasDuration() && !p.HasSessions() {
		c.add("", "give a duration, or a number of sessions", "nothing ends this phase")
	}
	if ramp := nanoseconds(p.GetClosed().GetRampUp()); p.HasDuration() && ramp > length {
		c.add("closed.ramp_up", "let it be at most the duration", "users begin over %v, longer than the phase of %v", time.Duration(ramp), time.Duration(length))
	}
}

func (c *checker) open(p *pb.Phase, o *outline) {
	found := len(c.problems)
	o.curve = c.shape(p, o)
	c.law(p.GetOpen())
	if len(c.problems) > found {
		o.curve = nil
		return
	}
	expected := o.curve.total()
	if p.HasSessions() {
		if o.length == 0 && expected < float64(p.GetSessions()) {
			c.add("sessions", "ask for fewer sessions or a higher rate", "%d sessions would take longer than 30d", p.GetSessions())
		}
		expected = min(expected, float64(p.GetSessions()))
	}
	if p.GetOpen().GetArrivals() > pb.Arrivals_ARRIVALS_CONSTANT {
		c.random += expected
	}
}

func (c *checker) law(o *pb.OpenLoad) {
	cv, gamma := o.GetCv(), o.GetArrivals() == pb.Arrivals_ARRIVALS_GAMMA
	switch {
	case gamma && !(cv >= 0.1 && cv <= 10):
		c.add("open.cv", "give a coefficient of variation from 0.1 to 10", "gamma arrivals with cv %v", cv)
	case !gamma && o.HasCv():
		c.add("open.cv", "leave it out, or write arrivals: gamma", "cv belongs to gamma arrivals")
	}
}

// rates checks that the named rates lie in 0…1,000,000 and that one of them is above 0.
func (c *checker) rates(shape string, names string, rates ...float64) bool {
	highest, ok := 0.0, true
	for i, name := range strings.Fields(names) {
		if !(rates[i] >= 0 && rates[i] <= maxRate) {
			c.add(shape+name, "give a rate up to 1,000,000 sessions per second", "a rate of %v", rates[i])
			ok = false
		}
		highest = max(highest, rates[i])
	}
	if ok && highest == 0 {
		c.add(strings.TrimSuffix(shape, "."), "give a rate greater than 0", "a load of no sessions")
		return false
	}
	return ok
}

// nanoseconds is a duration in ns; absent is 0.
func nanoseconds(d *durationpb.Duration) int64 { return int64(d.AsDuration()) }
