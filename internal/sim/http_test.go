package sim

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	chatPath = "/v1/chat/completions"
	chatBody = `{"model":"m","messages":[{"role":"user","content":"one two three"}],"stream":true,"stream_options":{"include_usage":true},"max_tokens":6}`
	plain    = `{"model":"m","messages":[{"role":"user","content":"one two three"}],"max_tokens":6}`
)

func TestStreamedAnswer(t *testing.T) {
	s := start(t, quick())
	for path, body := range map[string]string{
		chatPath:          chatBody,
		"/v1/completions": `{"prompt":"one two three","stream":true,"stream_options":{"include_usage":true},"max_completion_tokens":6,"n":1}`,
	} {
		a := s.ask("POST", path, body)
		if a.err != nil || a.status != 200 || a.content != 6 || !a.done || a.finish != "length" || a.bad != 0 {
			t.Errorf("%s: %+v", path, a)
		}
		if a.usage == nil || *a.usage != (usageSeen{3, 6}) {
			t.Errorf("%s: usage %+v", path, a.usage)
		}
		if kind := a.header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
			t.Errorf("%s: content type %q", path, kind)
		}
	}
}

// TestFaults: what a client sees of each fault, streamed, not streamed, and on /echo.
func TestFaults(t *testing.T) {
	reset := func(a answer) bool { return errors.Is(a.err, syscall.ECONNRESET) }
	clean := func(a answer) bool { return a.err == nil && a.status == 200 }
	notJSON := func(a answer) bool { return clean(a) && !json.Valid([]byte(a.body)) }
	for _, c := range []struct {
		fault                string
		stream, plain, echo  func(a answer) bool
		outcome              string
		ignoreStatusOfStream bool
	}{
		{fault: "status:code=429,retry_after=1500ms", outcome: "refused",
			stream: func(a answer) bool {
				return a.status == 429 && a.header.Get("Retry-After") == "2" && strings.Contains(a.body, `"error":{"message"`)
			}},
		{fault: "wrong-key", outcome: "refused", stream: func(a answer) bool { return a.status == 401 && strings.Contains(a.body, "API key") }},
		{fault: "reset:after=2", outcome: "broken",
			stream: func(a answer) bool { return reset(a) && a.content == 2 && a.status == 200 },
			plain:  reset, echo: reset},
		{fault: "truncated:after=2", outcome: "broken",
			stream: func(a answer) bool { return clean(a) && a.content == 2 && !a.done && a.finish == "" },
			plain:  notJSON, echo: notJSON},
		{fault: "truncated:after=99", outcome: "broken",
			stream: func(a answer) bool { return clean(a) && a.content == 6 && !a.done && a.finish == "" },
			plain:  notJSON, echo: notJSON},
		{fault: "empty", outcome: "broken", stream: func(a answer) bool { return clean(a) && a.body == "" }},
		{fault: "empty:done=true", outcome: "broken",
			stream: func(a answer) bool { return clean(a) && a.body == "data: [DONE]\n\n" },
			plain:  func(a answer) bool { return clean(a) && strings.Contains(a.body, `"content":""`) },
			echo:   func(a answer) bool { return clean(a) && a.body == "" }},
		{fault: "malformed:after=2", outcome: "broken",
			stream: func(a answer) bool { return clean(a) && a.content == 6 && a.bad == 1 && a.done },
			plain:  notJSON, echo: notJSON},
		{fault: "error:after=2", outcome: "broken",
			stream: func(a answer) bool { return clean(a) && a.content == 2 && a.failed && a.done && a.finish == "" },
			plain:  func(a answer) bool { return clean(a) && strings.Contains(a.body, `{"error":`) },
			echo:   func(a answer) bool { return clean(a) && strings.Contains(a.body, `{"error":`) }},
		{fault: "endless:after=2,bytes=300KiB", outcome: "broken",
			stream: func(a answer) bool {
				return a.err != nil && len(a.body) > 200<<10 && !strings.Contains(a.body[len(a.body)-100<<10:], "\n")
			},
			plain: func(a answer) bool { return a.err != nil && len(a.body) > 200<<10 },
			echo:  func(a answer) bool { return a.err != nil && len(a.body) > 200<<10 }},
		{fault: "refused", outcome: "", stream: func(a answer) bool { return a.err != nil && a.status == 0 }},
		{fault: "reset:p=0", outcome: "completed", stream: func(a answer) bool { return clean(a) && a.done }, plain: clean, echo: clean},
		{fault: "reset:from=3", outcome: "completed", stream: func(a answer) bool { return clean(a) && a.done }, plain: clean, echo: clean},
		{fault: "stall:for=1ms", outcome: "completed", stream: func(a answer) bool { return clean(a) && a.done && a.content == 6 }, plain: clean, echo: clean},
		{fault: "slow-header:for=1ms", outcome: "completed", stream: func(a answer) bool { return clean(a) && a.done && a.content == 6 }, plain: clean, echo: clean},
	} {
		t.Run(c.fault, func(t *testing.T) {
			s := start(t, quick(c.fault))
			if c.plain == nil {
				c.plain = c.stream
			}
			if c.echo == nil {
				c.echo = c.stream
			}
			if a := s.ask("POST", chatPath, chatBody); !c.stream(a) {
				t.Errorf("streamed: %d %v %d events, %d bytes: %.500q", a.status, a.err, a.content, len(a.body), a.body)
			}
			if a := s.ask("POST", chatPath, plain); !c.plain(a) {
				t.Errorf("not streamed: %d %v %.200q", a.status, a.err, a.body)
			}
			if a := s.ask("PUT", "/echo", `{"n": 1, "x": "abcdefgh"}`, "Content-Type", "application/json"); !c.echo(a) {
				t.Errorf("echo: %d %v %.200q", a.status, a.err, a.body)
			}
			s.expect(c.outcome, c.fault)
		})
	}
}

