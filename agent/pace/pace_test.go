package pace_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/loadline/loadline/agent/pace"
	"github.com/loadline/loadline/internal/measure"
)

const ms = measure.Instant(time.Millisecond)

// every is a walker of a constant rate.
type every struct {
	gap, next int64
	n, count  uint64
}

func (e *every) Next() (uint64, int64, bool) {
	if e.n == e.count {
		return 0, 0, false
	}
	n, due := e.n, e.next
	e.n++
	e.next += e.gap
	return n, due, true
}

func constant(gap measure.Instant, count uint64) pace.Source {
	return pace.NewMerge(pace.Lane{Walker: &every{gap: int64(gap), count: count}})
}

// event is one call of the sink.
type event struct {
	a     pace.Arrival
	at    measure.Instant
	fired bool
}

// log is a sink that writes down what it is told.
type log struct {
	events []event
	after  func(event) // may be nil
}

func (l *log) Fire(a pace.Arrival, now measure.Instant) { l.add(event{a, now, true}) }
func (l *log) Miss(a pace.Arrival, now measure.Instant) { l.add(event{a, now, false}) }

func (l *log) add(e event) {
	l.events = append(l.events, e)
	if l.after != nil {
		l.after(e)
	}
}

// fake is a clock that moves only while somebody sleeps on it, plus what a test adds.
type fake struct {
	now     measure.Instant
	stall   func() measure.Instant // how much longer than asked a sleep takes; may be nil
	sleeper func(until measure.Instant)
}

func (f *fake) Now() measure.Instant { return f.now }

func (f *fake) Sleep(until measure.Instant, _ <-chan struct{}) {
	f.now = max(f.now, until)
	if f.stall != nil {
		f.now += f.stall()
	}
	if f.sleeper != nil {
		f.sleeper(until)
	}
}

func TestArrivalsAreFiredAtTheirDueInstantInFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := clock()
		sink := &log{}
		p := pace.New(pace.Config{Now: now, Sleeper: pace.Portable(now), MaxLateness: 250 * time.Millisecond},
			constant(7*ms, 1000), sink)
		stats := p.Run(t.Context())
		if stats.Fired != 1000 || stats.Missed != 0 || stats.Last != 999*7*ms {
			t.Errorf("stats = %+v", stats)
		}
		for i, e := range sink.events {
			if e.a.Number != uint64(i) || e.at != e.a.Due || e.a.Due != measure.Instant(i)*7*ms {
				t.Fatalf("event %d: %+v, want fired at its due instant", i, e)
			}
		}
	})
}

// clock is the run's clock in a bubble: it starts at 0 now.
func clock() func() measure.Instant {
	start := time.Now()
	return func() measure.Instant { return measure.Instant(time.Since(start)) }
}

func TestAStallMakesMissesOfWhatIsTooLate(t *testing.T) {
	f := &fake{}
	f.stall = func() measure.Instant {
		if f.now == 100*ms {
			return 500 * ms // the arrival due at 100 ms is found at 600 ms
		}
		return 0
	}
	sink := &log{}
	p := pace.New(pace.Config{Now: f.Now, Sleeper: f, MaxLateness: 250 * time.Millisecond}, constant(10*ms, 100), sink)
	stats := p.Run(t.Context())
	// Due at 100 … 340 ms: more than 250 ms late at 600 ms. Due at 350 … 600 ms: released together.
	if stats.Missed != 25 || stats.Fired != 75 {
		t.Errorf("missed %d and fired %d, want 25 and 75", stats.Missed, stats.Fired)
	}
	for i, e := range sink.events {
		wantFired := i < 10 || i >= 35
		wantAt := max(e.a.Due, 0)
		if i >= 10 && i <= 60 {
			wantAt = 600 * ms
		}
		if e.fired != wantFired || e.at != wantAt {
			t.Errorf("arrival %d: fired %v at %v, want %v at %v", i, e.fired, e.at, wantFired, wantAt)
		}
	}
}

