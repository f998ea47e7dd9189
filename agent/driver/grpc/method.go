package grpcdriver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/agent/wire/rpc"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/scenario"
)

// method is the call of one workload, made ready.
type method struct {
	schema        *schema
	path          string
	input, output protoreflect.MessageDescriptor
	// messages are the requests in bytes; nil: the text varies and is encoded for each request.
	messages [][]byte
	varies   bool
	// streamed says that the answer is a stream of messages.
	streamed bool
	// uploads says that the request is a stream of messages, answers that each of them may be answered.
	uploads, answers bool
	gzip             bool

	bare  *rpc.Fields // what every call to the method has
	names []wire.Header
	shape atomic.Pointer[shape]
}

// compile makes the call of a sample ready. Its error holds every problem, with its place in the scenario.
func (s *schema) compile(sample *workload.Request) (*method, error) {
	c := sample.Call
	md, err := s.find(c.Method)
	if err != nil {
		return nil, fmt.Errorf("%s.method: %w", c.Place, err)
	}
	m := &method{
		schema: s, path: "/" + c.Method, input: md.Input(), output: md.Output(), streamed: md.IsStreamingServer(), gzip: c.Gzip,
		uploads: md.IsStreamingClient(), answers: md.IsStreamingServer() && md.IsStreamingClient(),
	}
	if c.List && len(c.Messages) > 1 && !md.IsStreamingClient() {
		return nil, fmt.Errorf("%s.messages: %s takes one message, not a stream of them: write message: {…}", c.Place, c.Method)
	}
	var errs []error
	ends := sample.Ends
	start := 0
	for i, text := range c.Messages {
		varies := text == nil
		if varies {
			text, start, ends = sample.Body[start:ends[0]], ends[0], ends[1:]
		}
		b, err := m.encode(text)
		if err != nil {
			errs = append(errs, m.explain(place(c, i), text))
		}
		if varies {
			b, m.varies = nil, true
		} else {
			b = m.packed(b)
		}
		m.messages = append(m.messages, b)
	}
	return m, errors.Join(errs...)
}

func place(c *workload.Call, i int) string {
	if c.List {
		return c.Place + ".messages[" + strconv.Itoa(i) + "]"
	}
	return c.Place + ".message"
}

// encode turns the JSON text of a message into bytes.
func (m *method) encode(text []byte) ([]byte, error) {
	message := dynamicpb.NewMessage(m.input)
	if err := (protojson.UnmarshalOptions{Resolver: m.schema.types}).Unmarshal(text, message); err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(message)
}

// requests are the messages of a request in bytes.
func (m *method) requests(r *workload.Request) ([][]byte, error) {
	if !m.varies {
		return m.messages, nil
	}
	all, start, next := make([][]byte, len(m.messages)), 0, 0
	for i, fixed := range m.messages {
		if fixed != nil {
			all[i] = fixed
			continue
		}
		end := r.Ends[next]
		b, err := m.encode(r.Body[start:end])
		if err != nil {
			return nil, fmt.Errorf("%s: what the placeholders were filled with does not fit %s", place(r.Call, i), m.input.FullName())
		}
		all[i], start, next = m.packed(b), end, next+1
	}
	return all, nil
}

// text turns the messages of an answer into JSON: an object, or an array of them for a stream.
func (m *method) text(data []byte, sizes []int) ([]byte, error) {
	var b []byte
	if m.streamed {
		b = append(b, '[')
	}
	for i, size := range sizes {
		if i > 0 {
			b = append(b, ',')
		}
		message := dynamicpb.NewMessage(m.output)
		if err := (proto.UnmarshalOptions{Resolver: m.schema.types}).Unmarshal(data[:size], message); err != nil {
			return nil, err
		}
		data = data[size:]
		var err error
		if b, err = (protojson.MarshalOptions{Resolver: m.schema.types}).MarshalAppend(b, message); err != nil {
			return nil, err
		}
	}
	if m.streamed {
		b = append(b, ']')
	}
	var tight bytes.Buffer // protojson puts blanks in at random
	err := json.Compact(&tight, b)
	return tight.Bytes(), err
}

// explain finds what in a message does not fit, and says where it stands in the scenario. Values are
// not quoted: they may come from a data set.
func (m *method) explain(at string, text []byte) error {
	var value map[string]json.RawMessage
	if err := json.Unmarshal(text, &value); err != nil {
		return fmt.Errorf("%s: is not an object", at)
	}
	if errs := m.misfits(at, m.input, value); len(errs) > 0 {
		return errors.Join(errs...)
	}
	return fmt.Errorf("%s: does not fit %s: two of its fields exclude each other, or a required one is missing", at, m.input.FullName())
}

