package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loadline/loadline/agent/guard"
	"github.com/loadline/loadline/agent/pace"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/scenario"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// target is a driver that answers after what delay says; it stands for driver, wire and server.
type target struct {
	now     func() measure.Instant
	delay   func(now measure.Instant) time.Duration
	open    atomic.Int64
	most    atomic.Int64
	started atomic.Int64
	last    atomic.Int64 // instant of the last dispatch
}

func (d *target) Do(ctx context.Context, _ *workload.Request, o *measure.Outcome) {
	o.Dispatched = d.now()
	d.started.Add(1)
	d.last.Store(int64(o.Dispatched))
	for open := d.open.Add(1); ; {
		if most := d.most.Load(); open <= most || d.most.CompareAndSwap(most, open) {
			break
		}
	}
	defer d.open.Add(-1)
	o.Connected, o.Sent = o.Dispatched, o.Dispatched
	select {
	case <-time.After(d.delay(o.Dispatched)):
		o.FirstByte, o.End, o.Status = d.now(), d.now(), 200
	case <-ctx.Done():
		o.Fail(d.now(), measure.ClassCanceled, "")
	}
}

func (d *target) Close() error { return nil }

// stage is a player in a bubble of fake time, with a target of the test's own.
type stage struct {
	agent  *Agent
	part   *part
	lease  *guard.Lease
	target *target
	player *player
}

// newStage prepares the load of a scenario against a target that answers after delay. stall, which
// may be nil, is told of every wake-up of the pacer before it goes on.
func newStage(t testing.TB, load string, delay func(measure.Instant) time.Duration, stall func(now measure.Instant)) *stage {
	t.Helper()
	s, err := scenario.Parse(scenario.Source{Name: "test", Data: []byte("name: test\n" +
		"targets: [{url: http://127.0.0.1:1, protocol: http}]\nworkloads: [{http: {path: /}}]\n" + load)})
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := schedule.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{time: guard.NewClock(func() int64 { return 0 }), log: slog.New(slog.DiscardHandler), config: Config{
		Sleeper: func(now func() measure.Instant) pace.Sleeper { return stalling{pace.Portable(now), now, stall} },
	}}
	a.ctx = t.Context()
	p := &part{id: "r", schedule: compiled, assignment: pb.Assignment_builder{
		RunId: "r", Scenario: s, Members: []*pb.Member{pb.Member_builder{Agent: "a1", Weight: 1, MaxInFlight: s.GetLimits().GetMaxInFlight()}.Build()},
	}.Build()}
	p.ctx, p.cancel = context.WithCancelCause(t.Context())
	p.course = schedule.NewCourse(compiled, []uint32{1})
	if p.set, err = workload.Compile(s, nil, nil); err != nil {
		t.Fatal(err)
	}
	if p.guard, err = guard.FromScenario(s, nil); err != nil {
		t.Fatal(err)
	}
	st := &stage{agent: a, part: p, lease: &guard.Lease{}, target: &target{delay: delay}}
	st.target.now = func() measure.Instant { return measure.Instant(a.now() - p.start.Load()) }
	p.drivers = []Driver{st.target}
	st.lease.Grant(int64(time.Hour))
	p.start.Store(int64(100 * time.Millisecond))
	st.player = a.newPlayer(p, st.lease)
	return st
}

// stalling is a sleeper that a test may hold up.
type stalling struct {
	pace.Sleeper
	now   func() measure.Instant
	stall func(measure.Instant)
}

func (s stalling) Sleep(until measure.Instant, wake <-chan struct{}) {
	s.Sleeper.Sleep(until, wake)
	if s.stall != nil {
		s.stall(s.now())
	}
}

// result is everything that a player counted, in one window.
type result struct {
	*pb.Counters
	series map[pb.Series]*hist.Histogram
	errors map[string]uint64
}

func (st *stage) play(t *testing.T) result {
	t.Helper()
	st.player.run()
	w := st.player.recorder.Swap(st.player.now() + 1)
	if len(w.GetGroups()) != 1 {
		t.Fatalf("%d groups", len(w.GetGroups()))
	}
	g := w.GetGroups()[0]
	r := result{g.GetCounters(), map[pb.Series]*hist.Histogram{}, map[string]uint64{}}
	for _, d := range g.GetSeries() {
		h := &hist.Histogram{}
		if err := h.MergeBinary(d.GetHistogram()); err != nil {
			t.Fatal(err)
		}
		r.series[d.GetSeries()] = h
	}
	for _, e := range g.GetErrors() {
		r.errors[e.GetClass()] = e.GetCount()
	}
	return r
}

