package wire

import (
	"bytes"
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loadline/loadline/agent/wire/wiretest"
	"github.com/loadline/loadline/internal/measure"
)

// TestFailures has every class but those of TLS and HTTP/2, which have tests of their own.
func TestFailures(t *testing.T) {
	chunk := okHead + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
	wait := func(f func(*Timeouts)) Timeouts { o := short; f(&o); return o }
	limit := 200 * time.Millisecond
	for _, c := range []struct {
		name   string
		script func(c *wiretest.Conn)
		req    *Request
		o      Timeouts
		says   Wait
		class  string
		status int
		body   string
	}{
		{name: "closed without an answer", script: func(c *wiretest.Conn) { c.Request() }, class: measure.ClassReset},
		{name: "reset without an answer", script: func(c *wiretest.Conn) { c.Request(); c.Break() }, class: measure.ClassReset},
		{name: "closed within the status line", script: func(c *wiretest.Conn) { c.Request(); c.Send("HTTP/1.1 2") }, class: measure.ClassReset},
		{name: "closed within the headers", script: func(c *wiretest.Conn) { c.Request(); c.Send(okHead) }, class: measure.ClassReset},
		{name: "closed within a length body", script: func(c *wiretest.Conn) { c.Request(); c.Send(okHead + "Content-Length: 10\r\n\r\nhello") }, class: measure.ClassTruncated, status: 200, body: "hello"},
		{name: "closed within a chunk", script: func(c *wiretest.Conn) {
			c.Request()
			c.Send(okHead + "Transfer-Encoding: chunked\r\n\r\n10\r\nhello")
		}, class: measure.ClassTruncated, status: 200, body: "hello"},
		{name: "closed between chunks", script: func(c *wiretest.Conn) { c.Request(); c.Send(chunk) }, class: measure.ClassTruncated, status: 200, body: "hello"},
		{name: "reset within the body", script: func(c *wiretest.Conn) {
			c.Request()
			c.Send(chunk)
			time.Sleep(5 * time.Millisecond)
			c.Break()
		}, class: measure.ClassReset, status: 200, body: "hello"},
		{name: "reset while sending", script: func(c *wiretest.Conn) { time.Sleep(20 * time.Millisecond); c.Break() }, req: post(strings.Repeat("x", 16<<20)), class: measure.ClassSend},
		{name: "a header of 1 MiB", script: func(c *wiretest.Conn) {
			c.Request()
			c.Send(okHead + "X: " + strings.Repeat("x", 1<<20) + "\r\n\r\n")
			c.Hang()
		}, class: measure.ClassOversized},
		{name: "1 MiB of headers", script: func(c *wiretest.Conn) {
			c.Request()
			c.Send(okHead + strings.Repeat("X-Long-Name: a value of some length\r\n", 30_000) + "\r\n")
			c.Hang()
		}, class: measure.ClassOversized},
		{name: "wrong chunk size", script: func(c *wiretest.Conn) {
			c.Request()
			c.Send(okHead + "Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n")
		}, class: measure.ClassMalformed, status: 200, body: "he"},
		{name: "two lengths", script: func(c *wiretest.Conn) {
			c.Request()
			c.Send(okHead + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!")
		}, class: measure.ClassMalformed},
		{name: "hangs before the headers", script: func(c *wiretest.Conn) { c.Hang() }, o: wait(func(o *Timeouts) { o.First = limit }), class: measure.ClassFirstTokenTimeout},
		{name: "hangs while sending", script: func(c *wiretest.Conn) { time.Sleep(500 * time.Millisecond) }, req: post(strings.Repeat("x", 16<<20)), o: wait(func(o *Timeouts) { o.First = limit }), class: measure.ClassFirstTokenTimeout},
		{name: "hangs within the headers", script: func(c *wiretest.Conn) { c.Request(); c.Send(okHead); c.Hang() }, o: wait(func(o *Timeouts) { o.First = limit }), class: measure.ClassFirstTokenTimeout},
		{name: "nothing that counts", script: func(c *wiretest.Conn) { c.Request(); c.Send(chunk); c.Hang() }, o: wait(func(o *Timeouts) { o.First = limit }), class: measure.ClassFirstTokenTimeout, status: 200, body: "hello"},
		{name: "hangs in the middle", script: func(c *wiretest.Conn) { c.Request(); c.Send(chunk); c.Hang() }, o: wait(func(o *Timeouts) { o.Stall = limit }), says: Progress, class: measure.ClassStallTimeout, status: 200, body: "hello"},
		{name: "too long in all", script: func(c *wiretest.Conn) { c.Request(); c.Send(chunk); c.Hang() }, o: wait(func(o *Timeouts) { o.Total = limit }), says: Progress, class: measure.ClassTotalTimeout, status: 200, body: "hello"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr := wiretest.Serve(t, func(_ int, conn *wiretest.Conn) { c.script(conn) })
			client := newClient(t, Config{URL: "http://" + addr, Timeouts: c.o})
			req := c.req
			if req == nil {
				req = get("/")
			}
			var ex Exchange
			r := &recorder{wait: c.says}
			err := client.Do(wiretest.Context(t), req, &ex, r)
			if class(err) != c.class || ex.Status != c.status || r.body.String() != c.body {
				t.Errorf("%v (%s), status %d, body %q; want %s, %d, %q", err, class(err), ex.Status, r.body.String(), c.class, c.status, c.body)
			}
			checkOrder(t, &ex, r.at...)
			if client.pool.pop() != nil {
				t.Error("the connection was kept")
			}
		})
	}
}

