package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/loadline/loadline/internal/measure"
)

// h2pool keeps HTTP/2 connections. Each is a client connection of net/http, which carries many
// exchanges at once and repeats none.
type h2pool struct {
	known atomic.Bool // the peer speaks HTTP/2
	keep  bool        // connections are used again
	tr    *http.Transport

	mu      sync.Mutex
	conns   []*http.ClientConn
	dialing chan struct{} // closed when the dial under way has ended; nil: none
	closed  bool
}

// headSlack is how much more than MaxHead net/http is let read of a head: it breaks the whole
// connection off when there is far too much, and does not say why.
const headSlack = 8

// adoptKey is the context key under which a ready connection reaches the transport.
type adoptKey struct{}

func (p *h2pool) init(idle time.Duration, keep bool) {
	p.keep = keep
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	p.tr = &http.Transport{
		Protocols:              protocols,
		DisableCompression:     true,
		IdleConnTimeout:        idle,
		MaxResponseHeaderBytes: headSlack * MaxHead,
		HTTP2:                  &http.HTTP2Config{MaxReceiveBufferPerStream: 1 << 20},
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			tc, ok := ctx.Value(adoptKey{}).(*tls.Conn)
			if !ok {
				return nil, errors.New("no connection was handed over")
			}
			return tc, nil
		},
	}
}

// adopt makes an HTTP/2 connection of one whose handshake is done, with one exchange reserved on it.
func (p *h2pool) adopt(ctx context.Context, tc *tls.Conn, addr string) (*http.ClientConn, error) {
	cc, err := p.tr.NewClientConn(context.WithValue(ctx, adoptKey{}, tc), "https", addr)
	if err != nil {
		return nil, err
	}
	if err := cc.Reserve(); err != nil {
		return nil, errors.Join(err, cc.Close())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known.Store(true)
	if !p.closed && p.keep {
		p.conns = append(p.conns, cc)
	}
	return cc, nil
}

// find reserves an exchange on a connection that has room. Otherwise it returns the dial to wait
// for, or, with mine, leaves it to the caller to dial and to call dialed.
func (p *h2pool) find() (cc *http.ClientConn, wait chan struct{}, mine bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	live := p.conns[:0]
	for _, c := range p.conns {
		if c.Err() != nil {
			continue
		}
		live = append(live, c)
		if cc == nil && c.Reserve() == nil {
			cc = c
		}
	}
	clear(p.conns[len(live):])
	p.conns = live
	if cc != nil || p.dialing != nil {
		return cc, p.dialing, false
	}
	p.dialing = make(chan struct{})
	return nil, p.dialing, true
}

func (p *h2pool) dialed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.dialing)
	p.dialing = nil
}

func (p *h2pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, cc := range p.conns {
		if cc.InFlight() == 0 {
			_ = cc.Close()
		}
	}
	p.conns = nil
}

// release closes a connection that the pool does not keep.
func (p *h2pool) release(cc *http.ClientConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if (p.closed || !p.keep) && cc.InFlight() == 0 {
		_ = cc.Close()
	}
}

// reserve finds room on an HTTP/2 connection. One connection is dialled at a time; others wait for it.
func (c *Client) reserve(ctx context.Context, ex *Exchange) (*conn, error) {
	if c.cfg.Policy != Reuse {
		return c.open(ctx, ex)
	}
	waited := false
	for {
		cc, wait, mine := c.h2.find()
		if mine {
			defer c.h2.dialed()
			return c.open(ctx, ex)
		}
		if cc != nil {
			ex.Connected = ex.Dispatched
			if waited {
				ex.Connected = c.cfg.Local.Now()
			}
			return &conn{h2: cc}, nil
		}
		waited = true
		if err := c.await(ctx, wait, ex.lim); err != nil {
			return nil, err
		}
	}
}

func (c *Client) await(ctx context.Context, ready <-chan struct{}, lim limit) error {
	timer, stop := c.timer(lim)
	defer stop()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return canceled(ctx)
	case <-timer:
		return timedOut(lim.class)
	}
}

// timer fires when the limit passes; stop ends it.
func (c *Client) timer(lim limit) (fires <-chan time.Time, stop func()) {
	if lim == never {
		return nil, func() {}
	}
	t := time.NewTimer(time.Duration(lim.at - c.cfg.Local.Now()))
	return t.C, func() { t.Stop() }
}

