package openai

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/loadline/loadline/agent/wire/wiretest"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func newDriver(t testing.TB, addr string, p pb.Protocol, o *pb.Timeouts) *Driver {
	t.Helper()
	tgt := pb.Target_builder{Name: proto("chat"), Url: proto("http://" + addr + "/v1"), Protocol: &p, Timeouts: o}.Build()
	d, err := New(tgt, Config{Now: wiretest.Clock()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// newDriverBy is newDriver with a version of HTTP.
func newDriverBy(t testing.TB, addr string, version pb.HttpVersion) *Driver {
	t.Helper()
	d, err := New(pb.Target_builder{
		Name: proto("chat"), Url: proto("http://" + addr + "/v1"), Protocol: pb.Protocol_PROTOCOL_OPENAI_CHAT.Enum(),
		Connections: pb.Connections_builder{Http: &version}.Build(),
	}.Build(), Config{Now: wiretest.Clock()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func proto[T any](v T) *T { return &v }

func request(checks ...*pb.Check) *workload.Request {
	return &workload.Request{
		Method: "POST", Path: "/chat/completions", Body: []byte(`{"stream":true}`), Stream: true,
		Header: []workload.Header{{Name: "Content-Type", Value: "application/json"}, {Name: "Authorization", Value: "Bearer sk-canary-0123"}},
		Rules:  &workload.Rules{NeedContent: true, Checks: checks},
	}
}

const (
	head    = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
	chunked = head + "Transfer-Encoding: chunked\r\n\r\n"
	role    = `{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`
	hello   = `{"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}`
	world   = `{"choices":[{"index":0,"delta":{"content":" world"},"finish_reason":null}]}`
	stop    = `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`
	usage   = `{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}`
	done    = "[DONE]"
	last    = "0\r\n\r\n"
)

// event is an event in a chunk of its own.
func event(data string) string { return raw("data: " + data + "\n\n") }

func raw(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

func events(data ...string) (out []string) {
	for _, d := range data {
		out = append(out, event(d))
	}
	return out
}

// server answers every request with the pieces, each in a write of its own, and then ends the
// connection if told so: "close" or "break".
func server(t testing.TB, end string, pieces ...string) string {
	t.Helper()
	return wiretest.Serve(t, func(_ int, c *wiretest.Conn) {
		for c.Request() != nil {
			c.Send(pieces...)
			switch end {
			case "close":
				return
			case "break":
				time.Sleep(5 * time.Millisecond) // so that what was sent is read before the reset
				c.Break()
				return
			}
		}
	})
}

// want is what an outcome must show.
type want struct {
	class    string
	err      string // part of the text
	events   int
	tokens   uint64
	source   measure.TokenSource
	streamed bool
}

func (w want) check(t testing.TB, o *measure.Outcome) {
	t.Helper()
	if o.Class != w.class || !strings.Contains(o.Err, w.err) {
		t.Errorf("class %q (%s), want %q (%s)", o.Class, o.Err, w.class, w.err)
	}
	if len(o.Events) != w.events || o.OutputTokens != w.tokens || o.Tokens != w.source || o.Streamed != w.streamed {
		t.Errorf("%d events, %d tokens from %d, streamed %v; want %+v", len(o.Events), o.OutputTokens, o.Tokens, o.Streamed, w)
	}
	last := o.Dispatched
	for i, at := range append([]measure.Instant{o.Connected, o.Sent, o.FirstByte}, append(o.Events, o.End)...) {
		if at.Reached() && at < last {
			t.Errorf("instant %d is before the one before it", i)
		} else if at.Reached() {
			last = at
		}
	}
	if !o.End.Reached() {
		t.Error("end is not set")
	}
	if strings.Contains(o.Err, "canary") {
		t.Errorf("the error holds the key: %s", o.Err)
	}
}

func run(t testing.TB, d *Driver, r *workload.Request) *measure.Outcome {
	t.Helper()
	var o measure.Outcome
	o.Reset()
	d.Do(wiretest.Context(t), r, &o)
	return &o
}

func good(events int, tokens uint64, source measure.TokenSource) want {
	return want{events: events, tokens: tokens, source: source, streamed: true}
}

func bad(class, text string, events int) want {
	w := want{class: class, err: text, events: events, tokens: uint64(events), streamed: true}
	if events > 0 {
		w.source = measure.TokensEvents
	}
	return w
}

// TestStreams holds the ways in which servers stream, and break (wire facts, sections 1 to 3).
func TestStreams(t *testing.T) {
	ev, srv := measure.TokensEvents, measure.TokensServer
	reason := `{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}`
	tool := `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":""}}]}}]}`
	args := `{"choices":[{"index":0,"delta":{"content":"","tool_calls":[{"index":0,"id":null,"function":{"name":null,"arguments":"{}"}}]}}]}`
	for _, c := range []struct {
		name   string
		pieces []string
		end    string
		want   want
	}{
		{"vLLM", append([]string{chunked}, append(events(role, hello, world, stop, usage, done), last)...), "", good(2, 5, srv)},
		{"all in one write", []string{chunked + strings.Join(events(role, hello, world, stop, usage, done), "") + last}, "", good(2, 5, srv)},
		{"byte by byte", append([]string{chunked}, append(bytewise("data: "+hello+"\n\ndata: "+stop+"\r\n\r\ndata:[DONE]\n\n"), last)...), "", good(1, 1, ev)},
		{"no role chunk, finish on the last content", append([]string{chunked}, append(events(hello, `{"choices":[{"index":0,"delta":{"role":"assistant","content":"."},"finish_reason":"stop"}]}`, done), last)...), "", good(2, 2, ev)},
		{"usage null until the last", append([]string{chunked}, append(events(`{"choices":[{"delta":{"content":"a"}}],"usage":null}`, stop, usage, done), last)...), "", good(1, 5, srv)},
		{"running usage: the last wins", append([]string{chunked}, append(events(`{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":7,"completion_tokens":1}}`, usage, stop, done), last)...), "", good(1, 5, srv)},
		{"reasoning counts as content", append([]string{chunked}, append(events(role, reason, reason, hello, stop, done), last)...), "", good(3, 3, ev)},
		{"tool call", append([]string{chunked}, append(events(role, tool, args, args, stop, done), last)...), "", good(2, 2, ev)},
		{"tool call without arguments", append([]string{chunked}, append(events(tool, stop, done), last)...), "", good(0, 0, 0)},
		{"two choices", append([]string{chunked}, append(events(hello, `{"choices":[{"index":1,"delta":{"content":"b"}}]}`, stop, done), last)...), "", good(2, 2, ev)},
		{"comments and heartbeats", append([]string{chunked}, raw(": OPENROUTER PROCESSING\n\n"), raw(":\n\n"), event(hello), raw(": ping\n\n"), event(stop), event(done), last), "", good(1, 1, ev)},
		{"empty data as heartbeat", append([]string{chunked}, raw("data:\n\n"), event(hello), event(stop), event(done), last), "", good(1, 1, ev)},
		{"event, id and retry", append([]string{chunked}, raw("retry: 5\nid: 1\nevent: message\ndata: "+hello+"\n\n"), event(stop), event(done), last), "", good(1, 1, ev)},
		{"data over two lines", append([]string{chunked}, raw("data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"a\"}}]}\n\n"), event(stop), event(done), last), "", good(1, 1, ev)},
		{"[DONE] missing, finish reason seen", append([]string{chunked}, append(events(hello, stop), last)...), "", good(1, 1, ev)},
		{"[DONE] without finish reason, clean end", append([]string{chunked}, append(events(hello, done), last)...), "", good(1, 1, ev)},
		{"[DONE] without its empty line", append([]string{chunked}, event(hello), raw("data: [DONE]"), last), "", good(1, 1, ev)},
		{"read until close", []string{head + "\r\n", "data: " + hello + "\n\n", "data: " + done + "\n\n"}, "close", good(1, 1, ev)},
		{"wrong content type", []string{strings.Replace(chunked, "text/event-stream", "text/plain", 1), event(hello), event(stop), event(done), last}, "", good(1, 1, ev)},
		{"events after [DONE] are not looked at", append([]string{chunked}, append(events(hello, stop, done, hello, "garbage"), last)...), "", good(1, 1, ev)},

		{"cut between events", append([]string{chunked}, append(events(role, hello), last)...), "", bad("truncated", "without [DONE]", 1)},
		{"only a role chunk", append([]string{chunked}, append(events(role), last)...), "", bad("truncated", "without [DONE]", 0)},
		{"cut in the middle of the body", append([]string{chunked}, events(role, hello)...), "close", bad("truncated", "", 1)},
		{"reset in the middle", append([]string{chunked}, events(role, hello)...), "break", bad("reset", "", 1)},
		{"[DONE], then the connection breaks", append([]string{chunked}, events(hello, done)...), "close", bad("truncated", "after the terminal event", 1)},
		{"nothing but headers, clean end", []string{chunked + last}, "", bad("empty", "", 0)},
		{"nothing but headers, cut", []string{chunked}, "close", bad("truncated", "", 0)},
		{"nothing but headers, reset", []string{chunked}, "break", bad("reset", "", 0)},
		{"[DONE] alone", []string{chunked, event(done), last}, "", bad("empty", "", 0)},
		{"finish without content", append([]string{chunked}, append(events(role, stop, done), last)...), "", bad("empty", "", 0)},
		{"nothing but comments", []string{chunked, raw(": a\n\n"), last}, "", bad("empty", "", 0)},
		{"error object, then [DONE]", append([]string{chunked}, append(events(hello, `{"error":{"message":"engine died","code":503}}`, done), last)...), "", bad("http_503", "engine died", 1)},
		{"error object with a code in words", append([]string{chunked}, append(events(`{"error":{"message":"too long","code":"context_length"}}`, done), last)...), "", bad("http_500", "too long", 0)},
		{"error as TGI has it", append([]string{chunked}, append(events(`{"error":{"message":"bad","http_status_code":422}}`, done), last)...), "", bad("http_422", "bad", 0)},
		{"error with a code as string", append([]string{chunked}, append(events(`{"error":{"message":"slow down","code":"429"}}`), last)...), "", bad("http_429", "slow down", 0)},
		{"error that is a string", append([]string{chunked}, append(events(`{"error":"boom"}`), last)...), "", bad("http_500", "boom", 0)},
		{"flat error", append([]string{chunked}, append(events(`{"object":"error","message":"gone","code":404}`), last)...), "", bad("http_404", "gone", 0)},
		{"error as event type", append([]string{chunked}, raw("event: error\ndata: {\"message\":\"boom\"}\n\n"), last), "", bad("http_500", "boom", 0)},
		{"error that quotes the key", append([]string{chunked}, append(events(`{"error":{"message":"bad key sk-canary-0123!"}}`), last)...), "", bad("http_500", "bad key ***!", 0)},
		{"comment wrapped into data", append([]string{chunked}, append(events(": OPENROUTER PROCESSING", hello), last)...), "", bad("malformed", "", 0)},
		{"broken JSON", append([]string{chunked}, append(events(hello, `{"choices":[`), last)...), "", bad("malformed", "", 1)},
		{"not an event stream", []string{chunked, raw("lorem ipsum\ndolor sit amet\n"), last}, "", bad("malformed", "not an event stream", 0)},
		{"HTML", []string{strings.Replace(chunked, "text/event-stream", "text/html", 1), raw("<html>"), last}, "", want{class: "malformed", err: "HTML"}},
		{"compressed", []string{strings.Replace(chunked, "Transfer", "Content-Encoding: gzip\r\nTransfer", 1), raw("\x1f\x8b"), last}, "", want{class: "malformed", err: "compressed"}},
		{"events that call themselves JSON", append([]string{strings.Replace(chunked, "text/event-stream", "application/json", 1)}, append(events(hello, stop, done), last)...), "", good(1, 1, ev)},
		{"endless line", append([]string{chunked}, event(hello), raw("data: "+strings.Repeat("x", 2<<20))), "", bad("oversized", "1 MiB", 1)},

		{"a whole answer on a streaming route", []string{"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n", `{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":2}}`}, "close", want{tokens: 2, source: srv}},
		{"an error of status 200 on a streaming route", []string{"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n", `{"error":{"message":"no"}}`}, "close", want{class: "http_500", err: "no"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, server(t, c.end, c.pieces...), pb.Protocol_PROTOCOL_OPENAI_CHAT, nil)
			c.want.check(t, run(t, d, request()))
		})
	}
}

func bytewise(s string) (out []string) {
	for i := range len(s) {
		out = append(out, raw(s[i:i+1]))
	}
	return out
}

func TestStatuses(t *testing.T) {
	for _, c := range []struct {
		status, body string
		want         want
	}{
		{"401 Unauthorized", `{"error":{"message":"Incorrect API key provided: sk-canary-0123","code":"invalid_api_key"}}`, want{class: "http_401", err: "Incorrect API key provided: ***"}},
		{"429 Too Many Requests", `{"error":{"message":"slow down"}}`, want{class: "http_429", err: "slow down"}},
		{"400 Bad Request", `{"object":"error","message":"too long","code":400}`, want{class: "http_400", err: "too long"}},
		{"422 Unprocessable Entity", `{"detail":[{"loc":["body"],"msg":"field required"}]}`, want{class: "http_422", err: "field required"}},
		{"404 Not Found", `{"detail":"Not Found"}`, want{class: "http_404", err: "Not Found"}},
		{"500 Internal Server Error", "Internal Server Error", want{class: "http_500", err: "Internal Server Error"}},
		{"502 Bad Gateway", "", want{class: "http_502", err: "Bad Gateway"}},
		{"503 Service Unavailable", strings.Repeat("x", 100<<10), want{class: "http_503", err: "xxx"}},
		{"302 Found", "\x1b[31mred", want{class: "http_302", err: "[31mred"}},
		{"201 Created", "", want{class: "empty"}},
	} {
		t.Run(c.status, func(t *testing.T) {
			addr := server(t, "", fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", c.status, len(c.body), c.body))
			d := newDriver(t, addr, pb.Protocol_PROTOCOL_OPENAI_CHAT, nil)
			for range 2 {
				o := run(t, d, request())
				c.want.check(t, o)
				if len(o.Err) > measure.MaxErr || strings.Contains(o.Err, "\x1b") {
					t.Errorf("error text of %d bytes: %q", len(o.Err), o.Err)
				}
			}
		})
	}
}

func TestCompletions(t *testing.T) {
	text := func(i int) string {
		return fmt.Sprintf(`{"choices":[{"text":"t%d","index":%d,"finish_reason":null}]}`, i, i)
	}
	fin := `{"choices":[{"text":"","index":3,"finish_reason":"length"}]}`
	d := newDriver(t, server(t, "", append([]string{chunked}, append(events(text(0), text(1), text(2), fin, done), last)...)...), pb.Protocol_PROTOCOL_OPENAI_COMPLETIONS, nil)
	r := request(pb.Check_builder{Contains: proto("t0t1t2")}.Build())
	r.KeepBody = true
	o := run(t, d, r)
	good(3, 3, measure.TokensEvents).check(t, o)
	if string(o.Body) != "t0t1t2" {
		t.Errorf("body %q", o.Body)
	}
}

func TestWholeAnswers(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       want
		text       string
	}{
		{"content and usage", `{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi\n"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":2}}`, want{tokens: 2, source: measure.TokensServer}, "Hi\n"},
		{"without usage", `{"choices":[{"index":0,"message":{"content":"Hi"}}]}`, want{}, "Hi"},
		{"tool call", `{"choices":[{"message":{"content":null,"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}]}`, want{}, "{}"},
		{"completions", `{"choices":[{"text":"Hi","index":0}]}`, want{}, "Hi"},
		{"empty content", `{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}`, want{class: "empty"}, ""},
		{"no choices", `{"choices":[]}`, want{class: "empty"}, ""},
		{"no body", "", want{class: "empty"}, ""},
		{"not JSON", "Hello", want{class: "malformed"}, ""},
		{"error", `{"error":{"message":"no","code":400}}`, want{class: "http_400", err: "no"}, ""},
		{"too long", `{"x":"` + strings.Repeat("x", MaxAnswer) + `"}`, want{class: "oversized"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, server(t, "", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(c.body), c.body)), pb.Protocol_PROTOCOL_OPENAI_CHAT, nil)
			r := request()
			r.Stream, r.KeepBody = false, true
			o := run(t, d, r)
			c.want.check(t, o)
			if string(o.Body) != c.text || o.FirstToken().Reached() {
				t.Errorf("body %q, first token %v", o.Body, o.FirstToken())
			}
		})
	}
}

func TestChecks(t *testing.T) {
	path := func(p string, v *structpb.Value) *pb.Check {
		return pb.Check_builder{JsonPath: pb.JsonPathCheck_builder{Path: &p, Equals: v}.Build()}.Build()
	}
	d := newDriver(t, server(t, "", append([]string{chunked}, append(events(hello, world, stop, done), last)...)...), pb.Protocol_PROTOCOL_OPENAI_CHAT, nil)
	for _, c := range []struct {
		name  string
		check *pb.Check
		class string
	}{
		{"contains", pb.Check_builder{Contains: proto("o w")}.Build(), ""},
		{"contains another", pb.Check_builder{Contains: proto("bye")}.Build(), "check_contains"},
		{"does not contain", pb.Check_builder{NotContains: proto("bye")}.Build(), ""},
		{"does contain", pb.Check_builder{NotContains: proto("Hello")}.Build(), "check_not_contains"},
		{"not JSON", path("$.a", structpb.NewBoolValue(true)), "check_json_path"},
		{"short enough", pb.Check_builder{MaxBody: proto(uint64(10_000))}.Build(), ""},
		{"too long", pb.Check_builder{MaxBody: proto(uint64(100))}.Build(), "check_max_body"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if o := run(t, d, request(c.check)); o.Class != c.class {
				t.Errorf("class %q (%s), want %q", o.Class, o.Err, c.class)
			}
		})
	}
	if o := run(t, d, request()); len(o.Body) > 0 {
		t.Errorf("text kept that nobody asked for: %q", o.Body)
	}
}

func TestTextBeyondWhatChecksSee(t *testing.T) {
	long := `{"choices":[{"index":0,"delta":{"content":"` + strings.Repeat("x", 600<<10) + `"}}]}`
	addr := server(t, "", append([]string{chunked}, append(events(long, long, stop, done), last)...)...)
	d := newDriver(t, addr, pb.Protocol_PROTOCOL_OPENAI_CHAT, nil)
	if o := run(t, d, request(pb.Check_builder{Contains: proto("x")}.Build())); o.Class != measure.ClassOversized {
		t.Errorf("class %q", o.Class)
	}
	r := request()
	r.KeepBody = true
	if o := run(t, d, r); o.Class != "" || len(o.Body) != measure.MaxBody {
		t.Errorf("kept: class %q, %d bytes", o.Class, len(o.Body))
	}
}

func ms(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Millisecond) }

func TestTimeLimits(t *testing.T) {
	long := ms(20_000)
	with := func(f func(*pb.Timeouts)) *pb.Timeouts {
		o := pb.Timeouts_builder{Connect: long, FirstToken: long, Stall: long, Total: long}.Build()
		f(o)
		return o
	}
	beat := []string{}
	for range 800 {
		beat = append(beat, raw(": ping\n\n"))
	}
	for _, c := range []struct {
		name   string
		o      *pb.Timeouts
		pieces []string
		class  string
		events int
	}{
		{"hangs before the headers", with(func(o *pb.Timeouts) { o.SetFirstToken(ms(250)) }), nil, "first_token_timeout", 0},
		{"headers, then silence", with(func(o *pb.Timeouts) { o.SetFirstToken(ms(250)) }), []string{chunked}, "first_token_timeout", 0},
		{"a role chunk is not a token", with(func(o *pb.Timeouts) { o.SetFirstToken(ms(250)) }), []string{chunked, event(role)}, "first_token_timeout", 0},
		{"nor are heartbeats", with(func(o *pb.Timeouts) { o.SetFirstToken(ms(250)) }), append([]string{chunked}, beat...), "first_token_timeout", 0},
		{"hangs in the middle", with(func(o *pb.Timeouts) { o.SetStall(ms(250)) }), []string{chunked, event(hello)}, "stall_timeout", 1},
		{"heartbeats do not hide a stall", with(func(o *pb.Timeouts) { o.SetStall(ms(250)) }), append([]string{chunked, event(hello)}, beat...), "stall_timeout", 1},
		{"never ends after [DONE]", with(func(o *pb.Timeouts) { o.SetStall(ms(250)) }), []string{chunked, event(hello), event(done)}, "stall_timeout", 1},
		{"in all", with(func(o *pb.Timeouts) { o.SetTotal(ms(250)) }), append([]string{chunked, event(hello)}, beat...), "total_timeout", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr := wiretest.Serve(t, func(_ int, conn *wiretest.Conn) {
				if conn.Request() != nil {
					conn.Send(c.pieces...)
					conn.Hang()
				}
			})
			o := run(t, newDriver(t, addr, pb.Protocol_PROTOCOL_OPENAI_CHAT, c.o), request())
			w := bad(c.class, "", c.events)
			w.streamed = len(c.pieces) > 0
			w.check(t, o)
		})
	}
}

