package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/loadline/loadline/internal/sim"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// visits counts who came: connections, requests, by the address they came from, by version.
type visits struct {
	mu     sync.Mutex
	conns  int
	counts map[string]int
}

// of is how often something was counted.
func (v *visits) of(what string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.counts[what]
}

func (v *visits) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, _, _ := net.SplitHostPort(r.RemoteAddr)
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, what := range []string{"requests", from, r.Proto, r.Host, r.URL.Path} {
		v.counts[what]++
	}
	fmt.Fprint(w, "ok")
}

// listenOn opens a listener, or skips the test where the machine has no such address.
func listenOn(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Skip("this machine has no such address:", err)
	}
	return l
}

// serveVisits serves HTTP/1.1 and HTTP/2 without TLS.
func serveVisits(t *testing.T, l net.Listener) *visits {
	t.Helper()
	v := &visits{counts: map[string]int{}}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	web := &http.Server{Handler: v, Protocols: protocols, ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			v.mu.Lock()
			v.conns++
			v.mu.Unlock()
		}
	}}
	var served sync.WaitGroup
	served.Go(func() { _ = web.Serve(l) })
	t.Cleanup(func() { _ = web.Close(); served.Wait() })
	return v
}

// TestAddresses: targets at an IPv6 address, at a Unix socket and reached from several addresses, by both versions of
// HTTP, beside each other in one run; connections are as many as the scenario says.
func TestAddresses(t *testing.T) {
	t.Parallel()
	const each = 12
	six := listenOn(t, "tcp", "[::1]:0")
	path := filepath.Join(t.TempDir(), "s")
	v6, socket := serveVisits(t, six), serveVisits(t, listenOn(t, "unix", path))
	fourListener, sessionListener := listenOn(t, "tcp", "127.0.0.1:0"), listenOn(t, "tcp", "127.0.0.1:0")
	four, sessions := serveVisits(t, fourListener), serveVisits(t, sessionListener)
	targets := []struct{ name, url, connections string }{
		{"six", "http://" + six.Addr().String(), "{http: http2, streams: 1, max: 2}"},
		{"socket", "unix://" + path + ":/v1", "{max: 1}"},
		{"socket-http2", "unix://" + path + ":/v2", "{http: http2}"},
		{"four", "http://" + fourListener.Addr().String(), "{policy: per-request, source_addresses: [127.0.0.2, 127.0.0.3]}"},
		{"sessions", "http://" + sessionListener.Addr().String(), "{policy: per-session, http: http2}"},
	}
	var names, workloads, load strings.Builder
	for _, c := range targets {
		fmt.Fprintf(&names, "  - {name: %s, url: %q, protocol: http, connections: %s}\n", c.name, c.url, c.connections)
		fmt.Fprintf(&workloads, "  - {name: %s, target: %s, http: {path: /x}}\n", c.name, c.name)
		fmt.Fprintf(&load, "  - {name: %s, at: 0s, open: {rate: 60}, sessions: %d, workloads: [%s]}\n", c.name, each, c.name)
	}
	p := playThrough(t, files{"s.yaml": "name: addresses\n" + everyArrival + "targets:\n" + names.String() + "workloads:\n" + workloads.String() + "load:\n" + load.String()}, "--quiet")
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	if r := p.summary.GetRequests(); r.GetSucceeded() != each*uint64(len(targets)) {
		t.Errorf("%v, errors %v", r, p.summary.GetErrors())
	}
	for _, c := range []struct {
		name string
		v    *visits
		what string
		want int
	}{
		{"six", v6, "::1", each},
		{"six", v6, "HTTP/2.0", each},
		{"six", v6, six.Addr().String(), each},
		{"socket", socket, "/v1/x", each},
		{"socket", socket, "HTTP/1.1", each},
		{"socket", socket, "/v2/x", each},
		{"socket", socket, "localhost", 2 * each},
		{"four", four, "127.0.0.2", each / 2},
		{"four", four, "127.0.0.3", each / 2},
		{"sessions", sessions, "HTTP/2.0", each},
	} {
		if got := c.v.of(c.what); got != c.want {
			t.Errorf("%s: %s came %d times, want %d", c.name, c.what, got, c.want)
		}
	}
	if v6.conns > 2 || four.conns != each || sessions.conns != each {
		t.Errorf("connections: %d to six, %d to four, %d of sessions", v6.conns, four.conns, sessions.conns)
	}
	var series strings.Builder
	for _, s := range p.summary.GetSeries() {
		fmt.Fprintln(&series, s.GetName(), s.GetTarget())
	}
	for _, want := range []string{"connect six", "connect socket", "connect four", "connect sessions"} {
		if !strings.Contains(series.String(), want+"\n") {
			t.Errorf("no series %q in\n%s", want, series.String())
		}
	}
}

// TestGRPCOverIPv6: reflection and calls go to an IPv6 address.
func TestGRPCOverIPv6(t *testing.T) {
	t.Parallel()
	listener := listenOn(t, "tcp", "[::1]:0")
	server, err := sim.New(sim.Default())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.ServeGRPC(ctx, listener) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("simulator: %v", err)
		}
	}()
	text := `name: six
targets: [{name: service, url: "grpc://ADDRESS", protocol: grpc}]
workloads: [{name: echo, target: service, grpc: {method: loadline.sim.v1.EchoService/Unary, message: {text: a}}}]
load: [{name: p, open: {rate: 60}, sessions: 12}]
` + everyArrival
	p := playThrough(t, files{"s.yaml": strings.ReplaceAll(text, "ADDRESS", listener.Addr().String())}, "--quiet")
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	if r := p.summary.GetRequests(); r.GetSucceeded() != 12 || server.Truth().Routes["grpc_echo"].Completed != 12 {
		t.Errorf("%v, errors %v, truth %+v", r, p.summary.GetErrors(), server.Truth().Routes)
	}
}

// TestHTTP2Example: it runs as it is.
func TestHTTP2Example(t *testing.T) {
	t.Parallel()
	text := strings.ReplaceAll(string(read(t, "..", "..", "examples", "http2.yaml")), "duration: 10s", "sessions: 30")
	p := playThrough(t, files{"s.yaml": text + everyArrival}, "--quiet")
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	if p.summary.GetRequests().GetSucceeded() != 30 {
		t.Errorf("%v %v", p.summary.GetRequests(), p.summary.GetErrors())
	}
}