func TestConnectFailures(t *testing.T) {
	silent := wiretest.Serve(t, func(_ int, c *wiretest.Conn) { c.Hang() })
	closed := closedPort(t)
	noNames := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server in this test")
	}}
	limited := short
	limited.Connect = 50 * time.Millisecond
	hang := func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	forbid := func(_, address string, _ syscall.RawConn) error { return errors.New("not on the list: " + address) }
	for _, c := range []struct {
		name, url string
		local     Local
		class     string
		text      string
	}{
		{"nobody listens", "http://" + closed, Local{}, measure.ClassConnect, "refused"},
		{"unknown name", "http://target.invalid", Local{Resolver: noNames}, measure.ClassDNS, "target.invalid"},
		{"no answer to the call", "http://127.0.0.1:1", Local{Dial: hang}, measure.ClassConnectTimeout, "in time"},
		{"no answer to the handshake", "https://" + silent, Local{}, measure.ClassConnectTimeout, "in time"},
		{"the guard forbids", "http://" + silent, Local{Control: forbid}, measure.ClassRefused, "not on the list: " + silent},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.local.Now = wiretest.Clock()
			client := newClient(t, Config{URL: c.url, Timeouts: limited, Local: c.local})
			var ex Exchange
			err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{})
			if class(err) != c.class || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v (%s), want %s", err, class(err), c.class)
			}
			if ex.Connected.Reached() || ex.NewConnection || !ex.End.Reached() {
				t.Errorf("connected %v, new %v, end %v", ex.Connected, ex.NewConnection, ex.End)
			}
		})
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestCancel(t *testing.T) {
	cause := errors.New("stop")
	for name, pieces := range map[string][]string{
		"before the head":     nil,
		"within the head":     {okHead},
		"in the middle":       {okHead + "Content-Length: 10\r\n\r\nhello"},
		"behind the deadline": {okHead + "Content-Length: 10\r\n\r\n", "h", "e", "l", "l", "o"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(wiretest.Context(t))
			addr := wiretest.Serve(t, func(_ int, c *wiretest.Conn) {
				c.Request()
				c.Send(pieces...)
				time.Sleep(5 * time.Millisecond)
				cancel(cause)
				c.Hang()
			})
			var ex Exchange
			client := newClient(t, Config{URL: "http://" + addr})
			err := client.Do(ctx, get("/"), &ex, &recorder{})
			if class(err) != measure.ClassCanceled || !errors.Is(err, cause) || !ex.End.Reached() {
				t.Errorf("%v (%s), end %v", err, class(err), ex.End)
			}
			if client.pool.pop() != nil {
				t.Error("the connection was kept")
			}
		})
	}
}

