package sim

import (
	"errors"
	"sync/atomic"
	"time"
)

// errQueueFull refuses a request.
var errQueueFull = errors.New("the queue is full")

// inboxSize bounds the commands on their way to the engine; who sends more waits.
const inboxSize = 1024

// command asks the engine's goroutine for something.
type command struct {
	ticket *ticket
	// at is the working time of a submission.
	at     int64
	cancel bool
}

// batcher drives an engine in real time: one goroutine owns it, steps it at the absolute moments
// it names, so that no lateness adds up, and wakes the handlers whose tokens are ready.
type batcher struct {
	engine *engine
	clock  *clock
	inbox  chan command
	stop   <-chan struct{}
	done   chan struct{}

	// gauges, written after every turn for Truth
	running, queued, reserved, peak, peakBatch atomic.Int64
	steps, hits                                atomic.Uint64
}

// startBatcher runs the engine until stop is closed; done is closed when its goroutine has ended.
func startBatcher(law Batching, c *clock, stop <-chan struct{}) *batcher {
	b := &batcher{
		engine: newEngine(law), clock: c, stop: stop,
		inbox: make(chan command, inboxSize), done: make(chan struct{}),
	}
	go b.run()
	return b
}

// submit hands in a sequence; its tokens are waited for at the ticket.
func (b *batcher) submit(s *sleeper, prompt, output int, blocks []uint64) *ticket {
	t := &ticket{batcher: b, sleep: s, wake: make(chan struct{}, 1)}
	t.seq = sequence{prompt: max(prompt, 1), output: output, blocks: blocks, ticket: t}
	b.send(command{ticket: t, at: b.clock.calendar.working(b.clock.now())})
	return t
}

func (b *batcher) send(c command) {
	select {
	case b.inbox <- c:
	case <-b.stop:
	}
}

func (b *batcher) run() {
	defer close(b.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		b.arm(timer, b.advance(b.clock.calendar.working(b.clock.now())))
		select {
		case <-b.stop:
			return
		case c := <-b.inbox:
			b.obey(c)
			b.drain()
		case <-timer.C:
		}
	}
}

// drain takes the commands that wait already, so that a burst costs one turn.
func (b *batcher) drain() {
	for range inboxSize {
		select {
		case c := <-b.inbox:
			b.obey(c)
		default:
			return
		}
	}
}

func (b *batcher) arm(timer *time.Timer, next int64) {
	if next == idle {
		timer.Stop()
		return
	}
	timer.Reset(time.Duration(b.clock.calendar.wall(next) - b.clock.now()))
}

func (b *batcher) obey(c command) {
	if c.cancel {
		b.engine.cancel(&c.ticket.seq)
		return
	}
	b.advance(c.at)
	if !b.engine.submit(&c.ticket.seq) {
		c.ticket.refused.Store(true)
		c.ticket.signal()
	}
}

// advance steps the engine and hands out what came ready.
func (b *batcher) advance(now int64) (next int64) {
	events, next := b.engine.step(now)
	for _, e := range events {
		e.seq.ticket.ready.Store(int64(e.produced))
		e.seq.ticket.signal()
	}
	b.measure()
	return next
}

func (b *batcher) measure() {
	e := b.engine
	running, reserved := int64(len(e.running)), int64(e.used())
	b.running.Store(running)
	b.queued.Store(int64(e.queued))
	b.reserved.Store(reserved)
	b.peak.Store(max(b.peak.Load(), reserved))
	b.peakBatch.Store(max(b.peakBatch.Load(), running))
	b.steps.Store(e.steps)
	b.hits.Store(e.hits)
}
