package openai

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/loadline/loadline/agent/check"
	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/agent/wire/sse"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/measure"
)

// kind is how the body of an answer is read.
type kind uint8

const (
	none     kind = iota // no head came
	streamed             // as a stream of events
	single               // as one JSON object
	refused              // as the words of an error status
	foreign              // not at all: it is HTML, or compressed although that was not offered
)

// call is one request under way. It is the sink of the exchange.
type call struct {
	shape   shape
	rules   *workload.Rules
	asked   bool // for a stream
	keep    bool // the text is to be kept
	want    bool // text is needed, for checks or to be kept
	room    int  // most text that is held
	o       *measure.Outcome
	req     wire.Request
	session wire.Session
	ex      wire.Exchange

	kind   kind
	parser sse.Parser
	emit   func(sse.Event) error // c.event, made once
	at     measure.Instant       // of the read whose events are looked at
	wait   wire.Wait             // what that read has brought

	chunk   chunk  // the latest
	text    []byte // of the answer
	raw     []byte // body of an answer that is not streamed
	body    uint64 // bytes of body
	most    uint64 // bound of a check on it; 0: none
	events  uint64 // with data, [DONE] left out
	done    bool   // [DONE] has come
	doneAt  measure.Instant
	ended   bool // a finish reason has come
	content bool // there was content, or a call of a tool
	in, out count
}

// errFailed ends an exchange whose failure is in the outcome already.
var errFailed = errors.New("the request has failed")

func (c *call) begin(d *Driver, r *workload.Request, o *measure.Outcome) {
	header := c.req.Header[:0]
	for i := range r.Header {
		header = append(header, wire.Header(r.Header[i]))
	}
	rules := r.Rules
	if rules == nil {
		rules = &workload.Rules{NeedContent: true}
	}
	room := maxKept
	if check.NeedText(rules.Checks) {
		room = check.MaxText
	}
	c.parser.Reset()
	*c = call{
		shape: d.shape, rules: rules, asked: r.Stream, keep: r.KeepBody, o: o, ex: c.ex,
		want: r.KeepBody || room == check.MaxText, room: room, most: check.MaxBody(rules.Checks),
		req:    wire.Request{Method: r.Method, Path: r.Path, Header: header, Body: r.Body, Session: &c.session},
		parser: c.parser, emit: c.emit, text: small(c.text), raw: small(c.raw),
	}
}

// small empties a buffer, and gives up a large one.
func small(b []byte) []byte {
	if cap(b) > keepBuffer {
		return nil
	}
	return b[:0]
}

// clear lets go of what belongs to the caller.
func (c *call) clear() {
	clear(c.req.Header)
	c.o, c.rules, c.req.Body = nil, nil, nil
}

// fail notes a failure and ends the exchange.
func (c *call) fail(at measure.Instant, class, text string) error {
	c.o.Fail(at, class, wire.Clean(text, c.req.Header))
	return errFailed
}

// Head decides how the body is read.
func (c *call) Head(ex *wire.Exchange) (wire.Wait, error) {
	media := ex.Header.MediaType()
	switch {
	case !c.expected(ex.Status):
		c.kind = refused
	case media == "text/html" || len(ex.Header.Get("Content-Encoding")) > 0:
		c.kind = foreign
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		c.kind = single // also where a stream was asked for: an error, or a server that does not stream
	case c.asked:
		c.kind = streamed
		c.o.Streamed = true
		return wire.Keep, nil
	default:
		c.kind = single
	}
	return wire.Progress, nil
}

func (c *call) expected(status int) bool {
	if len(c.rules.Expect) == 0 {
		return status >= 200 && status <= 299
	}
	return slices.Contains(c.rules.Expect, uint32(status))
}