// TestNothingIsReplayed: whatever the server does to a connection that is used again, each request
// reaches it at most once.
func TestNothingIsReplayed(t *testing.T) {
	for _, c := range []struct {
		name   string
		method string
		second func(c *wiretest.Conn) // what it does at the second request of a connection
	}{
		{"closes on the second request", "GET", func(c *wiretest.Conn) { c.Request() }},
		{"resets on the second request", "GET", func(c *wiretest.Conn) { c.Request(); c.Break() }},
		{"post without a body", "POST", func(c *wiretest.Conn) { c.Request() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var requests, conns atomic.Int64
			addr := wiretest.Serve(t, func(_ int, conn *wiretest.Conn) {
				conns.Add(1)
				if conn.Request() == nil {
					return
				}
				requests.Add(1)
				conn.Send(okHead + "Content-Length: 0\r\n\r\n")
				_ = conn.SetReadDeadline(time.Now().Add(wiretest.Patience))
				if conn.Peek() {
					requests.Add(1)
					c.second(conn)
				}
			})
			client := newClient(t, Config{URL: "http://" + addr})
			const exchanges = 10
			failed := 0
			for i := range exchanges {
				var ex Exchange
				err := client.Do(wiretest.Context(t), &Request{Method: c.method, Path: "/"}, &ex, &recorder{})
				switch {
				case i%2 == 0 && err != nil:
					t.Fatal(err)
				case i%2 == 1 && (class(err) != measure.ClassReset || !strings.Contains(err.Error(), "reused")):
					t.Fatalf("%v (%s)", err, class(err))
				case err != nil:
					failed++
				}
				if ex.NewConnection != (i%2 == 0) {
					t.Errorf("exchange %d: new connection %v", i, ex.NewConnection)
				}
			}
			if requests.Load() != exchanges || conns.Load() != exchanges/2 || failed != exchanges/2 {
				t.Errorf("%d requests over %d connections, %d failed", requests.Load(), conns.Load(), failed)
			}
		})
	}
}

// TestContinue: a server that says to go on before it has the request, and one that answers after that, are heard.
func TestContinue(t *testing.T) {
	addr := wiretest.Serve(t, func(_ int, c *wiretest.Conn) {
		c.Send("HTTP/1.1 100 Continue\r\n\r\n")
		if c.Request() != nil {
			c.Send(okHead+"Content-Length: 2\r\n\r\n", "ok")
		}
		c.Hang()
	})
	var ex Exchange
	r := new(recorder)
	err := newClient(t, Config{URL: "http://" + addr}).Do(wiretest.Context(t), post(strings.Repeat("x", 1<<20)), &ex, r)
	if err != nil || ex.Status != 200 || r.body.String() != "ok" || !ex.Sent.Reached() {
		t.Errorf("%v, status %d, body %q", err, ex.Status, r.body.String())
	}
	checkOrder(t, &ex, r.at...)
}

// TestServerClosesAfterEachAnswer: announced, every request opens a connection of its own and none is found dead.
func TestServerClosesAfterEachAnswer(t *testing.T) {
	addr := wiretest.Serve(t, func(_ int, c *wiretest.Conn) {
		c.Request()
		c.Send(okHead + "Connection: close\r\nContent-Length: 2\r\n\r\nok")
	})
	client := newClient(t, Config{URL: "http://" + addr})
	for range 3 {
		var ex Exchange
		if err := client.Do(wiretest.Context(t), post("x"), &ex, &recorder{}); err != nil || !ex.NewConnection || ex.Stale != 0 {
			t.Errorf("%v, new connection %v, %d stale", err, ex.NewConnection, ex.Stale)
		}
	}
}

// TestClosedIdleConnection: a connection that the server has closed is found out before anything is
// written to it; another is opened, and it is counted.
func TestClosedIdleConnection(t *testing.T) {
	closed := make(chan bool, 1)
	addr := wiretest.Serve(t, func(_ int, c *wiretest.Conn) {
		c.Request()
		c.Send(okHead + "Content-Length: 2\r\n\r\nok")
		_ = c.Close()
		closed <- true
	})
	client := newClient(t, Config{URL: "http://" + addr})
	for i := range 3 {
		var ex Exchange
		if err := client.Do(wiretest.Context(t), post("x"), &ex, &recorder{}); err != nil {
			t.Fatal(err)
		}
		if want := min(i, 1); ex.Stale != uint32(want) || !ex.NewConnection {
			t.Errorf("exchange %d: %d stale, new connection %v", i, ex.Stale, ex.NewConnection)
		}
		<-closed
		time.Sleep(2 * time.Millisecond) // the close is on its way
	}
}

// TestAnswerBeforeTheRequestIsRead: a server that refuses a large body is heard.
func TestAnswerBeforeTheRequestIsRead(t *testing.T) {
	addr := wiretest.Serve(t, func(_ int, c *wiretest.Conn) {
		c.Send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nlong")
		if tc, ok := c.Conn.(*net.TCPConn); ok {
			_ = tc.CloseWrite()
		}
		time.Sleep(20 * time.Millisecond)
	})
	client := newClient(t, Config{URL: "http://" + addr})
	var ex Exchange
	r := new(recorder)
	err := client.Do(wiretest.Context(t), post(strings.Repeat("x", 16<<20)), &ex, r)
	if class(err) == measure.ClassSend {
		t.Skip("the system threw the answer away")
	}
	if err != nil || ex.Status != 413 || r.body.String() != "long" || ex.Sent.Reached() {
		t.Errorf("%v (%s), status %d, body %q, sent %v", err, class(err), ex.Status, r.body.String(), ex.Sent)
	}
	if client.pool.pop() != nil {
		t.Error("the connection was kept")
	}
}

