package wire

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/loadline/loadline/internal/measure"
)

// h2conn is one HTTP/2 connection. What it speaks is done by a client connection of net/http, which
// carries many exchanges at once and repeats none.
type h2conn struct {
	cc   *http.ClientConn
	link *link
	kept bool // it belongs to the pool

	fresh   bool // it counts in h2pool.fresh
	ready   bool // it is in h2pool.ready
	stirred bool // it is in h2pool.stirred
}

// h2pool keeps HTTP/2 connections. Exchanges take turns over those that have room for one more. When none
// has, another is opened, as long as there may be one more, and who finds none waits in line.
type h2pool struct {
	known   atomic.Bool // the peer speaks HTTP/2
	tr      *http.Transport
	streams int // most exchanges at once on a connection
	most    int // most connections; 0: no bound

	mu      sync.Mutex
	conns   map[*h2conn]struct{}
	ready   []*h2conn // those that may have room, whose turn it is first
	waiting []*h2wait
	dialing int // connections being opened
	fresh   int // connections that carry one exchange until the peer has told how many it takes
	closed  bool

	// Where net/http tells of a connection that it has more room it may hold locks of its own, and this
	// goroutine may hold mu. So what it tells is noted here, and looked at by whoever holds mu or can take it.
	stirMu  sync.Mutex
	stirs   atomic.Bool
	stirred []*h2conn
}

// h2wait is one who waits for a connection: it gets one with an exchange reserved on it, or nil, which means
// to open one.
type h2wait struct {
	got   chan *h2conn
	stale uint32 // connections found closed by the peer on its behalf
}

// headSlack is how much more than MaxHead net/http is let read of a head: it breaks the whole
// connection off when there is far too much, and does not say why.
const headSlack = 8

// adoptKey is the context key under which a ready connection reaches the transport.
type adoptKey struct{}

func (p *h2pool) init(idle time.Duration, streams, most int) {
	p.streams, p.most, p.conns = streams, most, map[*h2conn]struct{}{}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true) // TLS, where there is some, has been done by us
	p.tr = &http.Transport{
		Protocols:              protocols,
		DisableCompression:     true,
		IdleConnTimeout:        idle,
		MaxResponseHeaderBytes: headSlack * MaxHead,
		HTTP2:                  &http.HTTP2Config{MaxReceiveBufferPerStream: 1 << 20},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			nc, ok := ctx.Value(adoptKey{}).(net.Conn)
			if !ok {
				return nil, errors.New("no connection was handed over")
			}
			return nc, nil
		},
	}
}

// adopt makes an HTTP/2 connection of one on which nothing has been sent yet but by TLS, with one exchange
// reserved on it. Its error is an [*Error].
func (p *h2pool) adopt(ctx context.Context, cn *conn, addr string, keep bool) (*h2conn, error) {
	h := &h2conn{kept: keep, link: newLink(cn.rw, cn.raw)}
	h.link.settled = func() { p.stir(h) }
	cc, err := p.tr.NewClientConn(context.WithValue(ctx, adoptKey{}, net.Conn(h.link)), "http", addr)
	if err != nil {
		return nil, &Error{measure.ClassReset, plain(err)}
	}
	if err := cc.Reserve(); err != nil { // it is gone already
		_ = cc.Close()
		if h.link.alien.Load() {
			return nil, errAlien()
		}
		return nil, &Error{measure.ClassReset, errors.New("the server closed the connection at once")}
	}
	p.mu.Lock()
	defer p.unlock()
	h.cc = cc
	p.known.Store(true)
	cc.SetStateHook(func(*http.ClientConn) { p.stir(h) })
	if h.kept = keep && !p.closed; h.kept {
		p.conns[h] = struct{}{}
		h.fresh = true
		p.fresh++
		p.enqueue(h)
	}
	return h, nil
}

// begin counts a connection that is about to be opened and may turn out to speak HTTP/2. False: it is known
// by now that the peer does.
func (p *h2pool) begin() bool {
	p.mu.Lock()
	defer p.unlock()
	if p.known.Load() {
		return false
	}
	p.dialing++
	return true
}

// dialed ends what begin began or what a waiting exchange was told to do.
func (p *h2pool) dialed() {
	p.mu.Lock()
	p.dialing--
	p.unlock()
}

// acquire reserves an exchange on a connection, or gives a place in the line.
func (p *h2pool) acquire(stale *uint32) (*h2conn, *h2wait) {
	p.mu.Lock()
	defer p.unlock()
	if len(p.waiting) == 0 {
		if h := p.room(stale); h != nil {
			return h, nil
		}
	}
	w := &h2wait{got: make(chan *h2conn, 1)}
	p.waiting = append(p.waiting, w)
	return nil, w
}

// quit leaves the line. What was handed over meanwhile goes to the next.
func (p *h2pool) quit(w *h2wait) {
	p.mu.Lock()
	defer p.unlock()
	if i := slices.Index(p.waiting, w); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		return
	}
	if h := <-w.got; h != nil {
		h.cc.Release()
		p.enqueue(h)
		return
	}
	p.dialing--
}