func TestRequestsRefused(t *testing.T) {
	cfg := quick()
	cfg.Model, cfg.APIKey, cfg.Context = "m", "secret", 50
	s := start(t, cfg)
	key := []string{"Authorization", "Bearer secret"}
	chat := func(rest string) string {
		return `{"model":"m","messages":[{"role":"user","content":"hi"}]` + rest + `}`
	}
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		want                     string
	}{
		{"good", "POST", chatPath, chat(`,"max_tokens":2`), key, 200, `"completion_tokens":2`},
		{"parts", "POST", chatPath, `{"model":"m","max_tokens":2,"messages":[{"role":"user","content":[{"type":"text","text":"a b"},{"type":"text","text":"c"}]}]}`, key, 200, `"prompt_tokens":3`},
		{"token numbers", "POST", "/v1/completions", `{"model":"m","max_tokens":2,"prompt":[1,2,3,4]}`, key, 200, `"prompt_tokens":4`},
		{"one text in a list", "POST", "/v1/completions", `{"model":"m","max_tokens":2,"prompt":["a b"]}`, key, 200, `"prompt_tokens":2`},
		{"no key", "POST", chatPath, chat(""), nil, 401, "Incorrect API key"},
		{"wrong key", "POST", chatPath, chat(""), []string{"Authorization", "Bearer secrets"}, 401, "Incorrect API key"},
		{"models without key", "GET", "/v1/models", "", nil, 401, "Incorrect API key"},
		{"models", "GET", "/v1/models", "", key, 200, `"id":"m"`},
		{"health", "GET", "/health", "", nil, 200, "ok"},
		{"wrong model", "POST", chatPath, `{"model":"x","messages":[{"role":"user","content":"hi"}]}`, key, 404, `The model \"x\" does not exist.`},
		{"n", "POST", chatPath, chat(`,"n":2`), key, 400, "n = 2 is not supported"},
		{"no tokens", "POST", chatPath, chat(`,"max_tokens":0`), key, 400, "max_tokens = 0 is not between"},
		{"too many tokens", "POST", chatPath, chat(`,"max_completion_tokens":1000001`), key, 400, "is not between 1 and 1000000"},
		{"context", "POST", chatPath, chat(`,"max_tokens":50`), key, 400, "more than the context of 50"},
		{"not JSON", "POST", chatPath, `{"model":`, key, 400, "not a JSON object"},
		{"no messages", "POST", chatPath, `{"model":"m"}`, key, 400, "messages is empty"},
		{"content of no kind", "POST", chatPath, `{"model":"m","messages":[{"content":7}]}`, key, 400, "messages[0].content is neither"},
		{"no prompt", "POST", "/v1/completions", `{"model":"m"}`, key, 400, "prompt is missing"},
		{"two prompts", "POST", "/v1/completions", `{"model":"m","prompt":["a","b"]}`, key, 400, "prompt holds 2 texts"},
		{"prompt of no kind", "POST", "/v1/completions", `{"model":"m","prompt":{}}`, key, 400, "prompt is neither"},
		{"unknown route", "GET", "/v2/x", "", key, 404, "There is no GET /v2/x here."},
		{"too large a header", "GET", "/health", "", []string{"X-Long", strings.Repeat("x", MaxHeader+8<<10)}, 431, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.ask(c.method, c.path, c.body, c.header...)
			if a.status != c.status || !strings.Contains(a.body, c.want) {
				t.Errorf("%d %v %s; want %d with %q", a.status, a.err, a.body, c.status, c.want)
			}
		})
	}
}