func always(d time.Duration) func(measure.Instant) time.Duration {
	return func(measure.Instant) time.Duration { return d }
}

// A target that freezes for 1 s every 10 s at 1,000 requests a second: a request that arrives x into
// the freeze is answered 1 s − x later, so P(e2e > x) = (1 s − x) / 10 s and the 95th percentile is
// 500 ms (section 3.7 of the reliability page). A client that omits what it did not send would see
// nothing.
func TestAStalledTargetCannotHideItsStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{open: {rate: 1000}, duration: 20s}]\nlimits: {max_in_flight: 5000}", func(now measure.Instant) time.Duration {
			if into := time.Duration(now) % (10 * time.Second); into >= 9*time.Second {
				return 10*time.Second - into
			}
			return time.Millisecond
		}, nil)
		r := st.play(t)
		if r.GetDue() != 20_000 || r.GetRequestsSucceeded() != 20_000 || r.GetMissed()+r.GetShed() != 0 {
			t.Errorf("counters = %v", r.Counters)
		}
		p95 := r.series[pb.Series_SERIES_E2E].Quantile(0.95)
		if p95 < 475_000 || p95 > 525_000 {
			t.Errorf("p95(e2e) = %d µs, want 500 ms ± 5 %%", p95)
		}
		if late := r.series[pb.Series_SERIES_LATENESS].Max(); late > 2_000 {
			t.Errorf("the generator itself was late by %d µs", late)
		}
	})
}

// A generator that stalls for 1 s cannot pass for a slow target: its lateness shows it, what is too
// late is missed, and what it releases at once is no more than rate × max_lateness.
func TestAStalledGeneratorShowsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stalled, burst atomic.Int64
		st := newStage(t, "load: [{open: {rate: 1000}, duration: 5s}]", always(time.Millisecond), func(now measure.Instant) {
			if time.Duration(now) > 2*time.Second && stalled.CompareAndSwap(0, 1) {
				time.Sleep(time.Second)
			}
		})
		slow := st.target.delay
		st.target.delay = func(now measure.Instant) time.Duration {
			if time.Duration(now) > 2900*time.Millisecond && time.Duration(now) < 3002*time.Millisecond {
				burst.Add(1)
			}
			return slow(now)
		}
		r := st.play(t)
		if r.GetDue() != 5000 || r.GetStarted()+r.GetMissed() != 5000 {
			t.Errorf("counters = %v", r.Counters)
		}
		if missed := r.GetMissed(); missed < 740 || missed > 760 {
			t.Errorf("missed %d, want those more than 250 ms late: about 750", missed)
		}
		if n := burst.Load(); n < 240 || n > 260 {
			t.Errorf("released %d at once, want rate × max_lateness = 250", n)
		}
		if p99 := r.series[pb.Series_SERIES_LATENESS].Quantile(0.99); p99 < 900_000 {
			t.Errorf("p99(lateness) = %d µs: the stall does not show", p99)
		}
	})
}

func TestTheCeilingShedsAndNeverQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{open: {rate: 100}, duration: 2s}]\nlimits: {max_in_flight: 30}\ndrain: 1s", always(time.Minute), nil)
		r := st.play(t)
		if r.GetStarted() != 30 || r.GetShed() != 170 || r.GetDue() != 200 || st.target.most.Load() != 30 {
			t.Errorf("counters = %v, most in flight %d", r.Counters, st.target.most.Load())
		}
		if r.GetRequestsCanceled() != 30 || r.GetSessionsCanceled() != 30 || len(r.errors) != 0 {
			t.Errorf("at the end of the drain: counters = %v, errors %v", r.Counters, r.errors)
		}
		if at := st.player.now(); time.Duration(at).Round(10*time.Millisecond) != 3*time.Second {
			t.Errorf("the phase's sessions ended at %v, want 2 s of load and 1 s of drain", time.Duration(at))
		}
	})
}

