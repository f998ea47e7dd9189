package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loadline/loadline/agent/wire/wiretest"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// secure starts a server of net/http with TLS, with HTTP/2 or without, and counts its connections.
func secure(t testing.TB, a *wiretest.Authority, h2 bool, conns *atomic.Int64, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = a.Server.Clone()
	s.EnableHTTP2 = h2
	s.Config.ErrorLog = nil
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew && conns != nil {
			conns.Add(1)
		}
	}
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return strings.TrimPrefix(s.URL, "https://")
}

func trusting(t testing.TB, a *wiretest.Authority) *tls.Config {
	t.Helper()
	cfg, err := TLS(pb.Tls_builder{CaFile: &a.CAFile}.Build())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestTLS(t *testing.T) {
	a, other := wiretest.NewAuthority(t), wiretest.NewAuthority(t)
	hello := func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello "+r.Proto) }
	demanding := wiretest.NewAuthority(t)
	demanding.Server.ClientAuth, demanding.Server.ClientCAs = tls.RequireAndVerifyClientCert, demanding.Pool
	old := wiretest.NewAuthority(t)
	old.Server.MaxVersion = tls.VersionTLS12
	wrong, yes, v13, name := "elsewhere.test", true, pb.TlsVersion_TLS_VERSION_TLS13, "localhost"
	for _, c := range []struct {
		name   string
		server *wiretest.Authority
		tls    pb.Tls_builder
		class  string
	}{
		{"own authority", a, pb.Tls_builder{CaFile: &a.CAFile}, ""},
		{"wrong authority", a, pb.Tls_builder{CaFile: &other.CAFile}, measure.ClassTLS},
		{"system's roots", a, pb.Tls_builder{}, measure.ClassTLS},
		{"insecure", a, pb.Tls_builder{Insecure: &yes}, ""},
		{"server name", a, pb.Tls_builder{CaFile: &a.CAFile, ServerName: &name}, ""},
		{"wrong server name", a, pb.Tls_builder{CaFile: &a.CAFile, ServerName: &wrong}, measure.ClassTLS},
		{"client certificate", demanding, pb.Tls_builder{CaFile: &demanding.CAFile, CertFile: &demanding.CertFile, KeyFile: &demanding.KeyFile}, ""},
		{"client certificate missing", demanding, pb.Tls_builder{CaFile: &demanding.CAFile}, measure.ClassTLS},
		{"too old", old, pb.Tls_builder{CaFile: &old.CAFile, MinVersion: &v13}, measure.ClassTLS},
		{"1.2", old, pb.Tls_builder{CaFile: &old.CAFile}, ""},
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/h2=%v", c.name, h2), func(t *testing.T) {
				cfg, err := TLS(c.tls.Build())
				if err != nil {
					t.Fatal(err)
				}
				client := newClient(t, Config{URL: "https://" + secure(t, c.server, h2, nil, hello), TLS: cfg})
				var ex Exchange
				r := new(recorder)
				err = client.Do(wiretest.Context(t), get("/"), &ex, r)
				if c.class != "" {
					// Over HTTP/2, the peer's alert may be lost behind the broken connection.
					lost := h2 && c.server == demanding && class(err) == measure.ClassReset
					if class(err) != c.class && !lost {
						t.Errorf("%v (%s), want %s", err, class(err), c.class)
					}
					return
				}
				want := "hello HTTP/1.1"
				if h2 {
					want = "hello HTTP/2.0"
				}
				if err != nil || r.body.String() != want || !ex.NewConnection || ex.Connected <= ex.Dispatched {
					t.Errorf("%v (%s), body %q, %+v", err, class(err), r.body.String(), ex)
				}
				checkOrder(t, &ex, r.at...)
				if err := client.Do(wiretest.Context(t), get("/"), &ex, r); err != nil || ex.NewConnection || ex.Connected != ex.Dispatched {
					t.Errorf("again: %v, new connection %v", err, ex.NewConnection)
				}
			})
		}
	}
}

