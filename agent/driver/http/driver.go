// Package httpdriver drives plain HTTP targets: one request, one answer, judged by its status and
// by the checks of the workload.
package httpdriver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/loadline/loadline/agent/check"
	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const (
	// maxProblem bounds what is kept of the body of an answer with an unexpected status, in bytes.
	maxProblem = 8 << 10
	// maxKept bounds the text of an answer that is only kept: somewhat more than an outcome takes,
	// so that a secret at its end is masked whole.
	maxKept = measure.MaxBody + 16<<10
	// keepBuffer is the largest buffer that is kept for the next request, in bytes.
	keepBuffer = 64 << 10
)

// Config is the machine's side of the driver.
type Config = wire.Local

// Driver sends requests to one target. It may be used by many workers at once.
type Driver struct {
	client *wire.Client
	calls  sync.Pool
}

// New makes the driver of a target with the protocol http. It opens no connection.
func New(t *pb.Target, cfg Config) (*Driver, error) {
	if p := t.GetProtocol(); p != pb.Protocol_PROTOCOL_HTTP {
		return nil, fmt.Errorf("target %q: protocol %v is not one of this driver", t.GetName(), p)
	}
	wc, err := wire.ForTarget(t, cfg)
	if err != nil {
		return nil, err
	}
	client, err := wire.New(wc)
	if err != nil {
		return nil, fmt.Errorf("target %q: %w", t.GetName(), err)
	}
	return &Driver{client: client, calls: sync.Pool{New: func() any { return new(call) }}}, nil
}

// Do sends the request and fills in the outcome from Dispatched on. It returns when the request
// has ended, with End set. When ctx ends, the class is canceled, and the cause of ctx is its text.
func (d *Driver) Do(ctx context.Context, r *workload.Request, o *measure.Outcome) {
	c := d.calls.Get().(*call)
	defer d.calls.Put(c)
	c.begin(r, o)
	err := d.client.Do(ctx, &c.req, &c.ex, c)
	c.session.Close() // in this version a session is one request
	c.ex.Fill(o)
	c.finish(err)
	clear(c.req.Header)
	c.o, c.rules, c.req.Body = nil, nil, nil
}

// Warm opens n connections for the requests to come.
func (d *Driver) Warm(ctx context.Context, n int) error { return d.client.Warm(ctx, n) }

// Close closes idle connections.
func (d *Driver) Close() error { return d.client.Close() }

// call is one request under way. It is the sink of the exchange.
type call struct {
	o       *measure.Outcome
	rules   *workload.Rules
	req     wire.Request
	session wire.Session
	ex      wire.Exchange

	keep    bool // the answer is to be kept
	checked bool // checks look at the answer
	odd     bool // the status is not an expected one
	room    int  // most text that is held
	most    uint64
	body    uint64
	text    []byte
}

// errFailed ends an exchange whose failure is in the outcome already.
var errFailed = errors.New("the request has failed")

func (c *call) begin(r *workload.Request, o *measure.Outcome) {
	header, text := c.req.Header[:0], c.text[:0]
	for i := range r.Header {
		header = append(header, wire.Header(r.Header[i]))
	}
	if cap(text) > keepBuffer {
		text = nil
	}
	rules := r.Rules
	if rules == nil {
		rules = &workload.Rules{}
	}
	*c = call{
		o: o, rules: rules, ex: c.ex, text: text, keep: r.KeepBody,
		req:     wire.Request{Method: r.Method, Path: r.Path, Header: header, Body: r.Body, Session: &c.session},
		checked: check.NeedText(rules.Checks), most: check.MaxBody(rules.Checks),
	}
	switch {
	case c.checked:
		c.room = check.MaxText
	case c.keep:
		c.room = maxKept
	}
}

func (c *call) fail(at measure.Instant, class, text string) error {
	c.o.Fail(at, class, wire.Clean(text, c.req.Header))
	return errFailed
}

// Head looks at the status.
func (c *call) Head(ex *wire.Exchange) (wire.Wait, error) {
	if len(c.rules.Expect) == 0 {
		c.odd = ex.Status < 200 || ex.Status > 299
	} else {
		c.odd = !slices.Contains(c.rules.Expect, uint32(ex.Status))
	}
	if c.odd {
		c.room = maxProblem
	}
	return wire.Progress, nil
}

// Body counts the answer and keeps what is needed of it.
func (c *call) Body(p []byte, at measure.Instant) (wire.Wait, error) {
	c.body += uint64(len(p))
	if !c.odd && c.most > 0 && c.body > c.most {
		f := check.TooLong(c.most)
		return wire.Keep, c.fail(at, f.Class, f.Text)
	}
	if !c.odd && c.checked && len(c.text)+len(p) > c.room {
		return wire.Keep, c.fail(at, measure.ClassOversized, "the answer is longer than the 1 MiB that checks look at")
	}
	c.text = append(c.text, p[:min(len(p), c.room-len(c.text))]...)
	return wire.Progress, nil
}

// finish fills in the rest of the outcome when the exchange has ended with err.
func (c *call) finish(err error) {
	o := c.o
	if o.Class == "" {
		c.judge(err)
	}
	if c.keep {
		o.Body = wire.CutText(append(o.Body[:0], wire.Mask(c.text, c.req.Header)...), measure.MaxBody)
	}
	if o.Class == "" {
		o.End = c.ex.End
	}
}

// judge tells success from failure when nothing has failed while reading.
func (c *call) judge(err error) {
	end := c.ex.End
	we, known := errors.AsType[*wire.Error](err)
	switch {
	case known && (!c.odd || we.Class == measure.ClassCanceled):
		_ = c.fail(end, we.Class, we.Error())
	case c.odd:
		text := string(c.text)
		if text == "" {
			text = http.StatusText(c.ex.Status)
		}
		_ = c.fail(end, measure.HTTPClass(c.ex.Status), text)
	case c.rules.NeedContent && c.body == 0:
		_ = c.fail(end, measure.ClassEmpty, "the answer has no body")
	default:
		if f := check.Run(c.rules.Checks, c.text, c.body); f != nil {
			_ = c.fail(end, f.Class, f.Text)
		}
	}
}
