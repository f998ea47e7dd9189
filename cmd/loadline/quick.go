package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/loadline/loadline/internal/scenario"
)

// quickOptions are the flags that stand in for a scenario file.
type quickOptions struct {
	url, model, protocol, arrivals string
	rate, input, output            string
	users, sessions                uint64
	duration                       time.Duration
	headers, slo                   []string
	method                         string
	messages                       []string
	save                           string
}

// Defaults of a quick run.
const (
	quickProtocol = "openai-chat"
	quickDuration = 30 * time.Second
	quickInput    = "256"
	quickOutput   = "128"
	// quickSimModel is asked for where the target is the simulator, which serves any name.
	quickSimModel = "simulated"
	simScheme     = "sim://"
	httpProtocol  = "http"
	grpcProtocol  = "grpc"
)

// quickFlags names the flags that make sense without a scenario file only.
func quickFlags() []string {
	return []string{"url", "model", "protocol", "rate", "users", "sessions", "duration", "arrivals",
		"input-tokens", "output-tokens", "method", "message", "header", "slo", "save"}
}

// complete fills in the defaults and names everything that is missing or does not go together.
func (q *quickOptions) complete() error {
	if q.protocol == "" {
		q.protocol = quickProtocol
		if strings.HasPrefix(q.url, "grpc://") || strings.HasPrefix(q.url, "grpcs://") {
			q.protocol = grpcProtocol
		}
	}
	if q.model == "" && strings.HasPrefix(q.url, simScheme) {
		q.model = quickSimModel
	}
	if q.duration == 0 && q.sessions == 0 {
		q.duration = quickDuration
	}
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	switch {
	case q.rate == "" && q.users == 0:
		bad("say how much load: --rate 30 (sessions a second) or --users 8 (users in a loop)")
	case q.rate != "" && q.users > 0:
		bad("--rate and --users exclude each other: a rate does not wait for answers, users do")
	}
	if q.users > 0 && q.arrivals != "" {
		bad("--arrivals goes with --rate: users start a session when their last one has ended")
	}
	q.spoken(bad)
	return errors.Join(problems...)
}

// spoken names what does not go with the protocol.
func (q *quickOptions) spoken(bad func(format string, args ...any)) {
	if q.protocol == httpProtocol || q.protocol == grpcProtocol {
		for _, f := range []struct{ name, value string }{{"--input-tokens", q.input}, {"--output-tokens", q.output}} {
			if f.value != "" {
				bad("%s is for model protocols; %s has no tokens", f.name, q.protocol)
			}
		}
	}
	if q.protocol != grpcProtocol && (q.method != "" || len(q.messages) > 0) {
		bad("--method and --message are for --protocol grpc")
	}
	switch {
	case q.protocol == grpcProtocol && q.method == "":
		bad("--method is needed by grpc: write --method package.Service/Method")
	case q.protocol == grpcProtocol:
		for _, m := range q.messages {
			var object map[string]any
			if err := json.Unmarshal([]byte(m), &object); err != nil {
				bad("--message %q: write the message as a JSON object: '{\"name\": \"value\"}'", m)
			}
		}
	case q.protocol != httpProtocol && q.model == "":
		bad("--model is needed by %s; for plain requests say --protocol http, for calls grpc", q.protocol)
	}
}

// document writes the scenario that the flags describe.
func (q *quickOptions) document(seed *uint64) ([]byte, error) {
	if err := q.complete(); err != nil {
		return nil, err
	}
	headers, err := q.headerLines()
	if err != nil {
		return nil, err
	}
	address, path := q.url, ""
	if q.protocol == httpProtocol {
		if address, path, err = splitURL(q.url); err != nil {
			return nil, err
		}
	}
	w := &yamlWriter{}
	w.line(0, "name: quick")
	if seed != nil {
		w.line(0, "seed: %d", *seed)
	}
	w.line(0, "targets:")
	w.line(1, "- url: %s", quoted(address))
	w.line(2, "protocol: %s", plain(q.protocol))
	if q.model != "" {
		w.line(2, "model: %s", quoted(q.model))
	}
	if len(headers) > 0 {
		w.line(2, "headers:")
		for _, h := range headers {
			w.line(3, "%s", h)
		}
	}
	q.writeWorkload(w, path)
	q.writeLoad(w)
	if len(q.slo) > 0 {
		w.line(0, "slo:")
		for _, expression := range q.slo {
			w.line(1, "- %s", quoted(expression))
		}
	}
	return w.Bytes(), nil
}

func (q *quickOptions) writeWorkload(w *yamlWriter, path string) {
	w.line(0, "workloads:")
	if q.protocol == httpProtocol {
		w.line(1, "- http: {method: GET, path: %s}", quoted(path))
		return
	}
	if q.protocol == grpcProtocol {
		q.writeCall(w)
		return
	}
	w.line(1, "- synthetic:")
	w.line(3, "input_tokens: %s", distribution(q.input, quickInput))
	w.line(3, "output_tokens: %s", distribution(q.output, quickOutput))
}

// writeCall writes the call of a gRPC target. Several messages are a stream; JSON is YAML too.
func (q *quickOptions) writeCall(w *yamlWriter) {
	w.line(1, "- grpc:")
	w.line(3, "method: %s", quoted(q.method))
	if len(q.messages) == 1 {
		w.line(3, "message: %s", tight(q.messages[0]))
	}
	if len(q.messages) > 1 {
		w.line(3, "messages:")
		for _, m := range q.messages {
			w.line(4, "- %s", tight(m))
		}
	}
}