// TestCertificatesThatAreNotTrusted: each says what is wrong, whatever version of HTTP is asked for.
func TestCertificatesThatAreNotTrusted(t *testing.T) {
	a, other := wiretest.NewAuthority(t), wiretest.NewAuthority(t)
	expired := &wiretest.Authority{Server: a.Expired(t)}
	wrong := "elsewhere.test"
	for _, c := range []struct {
		server *wiretest.Authority
		tls    pb.Tls_builder
		text   string
	}{
		{expired, pb.Tls_builder{CaFile: &a.CAFile}, "certificate has expired"},
		{a, pb.Tls_builder{CaFile: &a.CAFile, ServerName: &wrong}, "not elsewhere.test"},
		{a, pb.Tls_builder{CaFile: &other.CAFile}, "unknown authority"},
	} {
		for _, version := range []Version{Auto, HTTP1, HTTP2} {
			cfg, err := TLS(c.tls.Build())
			if err != nil {
				t.Fatal(err)
			}
			var ex Exchange
			client := newClient(t, Config{URL: "https://" + secure(t, c.server, true, nil, nothing), TLS: cfg, HTTP: version})
			err = client.Do(wiretest.Context(t), get("/"), &ex, &recorder{})
			if class(err) != measure.ClassTLS || !strings.Contains(err.Error(), c.text) || ex.Connected.Reached() {
				t.Errorf("version %d: %v (%s), want something about %q", version, err, class(err), c.text)
			}
		}
	}
}

func TestNotTLS(t *testing.T) {
	addr := wiretest.Serve(t, func(_ int, c *wiretest.Conn) { c.Send("HTTP/1.1 400 Bad Request\r\n\r\n"); c.Hang() })
	var ex Exchange
	err := newClient(t, Config{URL: "https://" + addr}).Do(wiretest.Context(t), get("/"), &ex, &recorder{})
	if class(err) != measure.ClassTLS {
		t.Errorf("%v (%s)", err, class(err))
	}
}

func TestClosedIdleTLSConnection(t *testing.T) {
	a := wiretest.NewAuthority(t)
	var conns atomic.Int64
	addr := secure(t, a, false, &conns, func(w http.ResponseWriter, r *http.Request) {})
	client := newClient(t, Config{URL: "https://" + addr, TLS: trusting(t, a)})
	for i := range 5 {
		var ex Exchange
		if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); err != nil || ex.NewConnection != (i == 0) || ex.Stale > 0 {
			t.Fatalf("exchange %d: %v, new connection %v, %d stale", i, err, ex.NewConnection, ex.Stale)
		}
	}
}

func TestBadTLSFiles(t *testing.T) {
	a := wiretest.NewAuthority(t)
	dir := t.TempDir()
	junk := filepath.Join(dir, "junk.pem")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing.pem")
	for _, c := range []struct {
		name string
		tls  pb.Tls_builder
		text []string
	}{
		{"missing", pb.Tls_builder{CaFile: &missing}, []string{"ca_file", missing}},
		{"a folder", pb.Tls_builder{CaFile: &dir}, []string{"ca_file", dir}},
		{"no certificate in it", pb.Tls_builder{CaFile: &junk}, []string{"ca_file", junk}},
		{"key missing", pb.Tls_builder{CertFile: &a.CertFile}, []string{"key_file"}},
		{"certificate missing", pb.Tls_builder{KeyFile: &a.KeyFile}, []string{"cert_file"}},
		{"not a pair", pb.Tls_builder{CertFile: &a.CertFile, KeyFile: &junk}, []string{"key_file"}},
		{"all at once", pb.Tls_builder{CaFile: &missing, CertFile: &missing, KeyFile: &missing}, []string{"ca_file", "cert_file", "key_file"}},
	} {
		_, err := TLS(c.tls.Build())
		for _, text := range c.text {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v, want something about %s", c.name, err, text)
			}
		}
	}
}

