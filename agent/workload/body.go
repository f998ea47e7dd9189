package workload

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// What stands around the one message of a chat that is made from a prompt.
const (
	openMessage  = `[{"role":"user","content":`
	closeMessage = `}]`
)

// prompt appends what a model is asked, as JSON: an array of messages (chat) or a string. It also
// gives the longest answer asked for in tokens; 0: no limit.
type prompt interface {
	appendPrompt(b []byte, r *Request, chat bool) ([]byte, uint64)
}

// modelBody is the body of a request to a model: a JSON object laid out once, into which each
// request puts its prompt and its limit.
//
//	head prompt middle [limitKey limit] tail
type modelBody struct {
	head, middle, tail string
	prompt             prompt // nil: the scenario's body holds it
	limitKey           string // empty: the scenario's body holds the limit
	limit              uint64 // the limit that the scenario's body holds; 0: none
	chat               bool
}

// append writes the body and notes the limit.
func (m *modelBody) append(r *Request) error {
	limit := m.limit
	b := append(r.Body, m.head...)
	if m.prompt != nil {
		b, limit = m.prompt.appendPrompt(b, r, m.chat)
	}
	b = append(b, m.middle...)
	if m.limitKey == "" {
		limit = m.limit
	} else if limit > 0 {
		b = append(b, m.limitKey...)
		b = strconv.AppendUint(b, limit, 10)
	}
	r.Body = append(b, m.tail...)
	r.MaxTokens = limit
	return nil
}

// layout gathers the members of a body in order, ours first, each overridden by the scenario's.
type layout struct {
	text []byte
	mine map[string]*structpb.Value // the scenario's members that are still to be written
}

// member writes one of our members, or the scenario's of the same name.
func (l *layout) member(key, value string) error {
	if own, ok := l.mine[key]; ok {
		return l.own(key, own)
	}
	l.key(key)
	l.text = append(l.text, value...)
	return nil
}

// own writes one of the scenario's members.
func (l *layout) own(key string, value *structpb.Value) (err error) {
	delete(l.mine, key)
	l.key(key)
	l.text, err = appendValue(l.text, value)
	return err
}

func (l *layout) key(key string) {
	l.text = append(l.text, ',', '"')
	l.text = appendQuoted(l.text, key)
	l.text = append(l.text, '"', ':')
}

// newModelBody lays the body out: model, messages or prompt, stream, stream_options, the scenario's
// other members by name, the limit. It gives whether a stream is asked for.
func newModelBody(w *pb.Workload, t *pb.Target, p prompt) (*modelBody, bool, error) {
	m := &modelBody{prompt: p, chat: t.GetProtocol() == pb.Protocol_PROTOCOL_OPENAI_CHAT, tail: "}"}
	l := &layout{mine: maps.Clone(w.GetBody().GetFields())}
	if l.mine == nil {
		l.mine = map[string]*structpb.Value{}
	}
	content := "prompt"
	if m.chat {
		content = "messages"
	}
	model := append(appendQuoted([]byte{'"'}, t.GetModel()), '"')
	errs := []error{l.member("model", string(model))}
	if own, ok := l.mine[content]; ok {
		m.prompt = nil
		errs = append(errs, l.own(content, own))
	} else {
		l.key(content)
	}
	m.head, l.text = "{"+string(l.text[1:]), nil
	streamed, err := l.stream(w)
	errs = append(errs, err)
	m.limitOf(l.mine, tokenLimitField(t))
	for _, key := range slices.Sorted(maps.Keys(l.mine)) {
		errs = append(errs, l.own(key, l.mine[key]))
	}
	m.middle = string(l.text)
	return m, streamed, errors.Join(errs...)
}

// limitOf settles who sets the limit of the answer's length: the scenario's body, where it has the field.
func (m *modelBody) limitOf(mine map[string]*structpb.Value, field string) {
	own, ok := mine[field]
	if !ok {
		m.limitKey = string(append(appendQuoted([]byte(`,"`), field), '"', ':'))
		return
	}
	if n := own.GetNumberValue(); n >= 1 && n <= MaxTokens {
		m.limit = uint64(n)
	}
}

// stream writes whether a stream is asked for and, if so, that usage is. The scenario's body may
// say otherwise in both.
func (l *layout) stream(w *pb.Workload) (bool, error) {
	streamed := !w.HasStream() || w.GetStream()
	if own, ok := l.mine["stream"]; ok {
		streamed = own.GetBoolValue()
	}
	if err := l.member("stream", strconv.FormatBool(streamed)); err != nil || !streamed {
		return streamed, err
	}
	own, ok := l.mine["stream_options"]
	if options := own.GetStructValue(); options != nil {
		merged := maps.Clone(options.GetFields())
		if merged == nil {
			merged = map[string]*structpb.Value{}
		}
		if _, set := merged["include_usage"]; !set {
			merged["include_usage"] = structpb.NewBoolValue(true)
		}
		return streamed, l.own("stream_options", structpb.NewStructValue(&structpb.Struct{Fields: merged}))
	}
	if ok {
		return streamed, l.own("stream_options", own)
	}
	return streamed, l.member("stream_options", `{"include_usage":true}`)
}

func tokenLimitField(t *pb.Target) string {
	if field := t.GetTokenLimitField(); field != "" {
		return field
	}
	return scenario.DefaultTokenLimitField
}

// appendValue appends a value as JSON, members by name, the same bytes every time.
func appendValue(b []byte, v *structpb.Value) ([]byte, error) {
	switch v.GetKind().(type) {
	case *structpb.Value_BoolValue:
		return strconv.AppendBool(b, v.GetBoolValue()), nil
	case *structpb.Value_StringValue:
		b = append(b, '"')
		b = appendQuoted(b, v.GetStringValue())
		return append(b, '"'), nil
	case *structpb.Value_NumberValue:
		return appendNumber(b, v.GetNumberValue())
	case *structpb.Value_ListValue:
		return appendList(b, v.GetListValue().GetValues())
	case *structpb.Value_StructValue:
		return appendStruct(b, v.GetStructValue().GetFields())
	default:
		return append(b, "null"...), nil
	}
}

// appendNumber appends a number, whole ones without an exponent as far as they are exact.
func appendNumber(b []byte, x float64) ([]byte, error) {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return b, fmt.Errorf("%v is no JSON number", x)
	case x == math.Trunc(x) && math.Abs(x) < 1<<53:
		return strconv.AppendFloat(b, x, 'f', 0, 64), nil
	default:
		return strconv.AppendFloat(b, x, 'g', -1, 64), nil
	}
}

func appendList(b []byte, values []*structpb.Value) (_ []byte, err error) {
	b = append(b, '[')
	for i, value := range values {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendValue(b, value); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

func appendStruct(b []byte, fields map[string]*structpb.Value) (_ []byte, err error) {
	b = append(b, '{')
	for i, key := range slices.Sorted(maps.Keys(fields)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = appendQuoted(b, key)
		b = append(b, '"', ':')
		if b, err = appendValue(b, fields[key]); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}
