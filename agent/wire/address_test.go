package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loadline/loadline/agent/wire/wiretest"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// tellWho answers with who asks, what for and by which version.
func tellWho(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	fmt.Fprintf(w, "%s %s %s %s", host, r.Host, r.URL.Path, r.Proto)
}

func ask(t *testing.T, c *Client) string {
	t.Helper()
	var ex Exchange
	r := new(recorder)
	if err := c.Do(wiretest.Context(t), get("/x"), &ex, r); err != nil {
		t.Fatal(err)
	}
	checkOrder(t, &ex, r.at...)
	return r.body.String()
}

func TestUnixSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	web := &http.Server{Handler: http.HandlerFunc(tellWho), Protocols: protocols}
	var served sync.WaitGroup
	served.Go(func() { _ = web.Serve(l) })
	defer served.Wait()
	defer web.Close()
	for _, c := range []struct {
		url     string
		version Version
		want    string
	}{
		{"unix://" + path, Auto, " localhost /x HTTP/1.1"},
		{"unix://" + path + ":/v1", Auto, " localhost /v1/x HTTP/1.1"},
		{"unix://" + path + ":/v1/", HTTP2, " localhost /v1/x HTTP/2.0"},
	} {
		var seen []string
		control := func(network, address string, _ syscall.RawConn) error {
			seen = append(seen, network+" "+address)
			return nil
		}
		client := newClient(t, Config{URL: c.url, HTTP: c.version, Local: Local{Now: wiretest.Clock(), Control: control}})
		for range 2 { // over one connection
			if got := ask(t, client); got != c.want {
				t.Errorf("%s: got %q, want %q", c.url, got, c.want)
			}
		}
		if len(seen) != 1 || seen[0] != "unix "+path {
			t.Errorf("%s: the guard saw %q", c.url, seen)
		}
	}
	var ex Exchange
	forbid := func(string, string, syscall.RawConn) error { return errors.New("not on the list") }
	client := newClient(t, Config{URL: "unix://" + path, Local: Local{Now: wiretest.Clock(), Control: forbid}})
	if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); class(err) != measure.ClassRefused {
		t.Errorf("forbidden: %v (%s)", err, class(err))
	}
	client = newClient(t, Config{URL: "unix://" + path + ".other"})
	if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); class(err) != measure.ClassConnect || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("nobody there: %v (%s)", err, class(err))
	}
	for _, bad := range []string{"unix://s", "unix:///", "unix:///s:/v1?a", "unix:///" + strings.Repeat("s", 107)} {
		if _, err := New(Config{URL: bad, Local: Local{Now: wiretest.Clock()}}); err == nil {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// listenAt serves at an address, or skips the test where the machine has no such one.
func listenAt(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skip("this machine has no such address:", err)
	}
	web := &http.Server{Handler: http.HandlerFunc(tellWho)}
	var served sync.WaitGroup
	served.Go(func() { _ = web.Serve(l) })
	t.Cleanup(func() { _ = web.Close(); served.Wait() })
	return l.Addr().String()
}

func TestIPv6(t *testing.T) {
	addr := listenAt(t, "[::1]:0")
	if got, want := ask(t, newClient(t, Config{URL: "http://" + addr + "/v1"})), "::1 "+addr+" /v1/x HTTP/1.1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestSources: new connections come from the addresses in turn, and only from those of the target's kind.
func TestSources(t *testing.T) {
	addr := listenAt(t, "127.0.0.1:0")
	second := netip.MustParseAddr("127.0.0.2")
	if ours(second) != nil {
		t.Skip("127.0.0.2 is not an address of this machine")
	}
	sources := []netip.Addr{second, netip.IPv6Loopback(), netip.MustParseAddr("127.0.0.3")}
	client := newClient(t, Config{URL: "http://" + addr, Policy: PerRequest, Sources: sources})
	var from []string
	for range 6 {
		host, _, _ := strings.Cut(ask(t, client), " ")
		from = append(from, host)
	}
	if got, want := strings.Join(from, " "), "127.0.0.2 127.0.0.3 127.0.0.3 127.0.0.2 127.0.0.3 127.0.0.3"; got != want {
		t.Errorf("from %s, want %s", got, want)
	}
	var ex Exchange
	client = newClient(t, Config{URL: "http://" + addr, Sources: sources[1:2]})
	if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); class(err) != measure.ClassConnect || !strings.Contains(err.Error(), "source_addresses") {
		t.Errorf("of another kind: %v (%s)", err, class(err))
	}
	client = newClient(t, Config{URL: "http://" + addr, Sources: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); class(err) != measure.ClassConnect || !strings.Contains(err.Error(), "source_addresses") {
		t.Errorf("of another machine: %v (%s)", err, class(err))
	}
	url := "http://" + addr
	target := pb.Target_builder{Url: &url, Connections: pb.Connections_builder{SourceAddresses: []string{"127.0.0.2", "192.0.2.1", "x"}}.Build()}.Build()
	_, err := ForTarget(target, Local{Now: wiretest.Clock()})
	for _, text := range []string{"source_addresses[1]: 192.0.2.1 is not an address of this machine", "source_addresses[2]"} {
		if err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "[0]") {
			t.Errorf("%v, want something about %s", err, text)
		}
	}
}

// TestOutOfPortsNamesWhatHelps tells being out of ports from a source address of another machine.
func TestOutOfPortsNamesWhatHelps(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: &os.SyscallError{Syscall: "connect", Err: syscall.EADDRNOTAVAIL}}
	if err := classifyDial(t.Context(), refused, false, ""); class(err) != measure.ClassConnect || !strings.Contains(err.Error(), "connections.source_addresses") ||
		!strings.Contains(err.Error(), "out of local ports") {
		t.Error(err)
	}
	foreign := &net.OpError{Op: "dial", Err: &os.SyscallError{Syscall: "bind", Err: syscall.EADDRNOTAVAIL}}
	if err := classifyDial(t.Context(), foreign, false, ""); class(err) != measure.ClassConnect || strings.Contains(err.Error(), "out of local ports") {
		t.Error(err)
	}
}