// Body reads a piece of the answer.
func (c *call) Body(p []byte, at measure.Instant) (wire.Wait, error) {
	c.body += uint64(len(p))
	if c.most > 0 && c.body > c.most && c.kind != refused {
		f := check.TooLong(c.most)
		return wire.Keep, c.fail(at, f.Class, f.Text)
	}
	if c.kind == single && c.asked && c.body == uint64(len(p)) && isStream(p) {
		c.kind, c.o.Streamed = streamed, true
	}
	switch c.kind {
	case streamed:
		return c.stream(p, at)
	case single:
		if len(c.raw)+len(p) > MaxAnswer {
			return wire.Keep, c.fail(at, measure.ClassOversized, "the answer is longer than 4 MiB")
		}
		c.raw = append(c.raw, p...)
	case refused:
		c.raw = append(c.raw, p[:min(len(p), maxProblem-len(c.raw))]...)
	}
	return wire.Progress, nil
}

// isStream reports whether a body begins like an event stream, whatever its type says.
func isStream(p []byte) bool {
	p = bytes.TrimLeft(p, "\r\n")
	return bytes.HasPrefix(p, []byte("data:")) || bytes.HasPrefix(p, []byte("event:")) || bytes.HasPrefix(p, []byte(":"))
}

// stream reads the events of a piece.
func (c *call) stream(p []byte, at measure.Instant) (wire.Wait, error) {
	c.at, c.wait = at, wire.Keep
	if err := c.parser.Feed(p, c.emit); err != nil {
		return wire.Keep, c.broken(err)
	}
	return c.wait, nil
}

// broken ends the exchange after an error of the parser or of event.
func (c *call) broken(err error) error {
	if err == errFailed {
		return err
	}
	return c.fail(c.at, measure.ClassOversized, err.Error())
}

// event reads one event of the stream. What comes after [DONE] is not looked at.
func (c *call) event(e sse.Event) error {
	data := bytes.TrimSpace(e.Data)
	switch {
	case len(data) == 0 || c.done:
		return nil
	case string(data) == "[DONE]":
		c.done, c.doneAt = true, c.at
		return nil
	}
	c.events++
	if len(c.o.Events) > 0 {
		c.wait = wire.Progress // any chunk shows that the answer goes on, once it has begun
	}
	err := c.read(data, c.shape)
	switch {
	case err != nil:
		return err
	case string(e.Type) == "error":
		return c.fail(c.at, measure.HTTPClass(http.StatusInternalServerError), fromBody(data))
	case c.chunk.answer || c.chunk.reasoning:
		return c.note(c.chunk.answer)
	}
	return nil
}

// read looks at a chunk, or at a whole answer, and adds what it says to the call.
func (c *call) read(data []byte, sh shape) error {
	ch, begin := &c.chunk, len(c.text)
	*ch = chunk{}
	text, sure := scan(data, sh, ch, c.text, c.want)
	if !sure {
		var top map[string]any
		var err error
		if text, top, err = decode(data, sh, ch, c.text[:begin], c.want); err != nil {
			return c.fail(c.at, measure.ClassMalformed, fmt.Sprintf("not a JSON chunk: %v", err))
		}
		if ch.failed {
			p := inStream(top)
			return c.fail(c.at, p.class, p.text)
		}
	}
	c.text = text
	if c.room == check.MaxText && len(c.text) > c.room {
		return c.fail(c.at, measure.ClassOversized, "the answer's text is longer than the 1 MiB that checks look at")
	}
	c.text = c.text[:min(len(c.text), c.room)]
	c.ended = c.ended || ch.finish
	c.content = c.content || ch.answer || ch.reasoning || ch.call
	if ch.in.ok {
		c.in = ch.in
	}
	if ch.out.ok {
		c.out = ch.out
	}
	return nil
}

// note counts a content event.
func (c *call) note(answer bool) error {
	o := c.o
	if len(o.Events) >= measure.MaxEvents {
		return c.fail(c.at, measure.ClassOversized, "the answer has more than 1,048,576 content events")
	}
	if n := len(o.Events); n > 0 && o.Events[n-1] == c.at {
		o.Coalesced++ // reads have instants of their own: an equal one is the same read
	}
	o.Events, o.Stamps = append(o.Events, c.at), append(o.Stamps, c.ex.Stamp)
	if answer && !o.FirstAnswer.Reached() {
		o.FirstAnswer = c.at
	}
	c.wait = wire.Progress
	return nil
}
