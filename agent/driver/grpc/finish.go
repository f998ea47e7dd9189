package grpcdriver

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"

	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // the details that servers commonly send
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/loadline/loadline/agent/check"
	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/agent/wire/rpc"
	"github.com/loadline/loadline/internal/measure"
)

// maxDetails bounds the details of a status that are shown.
const maxDetails = 8

// finish fills in the rest of the outcome when the call has ended with err.
func (c *call) finish(err error) {
	o, p := c.o, &c.rpc
	o.Dispatched, o.Connected, o.Sent, o.FirstByte = p.Dispatched, p.Connected, p.Sent, p.FirstByte
	o.BytesIn, o.BytesOut, o.NewConnection = p.BytesIn, p.BytesOut, p.NewConnection
	o.Lookup, o.Handshake, o.FirstByteStamp, o.StampsDropped = p.Lookup, p.Handshake, p.FirstByteStamp, p.StampsDropped
	end := max(p.End, c.last)
	if !end.Reached() {
		end = c.d.local.Now()
	}
	// What came back may have been read before our own goroutine noted that all was sent.
	if latest := end; o.Sent.Reached() {
		if !c.m.uploads && o.FirstByte.Reached() {
			latest = o.FirstByte
		}
		o.Sent = min(o.Sent, latest)
	}
	if err != nil || p.Code != 0 {
		c.fail(max(end, c.d.local.Now()), c.classify(err))
	}
	if o.Class == "" && !c.m.streamed && c.count == 0 {
		c.fail(end, &wire.Error{Class: measure.ClassMalformed, Err: errors.New("no message came where the method has one")})
	}
	if c.room > 0 {
		c.look(end)
	}
	if o.Class == "" {
		o.End = end
		c.roundTrips()
	}
	c.d, c.r, c.o, c.rules, p.Messages, p.Sink = nil, nil, nil, nil, nil, nil
}

// look holds the answer against the checks, and keeps it where that is asked for.
func (c *call) look(end measure.Instant) {
	text, o := c.answer(end), c.o
	if o.Class == "" {
		if f := check.Run(c.rules.Checks, text, c.body); f != nil {
			c.fail(end, &wire.Error{Class: f.Class, Err: errors.New(f.Text)})
		}
	}
	if c.r.KeepBody {
		o.Body = wire.CutText(append(o.Body[:0], wire.Mask(text, c.sentHeaders())...), measure.MaxBody)
	}
}

// roundTrips notes how long each message of the answer came after the message of the same place was sent.
func (c *call) roundTrips() {
	if !c.rpc.NoteSent {
		return
	}
	o := c.o
	for i, at := range o.Events[:min(len(o.Events), len(c.rpc.SentAt))] {
		o.RoundTrips = append(o.RoundTrips, time.Duration(at-c.rpc.SentAt[i]))
	}
}

// answer is the JSON text of the answer where somebody looks at it.
func (c *call) answer(end measure.Instant) []byte {
	text, err := c.m.text(c.text, c.sizes)
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

// classify tells the class of a call that ended badly: what the server said counts before what ended the call
// here.
func (c *call) classify(err error) *wire.Error {
	var own *wire.Error
	switch {
	case err == nil:
		return c.answered()
	case errors.Is(err, rpc.ErrDeadline):
		c.o.Status = uint32(codes.DeadlineExceeded)
		return &wire.Error{Class: measure.GRPCClass(int(codes.DeadlineExceeded)), Err: err}
	case errors.As(err, &own):
		return own
	}
	return &wire.Error{Class: measure.ClassReset, Err: err}
}

// answered is a status that came from the server.
func (c *call) answered() *wire.Error {
	p := &c.rpc
	c.o.Status = p.Code
	text := p.Text
	if text == "" {
		text = codes.Code(p.Code).String()
	}
	if d := c.details(); d != "" {
		text += "; details: " + d
	}
	return &wire.Error{Class: measure.GRPCClass(int(p.Code)), Err: errors.New(text)}
}

// details are those of a status, as JSON where their type is known.
func (c *call) details() string {
	var st spb.Status
	if proto.Unmarshal(c.rpc.Details, &st) != nil {
		return ""
	}
	list := st.GetDetails()
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
