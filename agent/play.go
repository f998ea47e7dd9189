package agent

import (
	"context"
	"errors"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/loadline/loadline/agent/guard"
	"github.com/loadline/loadline/agent/pace"
	"github.com/loadline/loadline/agent/record"
	"github.com/loadline/loadline/agent/run"
	"github.com/loadline/loadline/agent/uplink"
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
	member   int
	recorder *record.Recorder
	pacer    *pace.Pacer
	phases   atomic.Pointer[[]*phase] // appended to by changes
	gate     atomic.Pointer[gate]     // what changes say of the present
	playing  *schedule.Course         // whose arrivals are handed on; the pacer's thread alone
	changing sync.Mutex               // one change at a time; guards what changes change, and orphan
	orphan   *time.Timer              // cancels what is in flight once the lease has been gone for the drain time
	drain    time.Duration
	wire     bool                         // the series of the kernel's stamps are wanted
	rate     atomic.Pointer[guard.Bucket] // nil: no open phase
	inFlight *guard.InFlight
	narrow   bool // the ceiling in flight is the owner's; the pacer's thread alone

	// limit is the instant after which nothing starts; load ends when it was set by a stop.
	limit    atomic.Int64
	load     context.Context
	stopLoad context.CancelCauseFunc

	jobs     chan job // taken by idle workers; an arrival that finds none begins a new one
	sessions sync.WaitGroup
	workers  sync.WaitGroup
	over     bool // guarded by changing: nothing is played any more
	stopping sync.Mutex
	timer    *time.Timer // cancels what is in flight once a stop's drain time is over; guarded by stopping
}

// phase is one phase while it is played.
type phase struct {
	// Phase as it was when it was first played. Changes leave Pick and the kind of its load as they are.
	*schedule.Phase
	until atomic.Int64         // end of its load by now, MaxInt64 where only its sessions tell
	life  atomic.Pointer[life] // of the sessions that begin now
	timer *time.Timer          // ends life; nil where the end of the load is not known
}

// life is how long sessions may go on: until the drain time of their phase is over, or the drain time of a lease that is gone.
type life struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
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
	course := p.course
	pl := &player{
		part: p, lease: lease, now: clock, agentNow: a.leaseNow, member: int(p.place.Load()), playing: course, wire: s.GetCapture().GetWire(),
		drain: s.GetDrain().AsDuration(), inFlight: guard.NewInFlight(0), jobs: make(chan job),
	}
	if bucket := p.guard.Bucket(); bucket != nil {
		pl.rate.Store(bucket)
	}
	pl.limit.Store(math.MaxInt64)
	pl.load, pl.stopLoad = context.WithCancelCause(p.ctx)
	ceiling, narrow := p.ceiling(course)
	pl.inFlight.Set(ceiling)
	pl.narrow = narrow
	phases := []*phase{}
	pl.phases.Store(&phases)
	pl.gate.Store(newGate(course))
	planned := len(s.GetLoad())
	pl.recorder = record.New(record.Config{
		Scenario: s, Spans: spansOf(course)[:planned], Seed: s.GetSeed(), Shards: 2*runtime.GOMAXPROCS(0) + 1,
		Records: records(s), Start: min(0, clock()),
	})
	pl.recorder.Reshape(p.extra, spansOf(course))
	pl.addPhases(course)
	pl.pacer = pace.New(pace.Config{
		Now: clock, Sleeper: a.config.Sleeper(clock), MaxLateness: s.GetLimits().GetMaxLateness().AsDuration(), Precise: s.GetPrecise(),
		May: pl.licensed, End: pl.endOf(course),
	}, pl.source(course, math.MinInt64), pl)
	return pl
}

// records is the recorder's number of request records a window.
func records(s *pb.Scenario) int {
	if n := s.GetCapture().GetRecords(); n != math.MaxUint32 {
		return int(n)
	}
	return -1
}

// run plays until every arrival is handled and nothing is in flight.
func (pl *player) run() {
	pl.changing.Lock()
	for _, ph := range *pl.phases.Load() {
		pl.setTimer(ph)
	}
	pl.changing.Unlock()
	pl.pacer.Run(pl.part.ctx)
	pl.sessions.Wait()
	close(pl.jobs)
	pl.workers.Wait()
	pl.changing.Lock()
	pl.over = true
	for _, ph := range *pl.phases.Load() {
		if ph.timer != nil {
			ph.timer.Stop()
		}
		ph.life.Load().cancel(errRun)
	}
	if pl.orphan != nil {
		pl.orphan.Stop()
	}
	pl.changing.Unlock()
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
	for _, ph := range *pl.phases.Load() {
		ph.life.Load().cancel(errRun)
	}
}

