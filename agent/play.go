package agent

import (
	"context"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/loadline/loadline/agent/guard"
	"github.com/loadline/loadline/agent/pace"
	"github.com/loadline/loadline/agent/record"
	"github.com/loadline/loadline/agent/run"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// player plays one part: the pacer hands arrivals on, workers play their sessions, the recorder
// counts. It is a pace.Sink.
type player struct {
	part     *part
	lease    *guard.Lease
	now      func() measure.Instant // the run's clock
	agentNow func() int64           // the lease's clock
	recorder *record.Recorder
	pacer    *pace.Pacer
	phases   []*phase
	drain    time.Duration
	wire     bool          // the series of the kernel's stamps are wanted
	rate     *guard.Bucket // nil: no open phase
	inFlight *guard.InFlight

	// limit is the instant after which nothing starts; load ends when it was set by a stop.
	limit    atomic.Int64
	load     context.Context
	stopLoad context.CancelCauseFunc

	jobs     chan job // taken by idle workers; an arrival that finds none begins a new one
	sessions sync.WaitGroup
	workers  sync.WaitGroup
	stopping sync.Mutex
	timer    *time.Timer // cancels what is in flight once a stop's drain time is over; guarded by stopping
}

// phase is one phase while it is played.
type phase struct {
	*schedule.Phase
	// ctx is that of its sessions: it ends when their drain time is over.
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer // ends ctx; nil where the end of the load is not known
}

// job is one session to be played.
type job struct {
	phase    *phase
	id       measure.ID
	due      measure.Instant
	workload int
	ordinal  uint64
}

// newPlayer makes the player of a part whose start is set.
func (a *Agent) newPlayer(p *part, lease *guard.Lease) *player {
	s := p.assignment.GetScenario()
	clock := func() measure.Instant { return measure.Instant(a.now() - p.start.Load()) }
	pl := &player{
		part: p, lease: lease, now: clock, agentNow: a.now, wire: s.GetCapture().GetWire(),
		drain: s.GetDrain().AsDuration(), inFlight: guard.NewInFlight(p.member().GetMaxInFlight()), rate: p.guard.Bucket(), jobs: make(chan job),
	}
	pl.limit.Store(math.MaxInt64)
	pl.load, pl.stopLoad = context.WithCancelCause(p.ctx)
	spans := make([]record.Span, len(p.schedule.Phases))
	lanes := make([]pace.Lane, len(p.schedule.Phases))
	for i, planned := range p.schedule.Phases {
		ph := &phase{Phase: planned}
		ph.ctx, ph.cancel = context.WithCancelCause(p.ctx)
		pl.phases = append(pl.phases, ph)
		spans[i] = record.Span{Start: planned.Start, End: ph.end()}
		walker := planned.WalkOwned(p.shares[i], int(p.assignment.GetMember()), 0)
		lanes[i] = pace.Lane{Phase: i, Walker: &walker}
	}
	pl.recorder = record.New(record.Config{
		Scenario: s, Spans: spans, Seed: s.GetSeed(), Shards: 2*runtime.GOMAXPROCS(0) + 1,
		Records: records(s), Start: min(0, clock()),
	})
	pl.pacer = pace.New(pace.Config{
		Now: clock, Sleeper: a.config.Sleeper(clock), MaxLateness: s.GetLimits().GetMaxLateness().AsDuration(), Precise: s.GetPrecise(),
	}, pace.NewMerge(lanes...), pl)
	return pl
}

func (p *part) member() *pb.Member { return p.assignment.GetMembers()[p.assignment.GetMember()] }

// records is the recorder's number of request records a window.
func records(s *pb.Scenario) int {
	if n := s.GetCapture().GetRecords(); n != math.MaxUint32 {
		return int(n)
	}
	return -1
}

// end is the end of the phase's load, MaxInt64 where only its sessions tell.
func (ph *phase) end() int64 {
	if ph.Duration == 0 {
		return math.MaxInt64
	}
	return ph.End()
}

// run plays until every arrival is handled and nothing is in flight.
func (pl *player) run() {
	for _, ph := range pl.phases {
		if end := ph.end(); end != math.MaxInt64 {
			ph.timer = time.AfterFunc(time.Duration(end-int64(pl.now()))+pl.drain, func() { ph.cancel(errRun) })
		}
	}
	pl.pacer.Run(pl.part.ctx)
	pl.sessions.Wait()
	close(pl.jobs)
	pl.workers.Wait()
	for _, ph := range pl.phases {
		if ph.timer != nil {
			ph.timer.Stop()
		}
		ph.cancel(errRun)
	}
	pl.stopping.Lock()
	if pl.timer != nil {
		pl.timer.Stop()
	}
	pl.stopping.Unlock()
	pl.stopLoad(errRun)
}

// stop lets nothing start after now. With DRAIN what is in flight has the drain time, with NOW none.
func (pl *player) stop(mode pb.StopMode) {
	at := int64(pl.pacer.Limit(pl.now()))
	for before := pl.limit.Load(); at < before && !pl.limit.CompareAndSwap(before, at); {
		before = pl.limit.Load()
	}
	pl.stopLoad(errRun)
	pl.stopping.Lock()
	defer pl.stopping.Unlock()
	if mode == pb.StopMode_STOP_MODE_NOW {
		pl.cancelSessions()
	} else if pl.timer == nil {
		pl.timer = time.AfterFunc(pl.drain, pl.cancelSessions)
	}
}

func (pl *player) cancelSessions() {
	for _, ph := range pl.phases {
		ph.cancel(errRun)
	}
}

// Fire implements pace.Sink: it starts the session of an arrival, or the user of a slot.
func (pl *player) Fire(a pace.Arrival, now measure.Instant) {
	ph := pl.phases[a.Phase]
	if !pl.lease.Valid(pl.agentNow()) {
		return // whoever owns the arrival after the lapse accounts for it
	}
	if ph.Users > 0 {
		pl.sessions.Add(1)
		go pl.user(ph, uint32(a.Number+1), a.Due)
		return
	}
	w, ordinal := ph.Pick(a.Number)
	pl.recorder.Due(a.Phase, w, 1)
	if !pl.rate.Take(now) || !pl.inFlight.Enter() {
		pl.recorder.Shed(a.Phase, w, 1)
		return
	}
	pl.recorder.Started(a.Phase, w, now)
	j := job{phase: ph, id: measure.ID{Number: a.Number}, due: a.Due, workload: w, ordinal: ordinal}
	pl.sessions.Add(1)
	select {
	case pl.jobs <- j:
	default:
		pl.workers.Go(func() { pl.work(j) })
	}
}

// Miss implements pace.Sink: the arrival is counted and never fired. A slot's user has no due time
// that could be missed: it only begins late.
func (pl *player) Miss(a pace.Arrival, now measure.Instant) {
	ph := pl.phases[a.Phase]
	if ph.Users > 0 {
		pl.Fire(a, now)
		return
	}
	w, _ := ph.Pick(a.Number)
	pl.recorder.Due(a.Phase, w, 1)
	pl.recorder.Missed(a.Phase, w, 1)
	pl.recorder.Late(a.Phase, w, int64(now-a.Due))
}

// worker holds what a session needs, to be used again for the next.
type worker struct {
	request workload.Request
	outcome measure.Outcome
}

// work plays one session after the other.
func (pl *player) work(j job) {
	var w worker
	for open := true; open; j, open = <-pl.jobs {
		pl.session(&w, j)
		pl.inFlight.Leave()
		pl.sessions.Done()
	}
}

// session plays one session, which has one request.
func (pl *player) session(w *worker, j job) {
	o := &w.outcome
	o.Reset()
	o.Phase, o.Workload, o.ID, o.Due, o.Wire = j.phase.Index, j.workload, j.id, j.due, pl.wire
	key := workload.Key{RunID: pl.part.id, Phase: j.phase.Name, ID: j.id, Ordinal: j.ordinal}
	if err := pl.part.set.Fill(j.workload, key, &w.request); err != nil {
		o.Dispatched = pl.now()
		o.Fail(o.Dispatched, measure.ClassScript, err.Error())
	} else {
		pl.part.drivers[j.workload].Do(j.phase.ctx, &w.request, o)
	}
	if o.Err != "" {
		o.Err = pl.part.redactor.Redact(o.Err)
	}
	if len(o.Body) > 0 { // only where the scenario asked to keep it; the driver masks what it sent, not what was made of it
		o.Body = append(o.Body[:0], pl.part.redactor.Redact(string(o.Body))...)
	}
	pl.recorder.Record(o)
	pl.recorder.SessionEnded(o.Phase, o.Workload, o.Due, o.End, o.Class)
}

// user plays the sessions of one slot of closed load, one when the one before has ended.
func (pl *player) user(ph *phase, slot uint32, due measure.Instant) {
	defer pl.sessions.Done()
	_, epoch := pl.part.shares[ph.Index].Owner(uint64(slot - 1))
	quota := ph.Iterations(slot)
	var w worker
	for i := uint64(0); quota == 0 || i < quota; i++ {
		if i > 0 {
			due = pl.free(ph, slot, i)
		}
		if due == measure.None || int64(due) >= ph.end() || int64(due) > pl.limit.Load() || !pl.lease.Valid(pl.agentNow()) {
			return
		}
		index, ordinal := ph.Pick(i*uint64(ph.Users) + uint64(slot-1))
		pl.recorder.Due(ph.Index, index, 1)
		pl.recorder.Started(ph.Index, index, pl.now())
		pl.session(&w, job{
			phase: ph, id: measure.ID{Number: i, Slot: slot, Epoch: epoch}, due: due, workload: index, ordinal: ordinal,
		})
	}
}

// free waits out the think time and returns when the slot is free, or None when the load is over.
func (pl *player) free(ph *phase, slot uint32, iteration uint64) measure.Instant {
	think := ph.Think(slot, iteration)
	if think == 0 {
		return pl.now()
	}
	at := pl.now() + measure.Instant(think)
	if int64(at) >= ph.end() || pace.SleepUntil(pl.load, pl.now, at) != nil {
		return measure.None
	}
	return pl.now()
}

// play plays a part from its start to the end of its load.
func (a *Agent) play(p *part, lease *guard.Lease, at int64) {
	p.start.Store(at)
	pl := a.newPlayer(p, lease)
	p.player.Store(pl)
	if mode := pb.StopMode(p.stopped.Load()); mode != pb.StopMode_STOP_MODE_UNSPECIFIED {
		pl.stop(mode)
	}
	// The results must outlive the load: they move until the agent ends.
	p.moved = make(chan error, 1)
	a.tasks.Go(func() { p.moved <- p.uplink.Run(p.ctx) })
	over, cut := make(chan struct{}), make(chan struct{})
	a.tasks.Go(func() {
		defer close(cut)
		a.cutWindows(p, pl, over)
	})
	pl.run()
	close(over)
	<-cut
	a.step(run.LoadOver{Run: p.id})
}

// cutWindows hands a window over at every full second of the run until the load is over. While the
// uplink has no room the window just grows.
func (a *Agent) cutWindows(p *part, pl *player, over <-chan struct{}) {
	health := newHealth()
	for second := int64(1); ; second++ {
		pause := time.NewTimer(time.Duration(second*int64(time.Second) - int64(pl.now())))
		select {
		case <-over:
			pause.Stop()
		case <-pause.C:
			if p.uplink.Room() {
				p.push(pl, health)
			}
			continue
		}
		p.push(pl, health)
		return
	}
}

func (p *part) push(pl *player, health *health) {
	// A load that was stopped before its start has a window too, and windows end within the run.
	w := pl.recorder.Swap(max(pl.now(), measure.Instant(time.Microsecond)))
	h := health.sample()
	h.SetClockErrorBoundUs(uint64(max(0, p.clockBound.Load())) / 1000)
	h.SetWindowsWaiting(uint64(p.uplink.Waiting()))
	w.SetHealth(h)
	p.uplink.Push(w)
}

// flush hands the totals over and waits until everything is acknowledged.
func (a *Agent) flush(p *part) {
	p.uplink.Finish(p.player.Load().recorder.Totals())
	err := <-p.moved
	a.release(p)
	if err != nil {
		a.log.Error("results not handed over", "run", p.id, "error", err)
		return
	}
	a.step(run.Flushed{Run: p.id})
	p.cancel(errRun)
}
