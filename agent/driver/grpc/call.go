package grpcdriver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"

	"github.com/loadline/loadline/agent/check"
	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/scenario"
)

// call is one call under way.
type call struct {
	d *Driver
	m *method
	r *workload.Request
	o *measure.Outcome

	requests [][]byte
	md       metadata.MD
	rules    *workload.Rules
	checked  bool
	most     uint64
	frame    frame
	sizes    []int  // of the messages in frame.text
	count    uint64 // messages of the answer
	body     uint64 // their bytes
	timer    timer

	// What the connection's goroutines note.
	written    atomic.Bool // the header of the request is on its way
	again      atomic.Bool // a second try was stopped
	sent       atomic.Int64
	first      atomic.Int64 // instant of the header of the answer, plus 1; 0: none
	trailer    atomic.Int64 // instant of the trailer, likewise
	in, out    atomic.Uint64
	sendFailed atomic.Pointer[error]
}

// begin makes everything ready that does not depend on the target.
func (c *call) begin() (err error) {
	if c.m == nil {
		return errors.New("the call was not made ready before the load")
	}
	if c.requests, err = c.m.requests(c.r); err != nil {
		return err
	}
	if c.md, err = metadataOf(c.r.Header, false); err != nil {
		return err
	}
	if c.rules = c.r.Rules; c.rules == nil {
		c.rules = &workload.Rules{}
	}
	c.checked, c.most = check.NeedText(c.rules.Checks), check.MaxBody(c.rules.Checks)
	c.frame.now, c.frame.at = c.d.local.Now, measure.None
	switch {
	case c.checked:
		c.frame.room = check.MaxText
	case c.r.KeepBody:
		c.frame.room = maxKept
	}
	return nil
}

// metadataOf turns headers into metadata. The tags are left out of questions that are no request.
func metadataOf(headers []workload.Header, bare bool) (metadata.MD, error) {
	md := make(metadata.MD, len(headers))
	for i := range headers {
		name, value := strings.ToLower(headers[i].Name), headers[i].Value
		if bare && strings.HasPrefix(name, "x-loadline-") {
			continue
		}
		if scenario.IsBinary(name) {
			b, err := scenario.DecodeBinary(value)
			if err != nil {
				return nil, fmt.Errorf("metadata %s: is not base64, as names that end in -bin want it", name)
			}
			value = string(b)
		}
		md[name] = []string{value}
	}
	return md, nil
}

func withMetadata(ctx context.Context, headers []workload.Header, bare bool) (context.Context, error) {
	md, err := metadataOf(headers, bare)
	return metadata.NewOutgoingContext(ctx, md), err
}

func gzipOptions() []grpc.CallOption { return []grpc.CallOption{grpc.UseCompressor(gzip.Name)} }

// play plays the call from dispatched to end.
func (c *call) play(parent context.Context) {
	now, o := c.d.local.Now, c.o
	o.Dispatched = now()
	o.Streamed = c.m.streamed && c.r.Stream
	if parent.Err() != nil {
		o.Fail(o.Dispatched, measure.ClassCanceled, context.Cause(parent).Error())
		return
	}
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	if d := c.r.Call.Deadline; d > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, d)
		defer stop()
	}
	ctx = context.WithValue(metadata.NewOutgoingContext(ctx, c.md), callKey{}, c)
	c.timer.start(now, o.Dispatched, &c.d.limits, cancel)
	defer c.timer.stop()

	channel, err := c.d.channels.take()
	if err != nil {
		o.Fail(now(), measure.ClassConnect, err.Error())
		return
	}
	defer channel.give()
	ready := channel.conn.GetState() == connectivity.Ready
	stream, err := channel.conn.NewStream(ctx, c.m.desc, c.m.path, options(c.m)...)
	if err == nil {
		o.Connected = o.Dispatched
		if !ready {
			o.Connected = now()
			o.NewConnection = channel.opened.CompareAndSwap(true, false)
		}
		c.timer.connected()
		err = c.exchange(ctx, cancel, stream)
	}
	c.finish(parent, ctx, channel, err)
}

// exchange sends the messages and reads the answer to its end; nil: the status is OK.
func (c *call) exchange(ctx context.Context, cancel context.CancelCauseFunc, stream grpc.ClientStream) error {
	if len(c.requests) > 1 {
		done := make(chan struct{})
		defer func() {
			cancel(nil)
			<-done
		}()
		go func() {
			defer close(done)
			c.send(ctx, stream)
		}()
	} else {
		c.send(ctx, stream)
	}
	for {
		err := stream.RecvMsg(&c.frame)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := c.message(); err != nil {
			return err
		}
	}
}

// send sends every message, the next one Every after the one before. A failure shows in the answer.
func (c *call) send(ctx context.Context, stream grpc.ClientStream) {
	begun := time.Now()
	for i := range c.requests {
		if i > 0 && !pause(ctx, time.Until(begun.Add(time.Duration(i)*c.r.Call.Every))) {
			return
		}
		if err := stream.SendMsg(&c.requests[i]); err != nil {
			if !errors.Is(err, io.EOF) { // else the status says why the stream is over
				c.sendFailed.Store(&err)
			}
			return
		}
	}
	_ = stream.CloseSend() // never fails; what is wrong shows in the answer
	c.sent.Store(int64(c.d.local.Now()) + 1)
}

func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// message notes a message of the answer.
func (c *call) message() error {
	f, o := &c.frame, c.o
	c.count++
	c.body += uint64(f.size)
	if o.Streamed {
		if len(o.Events) == measure.MaxEvents {
			return failure(measure.ClassOversized, "the answer has more than 1,048,576 messages")
		}
		o.Events = append(o.Events, f.at)
		if len(o.Events) == 1 {
			o.FirstAnswer = f.at
		}
	}
	c.timer.progress(f.at)
	switch {
	case c.most > 0 && c.body > c.most:
		e := check.TooLong(c.most)
		return failure(e.Class, e.Text)
	case c.body > MaxAnswer:
		return failure(measure.ClassOversized, "the answer is longer than 64 MiB")
	case f.over && c.checked:
		return failure(measure.ClassOversized, "the answer is longer than the 1 MiB that checks look at")
	case !c.m.streamed && c.count > 1:
		return failure(measure.ClassMalformed, "more than one message came where the method has one")
	case !f.over:
		if f.room > 0 {
			c.sizes = append(c.sizes, f.size)
		}
	}
	return nil
}

func failure(class, text string) error { return &wire.Error{Class: class, Err: errors.New(text)} }