// zeros is a body of so many bytes.
type zeros struct{ left int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left <= 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.left)
	z.left -= n
	return int(n), nil
}

func TestBodyTooLarge(t *testing.T) {
	s, err := New(quick())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, length := range []int64{-1, MaxBody + 1} { // chunked, and announced
		w := newSink(s)
		req, err := http.NewRequestWithContext(t.Context(), "POST", "/echo", &zeros{MaxBody + 1})
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = length
		s.Handler().ServeHTTP(w, req)
		if w.status != http.StatusRequestEntityTooLarge {
			t.Errorf("length %d: status %d", length, w.status)
		}
	}
}

func TestHTTP2WithoutTLS(t *testing.T) {
	s := start(t, quick("reset:from=1"))
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	s.client = &http.Client{Transport: transport}
	resp, err := s.do("POST", chatPath, chatBody)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.ProtoMajor != 2 || !strings.HasSuffix(string(body), doneEvent) {
		t.Errorf("%s, %v: %s", resp.Proto, err, body)
	}
	if a := s.ask("POST", chatPath, chatBody); a.err == nil {
		t.Errorf("a reset stream reads to its end: %+v", a)
	}
}

// TestTruthIsWhatClientsSaw: counts, tokens, arrivals and their bodies.
func TestTruthIsWhatClientsSaw(t *testing.T) {
	s := start(t, quick())
	seen, events := 0, 0
	for i := range 20 {
		arrival := "hold/" + string(rune('0'+i%10)) + "/0"
		a := s.ask("POST", chatPath, chatBody, headerRun, "r1", headerArrival, arrival)
		seen++
		events += a.content
	}
	s.ask("POST", "/echo", "x", headerRun, "r2", headerArrival, "users/3.1.12/2")
	s.ask("POST", "/echo", "y", headerRun, "r2", headerArrival, "users/3.1.12/2")
	s.ask("POST", "/echo", "y", headerRun, "r2", headerArrival, "nonsense")
	truth := s.settled()
	if got := truth.Routes["chat"]; got.Begun != uint64(seen) || got.Completed != uint64(seen) {
		t.Errorf("chat: %+v, the client saw %d", got, seen)
	}
	if truth.CompletionTokens != uint64(events) || truth.PromptTokens != uint64(3*seen) {
		t.Errorf("%d tokens out and %d in, the client saw %d and sent %d", truth.CompletionTokens, truth.PromptTokens, events, 3*seen)
	}
	if truth.TTFT.Count != uint64(seen) || truth.ITL.Count != uint64(events-seen) {
		t.Errorf("%d first tokens and %d gaps of %d answers with %d events", truth.TTFT.Count, truth.ITL.Count, seen, events)
	}
	if truth.Statuses["200"] != uint64(seen+3) {
		t.Errorf("statuses: %v", truth.Statuses)
	}
	if len(truth.Runs) != 2 || truth.ArrivalsUnread != 1 {
		t.Fatalf("runs: %+v, %d unread", truth.Runs, truth.ArrivalsUnread)
	}
	if r := truth.Runs[0]; r.Run != "r1" || r.Arrivals != 10 || r.Requests != 20 || r.Duplicates != 10 || r.Conflicts != 0 {
		t.Errorf("run 1: %+v", r)
	}
	if r := truth.Runs[1]; r.Run != "r2" || r.Arrivals != 1 || r.Duplicates != 1 || r.Conflicts != 1 {
		t.Errorf("run 2: %+v", r)
	}
	var sum uint32
	for _, n := range truth.Arrivals.Counts {
		sum += n
	}
	if sum != uint32(seen+3) {
		t.Errorf("the timeline holds %d requests, not %d", sum, seen+3)
	}
	golden(t, "arrivals.ndjson", []byte(s.ask("GET", "/truth/arrivals?run=r2", "").body))
	if all := s.ask("GET", "/truth/arrivals", "").body; strings.Count(all, "\n") != 11 {
		t.Errorf("all arrivals:\n%s", all)
	}
	s.reset()
}

