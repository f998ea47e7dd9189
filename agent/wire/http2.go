package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
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
	a.timer = time.AfterFunc(math.MaxInt64, a.ring) // ring needs the timer, so it is started when it is there
	a.timer.Reset(time.Duration(lim.at - now()))
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
	t := newTimeline()
	hr, size := c.request2(httptrace.WithClientTrace(inner, h.link.trace(t)), req)
	resp, err := h.cc.RoundTrip(hr)
	if err != nil && err.Error() == textUnusable && inner.Err() == nil {
		h.link.finish(t)
		return errUnused
	}
	ex.BytesOut = size
	at := stageHead
	if err == nil {
		at, err = c.play2(resp, h.link, t, ex, sink, a)
	}
	ex.Sent = h.link.finish(t)
	if ex.FirstByte.Reached() && ex.Sent > ex.FirstByte {
		ex.Sent = ex.FirstByte // the answer was read before the goroutine that wrote was let run
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

// play2 reads the response; the stream is closed in any case.
func (c *Client) play2(resp *http.Response, l *link, t *timeline, ex *Exchange, sink Sink, a *alarm) (stage, error) {
	defer resp.Body.Close()
	ex.FirstByte = ex.marked(l.first(t))
	ex.FirstByteStamp = ex.Stamp
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
	buf, last := ex.buffer(), ex.FirstByte
	for {
		n, err := resp.Body.Read(buf)
		for p := buf[:n]; len(p) > 0; {
			n, m := l.take(t, len(p))
			last = ex.marked(m)
			ex.BytesIn += uint64(n)
			if err := c.deliver(ex, sink, p[:n], last); err != nil {
				return stageBody, err
			}
			p = p[n:]
			a.set(ex.lim)
		}
		switch {
		case err == io.EOF:
			ex.End = max(l.end(t), last)
			return stageBody, nil
		case err != nil:
			return stageBody, err
		}
	}
}

// marked notes the stamp of a read, and gives its instant.
func (ex *Exchange) marked(m mark) measure.Instant {
	ex.Stamp = m.stamp
	if m.dropped {
		ex.StampsDropped++
	}
	return m.at
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
