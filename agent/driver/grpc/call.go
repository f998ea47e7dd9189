package grpcdriver

import (
	"errors"

	"github.com/loadline/loadline/agent/check"
	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/agent/wire/rpc"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/measure"
)

// call is one call under way. It is the sink of its messages.
type call struct {
	d *Driver
	m *method
	r *workload.Request
	o *measure.Outcome

	rpc     rpc.Call
	rules   *workload.Rules
	checked bool
	most    uint64
	room    int    // most bytes of text
	text    []byte // the messages of the answer that somebody looks at
	sizes   []int  // where one ends in text
	over    bool   // one did not fit
	count   uint64 // messages of the answer
	body    uint64 // their bytes
	last    measure.Instant
}

// begin makes everything ready that does not depend on the target.
func (c *call) begin(d *Driver, r *workload.Request, o *measure.Outcome) (err error) {
	text := c.text[:0]
	if cap(text) > keepBuffer {
		text = nil
	}
	*c = call{d: d, m: d.methods[r.Call], r: r, o: o, rpc: c.rpc, rules: r.Rules, text: text, sizes: c.sizes[:0], last: measure.None}
	if c.m == nil {
		return errors.New("the call was not made ready before the load")
	}
	p := &c.rpc
	if p.Messages, err = c.m.requests(r); err != nil {
		return err
	}
	if p.Steady, p.Vary, err = c.m.headers(r.Header, p.Vary[:0]); err != nil {
		return err
	}
	if c.rules == nil {
		c.rules = &workload.Rules{}
	}
	c.checked, c.most = check.NeedText(c.rules.Checks), check.MaxBody(c.rules.Checks)
	switch {
	case c.checked:
		c.room = check.MaxText
	case r.KeepBody:
		c.room = maxKept
	}
	o.Streamed = c.m.streamed && r.Stream
	p.Packed, p.Every, p.Deadline = c.m.gzip, r.Call.Every, r.Call.Deadline
	p.Keep, p.MaxMessage, p.NoteSent, p.Sink = c.room > 0, MaxMessage, c.m.answers && o.Streamed, c
	return nil
}

// Message notes a message of the answer.
func (c *call) Message(data []byte, size int, at measure.Instant) error {
	o := c.o
	c.count++
	c.body += uint64(size)
	before := c.last
	c.last = at
	if o.Streamed {
		if len(o.Events) == measure.MaxEvents {
			return failure(measure.ClassOversized, "the answer has more than 1,048,576 messages")
		}
		o.Events, o.Stamps = append(o.Events, at), append(o.Stamps, c.rpc.Stamp)
		if len(o.Events) == 1 {
			o.FirstAnswer = at
		} else if at == before {
			o.Coalesced++ // both came out of one read
		}
	}
	switch {
	case c.most > 0 && c.body > c.most:
		e := check.TooLong(c.most)
		return failure(e.Class, e.Text)
	case c.body > MaxAnswer:
		return failure(measure.ClassOversized, "the answer is longer than 64 MiB")
	case !c.m.streamed && c.count > 1:
		return failure(measure.ClassMalformed, "more than one message came where the method has one")
	case c.room == 0 || c.over:
		return nil
	case size > c.room-len(c.text):
		if c.over = true; c.checked {
			return failure(measure.ClassOversized, "the answer is longer than the 1 MiB that checks look at")
		}
		return nil
	}
	c.text = append(c.text, data...)
	c.sizes = append(c.sizes, size)
	return nil
}

func failure(class, text string) error { return &wire.Error{Class: class, Err: errors.New(text)} }
