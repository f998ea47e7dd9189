package merge

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// maxNamed bounds the gaps that a sentence names.
const maxNamed = 8

// Reconcile compares, for every agent, the sum of its windows with its own totals and both with
// the arrivals that it owned. complete is true only when the run went on to its end and all
// agree; missing says in plain words what does not.
func (r *Run) Reconcile() (complete bool, missing []string) {
	missing = r.Missing()
	if _, ok := r.Event(pb.RunEventKind_RUN_EVENT_KIND_ENDED); !ok {
		missing = append(missing, "the journal ends before the run did")
	}
	return len(missing) == 0, missing
}

// Missing is Reconcile without the question whether the run went on to its end: what the agents owe,
// asked while the end of the run is being decided.
func (r *Run) Missing() []string {
	if _, ok := r.Started(); !ok {
		return []string{"the run never began"}
	}
	var missing []string
	for member, a := range r.agents {
		missing = append(missing, r.reconcile(member, a)...)
	}
	return missing
}

func (r *Run) reconcile(member int, a *Agent) []string {
	if len(a.streams) == 0 {
		if member >= r.roster && !r.owned(member) {
			return nil // it was about to join
		}
		return []string{fmt.Sprintf("agent %s sent nothing: %s", a.Name, r.notAccounted(member, a))}
	}
	var out []string
	streams := a.sorted()
	for _, s := range streams {
		switch gaps := s.gaps(); {
		case s.totals == nil:
			out = append(out, fmt.Sprintf("agent %s sent no totals after window %d%s: %s",
				a.Name, s.received.last(), withGaps(gaps), r.notAccounted(member, a)))
		case len(gaps) > 0:
			out = append(out, fmt.Sprintf("agent %s: %s, with %s%s", a.Name, gaps, count(s.missingArrivals(), "arrival"), r.ranges(member)))
		default:
			out = append(out, r.compare(a, s)...)
		}
	}
	if len(out) == 0 {
		out = r.compareOwned(member, a)
	}
	return out
}

// missingArrivals is the number of arrivals that the totals know of and the windows do not.
func (s *stream) missingArrivals() uint64 {
	var own, windows uint64
	for _, c := range s.totals.groups {
		own += c.Accounted()
	}
	for _, c := range s.groups {
		windows += c.Accounted()
	}
	return own - min(own, windows)
}

// compare checks the sum of the windows against the totals.
func (r *Run) compare(a *Agent, s *stream) []string {
	keys := make(map[Key]bool, len(s.groups))
	for k := range s.groups {
		keys[k] = true
	}
	for k := range s.totals.groups {
		keys[k] = true
	}
	for _, k := range slices.SortedFunc(maps.Keys(keys), Key.compare) {
		var windows Counters
		if c := s.groups[k]; c != nil {
			windows = *c
		}
		own := s.totals.groups[k]
		for i := range windows {
			if windows[i] != own[i] {
				return []string{fmt.Sprintf("agent %s: its windows and its own totals differ in %s: %s is %d in the windows and %d in the totals",
					a.Name, r.name(k), Counter(i), windows[i], own[i])}
			}
		}
	}
	if s.values != s.totals.values {
		return []string{fmt.Sprintf("agent %s: its windows hold %d values and its own totals count %d",
			a.Name, s.values, s.totals.values)}
	}
	return nil
}

// compareOwned checks what an agent accounted for against what it owned. Of a phase that was cut
// short only the ledger can say what was due, so it is left alone here.
func (r *Run) compareOwned(member int, a *Agent) []string {
	var out []string
	for i, p := range r.course.Phases() {
		if p.Users > 0 {
			continue
		}
		owned, least := r.owes(i, member)
		accounted := a.accounted(i)
		if least && accounted >= owned {
			continue
		}
		if owned != accounted {
			out = append(out, fmt.Sprintf("agent %s owned %s of phase %s and accounted for %d%s",
				a.Name, count(owned, "arrival"), r.scenario.GetLoad()[i].GetName(), accounted, r.ranges(member)))
		}
	}
	return out
}

// owes is how many arrivals of a phase of open load a member must account for; least: it may be more, since the phase was cut short.
func (r *Run) owes(phase, member int) (n uint64, least bool) {
	p := r.course.Phases()[phase]
	if r.cutShort(p) {
		return r.course.Count(phase, member, p.CountUntil(r.cutNS()-stopGraceNS)), true
	}
	return r.course.Count(phase, member, p.Arrivals), false
}

// notAccounted says how many arrivals an agent owned that nothing is known of.
func (r *Run) notAccounted(member int, a *Agent) string {
	var n uint64
	for i, p := range r.course.Phases() {
		if p.Users > 0 {
			continue
		}
		due := p.Arrivals
		if r.cutShort(p) {
			due = p.CountUntil(r.cutNS())
		}
		owned := r.course.Count(i, member, due)
		n += owned - min(owned, a.accounted(i))
	}
	if n == 0 {
		return "every arrival that it owned until then is accounted for"
	}
	return "nothing is known of " + count(n, "arrival") + " that it owned" + r.ranges(member)
}

// LostSoFar is the number of arrivals that agents known to be lost owned until the last window
// and that nothing is known of; for the live view.
func (r *Run) LostSoFar() uint64 {
	var n uint64
	for _, e := range r.LostAgents() {
		member, ok := r.lostMember(e)
		if !ok {
			continue
		}
		for i, p := range r.course.Phases() {
			if p.Users == 0 {
				owned := r.course.Count(i, member, p.CountUntil(r.lastEndUS*1000))
				n += owned - min(owned, r.agents[member].accounted(i))
			}
		}
	}
	return n
}

func (r *Run) name(k Key) string {
	return fmt.Sprintf("phase %s, workload %s",
		r.scenario.GetLoad()[k.Phase].GetName(), r.scenario.GetWorkloads()[k.Workload].GetName())
}

func withGaps(gaps sequences) string {
	if len(gaps) == 0 {
		return ""
	}
	return " (and " + gaps.String() + ")"
}

// String names the windows of the set: "windows 3 to 5 and 9 are missing".
func (s sequences) String() string {
	parts := make([]string, 0, maxNamed)
	for _, e := range s[:min(len(s), maxNamed)] {
		if e.first == e.last {
			parts = append(parts, fmt.Sprint(e.first))
		} else {
			parts = append(parts, fmt.Sprintf("%d to %d", e.first, e.last))
		}
	}
	if len(s) > maxNamed {
		parts = append(parts, fmt.Sprintf("%d more stretches", len(s)-maxNamed))
	}
	if s.count() == 1 {
		return "window " + parts[0] + " is missing"
	}
	if last := len(parts) - 1; last > 0 {
		return "windows " + strings.Join(parts[:last], ", ") + " and " + parts[last] + " are missing"
	}
	return "windows " + parts[0] + " are missing"
}

func count(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