func TestCanceled(t *testing.T) {
	for name, pieces := range map[string][]string{"before the headers": nil, "in the middle": {chunked, event(hello)}} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(wiretest.Context(t))
			addr := wiretest.Serve(t, func(_ int, conn *wiretest.Conn) {
				conn.Request()
				conn.Send(pieces...)
				time.Sleep(5 * time.Millisecond)
				cancel(errors.New("the drain is over"))
				conn.Hang()
			})
			var o measure.Outcome
			o.Reset()
			newDriver(t, addr, pb.Protocol_PROTOCOL_OPENAI_CHAT, nil).Do(ctx, request(), &o)
			if o.Class != measure.ClassCanceled || o.Err != "the drain is over" || !o.End.Reached() {
				t.Errorf("class %q (%s), end %v", o.Class, o.Err, o.End)
			}
		})
	}
}

func TestFirstAnswerAndCoalescing(t *testing.T) {
	reason := `{"choices":[{"index":0,"delta":{"reasoning":"hm"}}]}`
	d := newDriver(t, server(t, "", chunked, event(reason), raw("data: "+hello+"\n\ndata: "+world+"\n\n"), event(done)+last), pb.Protocol_PROTOCOL_OPENAI_CHAT, nil)
	o := run(t, d, request())
	if len(o.Events) != 3 || o.FirstAnswer != o.Events[1] || o.FirstToken() != o.Events[0] || o.Coalesced != 1 {
		t.Errorf("events %v, first answer %v, coalesced %d", o.Events, o.FirstAnswer, o.Coalesced)
	}
}

