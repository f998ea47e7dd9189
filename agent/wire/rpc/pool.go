package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/internal/measure"
)

var errClosed = &wire.Error{Class: measure.ClassReset, Err: errors.New("the connection was closed here")}

// slot is the place of one connection, which is opened anew when it has gone.
type slot struct {
	pool *Pool
	load atomic.Int64 // calls on it
	room atomic.Int64 // most of them
	conn atomic.Pointer[conn]

	mu     sync.Mutex
	dial   *dial // under way; nil: none
	failed error // of the last one
	at     measure.Instant
}

// dial is one connection being opened, for all calls that wait for it.
type dial struct {
	done chan struct{}
	conn *conn
	err  error
}

func (p *Pool) newSlot() *slot {
	s := &slot{pool: p}
	s.room.Store(MaxStreams)
	return s
}

// take finds a slot with room, in turn, and counts the call on it; give ends that.
func (p *Pool) take(ctx context.Context, c *Call) (*slot, error) {
	for {
		list := *p.list.Load()
		if s := p.scan(list); s != nil {
			return s, nil
		}
		if p.grow(len(list)) {
			continue
		}
		w := p.enqueue()
		if s := p.scan(*p.list.Load()); s != nil {
			p.dequeue(w)
			return s, nil
		}
		if err := c.await(ctx, w); err != nil {
			p.dequeue(w)
			return nil, err
		}
	}
}

func (p *Pool) scan(list []*slot) *slot {
	start, n := p.turn.Add(1), uint64(len(list))
	for i := range n {
		s := list[(start+i)%n]
		if s.load.Add(1) <= s.room.Load() {
			return s
		}
		s.load.Add(-1)
	}
	return nil
}

// grow adds a slot unless somebody else has; false: there may be no more.
func (p *Pool) grow(from int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := *p.list.Load()
	if len(list) != from {
		return true
	}
	if len(list) >= p.cfg.Max || p.closing {
		return false
	}
	list = append(list[:from:from], p.newSlot())
	p.list.Store(&list)
	return true
}

// enqueue puts the caller behind those that wait for room.
func (p *Pool) enqueue() chan struct{} {
	w := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiters = append(p.waiters, w)
	p.waiting.Store(int64(len(p.waiters)))
	return w
}

// dequeue takes the caller out; room that it was told of is told to the next.
func (p *Pool) dequeue(w chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiters, w); i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
		p.waiting.Store(int64(len(p.waiters)))
		return
	}
	p.tell()
}

// tell tells the first that waits; the lock is held.
func (p *Pool) tell() {
	if len(p.waiters) > 0 {
		close(p.waiters[0])
		p.waiters = slices.Delete(p.waiters, 0, 1)
		p.waiting.Store(int64(len(p.waiters)))
	}
}

func (p *Pool) give(s *slot) {
	s.load.Add(-1)
	p.roomy()
}

// roomy says that there may be room.
func (p *Pool) roomy() {
	if p.waiting.Load() > 0 {
		p.mu.Lock()
		p.tell()
		p.mu.Unlock()
	}
}

// connect gives the slot's connection, and opens one where there is none.
func (s *slot) connect(ctx context.Context, c *Call) (*conn, error) {
	if cn := s.conn.Load(); cn != nil {
		return cn, nil
	}
	d, mine, err := s.begin()
	if err != nil {
		return nil, err
	}
	if d.done != nil {
		if err := c.await(ctx, d.done); err != nil {
			return nil, err
		}
	}
	if d.err == nil {
		c.waited()
		if mine {
			c.NewConnection, c.Lookup, c.Handshake = true, d.conn.lookup, d.conn.handshake
		}
	}
	return d.conn, d.err
}

// begin joins the dial under way or starts one; mine says which.
func (s *slot) begin() (d *dial, mine bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cn := s.conn.Load(); cn != nil {
		return &dial{conn: cn}, false, nil
	}
	if s.dial != nil {
		return s.dial, false, nil
	}
	if s.failed != nil && s.pool.now()-s.at < measure.Instant(reconnectPause) {
		return nil, false, s.failed
	}
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return nil, false, errClosed
	}
	d = &dial{done: make(chan struct{})}
	s.dial = d
	p.tasks.Go(func() { s.open(d) })
	return d, true, nil
}

// open opens the connection within the time limit of connecting.
func (s *slot) open(d *dial) {
	defer close(d.done)
	d.conn, d.err = s.pool.open(s.pool.ctx, s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dial, s.failed, s.at = nil, d.err, s.pool.now()
	if d.err == nil {
		d.conn.settle()
	}
}

// open opens one connection and waits until the server has shown that it speaks HTTP/2.
func (p *Pool) open(ctx context.Context, s *slot) (*conn, error) {
	if limit := p.cfg.Timeouts.Connect; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	nc, lookup, err := p.dialer.Connect(ctx)
	if err != nil {
		return nil, err
	}
	cn := newConn(p, s)
	cn.lookup = lookup
	if err := cn.secure(ctx, nc); err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	cn.greet()
	p.tasks.Go(cn.read)
	p.tasks.Go(cn.write)
	select {
	case <-cn.ready:
		return cn, nil
	case <-cn.gone:
		return nil, notReady(cn.failure())
	case <-ctx.Done():
		cn.fail(errClosed)
		if p.ctx.Err() != nil {
			return nil, errClosed
		}
		return nil, wire.TimedOut(measure.ClassConnectTimeout)
	}
}

// notReady is the failure of a connection that broke before anything was sent over it.
func notReady(e *wire.Error) *wire.Error {
	if e.Class == measure.ClassReset || e.Class == measure.ClassMalformed {
		return &wire.Error{Class: measure.ClassConnect, Err: fmt.Errorf("no HTTP/2 came of the connection: %w", e.Err)}
	}
	return e
}

// Warm opens n connections, at most as many as there may be, and returns the first failure. Where calls have
// connections of their own it does nothing.
func (p *Pool) Warm(ctx context.Context, n int) error {
	if p.cfg.Private {
		return nil
	}
	n = min(n, p.cfg.Max)
	for have := len(*p.list.Load()); have < n; have++ {
		p.grow(have)
	}
	for i, s := range (*p.list.Load())[:n] {
		var c Call
		c.begin(p)
		if _, err := s.connect(ctx, &c); err != nil {
			return fmt.Errorf("%d of %d connections could be opened before the start: %w", i, n, err)
		}
	}
	return nil
}

// await waits for a channel to be closed, within the call's time limits.
func (c *Call) await(ctx context.Context, ready <-chan struct{}) error {
	at, class := c.limit(false)
	timer := time.NewTimer(until(at, c.frame.pool.now()))
	defer timer.Stop()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return canceled(ctx)
	case <-timer.C:
		return timedOut(class)
	}
}

func canceled(ctx context.Context) error {
	return &wire.Error{Class: measure.ClassCanceled, Err: context.Cause(ctx)}
}
