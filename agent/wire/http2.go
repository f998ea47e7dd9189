package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/loadline/loadline/internal/measure"
)

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

// trace is told of steps. The head of an answer is told by the goroutine that reads the connection, so that the
// instant of the connection's latest read is that of the read that brought it.
func (s *steps) trace(now func() measure.Instant, l *link) *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		WroteRequest: func(i httptrace.WroteRequestInfo) {
			if i.Err == nil {
				s.sent.Store(int64(now()))
			}
		},
		GotFirstResponseByte: func() { s.first.Store(l.last.Load()) },
	}
}

// maxUnused bounds the connections that one exchange takes and finds unusable.
const maxUnused = 8

// do2 plays an exchange over HTTP/2.
func (c *Client) do2(ctx context.Context, req *Request, ex *Exchange, first limit, sink Sink) error {
	if err := checkRequest(req); err != nil {
		return err
	}
	return c.use(ctx, req, ex, first, sink, maxUnused, c.reserve)
}

func errAlien() error {
	return fail(measure.ClassMalformed, "the server does not speak HTTP/2: use connections: {http: http1}")
}

// exchange2 plays an exchange over HTTP/2.
func (c *Client) exchange2(ctx context.Context, h *h2conn, req *Request, ex *Exchange, sink Sink) error {
	now := c.cfg.Local.Now
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a := newAlarm(now, ex.lim, cancel)
	defer a.stop()
	s := new(steps)
	s.sent.Store(int64(measure.None))
	s.first.Store(int64(measure.None))
	hr, size := c.request2(httptrace.WithClientTrace(inner, s.trace(now, h.link)), req)
	resp, err := h.cc.RoundTrip(hr)
	if err != nil && err.Error() == textUnusable && inner.Err() == nil {
		return errUnused
	}
	ex.BytesOut = size
	at := stageHead
	if err == nil {
		ex.FirstByte = measure.Instant(s.first.Load())
		at, err = c.play2(resp, h.link, ex, sink, a)
	}
	ex.Sent = measure.Instant(s.sent.Load())
	if ex.FirstByte.Reached() && ex.Sent > ex.FirstByte {
		ex.Sent = ex.FirstByte // told by a goroutine that ran late
	}
	if err == nil {
		return nil
	}
	if own, ok := errors.AsType[*fromSink](err); ok {
		return own.err
	}
	if h.link.alien.Load() && ctx.Err() == nil {
		return errAlien()
	}
	return classify2(ctx, inner, err, at, ex)
}

// play2 reads the response; the stream is closed in any case. The instant of a piece is that of the
// connection's latest read: not before the read that brought it, and not later than this goroutine was woken.
func (c *Client) play2(resp *http.Response, l *link, ex *Exchange, sink Sink, a *alarm) (stage, error) {
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
		at := measure.Instant(l.last.Load())
		if n > 0 {
			ex.BytesIn += uint64(n)
			if err := c.deliver(ex, sink, buf[:n], at); err != nil {
				return stageBody, err
			}
			a.set(ex.lim)
		}
		switch {
		case err == io.EOF:
			ex.End = at
			return stageBody, nil
		case err != nil:
			return stageBody, err
		}
	}
}

// Texts of errors of net/http for which it has no exported values.
const (
	textUnusable = "http2: client conn not usable"
	textGone     = "client conn" // how those of a connection that ended begin
	textAway     = "received GOAWAY"
	textLeft     = "sent GOAWAY and closed the connection"
	textRefused  = "received Server's graceful shutdown GOAWAY"
	textFromPeer = "received from peer"
	textHeadSize = "response header list larger"
)

// classify2 tells the class of an error over HTTP/2: who canceled, else as for HTTP/1.1.
func classify2(ctx, inner context.Context, err error, at stage, ex *Exchange) error {
	text := err.Error()
	switch own, known := errors.AsType[*Error](err); {
	case known:
		return own
	case ctx.Err() != nil:
		return canceled(ctx)
	case context.Cause(inner) == errLimit:
		return timedOut(ex.lim.class)
	case strings.Contains(text, textHeadSize):
		return &Error{measure.ClassOversized, errHeadSize}
	case strings.Contains(text, textRefused):
		return &Error{measure.ClassReset, errors.New("the server refused the stream before processing it (GOAWAY)")}
	case streamReset(err) != nil:
		return streamReset(err)
	case strings.Contains(text, textLeft) && at == stageBody:
		return fail(measure.ClassTruncated, "the body ended before it was complete: the server said GOAWAY and closed the connection")
	case strings.Contains(text, textLeft):
		return fail(measure.ClassReset, "the server said GOAWAY and closed the connection")
	case strings.Contains(text, textGone), strings.Contains(text, textAway):
		return &Error{measure.ClassReset, err}
	}
	return classify(ctx, err, at, ex.lim, ex.NewConnection)
}

// streamReset is the failure of a stream that the server has reset; nil: that is not what happened.
func streamReset(err error) error {
	stream, ok := errors.AsType[http2.StreamError](err)
	switch {
	case !ok || stream.Cause == nil || stream.Cause.Error() != textFromPeer:
		return nil
	case stream.Code == http2.ErrCodeRefusedStream:
		return fail(measure.ClassReset, "the server refused the stream before processing it (REFUSED_STREAM)")
	}
	return fail(measure.ClassReset, "the server reset the stream ("+stream.Code.String()+")")
}

// request2 is the request as net/http wants it, and its size. It has no GetBody, so that it
// cannot be sent twice.
func (c *Client) request2(ctx context.Context, req *Request) (*http.Request, uint64) {
	size := uint64(len(req.Body))
	u := &url.URL{Scheme: c.scheme, Host: c.host, Opaque: string(appendTarget(nil, c.base, req.Path))}
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