// tight writes JSON, which has been checked, on one line.
func tight(text string) string {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		return "{}"
	}
	return b.String()
}

func (q *quickOptions) writeLoad(w *yamlWriter) {
	w.line(0, "load:")
	switch {
	case q.users > 0:
		w.line(1, "- closed: {users: %d}", q.users)
	case q.arrivals != "":
		w.line(1, "- open: {rate: %s, arrivals: %s}", plain(q.rate), plain(q.arrivals))
	default:
		w.line(1, "- open: {rate: %s}", plain(q.rate))
	}
	if q.duration > 0 {
		w.line(2, "duration: %s", q.duration)
	}
	if q.sessions > 0 {
		w.line(2, "sessions: %d", q.sessions)
	}
}

// headerLines turns each --header into a line of YAML; a value "env:NAME" or "file:PATH" becomes a reference.
func (q *quickOptions) headerLines() ([]string, error) {
	var lines []string
	var problems []error
	for _, h := range q.headers {
		name, value, found := strings.Cut(h, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !found || name == "" {
			problems = append(problems, fmt.Errorf("--header %q: write it as 'Name: value' or 'Name: env:VARIABLE'", h))
			continue
		}
		written := quoted(value)
		for _, source := range []string{"env", "file"} {
			if ref, ok := strings.CutPrefix(value, source+":"); ok {
				written = fmt.Sprintf("{%s: %s}", source, quoted(ref))
			}
		}
		lines = append(lines, quoted(name)+": "+written)
	}
	return lines, errors.Join(problems...)
}

// splitURL parts the address of a plain HTTP target from the path of its requests.
func splitURL(raw string) (address, path string, err error) {
	if _, base, ok := scenario.UnixURL(raw); ok {
		return strings.TrimSuffix(raw, ":"+base), cmp.Or(base, "/"), nil
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "", "", fmt.Errorf("--url: %w", err)
	}
	if strings.HasPrefix(raw, simScheme) {
		path, u.Path = u.Path, ""
		if path == "" {
			path = "/echo"
		}
		return u.String(), path, nil
	}
	path = u.EscapedPath()
	if path == "" {
		path = "/"
	}
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	u.Path, u.RawPath, u.RawQuery, u.Fragment = "", "", "", ""
	return u.String(), path, nil
}

// distribution writes a count of tokens: "128", "100-300" (uniform), or a law as in a scenario: "{exponential: {mean: 200}}".
func distribution(value, byDefault string) string {
	if value == "" {
		value = byDefault
	}
	if low, high, found := strings.Cut(value, "-"); found && number(low) && number(high) {
		return fmt.Sprintf("{uniform: {min: %s, max: %s}}", low, high)
	}
	if strings.HasPrefix(value, "{") && !strings.ContainsAny(value, "\n\r") {
		return value
	}
	return fmt.Sprintf("{fixed: %s}", plain(value))
}

func number(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// yamlWriter writes a document line by line.
type yamlWriter struct{ bytes.Buffer }

func (w *yamlWriter) line(indent int, format string, args ...any) {
	w.WriteString(strings.Repeat("  ", indent))
	fmt.Fprintf(w, format+"\n", args...)
}

// plain writes a word as it is where that is safe in YAML, and quoted elsewhere.
func plain(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789.-") == "" {
		return s
	}
	return quoted(s)
}

// quoted writes a string as JSON does, which YAML reads alike.
func quoted(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return strconv.Quote(s)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// nameFlags puts the flag at fault in the place of the position within a document that the user never saw.
func nameFlags(err error, documentName string) error {
	var problems scenario.Problems
	if !errors.As(err, &problems) {
		return err
	}
	named := make(scenario.Problems, len(problems))
	for i, p := range problems {
		if p.File == documentName {
			p.Line, p.Column, p.Excerpt = 0, 0, ""
			p.File = documentName
			if flag := flagOf(p.Path); flag != "" {
				p.File, p.Path = flag, ""
			}
		}
		named[i] = p
	}
	return &failure{status: statusBadInput, err: fmt.Errorf("the flags do not make a scenario\n%w", named)}
}

// flagOf is the flag that a field of a quick scenario comes from; empty: none.
func flagOf(path string) string {
	for _, f := range []struct{ prefix, flag string }{
		{"targets[0].protocol", "--protocol"}, {"targets[0].model", "--model"}, {"targets[0].headers", "--header"},
		{"targets[0]", "--url"}, {"workloads[0].http", "--url"},
		{"workloads[0].grpc.message", "--message"}, {"workloads[0].grpc.messages", "--message"}, {"workloads[0].grpc", "--method"},
		{"workloads[0].synthetic.output_tokens", "--output-tokens"}, {"workloads[0].synthetic", "--input-tokens"},
		{"load[0].open.arrivals", "--arrivals"}, {"load[0].open.cv", "--arrivals"}, {"load[0].open", "--rate"}, {"load[0].closed", "--users"},
		{"load[0].sessions", "--sessions"}, {"load[0]", "--duration"}, {"slo", "--slo"}, {"seed", "--seed"},
	} {
		if rest, ok := strings.CutPrefix(path, f.prefix); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return f.flag
		}
	}
	return ""
}
