package wire

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/loadline/loadline/agent/wire/wiretest"
	"github.com/loadline/loadline/internal/measure"
)

// recorder is a sink that notes what it is given.
type recorder struct {
	body  strings.Builder
	at    []measure.Instant
	heads int
	wait  Wait  // what it says to everything
	err   error // what it ends the exchange with at the first piece
}

func (r *recorder) Head(*Exchange) (Wait, error) { r.heads++; return r.wait, nil }

func (r *recorder) Body(p []byte, at measure.Instant) (Wait, error) {
	r.body.Write(p)
	r.at = append(r.at, at)
	return r.wait, r.err
}

// short are time limits that no test waits out unless it means to.
var short = Timeouts{Connect: 5 * time.Second, First: 5 * time.Second, Stall: 5 * time.Second, Total: 5 * time.Second}

func newClient(t testing.TB, cfg Config) *Client {
	t.Helper()
	if cfg.Local.Now == nil {
		cfg.Local.Now = wiretest.Clock()
	}
	if cfg.Timeouts == (Timeouts{}) {
		cfg.Timeouts = short
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func get(path string) *Request { return &Request{Method: "GET", Path: path} }

func post(body string) *Request { return &Request{Method: "POST", Path: "/", Body: []byte(body)} }

// checkOrder fails the test unless the instants that were reached are in the order of metrics.md.
func checkOrder(t testing.TB, ex *Exchange, reads ...measure.Instant) {
	t.Helper()
	all := append([]measure.Instant{ex.Dispatched, ex.Connected, ex.Sent, ex.FirstByte}, reads...)
	all = append(all, ex.End)
	last := measure.None
	for i, at := range all {
		if !at.Reached() {
			continue
		}
		if at < last {
			t.Errorf("instant %d is before the one before it: %v", i, all)
		}
		last = at
	}
	if !ex.End.Reached() {
		t.Error("end is not set")
	}
}

func class(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return fmt.Sprint(err)
}

const okHead = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

func TestResponses(t *testing.T) {
	for _, c := range []struct {
		name   string
		method string
		answer []string
		status int
		body   string
		class  string // of failure; empty: none
		reuse  bool
	}{
		{name: "length", answer: []string{okHead + "Content-Length: 5\r\n\r\nhello"}, status: 200, body: "hello", reuse: true},
		{name: "length in pieces", answer: []string{"HTTP/1.1 2", "00 OK\r\nContent-Le", "ngth: 5\r\n", "\r\nhe", "llo"}, status: 200, body: "hello", reuse: true},
		{name: "chunked", answer: []string{okHead + "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", "2\r\nlo\r\n", "0\r\n\r\n"}, status: 200, body: "hello", reuse: true},
		{name: "chunked with trailer", answer: []string{okHead + "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"}, status: 200, body: "hello", reuse: true},
		{name: "interim responses", answer: []string{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", okHead + "Content-Length: 2\r\n\r\nok"}, status: 200, body: "ok", reuse: true},
		{name: "no content", answer: []string{"HTTP/1.1 204 No Content\r\n\r\n"}, status: 204, reuse: true},
		{name: "not modified", answer: []string{"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"}, status: 304, reuse: true},
		{name: "head", method: "HEAD", answer: []string{okHead + "Content-Length: 5\r\n\r\n"}, status: 200, reuse: true},
		{name: "close announced", answer: []string{okHead + "Connection: close\r\nContent-Length: 2\r\n\r\nok"}, status: 200, body: "ok"},
		{name: "http 1.0", answer: []string{"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"}, status: 200, body: "ok"},
		{name: "redirect is not followed", answer: []string{"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"}, status: 307, reuse: true},
		{name: "something after the answer", answer: []string{okHead + "Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK"}, status: 200, body: "ok"},
		{name: "garbage", answer: []string{"SSH-2.0-OpenSSH_9.6\r\n\r\n\r\n"}, class: measure.ClassMalformed},
		{name: "binary garbage", answer: []string{"\x00\x01\x02\x03\r\n\r\n"}, class: measure.ClassMalformed},
		{name: "bad status", answer: []string{"HTTP/1.1 2x0 OK\r\n\r\n"}, class: measure.ClassMalformed},
		{name: "two lengths", answer: []string{okHead + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!"}, class: measure.ClassMalformed},
		{name: "bad header line", answer: []string{"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n"}, class: measure.ClassMalformed},
		{name: "bad chunk size", answer: []string{okHead + "Transfer-Encoding: chunked\r\n\r\nxyz\r\nhello"}, status: 200, class: measure.ClassMalformed},
		{name: "endless interim responses", answer: []string{strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100)}, class: measure.ClassMalformed},
		{name: "header too long", answer: []string{okHead + "X: " + strings.Repeat("x", MaxHead) + "\r\n\r\n"}, class: measure.ClassOversized},
		{name: "too many headers", answer: []string{okHead + strings.Repeat("X: y\r\n", MaxHead/6+1) + "\r\n"}, class: measure.ClassOversized},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := wiretest.Answer(t, c.answer...)
			client := newClient(t, Config{URL: "http://" + addr})
			var ex Exchange
			req := get("/x")
			if c.method != "" {
				req.Method = c.method
			}
			var r recorder
			err := client.Do(wiretest.Context(t), req, &ex, &r)
			if c.class != "" {
				if class(err) != c.class {
					t.Fatalf("error %v of class %s, want %s", err, class(err), c.class)
				}
				checkOrder(t, &ex, r.at...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if ex.Status != c.status || r.body.String() != c.body {
				t.Errorf("status %d, body %q", ex.Status, r.body.String())
			}
			if !ex.NewConnection || ex.BytesIn < uint64(len(c.body)) || ex.BytesOut == 0 {
				t.Errorf("new connection %v, %d bytes in, %d out", ex.NewConnection, ex.BytesIn, ex.BytesOut)
			}
			checkOrder(t, &ex, r.at...)
			err = client.Do(wiretest.Context(t), req, &ex, &recorder{})
			if err != nil {
				t.Fatal(err)
			}
			if ex.NewConnection == c.reuse {
				t.Errorf("second exchange: new connection %v, want %v", ex.NewConnection, !c.reuse)
			}
			if c.reuse && ex.Connected != ex.Dispatched {
				t.Error("on reuse, connected must equal dispatched")
			}
		})
	}
}

func TestRequestOnTheWire(t *testing.T) {
	type seen struct {
		method, uri, host, agent, key, length, encoding string
	}
	got := make(chan seen, 1)
	addr := wiretest.Serve(t, func(_ int, c *wiretest.Conn) {
		for r := c.Request(); r != nil; r = c.Request() {
			got <- seen{
				r.Method, r.RequestURI, r.Host, r.UserAgent(), r.Header.Get("x-key"),
				fmt.Sprint(r.ContentLength), r.Header.Get("Accept-Encoding"),
			}
			c.Send(okHead + "Content-Length: 0\r\n\r\n")
		}
	})
	client := newClient(t, Config{URL: "http://" + addr + "/v1/"})
	for _, c := range []struct {
		name string
		req  Request
		want seen
	}{
		{"get", Request{Method: "GET", Path: "/a?b=c%20d"}, seen{"GET", "/v1/a?b=c%20d", addr, "loadline", "", "0", ""}},
		{"post", Request{Method: "POST", Path: "/a", Body: []byte("hello")}, seen{"POST", "/v1/a", addr, "loadline", "", "5", ""}},
		{"empty post", Request{Method: "POST", Path: "/a"}, seen{"POST", "/v1/a", addr, "loadline", "", "0", ""}},
		{"large body", Request{Method: "PUT", Path: "/", Body: make([]byte, 1<<20)}, seen{"PUT", "/v1/", addr, "loadline", "", "1048576", ""}},
		{
			"headers", Request{Method: "GET", Path: "/a", Header: []Header{{"host", "example.test"}, {"USER-AGENT", "me"}, {"X-Key", "v"}}},
			seen{"GET", "/v1/a", "example.test", "me", "v", "0", ""},
		},
		{"what may not stand there", Request{Method: "GET", Path: "/ü b#c"}, seen{"GET", "/v1/%C3%BC%20b%23c", addr, "loadline", "", "0", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ex Exchange
			if err := client.Do(wiretest.Context(t), &c.req, &ex, &recorder{}); err != nil {
				t.Fatal(err)
			}
			if s := <-got; s != c.want {
				t.Errorf("got  %+v\nwant %+v", s, c.want)
			}
		})
	}
}

func TestRequestsThatCannotBeSent(t *testing.T) {
	dialed := 0
	client := newClient(t, Config{URL: "http://127.0.0.1:1", Local: Local{Now: wiretest.Clock(), Dial: noDial(&dialed)}})
	for _, req := range []Request{
		{Method: "G T", Path: "/"},
		{Method: "", Path: "/"},
		{Method: "GET", Path: "/", Header: []Header{{"a b", "c"}}},
		{Method: "GET", Path: "/", Header: []Header{{"a", "secret\r\nX: y"}}},
		{Method: "GET", Path: "/", Header: []Header{{"content-length", "5"}}},
		{Method: "GET", Path: "/", Header: []Header{{"Transfer-Encoding", "chunked"}}},
	} {
		var ex Exchange
		err := client.Do(wiretest.Context(t), &req, &ex, &recorder{})
		if class(err) != measure.ClassSend || strings.Contains(err.Error(), "secret") || !ex.End.Reached() {
			t.Errorf("%+v: %v", req, err)
		}
	}
	if dialed > 0 {
		t.Error("a connection was opened for them")
	}
}

func TestBadURLs(t *testing.T) {
	for _, u := range []string{
		"", "127.0.0.1:80", "ftp://x", "http://", "http://user:hunter2@x", "http://x/?a=b", "http://x/#f", "http://x:y", "sim://small",
		"http://user:hunter2@x:bad",
	} {
		_, err := New(Config{URL: u, Local: Local{Now: wiretest.Clock()}})
		if err == nil {
			t.Errorf("%q is accepted", u)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error quotes the password: %v", err)
		}
	}
	if _, err := New(Config{URL: "http://x"}); err == nil {
		t.Error("a client without a clock is made")
	}
}

func TestSinkEndsTheExchange(t *testing.T) {
	conns := make(chan int, 4)
	addr := wiretest.Serve(t, func(n int, c *wiretest.Conn) {
		conns <- n
		for c.Request() != nil {
			c.Send(okHead+"Content-Length: 10\r\n\r\nhello", "world")
		}
	})
	client := newClient(t, Config{URL: "http://" + addr})
	var ex Exchange
	stop := errors.New("enough")
	for range 2 {
		r := &recorder{err: stop}
		if err := client.Do(wiretest.Context(t), get("/"), &ex, r); err != stop {
			t.Fatalf("error %v, want the sink's own", err)
		}
		if r.body.String() != "hello" || !ex.NewConnection {
			t.Errorf("body %q, new connection %v", r.body.String(), ex.NewConnection)
		}
	}
}

func TestEnvironmentProxyIsNotUsed(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	addr := wiretest.Answer(t, okHead+"Content-Length: 0\r\n\r\n")
	var ex Exchange
	if err := newClient(t, Config{URL: "http://" + addr}).Do(wiretest.Context(t), get("/"), &ex, &recorder{}); err != nil {
		t.Error(err)
	}
}

func TestReadsShareInstantsOnlyWithinARead(t *testing.T) {
	addr := wiretest.Serve(t, func(_ int, c *wiretest.Conn) {
		for c.Request() != nil {
			c.Send(okHead+"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n", "1\r\nc\r\n", "0\r\n\r\n")
		}
	})
	var ex Exchange
	r := &recorder{wait: Progress}
	if err := newClient(t, Config{URL: "http://" + addr}).Do(wiretest.Context(t), get("/"), &ex, r); err != nil {
		t.Fatal(err)
	}
	distinct := map[measure.Instant]bool{}
	for _, at := range r.at {
		distinct[at] = true
	}
	if r.body.String() != "abc" || len(distinct) != 2 {
		t.Errorf("body %q, instants %v", r.body.String(), r.at)
	}
	if ex.FirstByte != r.at[0] || ex.End <= r.at[len(r.at)-1] {
		t.Errorf("first byte %v, reads %v, end %v", ex.FirstByte, r.at, ex.End)
	}
	checkOrder(t, &ex, r.at...)
}

func TestCanceledBeforeItBegins(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the phase has ended"))
	dialed := 0
	client := newClient(t, Config{URL: "http://127.0.0.1:1", Local: Local{Now: wiretest.Clock(), Dial: noDial(&dialed)}})
	var ex Exchange
	err := client.Do(ctx, get("/"), &ex, &recorder{})
	if class(err) != measure.ClassCanceled || err.Error() != "the phase has ended" || !ex.End.Reached() || dialed > 0 {
		t.Errorf("%v (%s), end %v, %d dials", err, class(err), ex.End, dialed)
	}
}
