package workload

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/loadline/loadline/internal/scenario"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Compile prepares the workloads of a scenario that has been validated and has its defaults
// filled in. It resolves every secret, opens every file, and reads each data set once from end to end,
// checking every line. The error joins all problems found, the first MaxProblems with their place; it
// holds no secret and nothing of the files' contents.
//
// Fill reads data sets through what files returned: it must stay open until the last Fill.
func Compile(s *pb.Scenario, files Files, secrets Secrets) (*Set, error) {
	c := &compiler{
		document: s, files: files, secrets: secrets, words: newWordTable(), seed: s.GetSeed(),
		tag: !s.HasTagRequests() || s.GetTagRequests(), found: map[string]found{},
	}
	if !s.HasSeed() {
		c.seed = scenario.DefaultSeed
	}
	set := &Set{}
	for i, w := range s.GetWorkloads() {
		set.workloads = append(set.workloads, c.workload(fmt.Sprintf("workloads[%d]", i), w))
	}
	for _, d := range c.datasets {
		d.index(&c.problems)
		set.datasets = append(set.datasets, DatasetInfo{Path: d.path, Rows: d.rows(), Empty: d.empty})
	}
	if err := c.problems.err(); err != nil {
		return nil, err
	}
	return set, nil
}

// compiler is the state of one Compile.
type compiler struct {
	document *pb.Scenario
	files    Files
	secrets  Secrets
	words    *wordTable
	seed     uint64
	tag      bool
	found    map[string]found
	datasets []*dataset
	problems problems
}

// workload compiles one workload. After a problem the result is of no use.
func (c *compiler) workload(where string, w *pb.Workload) *workload {
	out := &workload{
		base: schedule.NewStream(c.seed, "workload "+w.GetName()), tag: c.tag,
		keep: c.document.GetCapture().GetBodies(), method: "POST",
		rules: &Rules{Checks: w.GetChecks()},
	}
	t := c.target(w.GetTarget())
	if t < 0 {
		c.problems.add("%s.target: there is no target %q", where, w.GetTarget())
		return out
	}
	target := c.document.GetTargets()[t]
	h := &headers{}
	if target.GetProtocol() != pb.Protocol_PROTOCOL_GRPC {
		h.set(header{name: "User-Agent", value: userAgent})
	}
	place := fmt.Sprintf("targets[%d]", t)
	c.auth(place+".auth", target.GetAuth(), h)
	c.add(place+".headers", target.GetHeaders(), nil, h)
	p := &parser{seed: c.seed, hasRows: w.HasDataset() || w.GetHttp().HasDataset() || w.GetGrpc().HasDataset()}
	switch target.GetProtocol() {
	case pb.Protocol_PROTOCOL_HTTP:
		c.http(where, w, p, h, out)
	case pb.Protocol_PROTOCOL_GRPC:
		c.grpc(where, w, p, h, out)
	default:
		c.model(where, w, target, p, h, out)
	}
	out.plan(h)
	return out
}

// target finds a target by name; a scenario with one target need not name it. -1: there is none.
func (c *compiler) target(name string) int {
	targets := c.document.GetTargets()
	if name == "" && len(targets) == 1 {
		return 0
	}
	return slices.IndexFunc(targets, func(t *pb.Target) bool { return t.GetName() == name })
}

// model compiles a workload for a model protocol.
func (c *compiler) model(where string, w *pb.Workload, t *pb.Target, p *parser, h *headers, out *workload) {
	chat := false
	switch t.GetProtocol() {
	case pb.Protocol_PROTOCOL_OPENAI_CHAT:
		out.path, chat = "/chat/completions", true
	case pb.Protocol_PROTOCOL_OPENAI_COMPLETIONS:
		out.path = "/completions"
	default:
		c.problems.add("%s.target: protocol of target %q is not in this version", where, t.GetName())
		return
	}
	h.set(header{name: "Content-Type", value: "application/json"})
	c.add(where+".headers", w.GetHeaders(), p, h)
	var source prompt
	switch w.WhichContent() {
	case pb.Workload_Synthetic_case:
		source = c.synthetic(where+".synthetic", w.GetSynthetic(), out.base)
	case pb.Workload_Dataset_case:
		out.rows = c.rows(where+".dataset", w.GetDataset(), out.base)
		out.rows.need(need{prompt: true, chat: chat})
		out.rows.needFields(p.fields, true)
		source = out.rows
	default:
		c.problems.add("%s: a target of a model protocol needs synthetic or dataset", where)
		return
	}
	body, streamed, err := newModelBody(w, t, source)
	if err != nil {
		c.problems.add("%s.body: %w", where, err)
	}
	out.body, out.streamed, out.rules.NeedContent = body, streamed, true
}