// misfits tries each member alone.
func (m *method) misfits(at string, md protoreflect.MessageDescriptor, members map[string]json.RawMessage) (errs []error) {
	for _, name := range slices.Sorted(maps.Keys(members)) {
		here := at + "." + name
		fd := md.Fields().ByJSONName(name)
		if fd == nil {
			fd = md.Fields().ByTextName(name)
		}
		if fd == nil {
			if strings.HasPrefix(name, "[") {
				continue // an extension; the whole is judged by protojson
			}
			errs = append(errs, fmt.Errorf("%s: %w", here, unknownField(md, name)))
			continue
		}
		if m.fits(md, name, members[name]) {
			continue
		}
		inner := m.inner(here, fd, members[name])
		if len(inner) == 0 {
			inner = []error{fmt.Errorf("%s: does not fit the field, which is %s", here, kindOf(fd))}
		}
		errs = append(errs, inner...)
	}
	return errs
}

// inner looks for what does not fit within a member.
func (m *method) inner(at string, fd protoreflect.FieldDescriptor, value json.RawMessage) (errs []error) {
	var list []json.RawMessage
	var members map[string]json.RawMessage
	switch {
	case fd.IsList():
		if json.Unmarshal(value, &list) != nil {
			return nil
		}
		for i, element := range list {
			alone := append(append([]byte{'['}, element...), ']')
			if here := at + "[" + strconv.Itoa(i) + "]"; !m.fits(fd.ContainingMessage(), fd.JSONName(), alone) {
				errs = append(errs, m.within(here, fd, element)...)
			}
		}
	case json.Unmarshal(value, &members) != nil:
		return nil
	case fd.IsMap():
		for _, key := range slices.Sorted(maps.Keys(members)) {
			alone := fmt.Appendf(nil, "{%s:%s}", strconv.Quote(key), members[key])
			if !m.fits(fd.ContainingMessage(), fd.JSONName(), alone) {
				errs = append(errs, m.within(at+"."+key, fd.MapValue(), members[key])...)
			}
		}
	case fd.Message() != nil && !strings.HasPrefix(string(fd.Message().FullName()), "google.protobuf."):
		return m.misfits(at, fd.Message(), members)
	}
	return errs
}

// within is what does not fit within one element.
func (m *method) within(at string, fd protoreflect.FieldDescriptor, element json.RawMessage) []error {
	var members map[string]json.RawMessage
	if md := fd.Message(); md != nil && json.Unmarshal(element, &members) == nil {
		if errs := m.misfits(at, md, members); len(errs) > 0 {
			return errs
		}
	}
	return []error{fmt.Errorf("%s: does not fit, %s is wanted", at, elementKind(fd))}
}

// fits tries one member alone.
func (m *method) fits(md protoreflect.MessageDescriptor, name string, value json.RawMessage) bool {
	alone := fmt.Appendf(nil, "{%s:%s}", strconv.Quote(name), value)
	options := protojson.UnmarshalOptions{Resolver: m.schema.types, AllowPartial: true}
	return options.Unmarshal(alone, dynamicpb.NewMessage(md)) == nil
}

func unknownField(md protoreflect.MessageDescriptor, name string) error {
	var known []string
	for i := range md.Fields().Len() {
		known = append(known, string(md.Fields().Get(i).Name()))
	}
	return fmt.Errorf("%s has no field of this name: %sits fields are %s", md.FullName(), scenario.DidYouMean(name, known), strings.Join(known, ", "))
}

// kindOf names the type of a field.
func kindOf(fd protoreflect.FieldDescriptor) string {
	switch {
	case fd.IsMap():
		return "a mapping to " + elementKind(fd.MapValue())
	case fd.IsList():
		return "a list of " + elementKind(fd)
	}
	return elementKind(fd)
}

func elementKind(fd protoreflect.FieldDescriptor) string {
	switch {
	case fd.Message() != nil:
		return string(fd.Message().FullName())
	case fd.Enum() != nil:
		var names []string
		for i := range min(fd.Enum().Values().Len(), 10) {
			names = append(names, string(fd.Enum().Values().Get(i).Name()))
		}
		return "one of " + strings.Join(names, ", ")
	}
	return fd.Kind().String()
}
