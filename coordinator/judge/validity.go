package judge

import (
	"fmt"

	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// invalid lists why the generator was not good enough, each with advice; empty: it was. It looks
// at the generator alone, and at phases that are not discarded.
func (e evidence) invalid() []string {
	var out []string
	for _, check := range []func() string{e.late, e.lagging, e.missed, e.busy, e.clock, e.saturated} {
		if reason := check(); reason != "" {
			out = append(out, reason)
		}
	}
	return out
}

// late holds the lateness of the generator against what was measured: it must not be a
// noticeable part of it.
func (e evidence) late() string {
	l, ok := lagOf(e.run.Whole(), measure.Lateness)
	if !ok {
		return ""
	}
	most, yardstick := bound(e.run.Whole(), median, lateFloorUS, measure.TTFT, measure.E2E)
	if l.value <= most {
		return ""
	}
	return fmt.Sprintf("the generator started sessions late: the %s of lateness is %s over %s, more than %s%s%s; "+
		"lower the rate, add agents, or give the generator a machine of its own",
		l.name, Quantity(l.value, UnitMicros), number(l.count, "session"), Quantity(most, UnitMicros), yardstick, e.latest(l.p))
}

// latest names the agent that was latest, where there are several.
func (e evidence) latest(p float64) string {
	if len(e.run.Agents()) < 2 {
		return ""
	}
	worst, value := "", uint64(0)
	for _, a := range e.run.Agents() {
		if v := a.Lateness.Quantile(p); worst == "" || v > value {
			worst, value = a.Name, v
		}
	}
	return fmt.Sprintf("; agent %s is the latest with %s", worst, Quantity(float64(value), UnitMicros))
}

// lagging holds the delay with which the generator took what had come against what was measured, quantile against quantile: when
// many answers come at once, as after a stall of the target, the last of them are read late, and are themselves the slowest.
func (e evidence) lagging() string {
	whole := e.run.Whole()
	l, ok := lagOf(whole, measure.ReadLag)
	if !ok {
		return ""
	}
	for _, l := range []lag{l, medianLag(whole.Histogram(measure.ReadLag))} {
		if most, yardstick := bound(whole, l.p, lagVoidUS, measure.TTFT, measure.E2E); l.value > most {
			return fmt.Sprintf("the generator read late what had come: the %s of read_lag is %s over %s, more than %s%s; "+
				"lower the rate, add agents, or give the generator a machine of its own",
				l.name, Quantity(l.value, UnitMicros), number(l.count, "read"), Quantity(most, UnitMicros), yardstick)
		}
	}
	return ""
}

func (e evidence) missed() string {
	l := e.book.Sum(func(k merge.Key) bool { return !e.run.Discarded(k.Phase) })
	if l.Missed*maxMissedOneIn <= l.Due {
		return ""
	}
	cure := "lower the rate, add agents, or give the generator a machine of its own"
	if _, ok := e.run.Event(pb.RunEventKind_RUN_EVENT_KIND_RESUMED); ok {
		cure = "the coordinator was started again meanwhile, and agents start nothing once they have no lease: orphan.hold lets them go on for longer without it"
	}
	return fmt.Sprintf("the generator missed %s of %s arrivals (%s), more than 1%%: it came to them later than limits.max_lateness allows; %s",
		Count(l.Missed), Count(l.Due), Quantity(float64(l.Missed)/float64(l.Due), UnitShare), cure)
}

func (e evidence) busy() string {
	worst := (*merge.Agent)(nil)
	for _, a := range e.run.Agents() {
		if n := a.BusyWindows(); n >= busyWindows && (worst == nil || n > worst.BusyWindows()) {
			worst = a
		}
	}
	if worst == nil {
		return ""
	}
	return fmt.Sprintf("the machine of agent %s was more than 90%% busy for %s running (%s at most), so its own delays cannot be told from the target's; "+
		"lower the rate, add agents, or move the target to another machine",
		worst.Name, number(worst.BusyWindows(), "window"), Quantity(worst.Health.CPUMachine, UnitShare))
}

// clock says which agent's clock may be off too far. One agent alone has nobody to be out of step with.
func (e evidence) clock() string {
	worst := (*merge.Agent)(nil)
	if len(e.run.Agents()) < 2 {
		return ""
	}
	for _, a := range e.run.Agents() {
		if n := a.Health.ClockErrorUS; n > clockErrorUS && (worst == nil || n > worst.Health.ClockErrorUS) {
			worst = a
		}
	}
	if worst == nil {
		return ""
	}
	return fmt.Sprintf("the clock of agent %s may be off by %s, more than %s, so arrivals of several agents do not interleave as planned; "+
		"look at the network between agent and coordinator",
		worst.Name, Quantity(float64(worst.Health.ClockErrorUS), UnitMicros), Quantity(clockErrorUS, UnitMicros))
}