// TestLookupsAreShared: many exchanges that need a name at once look it up once; a failure is told to all
// and forgotten; where who looked it up gave up, another does.
func TestLookupsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n names
		n.init("target.test", nil)
		lookups, fails := 0, errors.New("no such name")
		n.ask = func(ctx context.Context, _ string) ([]netip.Addr, error) {
			lookups++
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if fails != nil {
				return nil, fails
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
		now := func() measure.Instant { return 0 }
		all := func(first context.Context) (failed int) {
			var mu sync.Mutex
			var wg sync.WaitGroup
			for i := range 10 {
				ctx := t.Context()
				if i == 0 {
					ctx = first
				}
				wg.Go(func() {
					time.Sleep(time.Duration(i) * time.Millisecond)
					if addrs, looked, err := n.resolve(ctx, now); err != nil || len(addrs) != 1 || !looked {
						mu.Lock()
						failed++
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			return failed
		}
		if failed := all(t.Context()); failed != 10 || lookups != 1 {
			t.Errorf("a name that is not there: %d failed, %d lookups", failed, lookups)
		}
		fails = nil
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if failed := all(ctx); failed != 1 || lookups != 3 {
			t.Errorf("the first gives up: %d failed, %d lookups", failed, lookups)
		}
		if _, looked, err := n.resolve(t.Context(), now); err != nil || looked {
			t.Errorf("known by now: %v, looked up %v", err, looked)
		}
	})
}

// TestMaxOfSessions: a session's connection counts until the session ends.
func TestMaxOfSessions(t *testing.T) {
	addr, all, _ := counting(t)
	client := newClient(t, Config{URL: "http://" + addr, Policy: PerSession, Max: 1, Timeouts: Timeouts{Connect: 20 * time.Millisecond}})
	var one, two Session
	do := func(s *Session) error {
		req := get("/")
		req.Session = s
		var ex Exchange
		return client.Do(wiretest.Context(t), req, &ex, &recorder{})
	}
	if err := errors.Join(do(&one), do(&one)); err != nil {
		t.Fatal(err)
	}
	if err := do(&two); class(err) != measure.ClassConnectTimeout {
		t.Errorf("%v (%s)", err, class(err))
	}
	one.Close()
	if err := do(&two); err != nil || all.Load() != 2 {
		t.Errorf("%v, %d connections", err, all.Load())
	}
	two.Close()
	if len(client.slots) != 0 {
		t.Errorf("%d slots are taken", len(client.slots))
	}
}
