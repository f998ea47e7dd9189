package wire

import (
	"context"
	"fmt"

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
type Session struct{ cn *conn }

// Close closes the session's connection.
func (s *Session) Close() {
	if s.cn != nil {
		s.cn.close()
		s.cn = nil
	}
}

// enter waits until one more connection may be in use.
func (c *Client) enter(ctx context.Context, lim limit) error {
	if c.slots == nil {
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

func (c *Client) leave() {
	if c.slots != nil {
		<-c.slots
	}
}

// connection finds a connection that may be used again, or opens one.
func (c *Client) connection(ctx context.Context, req *Request, ex *Exchange) (*conn, error) {
	var cn *conn
	switch s := req.Session; {
	case c.cfg.Policy == Reuse:
		cn = c.pool.take(ex.Dispatched, &ex.Stale)
	case c.cfg.Policy == PerSession && s != nil && s.cn != nil:
		if cn, s.cn = s.cn, nil; cn.raw.sock.closed() {
			ex.Stale++
			cn.close()
			cn = nil
		}
	}
	if cn == nil {
		return c.open(ctx, ex)
	}
	ex.Connected = ex.Dispatched
	if c.slots != nil {
		ex.Connected = c.cfg.Local.Now() // it may have waited
	}
	return cn, nil
}

// run plays the exchange on a connection and decides what becomes of the connection.
func (c *Client) run(ctx context.Context, cn *conn, req *Request, ex *Exchange, sink Sink) error {
	if cn.h2 != nil {
		return c.exchange2(ctx, cn.h2, req, ex, sink)
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

// Warm opens n connections and keeps them for the exchanges to come. It returns the first failure. Where
// connections are not used again it does nothing; over HTTP/2 it opens one.
func (c *Client) Warm(ctx context.Context, n int) error {
	if c.cfg.Policy != Reuse {
		return nil
	}
	if c.cfg.Max > 0 {
		n = min(n, c.cfg.Max)
	}
	opened := make([]*conn, 0, min(n, MaxIdle))
	defer func() {
		for _, cn := range opened {
			c.pool.put(cn, c.cfg.Local.Now())
		}
	}()
	for len(opened) < min(n, MaxIdle) {
		var ex Exchange
		ex.reset(c.cfg.Local.Now())
		ex.lim = after(ex.Dispatched, c.cfg.Timeouts.Connect, measure.ClassConnectTimeout)
		cn, err := c.open(ctx, &ex)
		if err != nil {
			return fmt.Errorf("%d of %d connections could be opened before the start: %w", len(opened), n, err)
		}
		if cn.h2 != nil {
			cn.h2.Release()
			return nil
		}
		opened = append(opened, cn)
	}
	return nil
}