// reset clears the truth and looks at what is left.
func (r *running) reset() {
	r.t.Helper()
	if a := r.ask("POST", "/truth/reset", ""); a.status != http.StatusNoContent {
		r.t.Errorf("reset: %d", a.status)
	}
	var truth Truth
	if err := json.Unmarshal([]byte(r.ask("GET", "/truth", "").body), &truth); err != nil {
		r.t.Fatal(err)
	}
	if truth.Routes["chat"].Begun != 0 || len(truth.Runs) != 0 || truth.TTFT.Count != 0 || len(truth.Arrivals.Counts) != 0 {
		r.t.Errorf("after a reset: %+v", truth)
	}
}

// TestServeEnds: the end of the context cuts a stream in progress, and Serve returns.
func TestServeEnds(t *testing.T) {
	cfg := quick()
	cfg.Fixed.ITL = Fixed(time.Hour)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	resp, err := http.Post("http://"+ln.Addr().String()+chatPath, "application/json", strings.NewReader(chatBody))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("a stream that was cut reads to a clean end")
	}
	if got := s.Truth().Routes["chat"]; got.Canceled != 1 {
		t.Errorf("truth: %+v", got)
	}
}

func TestServeReturnsListenerError(t *testing.T) {
	s, err := New(quick())
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve on a closed listener: %v", err)
	}
}

func BenchmarkEcho(b *testing.B) {
	s, err := New(quick())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	w := newSink(s)
	b.ReportAllocs()
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), "POST", "/echo", strings.NewReader("hello"))
		if err != nil {
			b.Fatal(err)
		}
		w.body.Reset()
		s.Handler().ServeHTTP(w, req)
	}
}

// BenchmarkStreamToken reports per token; the cost of a request is spread over a thousand.
func BenchmarkStreamToken(b *testing.B) {
	s, err := New(quick())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	w := newSink(s)
	const tokens = 1000
	body := strings.Replace(chatBody, `"max_tokens":6`, `"max_tokens":1000`, 1)
	b.ReportAllocs()
	for n := 0; n < b.N; n += tokens {
		req, err := http.NewRequestWithContext(b.Context(), "POST", chatPath, strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		w.body.Reset()
		w.writes = w.writes[:0]
		s.Handler().ServeHTTP(w, req)
	}
}