// alarm cancels an exchange when its time limit passes. There is one timer; a limit that moves on
// is looked at when it fires.
type alarm struct {
	now    func() measure.Instant
	at     atomic.Int64
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func newAlarm(now func() measure.Instant, lim limit, cancel context.CancelCauseFunc) *alarm {
	a := &alarm{now: now, cancel: cancel}
	a.at.Store(int64(lim.at))
	if lim == never {
		return a
	}
	ready := make(chan struct{})
	a.timer = time.AfterFunc(time.Duration(lim.at-now()), func() { <-ready; a.ring() })
	close(ready)
	return a
}

func (a *alarm) ring() {
	left := measure.Instant(a.at.Load()) - a.now()
	if left <= 0 {
		a.cancel(errLimit)
		return
	}
	a.timer.Reset(time.Duration(left))
}

// set moves the limit. One that lies before the timer's moment needs the timer set anew.
func (a *alarm) set(lim limit) {
	if old := a.at.Swap(int64(lim.at)); a.timer != nil && int64(lim.at) < old {
		a.timer.Reset(time.Duration(lim.at - a.now()))
	}
}

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

// steps holds the instants that net/http tells from goroutines of its own.
type steps struct{ sent, first atomic.Int64 }

func (s *steps) trace(now func() measure.Instant) *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		WroteRequest: func(i httptrace.WroteRequestInfo) {
			if i.Err == nil {
				s.sent.Store(int64(now()))
			}
		},
		GotFirstResponseByte: func() { s.first.Store(int64(now())) },
	}
}

// exchange2 plays an exchange over HTTP/2.
func (c *Client) exchange2(ctx context.Context, cc *http.ClientConn, req *Request, ex *Exchange, sink Sink) error {
	now := c.cfg.Local.Now
	defer c.h2.release(cc)
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a := newAlarm(now, ex.lim, cancel)
	defer a.stop()
	s := new(steps)
	s.sent.Store(int64(measure.None))
	s.first.Store(int64(measure.None))
	hr, size := c.request2(httptrace.WithClientTrace(inner, s.trace(now)), req)
	ex.BytesOut = size
	resp, err := cc.RoundTrip(hr)
	at := stageHead
	if err == nil {
		ex.FirstByte = measure.Instant(s.first.Load())
		at, err = c.play2(resp, ex, sink, a)
	}
	ex.Sent = measure.Instant(s.sent.Load())
	if ex.FirstByte.Reached() && ex.Sent > ex.FirstByte {
		ex.Sent = ex.FirstByte // told by a goroutine that ran late
	}
	if err == nil {
		ex.End = now()
		return nil
	}
	var own *fromSink
	if errors.As(err, &own) {
		return own.err
	}
	return classify2(ctx, inner, err, at, ex)
}

// play2 reads the response; the stream is closed in any case.
func (c *Client) play2(resp *http.Response, ex *Exchange, sink Sink, a *alarm) (stage, error) {
	defer resp.Body.Close()
	for name, values := range resp.Header {
		for _, v := range values {
			ex.BytesIn += uint64(len(name) + len(v))
		}
	}
	if ex.BytesIn > MaxHead {
		return stageHead, errHeadSize
	}
	ex.Status = resp.StatusCode
	ex.Header.fill(resp.Header)
	if err := c.head(ex, sink); err != nil {
		return stageHead, err
	}
	a.set(ex.lim)
	buf := ex.buffer()
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			ex.BytesIn += uint64(n)
			if err := c.deliver(ex, sink, buf[:n], c.cfg.Local.Now()); err != nil {
				return stageBody, err
			}
			a.set(ex.lim)
		}
		switch {
		case err == io.EOF:
			return stageBody, nil
		case err != nil:
			return stageBody, err
		}
	}
}

// classify2 tells the class of an error over HTTP/2: who canceled, else as for HTTP/1.1.
func classify2(ctx, inner context.Context, err error, at stage, ex *Exchange) error {
	var own *Error
	switch {
	case errors.As(err, &own):
		return own
	case ctx.Err() != nil:
		return canceled(ctx)
	case context.Cause(inner) == errLimit:
		return timedOut(ex.lim.class)
	case strings.Contains(err.Error(), "response header list larger"):
		return &Error{measure.ClassOversized, errHeadSize}
	case at == stageHead && strings.Contains(err.Error(), "client conn"):
		// net/http has no type for a connection that ended; the texts begin so.
		return &Error{measure.ClassReset, err}
	}
	return classify(ctx, err, at, ex.lim, ex.NewConnection)
}

// request2 is the request as net/http wants it, and its size. It has no GetBody, so that it
// cannot be sent twice.
func (c *Client) request2(ctx context.Context, req *Request) (*http.Request, uint64) {
	size := uint64(len(req.Body))
	u := &url.URL{Scheme: "https", Host: c.host, Opaque: string(appendTarget(nil, c.base, req.Path))}
	hr := &http.Request{
		Method: req.Method, URL: u, Host: c.host, Header: make(http.Header, len(req.Header)+1),
		Proto: "HTTP/2.0", ProtoMajor: 2,
	}
	hr.Header.Set("User-Agent", userAgent)
	for _, h := range req.Header {
		size += uint64(len(h.Name) + len(h.Value))
		if strings.EqualFold(h.Name, "Host") {
			hr.Host = h.Value
			continue
		}
		hr.Header[http.CanonicalHeaderKey(h.Name)] = []string{h.Value}
	}
	if len(req.Body) > 0 {
		hr.Body = io.NopCloser(bytes.NewReader(req.Body))
		hr.ContentLength = int64(len(req.Body))
	}
	return hr.WithContext(ctx), size
}
