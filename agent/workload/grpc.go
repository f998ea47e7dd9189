package workload

import (
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// grpc compiles a gRPC call: headers and metadata become the request's headers, in lower case as
// HTTP/2 has them, and each message a text or a template.
func (c *compiler) grpc(where string, w *pb.Workload, p *parser, h *headers, out *workload) {
	if !w.HasGrpc() {
		c.problems.add("%s: a target of protocol grpc needs grpc", where)
		return
	}
	g := w.GetGrpc()
	c.add(where+".headers", w.GetHeaders(), p, h)
	where += ".grpc"
	c.add(where+".metadata", g.GetMetadata(), p, h)
	for i, n := range h.list {
		h.list[i].name = strings.ToLower(n.name)
		if err := scenario.CheckMetadataName(n.name); err != nil {
			c.problems.add("%s.metadata.%s: %w", where, n.name, err)
		}
	}
	inHeaders := len(p.fields)
	out.streamed = w.GetStream() || !w.HasStream()
	out.call = &Call{
		Place: where, Method: strings.TrimPrefix(g.GetMethod(), "/"), List: len(g.GetMessages()) > 0,
		Every: g.GetEvery().AsDuration(), Deadline: g.GetDeadline().AsDuration(),
		Gzip: g.GetCompression() == pb.Compression_COMPRESSION_GZIP,
	}
	out.body = c.messages(where, g, p, out.call)
	if g.HasDataset() {
		out.rows = c.rows(where+".dataset", g.GetDataset(), out.base)
		out.rows.needFields(p.fields[:inHeaders], true)
		out.rows.needFields(p.fields[inHeaders:], false)
	}
}

// messages compiles the messages of a call; nil: none differs from request to request.
func (c *compiler) messages(where string, g *pb.GrpcRequest, p *parser, call *Call) body {
	list := g.GetMessages()
	if len(list) == 0 {
		list = []*structpb.Struct{g.GetMessage()}
	}
	var vary templates
	for _, m := range list {
		l := messageLayout{parser: p, template: &template{}}
		if err := l.members(m.GetFields()); err != nil {
			c.problems.add("%s: %w", where, err)
			continue
		}
		l.flush()
		text, fixed := l.template.fixed()
		if fixed {
			call.Messages = append(call.Messages, []byte(text))
			continue
		}
		call.Messages = append(call.Messages, nil)
		vary = append(vary, l.template)
	}
	if vary == nil {
		return nil
	}
	return vary
}

// templates are the messages of a call that differ from request to request.
type templates []*template

func (t templates) append(r *Request) (err error) {
	for _, one := range t {
		if r.Body, err = one.append(r.Body, r); err != nil {
			return err
		}
		r.Ends = append(r.Ends, len(r.Body))
	}
	return nil
}

// messageLayout writes a message as JSON, members by name, into a template: placeholders stand in
// strings alone, so a string is cut up before it is quoted.
type messageLayout struct {
	parser   *parser
	template *template
	text     []byte // not in the template yet
}

func (l *messageLayout) flush() {
	l.template.literal(string(l.text))
	l.text = l.text[:0]
}

func (l *messageLayout) members(fields map[string]*structpb.Value) error {
	l.text = append(l.text, '{')
	for i, name := range slices.Sorted(maps.Keys(fields)) {
		if i > 0 {
			l.text = append(l.text, ',')
		}
		l.text = append(l.text, '"')
		l.text = append(appendQuoted(l.text, name), '"', ':')
		if err := l.value(fields[name]); err != nil {
			return err
		}
	}
	l.text = append(l.text, '}')
	return nil
}

func (l *messageLayout) value(v *structpb.Value) (err error) {
	switch v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return l.string(v.GetStringValue())
	case *structpb.Value_StructValue:
		return l.members(v.GetStructValue().GetFields())
	case *structpb.Value_ListValue:
		l.text = append(l.text, '[')
		for i, element := range v.GetListValue().GetValues() {
			if i > 0 {
				l.text = append(l.text, ',')
			}
			if err := l.value(element); err != nil {
				return err
			}
		}
		l.text = append(l.text, ']')
		return nil
	default:
		l.text, err = appendValue(l.text, v)
		return err
	}
}

func (l *messageLayout) string(s string) error {
	cut, err := l.parser.parse(s, inString)
	if err != nil {
		return err
	}
	l.text = append(l.text, '"')
	for _, segment := range cut.segments {
		if segment.what == theText {
			l.text = appendQuoted(l.text, segment.text)
			continue
		}
		l.flush()
		l.template.segments = append(l.template.segments, segment)
	}
	l.text = append(l.text, '"')
	return nil
}
