package sim

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// What the simulator says of an event is when it left: the moment right before the write of the socket that took it along. Over HTTP/1.1
// the handler writes by itself. Over HTTP/2 and gRPC it hands events to a library, whose own goroutine writes them, later, together with
// those of others; so the connection notes its writes.

// departure is one write's worth of events of an answer.
type departure struct {
	left   atomic.Int64 // when it left; 0: it has not
	noted  int64        // when it was handed over
	events int
	told   chan struct{} // has room for one: somebody may wait for left
}

// dock is where departures wait for the next write of a connection.
type dock struct {
	now     func() int64
	waiting atomic.Bool

	mu     sync.Mutex
	aboard []*departure
}

// board lets a departure leave with the next write to begin. Whoever is about to hand events over boards before, so what
// is noted is never later than the write that takes them; it is earlier where another write begins in between.
func (d *dock) board(p *departure) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.aboard = append(d.aboard, p)
	d.waiting.Store(true)
}

// writes is called right before a write of the connection.
func (d *dock) writes() {
	if !d.waiting.Load() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting.Store(false)
	now := d.now()
	for i, p := range d.aboard {
		p.left.Store(now)
		select {
		case p.told <- struct{}{}:
		default:
		}
		d.aboard[i] = nil
	}
	d.aboard = d.aboard[:0]
}

// settleWithin bounds the wait of an answer that has ended for the write of its last event.
const settleWithin = time.Second

// emission counts the content events of one answer and takes down when they left.
type emission struct {
	ledger  *ledger
	end     *ending
	dock    *dock // nil: events leave when they are handed over
	told    chan struct{}
	pending []*departure // not yet accounted for, the oldest first
	free    []*departure
	sent    int // writes accounted for
	gaps    []uint32
}

func newEmission(l *ledger, end *ending, conn any, events int) *emission {
	m := &emission{ledger: l, end: end, told: make(chan struct{}, 1), gaps: make([]uint32, 0, min(events, maxGaps))}
	if c, ok := conn.(*stampedConn); ok {
		m.dock = &c.dock
	}
	return m
}

// leave says that events are about to be handed over at now.
func (m *emission) leave(now int64, events int) {
	m.account()
	var p *departure
	if n := len(m.free); n > 0 {
		p, m.free = m.free[n-1], m.free[:n-1]
		p.left.Store(0)
	} else {
		p = &departure{told: m.told}
	}
	p.noted, p.events = now, events
	m.pending = append(m.pending, p)
	if m.dock == nil {
		p.left.Store(now)
		return
	}
	m.dock.board(p)
}

// send hands events over by write. Of a write that failed nothing counts; the connection may still know of its departure, which is
// therefore not used again.
func (m *emission) send(now int64, events int, write func() error) error {
	m.leave(now, events)
	if err := write(); err != nil {
		m.pending = m.pending[:len(m.pending)-1]
		return err
	}
	m.end.events += events
	m.end.latency = now - m.end.begun
	return nil
}

// account takes down what has left.
func (m *emission) account() {
	n := 0
	for ; n < len(m.pending); n++ {
		p := m.pending[n]
		at := p.left.Load()
		if at == 0 {
			break
		}
		m.free = append(m.free, p)
		m.note(at, p.events)
	}
	m.pending = append(m.pending[:0], m.pending[n:]...)
}

// note takes down a write with so many events.
func (m *emission) note(at int64, events int) {
	if m.sent == 0 {
		m.end.ttft = at - m.end.begun
	} else if m.end.streamed {
		m.gaps = append(m.gaps, uint32(min(micros(at-m.end.last), math.MaxUint32)))
	}
	for range events - 1 {
		m.gaps = append(m.gaps, 0)
	}
	m.sent++
	m.end.last = at
	m.end.latency = max(m.end.latency, at-m.end.begun)
	if len(m.gaps) >= maxGaps {
		m.ledger.spill(m.end.epoch, m.gaps)
		m.gaps = m.gaps[:0]
	}
}

// settle waits until all that was handed over has left. What has not by then, since the peer is gone or does not read, is
// noted as handed over.
func (m *emission) settle(s *sleeper) {
	m.account()
	if len(m.pending) > 0 {
		m.await(s)
	}
	for _, p := range m.pending {
		m.note(max(p.noted, m.end.last), p.events)
	}
	m.pending, m.end.gaps = nil, m.gaps
}

func (m *emission) await(s *sleeper) {
	timer := time.NewTimer(settleWithin)
	defer timer.Stop()
	for len(m.pending) > 0 {
		select {
		case <-m.told:
			m.account()
		case <-s.gone:
			return
		case <-s.stop:
			return
		case <-timer.C:
			return
		}
	}
}
