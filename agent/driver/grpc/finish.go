package grpcdriver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"

	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // the details that servers commonly send
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/loadline/loadline/agent/check"
	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/internal/measure"
)

// maxDetails bounds the details of a status that are shown.
const maxDetails = 8

// finish fills in the rest of the outcome when the call has ended with err.
func (c *call) finish(parent, ctx context.Context, channel *channel, err error) {
	o := c.o
	o.Sent, o.FirstByte = instant(c.sent.Load()), instant(c.first.Load())
	o.BytesIn, o.BytesOut = c.in.Load(), c.out.Load()
	end := max(instant(c.trailer.Load()), c.frame.at)
	if !end.Reached() {
		end = c.d.local.Now()
	}
	// Our own goroutine may note what it sent later than the connection's notes what came back for it.
	if latest := end; o.Sent.Reached() {
		if !c.m.desc.ClientStreams && o.FirstByte.Reached() {
			latest = o.FirstByte
		}
		o.Sent = min(o.Sent, latest)
	}
	if err != nil {
		e := c.classify(parent, ctx, channel, err)
		c.fail(c.d.local.Now(), e)
	}
	if o.Class == "" && !c.m.streamed && c.count == 0 {
		c.fail(end, &wire.Error{Class: measure.ClassMalformed, Err: errors.New("no message came where the method has one")})
	}
	text := c.answer(end)
	if o.Class == "" {
		if f := check.Run(c.rules.Checks, text, c.body); f != nil {
			c.fail(end, &wire.Error{Class: f.Class, Err: errors.New(f.Text)})
		}
	}
	if c.r.KeepBody {
		o.Body = wire.CutText(append(o.Body[:0], wire.Mask(text, c.sentHeaders())...), measure.MaxBody)
	}
	if o.Class == "" {
		o.End = end
	}
}

// instant reads an instant noted by another goroutine: plus 1, 0 for none.
func instant(noted int64) measure.Instant {
	if noted == 0 {
		return measure.None
	}
	return measure.Instant(noted - 1)
}

// answer is the JSON text of the answer where somebody looks at it.
func (c *call) answer(end measure.Instant) []byte {
	if c.frame.room == 0 {
		return nil
	}
	text, err := c.m.text(c.frame.text, c.sizes)
	if err != nil && c.checked && c.o.Class == "" {
		c.fail(end, &wire.Error{Class: measure.ClassMalformed, Err: errors.New("a message of the answer is no " + string(c.m.output.FullName()))})
	}
	return text
}

func (c *call) fail(at measure.Instant, e *wire.Error) {
	c.o.Fail(at, e.Class, wire.Clean(e.Error(), c.sentHeaders()))
}

func (c *call) sentHeaders() []wire.Header {
	headers := make([]wire.Header, 0, len(c.r.Header))
	for _, h := range c.r.Header {
		headers = append(headers, wire.Header(h))
	}
	return headers
}

// classify tells the class of the error that a call ended with. What the server said counts first, then
// what ended the call here, then what became of the connection.
func (c *call) classify(parent, ctx context.Context, channel *channel, err error) *wire.Error {
	var own *wire.Error
	st, isStatus := status.FromError(err)
	switch {
	case errors.As(err, &own):
		return own
	case c.trailer.Load() > 0 && isStatus:
		return c.answered(st)
	case parent.Err() != nil:
		return &wire.Error{Class: measure.ClassCanceled, Err: context.Cause(parent)}
	case errors.As(context.Cause(ctx), &own):
		return own
	case errors.Is(ctx.Err(), context.DeadlineExceeded), st.Code() == codes.DeadlineExceeded:
		c.o.Status = uint32(codes.DeadlineExceeded)
		return &wire.Error{Class: measure.GRPCClass(int(codes.DeadlineExceeded)), Err: errors.New("the deadline of the call passed")}
	case c.sendFailed.Load() != nil:
		return &wire.Error{Class: measure.ClassSend, Err: errors.New(status.Convert(*c.sendFailed.Load()).Message())}
	case c.again.Load():
		return &wire.Error{Class: measure.ClassReset, Err: errors.New("the server turned the stream away; it is not sent again")}
	}
	if failed := channel.failed.Load(); !c.written.Load() && failed != nil {
		return failed
	}
	return c.broken(st)
}

// answered is a status that came from the server.
func (c *call) answered(st *status.Status) *wire.Error {
	c.o.Status = uint32(st.Code())
	text := st.Message()
	if text == "" {
		text = st.Code().String()
	}
	if d := c.details(st); d != "" {
		text += "; details: " + d
	}
	return &wire.Error{Class: measure.GRPCClass(int(st.Code())), Err: errors.New(text)}
}

// details are those of a status, as JSON where their type is known.
func (c *call) details(st *status.Status) string {
	list := st.Proto().GetDetails()
	var parts []string
	for _, detail := range list[:min(len(list), maxDetails)] {
		name := string(detail.MessageName())
		if text, err := (protojson.MarshalOptions{Resolver: c}).Marshal(detail); err == nil {
			var tight bytes.Buffer
			if json.Compact(&tight, text) == nil {
				name = strings.Replace(tight.String(), `"@type":"type.googleapis.com/`, `"@type":"`, 1)
			}
		}
		parts = append(parts, name)
	}
	return strings.Join(parts, ", ")
}

// broken is a failure without a word from the server: the text of grpc-go tells what happened.
func (c *call) broken(st *status.Status) *wire.Error {
	text := st.Message()
	fail := func(class string) *wire.Error { return &wire.Error{Class: class, Err: errors.New(text)} }
	switch st.Code() {
	case codes.ResourceExhausted:
		if strings.Contains(text, "larger than max") {
			text = "a message is longer than 4 MiB"
		}
		return fail(measure.ClassOversized)
	case codes.Unavailable, codes.Canceled:
		if !c.o.Connected.Reached() && !c.written.Load() {
			return fail(measure.ClassConnect)
		}
		return fail(measure.ClassReset)
	case codes.Internal, codes.Unknown:
		switch {
		case strings.Contains(text, "without sending trailers"), strings.Contains(text, "unexpected EOF"):
			return fail(measure.ClassTruncated)
		case strings.Contains(text, "RST_STREAM"):
			return fail(measure.ClassReset)
		}
		return fail(measure.ClassMalformed)
	}
	c.o.Status = uint32(st.Code())
	return fail(measure.GRPCClass(int(st.Code())))
}

// The types of details: those of the service's description, then those linked in.

// FindMessageByName implements the resolver of protojson.
func (c *call) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	if t, err := c.m.schema.types.FindMessageByName(name); err == nil {
		return t, nil
	}
	return protoregistry.GlobalTypes.FindMessageByName(name)
}

// FindMessageByURL implements the resolver of protojson.
func (c *call) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	return c.FindMessageByName((&anypb.Any{TypeUrl: url}).MessageName())
}

// FindExtensionByName implements the resolver of protojson.
func (c *call) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	return c.m.schema.types.FindExtensionByName(name)
}

// FindExtensionByNumber implements the resolver of protojson.
func (c *call) FindExtensionByNumber(message protoreflect.FullName, field protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	return c.m.schema.types.FindExtensionByNumber(message, field)
}