// release is called when an exchange on a connection has ended.
func (p *h2pool) release(h *h2conn) {
	p.mu.Lock()
	defer p.unlock()
	if !h.kept || (p.closed || h.link.away.Load()) && h.cc.InFlight() == 0 {
		_ = h.cc.Close()
		return
	}
	p.enqueue(h)
}

// unlock hands out what there is to those who wait, and gives mu back.
func (p *h2pool) unlock() {
	for {
		p.serve()
		p.mu.Unlock()
		if !p.stirs.Load() || !p.mu.TryLock() {
			return
		}
	}
}

func (p *h2pool) serve() {
	p.collect()
	for len(p.waiting) > 0 {
		h := p.room(&p.waiting[0].stale)
		if h == nil {
			// A connection under way will serve who opens it and streams-1 others.
			if p.most > 0 && len(p.conns)+p.dialing >= p.most || len(p.waiting) <= (p.dialing+p.fresh)*(p.streams-1) {
				return
			}
			p.dialing++
		}
		w := p.waiting[0]
		p.waiting[0] = nil
		p.waiting = p.waiting[1:]
		w.got <- h
	}
}

// room reserves an exchange on the connection whose turn it is; nil: none has room.
func (p *h2pool) room(stale *uint32) *h2conn {
	for len(p.ready) > 0 {
		h := p.ready[0]
		p.ready[0] = nil
		p.ready = p.ready[1:]
		h.ready = false
		switch busy := h.cc.InFlight(); {
		case h.cc.Err() != nil || h.link.away.Load():
			delete(p.conns, h)
			p.grown(h)
			if h.link.lost.Load() || h.link.away.Load() {
				*stale++
			}
			if busy == 0 {
				_ = h.cc.Close()
			}
		case busy >= p.streams || busy > 0 && !h.link.open.Load():
			// It comes back when there is room.
		case h.cc.Reserve() == nil:
			p.enqueue(h)
			return h
		}
	}
	return nil
}

// grown notes that a connection is no longer a fresh one.
func (p *h2pool) grown(h *h2conn) {
	if h.fresh {
		h.fresh = false
		p.fresh--
	}
}

func (p *h2pool) enqueue(h *h2conn) {
	if h.link.open.Load() {
		p.grown(h)
	}
	if h.kept && !h.ready && !p.closed {
		h.ready = true
		p.ready = append(p.ready, h)
	}
}

// stir notes that a connection may have room, or is gone. It may be called under any lock.
func (p *h2pool) stir(h *h2conn) {
	p.stirMu.Lock()
	if !h.stirred {
		h.stirred = true
		p.stirred = append(p.stirred, h)
		p.stirs.Store(true)
	}
	p.stirMu.Unlock()
	if p.mu.TryLock() {
		p.unlock()
	}
}

// collect puts those that have been stirred back into the turn.
func (p *h2pool) collect() {
	p.stirMu.Lock()
	defer p.stirMu.Unlock()
	p.stirs.Store(false)
	for i, h := range p.stirred {
		h.stirred = false
		if h.cc != nil {
			p.enqueue(h)
		}
		p.stirred[i] = nil
	}
	p.stirred = p.stirred[:0]
}

func (p *h2pool) close() {
	p.mu.Lock()
	defer p.unlock()
	p.closed = true
	for h := range p.conns {
		if h.cc.InFlight() == 0 {
			_ = h.cc.Close()
		}
	}
	clear(p.conns)
	p.ready = nil
}

// reserve finds room on an HTTP/2 connection, or opens one, within ex.lim.
func (c *Client) reserve(ctx context.Context, req *Request, ex *Exchange) (*conn, error) {
	if c.cfg.Policy != Reuse {
		return c.connection(ctx, req, ex)
	}
	h, w := c.h2.acquire(&ex.Stale)
	if w != nil {
		err := c.await(ctx, w, ex.lim, &h)
		ex.Stale += w.stale
		if err != nil {
			return nil, err
		}
		if h == nil {
			defer c.h2.dialed()
			return c.open(ctx, ex)
		}
	}
	ex.Connected = ex.Dispatched
	if w != nil || ex.NewConnection {
		ex.Connected = c.cfg.Local.Now()
	}
	ex.NewConnection = false
	return &conn{h2: h}, nil
}

func (c *Client) await(ctx context.Context, w *h2wait, lim limit, h **h2conn) error {
	select {
	case *h = <-w.got:
		return nil
	default:
	}
	timer, stop := c.timer(lim)
	defer stop()
	select {
	case *h = <-w.got:
		return nil
	case <-ctx.Done():
		c.h2.quit(w)
		return canceled(ctx)
	case <-timer:
		c.h2.quit(w)
		return timedOut(lim.class)
	}
}
