package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loadline/loadline/agent/wire/wiretest"
	"github.com/loadline/loadline/internal/measure"
)

// spoken is a server of net/http that speaks HTTP/2 without TLS, and HTTP/1.1 too, and counts.
type spoken struct {
	addr            string
	conns, requests atomic.Int64
	most            atomic.Int64 // streams at once on one connection, the highest
}

type perConn struct{}

func speak(t testing.TB, limit int, h http.HandlerFunc) *spoken {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &spoken{addr: l.Addr().String()}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	web := &http.Server{
		Protocols: protocols, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: limit}, ErrorLog: quiet(),
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			s.conns.Add(1)
			return context.WithValue(ctx, perConn{}, new(atomic.Int64))
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.requests.Add(1)
			n := r.Context().Value(perConn{}).(*atomic.Int64)
			for now := n.Add(1); ; {
				if most := s.most.Load(); now <= most || s.most.CompareAndSwap(most, now) {
					break
				}
			}
			defer n.Add(-1)
			h(w, r)
		}),
	}
	var served sync.WaitGroup
	served.Go(func() { _ = web.Serve(l) })
	t.Cleanup(func() { _ = web.Close(); served.Wait() })
	return s
}

// TestHTTP2Connections: how many connections there are and how many streams on each is exactly what was
// asked for, and what the server allows.
func TestHTTP2Connections(t *testing.T) {
	for name, c := range map[string]struct {
		streams, most, limit int // ours, ours, the server's
		exchanges, together  int // how many are under way at once
		conns, perConn       int64
	}{
		"by default":                  {exchanges: 60, together: 60, conns: 1, perConn: 60},
		"more than a connection":      {streams: 4, exchanges: 12, together: 12, conns: 3, perConn: 4},
		"no more than asked for":      {streams: 4, most: 2, exchanges: 40, together: 8, conns: 2, perConn: 4},
		"the server allows fewer":     {limit: 3, exchanges: 9, together: 9, conns: 3, perConn: 3},
		"the server allows few of us": {streams: 10, most: 2, limit: 3, exchanges: 30, together: 6, conns: 2, perConn: 3},
		"one each":                    {streams: 1, exchanges: 8, together: 8, conns: 8, perConn: 1},
		"one after the other":         {streams: 1, limit: 1, exchanges: 1, together: 1, conns: 1, perConn: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var inside atomic.Int64
			full := make(chan struct{})
			s := speak(t, c.limit, func(_ http.ResponseWriter, r *http.Request) {
				if inside.Add(1) == int64(c.together) {
					close(full)
				}
				select {
				case <-full:
				case <-time.After(wiretest.Patience):
				}
			})
			client := newClient(t, Config{URL: "http://" + s.addr, HTTP: HTTP2, Streams: c.streams, Max: c.most})
			var wg sync.WaitGroup
			var fresh atomic.Int64
			for range c.exchanges {
				wg.Go(func() {
					for range 3 { // the second and third find connections that are there
						var ex Exchange
						if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); err != nil {
							t.Error(err)
						}
						if ex.NewConnection {
							fresh.Add(1)
						}
						checkOrder(t, &ex)
					}
				})
			}
			wg.Wait()
			if s.conns.Load() != c.conns || fresh.Load() != c.conns || s.most.Load() != c.perConn || s.requests.Load() != 3*int64(c.exchanges) {
				t.Errorf("%d connections (%d told), at most %d streams, %d requests; want %d, %d, %d",
					s.conns.Load(), fresh.Load(), s.most.Load(), s.requests.Load(), c.conns, c.perConn, 3*c.exchanges)
			}
		})
	}
}

// TestHTTP2WaitsForAStream: who waits in vain for room has the class of connecting late, and leaves the line.
func TestHTTP2WaitsForAStream(t *testing.T) {
	begun, end := make(chan bool, 1), make(chan struct{})
	s := speak(t, 0, func(http.ResponseWriter, *http.Request) { begun <- true; <-end })
	client := newClient(t, Config{URL: "http://" + s.addr, HTTP: HTTP2, Streams: 1, Max: 1})
	var wg sync.WaitGroup
	wg.Go(func() {
		var ex Exchange
		if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); err != nil {
			t.Error(err)
		}
	})
	<-begun
	ctx, cancel := context.WithCancelCause(wiretest.Context(t))
	stop := errors.New("stop")
	time.AfterFunc(10*time.Millisecond, func() { cancel(stop) })
	var ex Exchange
	if err := client.Do(ctx, get("/"), &ex, &recorder{}); class(err) != measure.ClassCanceled || !errors.Is(err, stop) {
		t.Errorf("%v (%s)", err, class(err))
	}
	client.cfg.Timeouts.Connect = 10 * time.Millisecond
	if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); class(err) != measure.ClassConnectTimeout || ex.Connected.Reached() {
		t.Errorf("%v (%s)", err, class(err))
	}
	client.cfg.Timeouts.Connect = time.Second
	if len(client.h2.waiting) != 0 {
		t.Errorf("%d still wait", len(client.h2.waiting))
	}
	close(end)
	wg.Wait()
	if s.requests.Load() != 1 {
		t.Errorf("%d requests", s.requests.Load())
	}
}