func TestWhatIsDueTogetherIsReleasedInOneWakeUp(t *testing.T) {
	f := &fake{}
	sink := &log{}
	p := pace.New(pace.Config{Now: f.Now, Sleeper: f}, pace.NewMerge(
		pace.Lane{Phase: 1, Walker: &every{gap: 0, next: int64(ms), count: 40}},
		pace.Lane{Phase: 0, Walker: &every{gap: 0, next: int64(ms), count: 2}},
	), sink)
	if stats := p.Run(t.Context()); stats.Wakes != 1 || stats.Fired != 42 {
		t.Errorf("stats = %+v, want 42 fired in one wake-up", stats)
	}
}

func TestABurstAfterAStallNeverExceedsRateTimesMaxLateness(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gap := measure.Instant(rapid.Int64Range(1, int64(20*ms)).Draw(t, "gap"))
		late := time.Duration(rapid.Int64Range(0, int64(300*ms)).Draw(t, "max lateness"))
		count := rapid.Uint64Range(1, 2000).Draw(t, "arrivals")
		precise := rapid.Bool().Draw(t, "precise")
		f := &fake{}
		pause := rapid.Custom(func(t *rapid.T) measure.Instant {
			if rapid.IntRange(0, 4).Draw(t, "pauses") > 0 {
				return 0
			}
			return measure.Instant(rapid.Int64Range(0, int64(time.Second)).Draw(t, "pause"))
		})
		f.stall = func() measure.Instant { return pause.Draw(t, "overslept") }
		sink := &log{after: func(event) { f.now += pause.Draw(t, "sink stalled") / 8 }}
		now := f.Now
		if precise { // somebody has to move the clock while the pacer watches it
			now = func() measure.Instant { f.now += measure.Instant(10 * time.Microsecond); return f.now }
		}
		p := pace.New(pace.Config{Now: now, Sleeper: f, MaxLateness: late, Precise: precise}, constant(gap, count), sink)
		stats := p.Run(context.Background())
		if stats.Fired+stats.Missed != count || uint64(len(sink.events)) != count {
			t.Fatalf("stats = %+v and %d calls, want %d handed on", stats, len(sink.events), count)
		}
		checkBursts(t, sink.events, gap, measure.Instant(late))
	})
}

// checkBursts fails unless each arrival was handed on once and in order, was fired exactly when it
// was in time, and no instant saw more than rate × max lateness (and the one just due) fired.
func checkBursts(t *rapid.T, events []event, gap, late measure.Instant) {
	atOnce := map[measure.Instant]measure.Instant{}
	for i, e := range events {
		lateness := e.at - e.a.Due
		if e.a.Number != uint64(i) || lateness < 0 || e.fired != (lateness <= late) {
			t.Fatalf("event %d: %+v with max lateness %d", i, e, late)
		}
		if e.fired {
			atOnce[e.at]++
		}
	}
	for at, n := range atOnce {
		if n > late/gap+1 {
			t.Fatalf("%d fired at once at %d, want at most %d", n, at, late/gap+1)
		}
	}
}

func TestALimitEndsTheRunWithEveryDueArrivalHandedOn(t *testing.T) {
	tests := map[string]struct {
		at, until, want measure.Instant // Limit(until) is called at the instant at; the limit that holds
		handed          int             // of arrivals due at 0, 10, 20 … ms
	}{
		"now, between arrivals": {at: 55 * ms, until: 55 * ms, want: 55 * ms, handed: 6},
		"ahead":                 {at: 55 * ms, until: 200 * ms, want: 200 * ms, handed: 21},
		"on an arrival":         {at: 5 * ms, until: 30 * ms, want: 30 * ms, handed: 4},
		"behind":                {at: 55 * ms, until: 5 * ms, want: 50 * ms, handed: 6},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now := clock()
				sink := &log{}
				p := pace.New(pace.Config{Now: now, Sleeper: pace.Portable(now)}, constant(10*ms, 1000), sink)
				time.AfterFunc(time.Duration(tt.at), func() {
					if got := p.Limit(tt.until); got != tt.want {
						t.Errorf("Limit = %d, want %d", got, tt.want)
					}
				})
				p.Run(t.Context())
				if len(sink.events) != tt.handed {
					t.Errorf("handed on %d, want %d", len(sink.events), tt.handed)
				}
				if end := max(tt.at, min(tt.want, sink.events[len(sink.events)-1].a.Due)); now() > end {
					t.Errorf("the run ended at %d, want %d: a stop must wake the pacer", now(), end)
				}
			})
		})
	}
}

