// Package pace plays a schedule against the clock.
//
// A Pacer takes arrivals in the order in which they are due, waits for each and hands it on:
// fired when its moment has come, missed when the pacer itself came too late. Due times are
// absolute, so a wait that ends late shifts nothing that follows, and everything that has fallen
// due meanwhile is released in the same wake-up.
//
// An arrival more than MaxLateness late is never fired. So after a stall, however long, what is
// released at once was due within the last MaxLateness: never more than rate × MaxLateness.
//
// The order of events that callers may rely on:
//
//  1. Every arrival of the source that is due at or before the limit is handed on exactly once,
//     in order, unless the context ends first.
//  2. No arrival due after the limit is handed on. Limit says which limit holds.
//  3. When Run has returned, nothing is handed on any more.
//  4. Nothing due at or after the instant of a Hold is handed on until it is released; nothing due at or after the
//     instant of an Apply comes from the source before, and nothing due before it from the new one.
package pace

import (
	"context"
	"io"
	"math"
	"sync"
	"time"

	"github.com/loadline/loadline/internal/measure"
)

// spin is how long before an arrival a precise pacer stops sleeping and watches the clock.
const spin = 50 * time.Microsecond

// unlimited is the limit of a pacer that nobody has stopped.
const unlimited measure.Instant = math.MaxInt64

// Arrival is one numbered moment at which a session starts.
type Arrival struct {
	// Phase is the index of the phase in the scenario.
	Phase int
	// Number of the arrival within its phase.
	Number uint64
	// Due is the scheduled moment.
	Due measure.Instant
}

// Source yields arrivals in the order in which they are due; ok is false once there are no more.
type Source interface {
	Next() (a Arrival, ok bool)
}

// Sink takes the arrivals. It is called by the pacer itself, one call at a time, and must
// return at once: whatever it waits for makes the arrivals behind it late.
type Sink interface {
	// Fire starts the session of an arrival. The instant is at or after a.Due, by MaxLateness at most.
	Fire(a Arrival, now measure.Instant)
	// Miss notes an arrival that was more than MaxLateness late at the instant and will not be started.
	Miss(a Arrival, now measure.Instant)
}

// Sleeper waits for a moment. Run closes one that is an io.Closer.
type Sleeper interface {
	// Sleep returns at the instant or earlier: at once when it has passed, within 10 ms when
	// something can be received from wake. It may also return early for no reason.
	Sleep(until measure.Instant, wake <-chan struct{})
}

// Config says how a pacer works.
type Config struct {
	// Now reads the clock on which arrivals are due. Needed.
	Now func() measure.Instant
	// Sleeper waits on that clock; nil: System(Now).
	Sleeper Sleeper
	// MaxLateness is how late an arrival may be fired; at least 0.
	MaxLateness time.Duration
	// Precise makes the pacer watch the clock without sleeping for the last 50 µs before each
	// arrival, so that the time which a wake-up takes is not part of its lateness. A processor is busy
	// meanwhile: where there is one alone, answers that come in those 50 µs are read after them.
	Precise bool
	// May reports whether something may be started at this moment; nil: always. While it reports false nothing is handed on,
	// and it is asked again every 10 ms; then what is too late is missed.
	May func() bool
	// End keeps Run waiting when the source has no more, until the instant: what Apply brings may be due until then.
	End measure.Instant
}

// Stats tells what a pacer has done.
type Stats struct {
	// Fired and Missed count the arrivals handed on.
	Fired, Missed uint64
	// Wakes counts how often the pacer slept.
	Wakes uint64
	// Last is when the last arrival handed on was due; measure.None: there was none.
	Last measure.Instant
}

// Pacer plays one source into one sink.
type Pacer struct {
	cfg    Config
	source Source
	sink   Sink
	wake   chan struct{}

	mu      sync.Mutex
	limit   measure.Instant // arrivals due after it are not handed on
	reached measure.Instant // when the latest arrival taken up was due
	held    measure.Instant // arrivals due at or after it wait
	end     measure.Instant // Run waits until then for further sources
	swaps   []swap          // sources to come, in order
	ended   bool            // Run has returned or is about to
}

// New makes a pacer. It does nothing until Run.
func New(cfg Config, source Source, sink Sink) *Pacer {
	if cfg.Sleeper == nil {
		cfg.Sleeper = System(cfg.Now)
	}
	return &Pacer{
		cfg: cfg, source: source, sink: sink,
		wake: make(chan struct{}, 1), limit: unlimited, reached: measure.None, held: unlimited, end: cfg.End,
	}
}

// Run hands on the arrivals of the source until there are no more and the end has come, the limit is passed or the
// context ends. Arrivals that were due when the context ended and had not been handed on never
// are; to end with every due arrival accounted for, use Limit. Run may be called once.
func (p *Pacer) Run(ctx context.Context) Stats {
	if c, ok := p.cfg.Sleeper.(io.Closer); ok {
		defer c.Close() // what it holds was only waited on: there is nothing to lose
	}
	defer context.AfterFunc(ctx, p.nudge)()
	stats := Stats{Last: measure.None}
	for {
		a, more := p.source.Next()
		if !more {
			a.Due = unlimited
		}
		now, what := p.await(ctx, a.Due, more, &stats)
		switch {
		case what == over:
			return stats
		case what == swapped:
			continue // the new source has what is due from here on
		}
		stats.Last = a.Due
		if now-a.Due > measure.Instant(p.cfg.MaxLateness) {
			stats.Missed++
			p.sink.Miss(a, now)
			continue
		}
		stats.Fired++
		p.sink.Fire(a, now)
	}
}

// await waits until the arrival is due and may be handed on, and gives the moment at which the wait was over; or
// until it must not be handed on.
func (p *Pacer) await(ctx context.Context, due measure.Instant, more bool, stats *Stats) (measure.Instant, verdict) {
	for ctx.Err() == nil {
		now := p.cfg.Now()
		what, until := p.decide(due, more, now)
		if what != wait {
			return now, what
		}
		p.sleep(until, now, stats)
	}
	return 0, over
}

// sleep waits once, for the moment at which the arrival is due or shortly before.
func (p *Pacer) sleep(due, now measure.Instant, stats *Stats) {
	if p.cfg.Precise {
		due -= measure.Instant(spin)
	}
	if due <= now {
		return
	}
	stats.Wakes++
	p.cfg.Sleeper.Sleep(due, p.wake)
}

// Limit says that arrivals due after the instant are not due at all, and gives the limit that
// holds from now on: the instant, or a later one where an arrival due after it has been handed on
// already, or an earlier one that was set before. What is due at or before it is still handed on.
// A sleeping pacer hears of it within 10 ms. Safe for use by several goroutines, before, during and after Run.
func (p *Pacer) Limit(until measure.Instant) measure.Instant {
	p.mu.Lock()
	p.limit = min(p.limit, max(until, p.reached))
	limit := p.limit
	p.mu.Unlock()
	p.nudge()
	return limit
}

// nudge wakes the pacer if it sleeps.
func (p *Pacer) nudge() {
	select {
	case p.wake <- struct{}{}:
	default: // a nudge is waiting already
	}
}