func TestBadTargets(t *testing.T) {
	if _, err := New(pb.Target_builder{Url: proto("http://x"), Protocol: proto(pb.Protocol_PROTOCOL_HTTP)}.Build(), Config{Now: wiretest.Clock()}); err == nil {
		t.Error("a target of another protocol is accepted")
	}
	_, err := New(pb.Target_builder{
		Url: proto("http://u:hunter2@x"), Protocol: proto(pb.Protocol_PROTOCOL_OPENAI_CHAT),
		Tls: pb.Tls_builder{CaFile: proto("/nowhere/ca.pem"), CertFile: proto("c.pem")}.Build(),
	}.Build(), Config{Now: wiretest.Clock()})
	for _, part := range []string{"credentials", "ca_file", "key_file"} {
		if err == nil || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error %v, want one about %s", err, part)
		}
	}
}

func TestNoAllocationPerEvent(t *testing.T) {
	piece := []byte(strings.Repeat("data: "+common+"\n\n", 20))
	d := &Driver{shape: chatShape}
	c := &call{}
	c.emit = c.event
	o := measure.Outcome{Events: make([]measure.Instant, 0, 1<<12)}
	o.Reset()
	c.begin(d, request(), &o)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := c.stream(piece, 1); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for 20 events", n)
	}
}

func BenchmarkStream(b *testing.B) {
	one := "data: " + common + "\n\n"
	piece := []byte(strings.Repeat(one, 20))
	d := &Driver{shape: chatShape}
	c := &call{}
	c.emit = c.event
	var o measure.Outcome
	r := request()
	b.ReportAllocs()
	at := measure.Instant(0)
	for b.Loop() {
		o.Reset()
		c.begin(d, r, &o)
		for range 50 {
			at++
			if _, err := c.stream(piece, at); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
}