// TestVersions: what is spoken, and what is said where the server does not speak it.
func TestVersions(t *testing.T) {
	a := wiretest.NewAuthority(t)
	tell := func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }
	both := "https://" + secure(t, a, true, nil, tell)
	old := "https://" + secure(t, a, false, nil, tell)
	plain := "http://" + speak(t, 0, tell).addr
	oldPlain := "http://" + wiretest.Answer(t, okHead+"Content-Length: 8\r\n\r\nHTTP/1.1")
	for _, c := range []struct {
		name, url   string
		version     Version
		spoken      string
		class, text string
	}{
		{"TLS", both, Auto, "HTTP/2.0", "", ""},
		{"TLS", both, HTTP1, "HTTP/1.1", "", ""},
		{"TLS", both, HTTP2, "HTTP/2.0", "", ""},
		{"TLS, no HTTP/2", old, Auto, "HTTP/1.1", "", ""},
		{"TLS, no HTTP/2", old, HTTP2, "", measure.ClassTLS, "HTTP/2"},
		{"plain", plain, Auto, "HTTP/1.1", "", ""},
		{"plain", plain, HTTP2, "HTTP/2.0", "", ""},
		{"plain, no HTTP/2", oldPlain, HTTP2, "", measure.ClassMalformed, "connections: {http: http1}"},
	} {
		client := newClient(t, Config{URL: c.url, HTTP: c.version, TLS: trusting(t, a)})
		for range 2 {
			var ex Exchange
			r := &recorder{}
			err := client.Do(wiretest.Context(t), get("/"), &ex, r)
			if c.class == "" && (err != nil || r.body.String() != c.spoken) {
				t.Errorf("%s, version %d: %v, spoken %s", c.name, c.version, err, r.body.String())
			}
			if c.class != "" && (class(err) != c.class || !strings.Contains(err.Error(), c.text)) {
				t.Errorf("%s, version %d: %v (%s)", c.name, c.version, err, class(err))
			}
		}
	}
}

// TestHTTP2Sessions: a session's requests share a connection, which is closed at its end.
func TestHTTP2Sessions(t *testing.T) {
	s := speak(t, 0, nothing)
	client := newClient(t, Config{URL: "http://" + s.addr, HTTP: HTTP2, Policy: PerSession})
	for i := range 2 {
		var session Session
		for range 3 {
			req := get("/")
			req.Session = &session
			var ex Exchange
			if err := client.Do(wiretest.Context(t), req, &ex, &recorder{}); err != nil {
				t.Fatal(err)
			}
		}
		cn := session.cn
		session.Close()
		if s.conns.Load() != int64(i+1) || cn == nil || cn.h2.cc.Err() == nil || len(client.h2.conns) > 0 {
			t.Errorf("session %d: %d connections, %d kept", i, s.conns.Load(), len(client.h2.conns))
		}
	}
}

// TestMaxWhileTheVersionIsUnknown: exchanges that open connections at the same time, before it is known that the
// server speaks HTTP/2, open no more than there may be.
func TestMaxWhileTheVersionIsUnknown(t *testing.T) {
	a := wiretest.NewAuthority(t)
	var conns, requests atomic.Int64
	addr := secure(t, a, true, &conns, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	client := newClient(t, Config{URL: "https://" + addr, TLS: trusting(t, a), Max: 2})
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			for range 3 {
				var ex Exchange
				if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	before := conns.Load()
	if before > 2 || requests.Load() != 90 || client.h2.dialing != 0 {
		t.Errorf("%d connections, %d requests, %d still being opened", before, requests.Load(), client.h2.dialing)
	}
	// One that set out before the version was known finds room on what there is now.
	var ex Exchange
	ex.reset(client.cfg.Local.Now())
	ex.lim = never
	cn, err := client.openUnknown(wiretest.Context(t), get("/"), &ex)
	if err != nil || ex.NewConnection || conns.Load() != before || client.h2.dialing != 0 {
		t.Fatalf("%v, new connection %v", err, ex.NewConnection)
	}
	cn.h2.cc.Release()
}

// TestUnusedConnection: one that is gone between being chosen and being written to is told from one that broke, so
// that another is taken.
func TestUnusedConnection(t *testing.T) {
	s := speak(t, 0, nothing)
	client := newClient(t, Config{URL: "http://" + s.addr, HTTP: HTTP2})
	var ex Exchange
	if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); err != nil {
		t.Fatal(err)
	}
	h, _ := client.h2.acquire(&ex.Stale)
	_ = h.cc.Close()
	if err := client.run(wiretest.Context(t), &conn{h2: h}, get("/"), &ex, &recorder{}); err != errUnused || s.requests.Load() != 1 {
		t.Errorf("%v, %d requests", err, s.requests.Load())
	}
	if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); err != nil || !ex.NewConnection || s.conns.Load() != 2 {
		t.Errorf("%v, new connection %v, %d connections", err, ex.NewConnection, s.conns.Load())
	}
}
