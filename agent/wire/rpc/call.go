package rpc

import (
	"context"
	"errors"
	"math"
	"time"

	"golang.org/x/net/http2"

	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/internal/measure"
)

// ErrDeadline says that Call.Deadline passed here, before the server said so.
var ErrDeadline = errors.New("the deadline of the call passed")

// begin makes the call ready for another time.
func (c *Call) begin(p *Pool) {
	if c.wake == nil {
		c.wake = make(chan struct{}, 1)
	}
	select {
	case <-c.wake: // left over
	default:
	}
	c.Dispatched, c.Connected, c.Sent, c.FirstByte, c.End = p.now(), measure.None, measure.None, measure.None, measure.None
	c.SentAt, c.BytesIn, c.BytesOut, c.NewConnection, c.Lookup, c.Handshake = c.SentAt[:0], 0, 0, false, 0, 0
	c.FirstByteStamp, c.Stamp, c.StampsDropped = measure.None, measure.None, 0
	c.Answered, c.Code, c.Text, c.Details = false, 0, "", nil
	c.got, c.next, c.offset, c.closed, c.over, c.hungry, c.err = 0, 0, 0, false, false, false, nil
	c.headed, c.packed, c.late = false, false, measure.None
	c.frame.begin(p)
}

// Do plays the call. It returns when the call has ended, with End set where the answer was read to its end. Nil
// says that the server gave a status, good or bad; ErrDeadline that the deadline passed; else the error is an
// [*wire.Error] or what the sink returned. When ctx ends, the class is canceled and the cause of ctx its text.
func (p *Pool) Do(ctx context.Context, c *Call) error {
	c.begin(p)
	if ctx.Err() != nil {
		return canceled(ctx)
	}
	if p.cfg.Private {
		return p.alone(ctx, c)
	}
	for {
		s, err := p.take(ctx, c)
		if err != nil {
			return err
		}
		cn, err := s.connect(ctx, c)
		if err != nil {
			p.give(s)
			return err
		}
		if !cn.start(c) {
			c.waited() // for another, or for room
			p.give(s)
			if at, class := c.limit(false); c.Connected >= at {
				return timedOut(class)
			}
			continue
		}
		if !c.Connected.Reached() {
			c.Connected = c.Dispatched
		}
		err = c.play(ctx, cn)
		p.give(s)
		return err
	}
}

// alone plays the call on a connection of its own.
func (p *Pool) alone(ctx context.Context, c *Call) error {
	if p.private != nil {
		if err := c.enter(ctx, p.private); err != nil {
			return err
		}
		defer func() { <-p.private }()
	}
	s := p.newSlot()
	cn, err := s.connect(ctx, c)
	if err != nil {
		return err
	}
	defer cn.fail(errClosed)
	if !cn.start(c) {
		return &wire.Error{Class: measure.ClassReset, Err: errors.New("the server takes no call on a new connection")}
	}
	return c.play(ctx, cn)
}

// enter waits until one more connection may be open.
func (c *Call) enter(ctx context.Context, places chan struct{}) error {
	at, class := c.limit(false)
	timer := time.NewTimer(until(at, c.Dispatched))
	defer timer.Stop()
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return canceled(ctx)
	case <-timer.C:
		return timedOut(class)
	}
}

// waited notes that the call waited for its connection.
func (c *Call) waited() { c.Connected = c.frame.pool.now() }

// play waits for the end of the call and sends what could not be sent at once.
func (c *Call) play(ctx context.Context, cn *conn) error {
	now := cn.pool.now
	for {
		at := now()
		cn.mu.Lock()
		next := measure.Instant(math.MaxInt64)
		if c.next < len(c.Messages) && !c.over {
			next = cn.send(c, at)
			cn.push()
		}
		if c.closed && !c.Sent.Reached() {
			c.Sent = at
		}
		limit, class := c.limit(true)
		switch {
		case c.over:
			c.leave(cn)
			cn.mu.Unlock()
			if c.err == errNotGRPC { // the very value
				return nil
			}
			return c.err
		case ctx.Err() != nil:
			cn.reset(c, http2.ErrCodeCancel, canceled(ctx))
		case at >= limit:
			cn.reset(c, http2.ErrCodeCancel, timedOut(class))
		}
		cn.mu.Unlock()
		c.sleep(ctx, min(until(limit, at), until(next, at), cn.pool.patience()))
	}
}

// leave takes leave of a server that ended the call before everything was sent; the lock is held.
func (c *Call) leave(cn *conn) {
	if !c.closed && cn.err == nil && c.Answered {
		cn.out = appendWord(cn.out, http2.FrameRSTStream, c.id, uint32(http2.ErrCodeCancel))
		cn.push()
	}
}

// sleep waits until something happens to the call, at most d.
func (c *Call) sleep(ctx context.Context, d time.Duration) {
	if c.timer == nil {
		c.timer = time.NewTimer(d)
	} else {
		c.timer.Reset(d)
	}
	select {
	case <-c.wake:
	case <-ctx.Done():
	case <-c.timer.C:
	}
	c.timer.Stop()
}

// patience is how long a call may sleep. A message moves the limit to one stall after it, which is no earlier
// than one stall from now: so no message needs to wake the call for its limit.
func (p *Pool) patience() time.Duration {
	if d := p.cfg.Timeouts.Stall; d > 0 {
		return d
	}
	return time.Hour
}

// until is the time from now to a limit, where there is none an hour.
func until(limit, now measure.Instant) time.Duration {
	if limit == math.MaxInt64 {
		return time.Hour
	}
	return time.Duration(limit - now)
}

// classDeadline stands for the deadline among the classes of time limits.
const classDeadline = "deadline"

// limit is the time limit in force and the class of missing it.
func (c *Call) limit(connected bool) (at measure.Instant, class string) {
	at = math.MaxInt64
	nearer := func(from measure.Instant, d time.Duration, name string) {
		if d > 0 && from+measure.Instant(d) < at {
			at, class = from+measure.Instant(d), name
		}
	}
	o := &c.frame.pool.cfg.Timeouts
	if c.late.Reached() {
		nearer(c.late, o.Stall, measure.ClassStallTimeout)
	} else {
		nearer(c.Dispatched, o.First, measure.ClassFirstTokenTimeout)
	}
	if !connected {
		nearer(c.Dispatched, o.Connect, measure.ClassConnectTimeout)
	}
	nearer(c.Dispatched, o.Total, measure.ClassTotalTimeout)
	nearer(c.Dispatched, c.Deadline, classDeadline)
	return at, class
}

func timedOut(class string) error {
	if class == classDeadline {
		return ErrDeadline
	}
	return wire.TimedOut(class)
}