func TestStops(t *testing.T) {
	for _, test := range []struct {
		mode     pb.StopMode
		delay    time.Duration
		canceled uint64
		ends     time.Duration
	}{
		{pb.StopMode_STOP_MODE_DRAIN, 2 * time.Second, 0, 7 * time.Second},
		{pb.StopMode_STOP_MODE_DRAIN, time.Minute, 51, 8 * time.Second},
		{pb.StopMode_STOP_MODE_NOW, time.Minute, 51, 5 * time.Second},
	} {
		t.Run(fmt.Sprint(test.mode, " with answers after ", test.delay), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newStage(t, "load: [{open: {rate: 10}, duration: 1h}]\ndrain: 3s", always(test.delay), nil)
				time.AfterFunc(5100*time.Millisecond, func() { st.player.stop(test.mode) }) // 5 s of the run's clock
				r := st.play(t)
				if r.GetDue() != 51 || r.GetStarted() != 51 || r.GetRequestsCanceled() != test.canceled {
					t.Errorf("counters = %v", r.Counters)
				}
				if ended := time.Duration(st.player.now()).Round(100 * time.Millisecond); ended != test.ends {
					t.Errorf("ended at %v, want %v", ended, test.ends)
				}
			})
		})
	}
}

func TestAStopMayBeHardened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "load: [{open: {rate: 10}, duration: 1h}]\ndrain: 1h", always(2*time.Hour), nil)
		time.AfterFunc(time.Second, func() { st.player.stop(pb.StopMode_STOP_MODE_DRAIN) })
		time.AfterFunc(2*time.Second, func() { st.player.stop(pb.StopMode_STOP_MODE_NOW) })
		r := st.play(t)
		if r.GetRequestsCanceled() != r.GetStarted() || st.player.now() > measure.Instant(3*time.Second) {
			t.Errorf("counters = %v at %v", r.Counters, time.Duration(st.player.now()))
		}
	})
}

func TestNothingStartsWithoutALease(t *testing.T) {
	for name, lose := range map[string]func(*guard.Lease){
		"revoked": (*guard.Lease).Revoke,
		"lapsed":  func(*guard.Lease) {},
	} {
		for _, load := range []string{"{open: {rate: 100}, duration: 10s}", "{closed: {users: 5}, duration: 10s}"} {
			t.Run(name+" "+load, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					st := newStage(t, "load: ["+load+"]", always(10*time.Millisecond), nil)
					lease := &guard.Lease{}
					lease.Grant(int64(2100 * time.Millisecond)) // 2 s of the run's clock
					st.player.lease = lease
					time.AfterFunc(2100*time.Millisecond, func() { lose(lease) })
					// It waits for a lease until it is told to stop.
					time.AfterFunc(9*time.Second, func() { st.player.stop(pb.StopMode_STOP_MODE_DRAIN) })
					st.play(t)
					last := time.Duration(st.target.last.Load())
					if last < 1900*time.Millisecond || last > 2*time.Second+time.Millisecond {
						t.Errorf("the last request started at %v, want just before 2 s", last)
					}
				})
			})
		}
	}
}

func TestClosedLoad(t *testing.T) {
	t.Run("by duration", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newStage(t, "load: [{closed: {users: 8}, duration: 10s}]", always(100*time.Millisecond), nil)
			r := st.play(t)
			if r.GetStarted() != 800 || r.GetDue() != 800 || st.target.most.Load() != 8 {
				t.Errorf("counters = %v, most in flight %d, want 8 users × 100 sessions", r.Counters, st.target.most.Load())
			}
		})
	})
	t.Run("by sessions", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newStage(t, "load: [{closed: {users: 8}, sessions: 21}]", always(100*time.Millisecond), nil)
			if r := st.play(t); r.GetStarted() != 21 || r.GetSessionsSucceeded() != 21 {
				t.Errorf("counters = %v, want 21 sessions", r.Counters)
			}
		})
	})
	t.Run("with think time and ramp-up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newStage(t, "load: [{closed: {users: 4, ramp_up: 4s, think: 900ms}, duration: 10s}]", always(100*time.Millisecond), nil)
			// User k begins k seconds in and starts a session every second: 10 + 9 + 8 + 7.
			if r := st.play(t); r.GetStarted() != 34 {
				t.Errorf("started %d, want 34", r.GetStarted())
			}
		})
	})
	t.Run("stopped while thinking", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newStage(t, "load: [{closed: {users: 4, think: 1h}, duration: 10h}]", always(time.Millisecond), nil)
			time.AfterFunc(time.Second, func() { st.player.stop(pb.StopMode_STOP_MODE_DRAIN) })
			if r := st.play(t); r.GetStarted() != 4 || st.player.now() > measure.Instant(time.Second) {
				t.Errorf("counters = %v at %v", r.Counters, time.Duration(st.player.now()))
			}
		})
	})
}