func TestALimitDuringAStallStillAccountsForWhatWasDue(t *testing.T) {
	f := &fake{}
	var p *pace.Pacer
	f.sleeper = func(measure.Instant) {
		if f.now == 50*ms {
			p.Limit(300 * ms)
			f.now = 700 * ms // the stop at 300 ms is found at 700 ms
		}
	}
	sink := &log{}
	p = pace.New(pace.Config{Now: f.Now, Sleeper: f, MaxLateness: 250 * time.Millisecond}, constant(10*ms, 1000), sink)
	stats := p.Run(t.Context())
	if stats.Fired != 5 || stats.Missed != 26 || stats.Last != 300*ms {
		t.Errorf("stats = %+v, want 5 fired, 26 missed, the last of them due at 300 ms", stats)
	}
}

func TestALimitMayOnlyFall(t *testing.T) {
	p := pace.New(pace.Config{Now: (&fake{}).Now}, constant(ms, 1), &log{})
	got := []measure.Instant{p.Limit(30), p.Limit(50), p.Limit(20)}
	if want := []measure.Instant{30, 30, 20}; !slices.Equal(got, want) {
		t.Errorf("limits = %v, want %v", got, want)
	}
}

func TestTheEndOfTheContextEndsTheRunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := clock()
		sink := &log{}
		p := pace.New(pace.Config{Now: now, Sleeper: pace.Portable(now)}, constant(measure.Instant(time.Hour), 3), sink)
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Minute)
		defer cancel()
		stats := p.Run(ctx)
		if stats.Fired != 2 || now() != measure.Instant(90*time.Minute) {
			t.Errorf("stats = %+v at %d, want 2 fired and the end after 90 min", stats, now())
		}
	})
}

func TestThePacerOfThisSystemFiresInOrderAndStops(t *testing.T) {
	now := clock()
	sink := &log{}
	p := pace.New(pace.Config{Now: now, MaxLateness: time.Minute}, constant(ms, 1<<40), sink)
	done := make(chan pace.Stats)
	go func() { done <- p.Run(context.Background()) }()
	for now() < 30*ms {
		time.Sleep(time.Millisecond)
	}
	limit := p.Limit(now())
	stats := <-done
	if stats.Fired != uint64(limit/ms)+1 || stats.Missed != 0 {
		t.Errorf("stats = %+v with the limit at %d, want each arrival up to it", stats, limit)
	}
	for i, e := range sink.events {
		if e.a.Number != uint64(i) || e.at < e.a.Due {
			t.Fatalf("event %d: %+v, want it in order and never early", i, e)
		}
	}
}

func TestASlotWaitsOrIsCalledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := clock()
		if err := pace.SleepUntil(t.Context(), now, 3*ms); err != nil || now() != 3*ms {
			t.Errorf("SleepUntil = %v at %d, want nil at 3 ms", err, now())
		}
		if err := pace.SleepUntil(t.Context(), now, ms); err != nil || now() != 3*ms {
			t.Errorf("SleepUntil of the past = %v at %d, want nil at once", err, now())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		if err := pace.SleepUntil(ctx, now, 100*ms); err == nil || now() != 8*ms {
			t.Errorf("SleepUntil = %v at %d, want an error at 8 ms", err, now())
		}
		if err := pace.SleepUntil(ctx, now, ms); err == nil {
			t.Error("SleepUntil of the past after the end of the context = nil, want an error")
		}
	})
}

// held is a sleeper that holds something.
type held struct {
	fake

	closed int
}

func (h *held) Close() error { h.closed++; return nil }

func TestWhatTheSleeperHoldsIsGivenBack(t *testing.T) {
	h := &held{}
	pace.New(pace.Config{Now: h.Now, Sleeper: h}, constant(ms, 3), &log{}).Run(t.Context())
	if h.closed != 1 {
		t.Errorf("the sleeper was closed %d times", h.closed)
	}
}
