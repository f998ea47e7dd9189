package wire

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/loadline/loadline/internal/measure"
)

// Policy says when a connection is used again.
type Policy uint8

const (
	// Reuse: whenever it is free, the one used last first.
	Reuse Policy = iota
	// PerSession: by the requests of one [Session].
	PerSession
	// PerRequest: never.
	PerRequest
)

// Session holds the connection of a session, where the policy is PerSession. One request of it is under
// way at a time. The zero value is ready; Close ends it.
type Session struct {
	cn     *conn
	client *Client // whose bound on connections this one counts in; nil: in none
}

// Close closes the session's connection.
func (s *Session) Close() {
	switch {
	case s.cn == nil:
	case s.cn.h2 != nil:
		_ = s.cn.h2.cc.Close()
	default:
		s.cn.close()
	}
	s.cn = nil
	if s.client != nil {
		s.client.free()
		s.client = nil
	}
}

// enter waits until one more connection may be in use. That of a session is until the session ends.
func (c *Client) enter(ctx context.Context, s *Session, lim limit) error {
	if c.slots == nil || s != nil && s.client != nil {
		return nil
	}
	select {
	case c.slots <- struct{}{}:
		return nil
	default:
	}
	timer, stop := c.timer(lim)
	defer stop()
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return canceled(ctx)
	case <-timer:
		return timedOut(lim.class)
	}
}

func (c *Client) leave(s *Session) {
	switch {
	case s != nil && s.cn != nil:
		s.client = c
	case s != nil:
		s.client = nil
		c.free()
	default:
		c.free()
	}
}

func (c *Client) free() {
	if c.slots != nil {
		<-c.slots
	}
}

// connection finds a connection that may be used again, or opens one.
func (c *Client) connection(ctx context.Context, req *Request, ex *Exchange) (*conn, error) {
	var cn *conn
	switch s := req.Session; {
	case c.cfg.Policy == Reuse:
		cn = c.pool.take(ex.Dispatched)
	case c.cfg.Policy == PerSession && s != nil && s.cn != nil:
		if cn, s.cn = s.cn, nil; cn.h2 != nil && cn.h2.gone() {
			ex.Stale++
			_ = cn.h2.cc.Close()
			cn = nil
		}
	}
	if cn == nil {
		return c.openUnknown(ctx, req, ex)
	}
	ex.Connected = ex.Dispatched
	if c.slots != nil {
		ex.Connected = c.cfg.Local.Now() // it may have waited
	}
	return cn, nil
}

// openUnknown opens a connection where the peer may choose HTTP/2. Where it is known by now that it does, room
// is looked for on the connections that there are.
func (c *Client) openUnknown(ctx context.Context, req *Request, ex *Exchange) (*conn, error) {
	if !c.secure || c.cfg.Policy != Reuse {
		return c.open(ctx, ex)
	}
	if !c.h2.begin() {
		return c.reserve(ctx, req, ex)
	}
	defer c.h2.dialed()
	return c.open(ctx, ex)
}

// gone reports whether an idle HTTP/2 connection is known to be of no use. One that is not gets an exchange
// reserved on it.
func (h *h2conn) gone() bool {
	return h.cc.Err() != nil || h.link.away.Load() || h.cc.Reserve() != nil
}

// run plays the exchange on a connection and decides what becomes of the connection.
func (c *Client) run(ctx context.Context, cn *conn, req *Request, ex *Exchange, sink Sink) error {
	if cn.h2 != nil {
		return c.run2(ctx, cn, req, ex, sink)
	}
	if ex.send == nil { // the peer spoke HTTP/2 before, and now does not
		ex.send = c.senders.get()
		if err := ex.send.prepare(c, req); err != nil {
			cn.close()
			return err
		}
	}
	reusable, err := c.exchange1(ctx, cn, req, ex, sink)
	if !cn.raw.leave() || !reusable {
		cn.close()
		return err
	}
	switch {
	case c.cfg.Policy == Reuse:
		c.pool.put(cn, ex.End)
	case c.cfg.Policy == PerSession && req.Session != nil:
		cn.rest()
		req.Session.cn = cn
	default:
		cn.close()
	}
	return err
}

// run2 is run for a connection of HTTP/2.
func (c *Client) run2(ctx context.Context, cn *conn, req *Request, ex *Exchange, sink Sink) error {
	err := c.exchange2(ctx, cn.h2, req, ex, sink)
	if c.cfg.Policy == PerSession && req.Session != nil && err == nil {
		req.Session.cn = cn
		return nil
	}
	c.h2.release(cn.h2)
	return err
}

// maxWarming bounds the connections that are opened at once before the start.
const maxWarming = 32

// Warm opens n connections and keeps them for the exchanges to come, several at a time. It returns the first
// failure. Where connections are not used again it does nothing.
func (c *Client) Warm(ctx context.Context, n int) error {
	if c.cfg.Policy != Reuse {
		return nil
	}
	n = min(n, MaxIdle)
	if c.cfg.Max > 0 {
		n = min(n, c.cfg.Max)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var begun, opened atomic.Int64
	failed := make(chan error, 1)
	for range min(n, maxWarming) {
		wg.Go(func() {
			for begun.Add(1) <= int64(n) {
				if err := c.warmOne(ctx); err != nil {
					select {
					case failed <- err:
					default: // another was first
					}
					cancel()
					return
				}
				opened.Add(1)
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return fmt.Errorf("%d of %d connections could be opened before the start: %w", opened.Load(), n, err)
	default:
		return nil
	}
}

// warmOne opens a connection and keeps it.
func (c *Client) warmOne(ctx context.Context) error {
	var ex Exchange
	ex.reset(c.cfg.Local.Now())
	ex.lim = after(ex.Dispatched, c.cfg.Timeouts.Connect, measure.ClassConnectTimeout)
	cn, err := c.open(ctx, &ex)
	if err != nil {
		return err
	}
	if cn.h2 == nil {
		cn.raw.lim = &never
		c.pool.put(cn, c.cfg.Local.Now())
		return nil
	}
	cn.h2.cc.Release()
	c.h2.release(cn.h2)
	return nil
}