// TestEndlessBody: the body is bounded, and so is the memory it takes, whether its 10 GiB were announced or not.
func TestEndlessBody(t *testing.T) {
	mega := bytes.Repeat([]byte("x"), 1<<20)
	for _, head := range []string{"", "Content-Length: 10737418240\r\n"} {
		addr := wiretest.Serve(t, func(_ int, c *wiretest.Conn) {
			c.Request()
			c.Send(okHead + head + "\r\n")
			for {
				if _, err := c.Write(mega); err != nil {
					return
				}
			}
		})
		client := newClient(t, Config{URL: "http://" + addr, Timeouts: Timeouts{Total: wiretest.Patience}})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var ex Exchange
		sink := new(counter)
		err := client.Do(wiretest.Context(t), get("/"), &ex, sink)
		runtime.ReadMemStats(&after)
		if class(err) != measure.ClassOversized || sink.bytes > MaxBody {
			t.Errorf("%q: %v (%s) after %d bytes", head, err, class(err), sink.bytes)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20 {
			t.Errorf("%q: %d bytes were allocated", head, took)
		}
	}
}

// counter is a sink that counts.
type counter struct{ bytes, reads int }

func (*counter) Head(*Exchange) (Wait, error) { return Progress, nil }

func (c *counter) Body(p []byte, _ measure.Instant) (Wait, error) {
	c.bytes += len(p)
	c.reads++
	return Progress, nil
}

// pipe dials one end of a net.Pipe and plays the script on the other.
func pipe(script func(c *wiretest.Conn)) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			script(wiretest.On(server))
		}()
		return client, nil
	}
}

// TestLimitsMoveOn: in fake time, a stream that always says something within the stall limit goes on
// for as long as it likes, and ends exactly one limit after its last word.
func TestLimitsMoveOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const words = 100
		gap := 29 * time.Second
		begin := time.Now()
		client, err := New(Config{
			URL:      "http://target",
			Timeouts: Timeouts{Connect: time.Second, First: time.Minute, Stall: 30 * time.Second, Total: 24 * time.Hour},
			Local: Local{
				Now: func() measure.Instant { return measure.Instant(time.Since(begin)) },
				Dial: pipe(func(c *wiretest.Conn) {
					c.Request()
					c.Send(okHead + "\r\n")
					for range words {
						time.Sleep(gap)
						c.Send("word")
					}
					c.RequestBy(time.Hour) // until the client closes
				}),
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		var ex Exchange
		sink := new(counter)
		err = client.Do(t.Context(), get("/"), &ex, sink)
		if class(err) != measure.ClassStallTimeout || sink.reads != words {
			t.Errorf("%v (%s) after %d reads", err, class(err), sink.reads)
		}
		want := measure.Instant(words*gap + 30*time.Second)
		if ex.End < want || ex.End > want+measure.Instant(time.Millisecond) {
			t.Errorf("ended at %v, want %v", time.Duration(ex.End), time.Duration(want))
		}
		client.Close()
	})
}

// TestIdleConnectionsExpire: in fake time, an idle connection is closed after its time by itself.
func TestIdleConnectionsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var gone time.Duration
		client, err := New(Config{URL: "http://target", Local: Local{
			Now: func() measure.Instant { return measure.Instant(time.Since(begin)) },
			Dial: pipe(func(c *wiretest.Conn) {
				for c.RequestBy(time.Hour) != nil {
					c.Send(okHead + "Content-Length: 0\r\n\r\n")
				}
				gone = time.Since(begin)
			}),
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for i := range 2 {
			var ex Exchange
			if err := client.Do(t.Context(), get("/"), &ex, &recorder{}); err != nil || ex.NewConnection != (i == 0) {
				t.Fatalf("%v, new connection %v", err, ex.NewConnection)
			}
			time.Sleep(10 * time.Second)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if gone != 10*time.Second+DefaultIdle {
			t.Errorf("closed after %v, want 25 s", gone)
		}
	})
}