// http compiles a workload for plain HTTP.
func (c *compiler) http(where string, w *pb.Workload, p *parser, h *headers, out *workload) {
	if !w.HasHttp() {
		c.problems.add("%s: a target of protocol http needs http", where)
		return
	}
	r := w.GetHttp()
	where += ".http"
	c.add(strings.TrimSuffix(where, ".http")+".headers", w.GetHeaders(), p, h)
	c.add(where+".headers", r.GetHeaders(), p, h)
	inHeaders := len(p.fields)
	out.method, out.rules.Expect = scenario.DefaultMethod, r.GetExpectStatus()
	if r.GetMethod() != "" {
		out.method = r.GetMethod()
	}
	c.httpPath(where, r, p, out)
	switch r.WhichContent() {
	case pb.HttpRequest_Body_case:
		t, err := p.parse(r.GetBody(), contextOf(h.get("Content-Type"), r.GetBody()))
		if err != nil {
			c.problems.add("%s.body: %w", where, err)
		}
		out.body = (*textBody)(t)
	case pb.HttpRequest_BodyFile_case:
		out.body = fileBody(c.bodyFile(where+".body_file", r.GetBodyFile()))
	}
	if r.HasDataset() {
		out.rows = c.rows(where+".dataset", r.GetDataset(), out.base)
		out.rows.needFields(p.fields[:inHeaders], true)
		out.rows.needFields(p.fields[inHeaders:], false)
	}
}

// httpPath compiles the path of a plain request.
func (c *compiler) httpPath(where string, r *pb.HttpRequest, p *parser, out *workload) {
	t, err := p.parse(r.GetPath(), inPath)
	if err != nil {
		c.problems.add("%s.path: %w", where, err)
		return
	}
	for i := range t.segments {
		if s := &t.segments[i]; s.what == theText {
			s.text = encodeLetters(s.text)
		}
	}
	text, fixed := t.fixed()
	if out.path = text; !fixed {
		out.pathTemplate = t
	} else if text == "" {
		out.path = scenario.DefaultPath
	}
}

// contextOf says what a body is: JSON by its content type, or by its first character where it has no type.
func contextOf(contentType, body string) context {
	kind, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	kind = strings.TrimSpace(kind)
	first := strings.TrimSpace(body)
	switch {
	case strings.HasSuffix(kind, "/json"), strings.HasSuffix(kind, "+json"):
		return inJSON
	case kind == "" && (strings.HasPrefix(first, "{") && !strings.HasPrefix(first, "{{") || strings.HasPrefix(first, "[")):
		return inJSON
	default:
		return inText
	}
}

// bodyFile reads a file that is the body as it is.
func (c *compiler) bodyFile(where, path string) []byte {
	file, size, err := c.files(path)
	if err == nil && size > MaxBodyFile {
		err = fmt.Errorf("has %d bytes; a body may have at most %d (16 MiB)", size, MaxBodyFile)
	}
	if err != nil {
		c.problems.add("%s: %s: %w", where, path, err)
		return nil
	}
	body := make([]byte, size)
	if n, err := file.ReadAt(body, 0); n < len(body) {
		c.problems.add("%s: %s: %w", where, path, errors.Join(errChanged, err))
	}
	return body
}

// rows prepares the choice of rows from a data set; the file is opened once for all its workloads.
func (c *compiler) rows(where string, d *pb.Dataset, base schedule.Stream) *rowOf {
	path := d.GetFile()
	out := &rowOf{
		order: d.GetOrder(), draws: schedule.NewStream(uint64(base), "rows"),
		output: c.outputLaw(where, d.GetOutputTokens()),
	}
	for _, known := range c.datasets {
		if known.path == path {
			out.data = known
			return out
		}
	}
	out.data = &dataset{path: path}
	file, size, err := c.files(path)
	if err != nil {
		c.problems.add("%s.file: %s: %w", where, path, err)
		return out
	}
	out.data.file, out.data.size = file, size
	c.datasets = append(c.datasets, out.data)
	return out
}

// need adds to what every row must have.
func (o *rowOf) need(n need) {
	if !slices.Contains(o.data.needs, n) {
		o.data.needs = append(o.data.needs, n)
	}
}

// needFields adds the members that placeholders name; line: within headers.
func (o *rowOf) needFields(names []string, line bool) {
	for _, name := range names {
		o.need(need{field: name, line: line})
	}
}

// appendPrompt appends the row's prompt as it stands in the file: JSON already.
func (o *rowOf) appendPrompt(b []byte, r *Request, chat bool) ([]byte, uint64) {
	if messages := find(r.fields, "messages"); chat && messages != nil {
		b = append(b, messages...)
	} else {
		if chat {
			b = append(b, openMessage...)
		}
		b = append(b, find(r.fields, "prompt")...)
		if chat {
			b = append(b, closeMessage...)
		}
	}
	if own, _ := limit(r.fields); own > 0 || o.output == nil {
		return b, own
	}
	return b, o.output.draw(r.draws.Float64(drawOutput))
}