// Fire implements pace.Sink: it starts the session of an arrival, or the user of a slot.
func (pl *player) Fire(a pace.Arrival, now measure.Instant) {
	ph := (*pl.phases.Load())[a.Phase]
	if ph.Users > 0 {
		slot := uint32(a.Number + 1)
		_, epoch := pl.playing.Owner(a.Phase, a.Number)
		u := user{phase: ph, planned: pl.playing.Phases()[a.Phase], slot: slot, epoch: epoch}
		pl.sessions.Add(1)
		go pl.user(u, a.Due)
		return
	}
	w, ordinal := ph.Pick(a.Number)
	if !pl.admits(now) {
		pl.recorder.Arrival(a.Phase, w, a.Number, record.Refused, now)
		return
	}
	pl.recorder.Arrival(a.Phase, w, a.Number, record.Fired, now)
	j := job{phase: ph, id: measure.ID{Number: a.Number}, due: a.Due, workload: w, ordinal: ordinal}
	pl.sessions.Add(1)
	select {
	case pl.jobs <- j:
	default:
		pl.workers.Go(func() { pl.work(j) })
	}
}

// admits reports whether the ceilings let an arrival start, and counts what its owner's in flight keeps back.
func (pl *player) admits(now measure.Instant) bool {
	switch {
	case !pl.rate.Load().Take(now):
		return false
	case pl.inFlight.Enter():
		return true
	}
	if pl.narrow {
		pl.part.over.inFlight.Add(1)
	}
	return false
}

// Miss implements pace.Sink: the arrival is counted and never fired. A slot's user has no due time
// that could be missed: it only begins late.
func (pl *player) Miss(a pace.Arrival, now measure.Instant) {
	ph := (*pl.phases.Load())[a.Phase]
	if ph.Users > 0 {
		pl.Fire(a, now)
		return
	}
	w, _ := ph.Pick(a.Number)
	pl.recorder.Arrival(a.Phase, w, a.Number, record.TooLate, now)
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
	} else if life := j.phase.life.Load(); !pl.licensed() {
		// The process was held up between the arrival and here for so long that the lease is gone: nothing is sent.
		o.Dispatched = pl.now()
		o.Fail(o.Dispatched, measure.ClassCanceled, "")
	} else {
		pl.part.drivers[j.workload].Do(life.ctx, &w.request, o)
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

// play plays a part from its start to the end of its load.
func (a *Agent) play(p *part, at int64) {
	a.catchUp(p)
	p.start.Store(at)
	p.changing.Lock()
	pl := a.newPlayer(p, p.lease)
	p.player.Store(pl)
	p.changing.Unlock()
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
	a.step(run.LoadOver{Part: run.Part{Run: p.id, Incarnation: p.incarnation}})
}

// cutWindows hands a window over at every full second of the run until the load is over. While the
// uplink has no room the window just grows.
func (a *Agent) cutWindows(p *part, pl *player, over <-chan struct{}) {
	health := newHealth(a.config.Machine)
	for n := int64(1); ; n++ {
		pause := time.NewTimer(time.Duration(n*int64(a.config.WindowEvery) - int64(pl.now())))
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
	w.SetEpoch(pl.gate.Load().at(pl.now()).Epoch())
	h := health.sample()
	h.SetClockErrorBoundUs(uint64(max(0, p.clockBound)) / 1000)
	h.SetWindowsWaiting(uint64(p.uplink.Waiting()))
	w.SetHealth(h)
	p.uplink.Push(w)
}

// totals are the part's own sum, with what met the ceilings of its owner.
func (p *part) totals() *pb.Totals {
	t := p.player.Load().recorder.Totals()
	t.SetOverRate(p.over.rate.Load() + p.guard.OverRate())
	t.SetOverInFlight(p.over.inFlight.Load())
	return t
}

// flush hands the totals over and waits until everything is acknowledged, or nobody takes it any more.
func (a *Agent) flush(p *part) {
	p.uplink.Finish(p.totals())
	err := <-p.moved
	a.release(p)
	switch {
	case errors.Is(err, uplink.ErrGivenUp):
		a.log.Warn("results given up: the coordinator has ended the run without them", "run", p.id, "windows", p.uplink.Waiting(), "error", err)
	case err != nil:
		a.log.Error("results not handed over", "run", p.id, "error", err)
		return
	}
	a.step(run.Flushed{Part: run.Part{Run: p.id, Incarnation: p.incarnation}})
	p.cancel(errRun)
}
