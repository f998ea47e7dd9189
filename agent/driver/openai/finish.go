package openai

import (
	"bytes"
	"errors"
	"net/http"

	"github.com/loadline/loadline/agent/check"
	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/internal/measure"
)

// finish fills in the rest of the outcome when the exchange has ended with err.
func (c *call) finish(err error) {
	o := c.o
	c.at = c.ex.End
	if err == nil {
		c.rest()
	}
	c.tokens()
	if o.Class == "" {
		c.judge(err)
	}
	if c.keep {
		o.Body = wire.CutText(append(o.Body[:0], wire.Mask(c.text, c.req.Header)...), measure.MaxBody)
	}
	if o.Class != "" {
		return
	}
	o.End = c.ex.End
	if c.done {
		o.End = c.doneAt
	}
}

// rest reads what only the end of the body completes. Failures go to the outcome.
func (c *call) rest() {
	switch c.kind {
	case streamed:
		if err := c.parser.End(c.emit); err != nil {
			_ = c.broken(err)
		}
	case single:
		if len(bytes.TrimSpace(c.raw)) > 0 {
			sh := c.shape
			sh.part = "message"
			_ = c.read(c.raw, sh) // a failure is in the outcome
		}
	}
}

// tokens takes the server's counts, else that of the events.
func (c *call) tokens() {
	o := c.o
	o.InputTokens = c.in.n
	switch {
	case c.out.ok:
		o.OutputTokens, o.Tokens = c.out.n, measure.TokensServer
	case len(o.Events) > 0:
		o.OutputTokens, o.Tokens = uint64(len(o.Events)), measure.TokensEvents
	}
}

// judge tells success from failure when nothing has failed while reading.
func (c *call) judge(err error) {
	we, known := errors.AsType[*wire.Error](err)
	switch {
	case known && (c.kind != refused || we.Class == measure.ClassCanceled):
		text := we.Error()
		if c.done {
			text += " (after the terminal event)"
		}
		_ = c.fail(c.at, we.Class, text)
	case c.kind == refused:
		text := fromBody(c.raw)
		if len(c.raw) == 0 {
			text = http.StatusText(c.ex.Status)
		}
		_ = c.fail(c.at, measure.HTTPClass(c.ex.Status), text)
	case c.kind == foreign:
		_ = c.fail(c.at, measure.ClassMalformed, "the answer is HTML, or compressed although that was not offered")
	case c.kind == streamed && !c.done && !c.ended:
		c.cutShort()
	case c.rules.NeedContent && !c.content:
		_ = c.fail(c.at, measure.ClassEmpty, "the answer has no content")
	default:
		if f := check.Run(c.rules.Checks, c.text, c.body); f != nil {
			_ = c.fail(c.at, f.Class, f.Text)
		}
	}
}

// cutShort tells the class of a stream that ended cleanly without a terminal event or finish reason.
func (c *call) cutShort() {
	switch {
	case c.events > 0:
		_ = c.fail(c.at, measure.ClassTruncated, "the stream ended without [DONE] or a finish reason")
	case c.parser.Ignored() > 0:
		_ = c.fail(c.at, measure.ClassMalformed, "the answer is not an event stream")
	default:
		_ = c.fail(c.at, measure.ClassEmpty, "the stream had no event")
	}
}