// TestHTTP2 plays what goes wrong over HTTP/2.
func TestHTTP2(t *testing.T) {
	a := wiretest.NewAuthority(t)
	flush := func(w http.ResponseWriter, s string) {
		_, _ = io.WriteString(w, s)
		_ = http.NewResponseController(w).Flush()
	}
	limit := 250 * time.Millisecond
	wait := func(f func(*Timeouts)) Timeouts { o := short; f(&o); return o }
	hang := func(r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(wiretest.Patience):
		}
	}
	for _, c := range []struct {
		name   string
		h      http.HandlerFunc
		o      Timeouts
		says   Wait
		class  string
		body   string
		status int
	}{
		{"reset before the head", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, short, Keep, measure.ClassReset, "", 0},
		{"reset in the middle", func(w http.ResponseWriter, _ *http.Request) { flush(w, "hello"); panic(http.ErrAbortHandler) }, short, Keep, measure.ClassReset, "hello", 200},
		{"hangs before the head", func(_ http.ResponseWriter, r *http.Request) { hang(r) }, wait(func(o *Timeouts) { o.First = limit }), Keep, measure.ClassFirstTokenTimeout, "", 0},
		{"nothing that counts", func(w http.ResponseWriter, r *http.Request) { flush(w, "hello"); hang(r) }, wait(func(o *Timeouts) { o.First = limit }), Keep, measure.ClassFirstTokenTimeout, "hello", 200},
		{"hangs in the middle", func(w http.ResponseWriter, r *http.Request) { flush(w, "hello"); hang(r) }, wait(func(o *Timeouts) { o.Stall = limit }), Progress, measure.ClassStallTimeout, "hello", 200},
		{"too long in all", func(w http.ResponseWriter, r *http.Request) { flush(w, "hello"); hang(r) }, wait(func(o *Timeouts) { o.Total = limit }), Progress, measure.ClassTotalTimeout, "hello", 200},
		{"header too long", func(w http.ResponseWriter, _ *http.Request) {
			for i := range 20 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 8<<10))
			}
		}, short, Keep, measure.ClassOversized, "", 0},
		{"too short", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			flush(w, "hello")
		}, short, Keep, measure.ClassTruncated, "hello", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			warm := func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/warm" {
					c.h(w, r)
				}
			}
			client := newClient(t, Config{URL: "https://" + secure(t, a, true, nil, warm), TLS: trusting(t, a), Timeouts: c.o})
			var ex Exchange
			if err := client.Do(wiretest.Context(t), get("/warm"), &ex, &recorder{}); err != nil {
				t.Fatal(err)
			}
			r := &recorder{wait: c.says}
			err := client.Do(wiretest.Context(t), get("/"), &ex, r)
			if class(err) != c.class || r.body.String() != c.body || ex.Status != c.status {
				t.Errorf("%v (%s), status %d, body %q; want %s", err, class(err), ex.Status, r.body.String(), c.class)
			}
			checkOrder(t, &ex, r.at...)
		})
	}
}

func TestHTTP2Request(t *testing.T) {
	a := wiretest.NewAuthority(t)
	addr := secure(t, a, true, nil, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s %s %q %d", r.Method, r.RequestURI, r.Host, r.UserAgent(), r.Header.Get("X-Key"), r.Header["Accept-Encoding"], len(body))
	})
	client := newClient(t, Config{URL: "https://" + addr + "/v1", TLS: trusting(t, a)})
	var ex Exchange
	r := new(recorder)
	req := &Request{Method: "POST", Path: "/a b?c=d", Header: []Header{{"host", "example.test"}, {"x-key", "v"}}, Body: make([]byte, 100_000)}
	if err := client.Do(wiretest.Context(t), req, &ex, r); err != nil {
		t.Fatal(err)
	}
	if want := "POST /v1/a%20b?c=d example.test loadline v [] 100000"; r.body.String() != want {
		t.Errorf("got %q, want %q", r.body.String(), want)
	}
	if ex.BytesOut < 100_000 || ex.BytesIn < uint64(r.body.Len()) {
		t.Errorf("%d bytes in, %d out", ex.BytesIn, ex.BytesOut)
	}
}

// TestHTTP2IsShared: many exchanges at once run over one connection once HTTP/2 is known, and each
// reaches the server once.
func TestHTTP2IsShared(t *testing.T) {
	a := wiretest.NewAuthority(t)
	var conns, requests atomic.Int64
	addr := secure(t, a, true, &conns, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1)%3 == 0 {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, "ok")
	})
	client := newClient(t, Config{URL: "https://" + addr, TLS: trusting(t, a)})
	var ex Exchange
	if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); err != nil {
		t.Fatal(err)
	}
	const exchanges = 60
	var failed atomic.Int64
	var wg sync.WaitGroup
	for range exchanges {
		wg.Go(func() {
			var ex Exchange
			err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{})
			if err != nil && class(err) != measure.ClassReset {
				t.Errorf("%v (%s)", err, class(err))
			}
			if err != nil {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	if conns.Load() != 1 || requests.Load() != exchanges+1 || failed.Load() != exchanges/3 {
		t.Errorf("%d connections, %d requests, %d failed", conns.Load(), requests.Load(), failed.Load())
	}
}

func TestHTTP2Cancel(t *testing.T) {
	a := wiretest.NewAuthority(t)
	ctx, cancel := context.WithCancelCause(wiretest.Context(t))
	cause := errors.New("stop")
	addr := secure(t, a, true, nil, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello")
		_ = http.NewResponseController(w).Flush()
		time.Sleep(5 * time.Millisecond)
		cancel(cause)
		<-r.Context().Done()
	})
	var ex Exchange
	err := newClient(t, Config{URL: "https://" + addr, TLS: trusting(t, a)}).Do(ctx, get("/"), &ex, &recorder{})
	if class(err) != measure.ClassCanceled || !errors.Is(err, cause) || !ex.End.Reached() {
		t.Errorf("%v (%s), end %v", err, class(err), ex.End)
	}
}
