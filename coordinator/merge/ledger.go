package merge

import (
	"maps"
	"slices"

	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// stopGraceNS is how far before the instant of a stop an agent may have ended its load without
// losing arrivals: the instant is the coordinator's, and what fell due within this time of it
// may still have been waiting for the agent's pacer.
const stopGraceNS = 250_000_000

// maxWalk bounds the arrivals looked at one by one around the instant of a stop.
const maxWalk = 1 << 22

// Ledger says what became of arrivals, sessions and requests.
//
//	Due          = Started + Missed + Shed + Lost
//	Started      = SessionsSucceeded + SessionsFailed + SessionsCanceled + SessionsUnfinished
//	RequestsSent = RequestsSucceeded + RequestsFailed + RequestsCanceled + RequestsUnfinished
type Ledger struct {
	Due, Started, Missed, Shed, Lost                                                 uint64
	SessionsSucceeded, SessionsFailed, SessionsCanceled, SessionsUnfinished          uint64
	RequestsSent                                                                     uint64
	RequestsSucceeded, RequestsFailed, RequestsCanceled, RequestsUnfinished, NotSent uint64
}

// Add adds o up.
func (l *Ledger) Add(o Ledger) {
	l.Due += o.Due
	l.Started += o.Started
	l.Missed += o.Missed
	l.Shed += o.Shed
	l.Lost += o.Lost
	l.SessionsSucceeded += o.SessionsSucceeded
	l.SessionsFailed += o.SessionsFailed
	l.SessionsCanceled += o.SessionsCanceled
	l.SessionsUnfinished += o.SessionsUnfinished
	l.RequestsSent += o.RequestsSent
	l.RequestsSucceeded += o.RequestsSucceeded
	l.RequestsFailed += o.RequestsFailed
	l.RequestsCanceled += o.RequestsCanceled
	l.RequestsUnfinished += o.RequestsUnfinished
	l.NotSent += o.NotSent
}

// began counts what the windows of one stream say of one group. Where a window with a beginning
// is missing and a later one holds the end, the end proves the beginning.
func (l *Ledger) began(c *Counters) {
	started := max(c[Started], c.SessionsEnded())
	sent := max(c[RequestsSent], c.RequestsEnded())
	l.Add(Ledger{
		Started: started, Missed: c[Missed], Shed: c[Shed],
		SessionsSucceeded: c[SessionsSucceeded], SessionsFailed: c[SessionsFailed],
		SessionsCanceled: c[SessionsCanceled], SessionsUnfinished: started - c.SessionsEnded(),
		RequestsSent: sent, RequestsSucceeded: c[RequestsSucceeded], RequestsFailed: c[RequestsFailed],
		RequestsCanceled: c[RequestsCanceled], RequestsUnfinished: sent - c.RequestsEnded(),
		NotSent: started - min(started, sent),
	})
}

// close sets what was lost against what the schedule wanted.
func (l *Ledger) close(planned uint64) {
	accounted := l.Started + l.Missed + l.Shed
	l.Due = max(planned, accounted)
	l.Lost = l.Due - accounted
}

// Book is the ledger of a run by (phase, workload).
type Book struct{ groups map[Key]Ledger }

// Sum adds the ledgers of the groups for which include is true up.
func (b *Book) Sum(include func(Key) bool) Ledger {
	var sum Ledger
	for k, l := range b.groups {
		if include(k) {
			sum.Add(l)
		}
	}
	return sum
}

// Keys lists the groups in order.
func (b *Book) Keys() []Key { return slices.SortedFunc(maps.Keys(b.groups), Key.compare) }

// Ledger computes what became of every arrival that fell due until the run ended, or was ended,
// or until the last window where neither is known. An arrival is lost when its agent owned it
// and no window says what became of it. Closed load has no schedule: there an arrival is lost
// when an agent's totals count it and no window does, or when the phase was to play a number of
// sessions, ended by itself, and played fewer.
func (r *Run) Ledger() *Book {
	b := r.begun()
	if _, ok := r.Started(); !ok {
		for k, l := range b.groups {
			l.close(0)
			b.groups[k] = l
		}
		return b
	}
	for phase := range r.course.Phases() {
		for workload, planned := range r.planned(phase) {
			k := Key{phase, workload}
			l, ok := b.groups[k]
			if !ok && planned == 0 {
				continue
			}
			l.close(planned)
			b.groups[k] = l
		}
	}
	return b
}

// LiveLedger is the ledger as it stands while the run goes on: what is open is neither
// unfinished nor lost.
func (r *Run) LiveLedger() *Book {
	b := r.begun()
	for k, l := range b.groups {
		l.RequestsSent -= l.RequestsUnfinished
		l.SessionsUnfinished, l.RequestsUnfinished, l.NotSent = 0, 0, 0
		l.close(0)
		b.groups[k] = l
	}
	return b
}

func (r *Run) begun() *Book {
	b := &Book{groups: make(map[Key]Ledger)}
	for _, a := range r.agents {
		for _, s := range a.streams {
			for k, c := range s.groups {
				l := b.groups[k]
				l.began(c)
				b.groups[k] = l
			}
		}
	}
	return b
}

// planned is the number of arrivals of a phase that fell due, by workload.
func (r *Run) planned(phase int) []uint64 {
	p := r.course.Phases()[phase]
	out := make([]uint64, len(r.scenario.GetWorkloads()))
	if p.Users > 0 {
		r.plannedClosed(phase, out)
		return out
	}
	n, short := p.Arrivals, r.cutShort(p)
	if short {
		n = p.CountUntil(r.cutNS())
	}
	for w := range out {
		out[w] = p.WorkloadCount(w, n)
	}
	if short {
		for member, a := range r.agents {
			r.adjust(out, p, member, a, n)
		}
	}
	return out
}

func (r *Run) plannedClosed(phase int, out []uint64) {
	p := r.course.Phases()[phase]
	if _, known := p.Lasts(); !known && r.endedByItself() {
		for w := range out {
			out[w] = p.WorkloadCount(w, p.Arrivals)
		}
	}
	totals := make([]uint64, len(out))
	for _, a := range r.agents {
		for _, s := range a.streams {
			s.startedTotals(phase, totals)
		}
	}
	for w := range out {
		out[w] = max(out[w], totals[w])
	}
}

// startedTotals adds the sessions of a phase that the stream's totals count.
func (s *stream) startedTotals(phase int, out []uint64) {
	if s.totals == nil {
		return
	}
	for k, c := range s.totals.groups {
		if k.Phase == phase {
			out[k.Workload] += c.Accounted()
		}
	}
}

// cutShort says that the run ended before the phase did.
func (r *Run) cutShort(p *schedule.Phase) bool { return r.cutNS() < p.Start+p.Duration }

// endedByItself says that the run went through its whole plan.
func (r *Run) endedByItself() bool {
	e, ended := r.Event(pb.RunEventKind_RUN_EVENT_KIND_ENDED)
	return ended && !r.Stopped() && e.State != pb.RunState_RUN_STATE_ABORTED
}

// wentThrough says that a run that ended had load to the end of its plan: it was complete, or some
// agent accounted for everything that it owned.
func (r *Run) wentThrough(ended Event) bool {
	if ended.State == pb.RunState_RUN_STATE_COMPLETE {
		return true
	}
	for member, a := range r.agents {
		if a.reported() && r.accountedForAll(member, a) {
			return true
		}
	}
	return false
}

func (r *Run) accountedForAll(member int, a *Agent) bool {
	for i, p := range r.course.Phases() {
		if p.Users == 0 && a.accounted(i) < r.course.Count(i, member, p.Arrivals) {
			return false
		}
	}
	return true
}

// BrokenOff says that the record ends in the middle of the run: neither an end is known nor the
// totals of every agent, so it cannot be told what the rest of the plan would have shown.
func (r *Run) BrokenOff() bool {
	if _, ended := r.Event(pb.RunEventKind_RUN_EVENT_KIND_ENDED); ended {
		return false
	}
	for _, a := range r.agents {
		if !a.reported() {
			return true
		}
	}
	return false
}

// cutNS is the instant after which nothing fell due any more, in nanoseconds since the run's
// start: a stop, an abort or the end, whichever came first; the end of the last window where
// none of them is known.
func (r *Run) cutNS() int64 {
	if !r.cutKnown {
		r.cut, r.cutKnown = r.computeCut(), true
	}
	return r.cut
}

func (r *Run) computeCut() int64 {
	at, known := int64(0), false
	for _, kind := range []pb.RunEventKind{
		pb.RunEventKind_RUN_EVENT_KIND_STOP_REQUESTED,
		pb.RunEventKind_RUN_EVENT_KIND_ABORTED,
		pb.RunEventKind_RUN_EVENT_KIND_ENDED,
	} {
		e, ok := r.Event(kind)
		if !ok {
			continue
		}
		if kind == pb.RunEventKind_RUN_EVENT_KIND_ENDED {
			e.AtUS = max(e.AtUS, r.lastEndUS)
			if r.wentThrough(e) {
				// Agents are done when their last session is, which may be before the phase is.
				e.AtUS = max(e.AtUS, r.course.End()/1000+1)
			}
		}
		if !known || e.AtUS < at {
			at, known = e.AtUS, true
		}
	}
	if !known {
		at = r.lastEndUS
	}
	return at * 1000
}

// adjust moves what fell due in a phase that was cut short from the coordinator's instant, by
// which n arrivals were due, to the agent's own: what it played after it was due, and what an
// agent that reported its totals did not get to play just before it was not.
func (r *Run) adjust(out []uint64, p *schedule.Phase, member int, a *Agent, n uint64) {
	owned := r.course.Count(p.Index, member, n)
	accounted := a.accounted(p.Index)
	if accounted >= owned {
		r.walk(p, member, n, owned, accounted, func(w int) { out[w]++ })
		return
	}
	if !a.reported() {
		return
	}
	from := p.CountUntil(r.cutNS() - stopGraceNS)
	first := r.course.Count(p.Index, member, from)
	r.walk(p, member, from, first, owned, func(w int) {
		if first++; first > accounted && out[w] > 0 {
			out[w]--
		}
	})
}

// walk visits the arrivals of a member from arrival `from` on, of which it owns `have` before,
// until it has `want`.
func (r *Run) walk(p *schedule.Phase, member int, from, have, want uint64, visit func(workload int)) {
	for steps := 0; have < want && steps < maxWalk; steps++ {
		n, ok := r.course.Next(p.Index, member, from)
		if !ok {
			return
		}
		workload, _ := p.Pick(n)
		visit(workload)
		have, from = have+1, n+1
	}
}

// Span is the stretch of a phase's load, in nanoseconds since the run's start.
type Span struct {
	// Begun says that the run got as far as the phase.
	Begun bool
	// StartNS and EndNS; the end is that of the load, cut where the run was.
	StartNS, EndNS int64
}

// Length is the length in nanoseconds.
func (s Span) Length() int64 { return s.EndNS - s.StartNS }

// Span is when a phase had load. A closed phase without a duration ends with its last request.
func (r *Run) Span(phase int) Span {
	p := r.course.Phases()[phase]
	cut := r.cutNS()
	if _, ok := r.Started(); !ok || p.Start > cut || (p.Start == cut && cut == 0) {
		return Span{}
	}
	end := p.Start + p.Duration
	if _, known := p.Lasts(); !known {
		end = max(p.Start, r.lastEnd[phase]*1000)
	}
	return Span{Begun: true, StartNS: p.Start, EndNS: max(p.Start, min(end, cut))}
}

// Open says that the phase has open load, which has an offered rate.
func (r *Run) Open(phase int) bool { return r.course.Phases()[phase].Users == 0 }
