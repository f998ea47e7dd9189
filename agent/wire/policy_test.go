package wire

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/loadline/loadline/agent/wire/wiretest"
	"github.com/loadline/loadline/internal/measure"
)

// counting serves good answers and counts its connections, in all and at once.
func counting(t testing.TB) (addr string, all, open *atomic.Int64) {
	all, open = new(atomic.Int64), new(atomic.Int64)
	return wiretest.Serve(t, func(_ int, c *wiretest.Conn) {
		all.Add(1)
		open.Add(1)
		defer open.Add(-1)
		for c.Request() != nil {
			c.Send(okHead + "Content-Length: 2\r\n\r\nok")
		}
	}), all, open
}

func TestPolicies(t *testing.T) {
	const exchanges = 4
	for _, c := range []struct {
		name    string
		policy  Policy
		session bool
		conns   int64
	}{
		{"reuse", Reuse, false, 1},
		{"per request", PerRequest, false, exchanges},
		{"per request, in a session", PerRequest, true, exchanges},
		{"per session", PerSession, true, 1},
		{"per session, of one request each", PerSession, false, exchanges},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr, all, _ := counting(t)
			client := newClient(t, Config{URL: "http://" + addr, Policy: c.policy})
			var s Session
			for i := range exchanges {
				req := get("/")
				if c.session {
					req.Session = &s
				}
				var ex Exchange
				if err := client.Do(wiretest.Context(t), req, &ex, &recorder{}); err != nil {
					t.Fatal(err)
				}
				if fresh := i == 0 || c.conns > 1; ex.NewConnection != fresh {
					t.Errorf("exchange %d: new connection %v", i, ex.NewConnection)
				}
			}
			s.Close()
			if all.Load() != c.conns || client.pool.pop() != nil != (c.policy == Reuse) {
				t.Errorf("%d connections, want %d", all.Load(), c.conns)
			}
		})
	}
}

// TestPoliciesOverHTTP2: a connection of its own for every request.
func TestPoliciesOverHTTP2(t *testing.T) {
	a := wiretest.NewAuthority(t)
	var conns atomic.Int64
	addr := secure(t, a, true, &conns, nothing)
	client := newClient(t, Config{URL: "https://" + addr, TLS: trusting(t, a), Policy: PerRequest})
	for range 3 {
		var ex Exchange
		if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); err != nil || !ex.NewConnection || ex.Handshake <= 0 {
			t.Errorf("%v, new connection %v, handshake of %v", err, ex.NewConnection, ex.Handshake)
		}
	}
	if conns.Load() != 3 || len(client.h2.conns) > 0 {
		t.Errorf("%d connections, %d kept", conns.Load(), len(client.h2.conns))
	}
}

// TestMax: never more connections than that, and who waits in vain for one has the class of connecting late.
func TestMax(t *testing.T) {
	addr, all, _ := counting(t)
	client := newClient(t, Config{URL: "http://" + addr, Max: 2})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			var ex Exchange
			if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); err != nil || ex.Connected < ex.Dispatched {
				t.Errorf("%v, connected %v after", err, ex.Connected-ex.Dispatched)
			}
		})
	}
	wg.Wait()
	if all.Load() > 2 {
		t.Errorf("%d connections", all.Load())
	}
	client.slots <- struct{}{}
	client.slots <- struct{}{} // all are in use
	client.cfg.Timeouts.Connect = 10 * time.Millisecond
	var ex Exchange
	if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); class(err) != measure.ClassConnectTimeout {
		t.Errorf("%v (%s)", err, class(err))
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	client.cfg.Timeouts.Connect = 0
	if err := client.Do(ctx, get("/"), &ex, &recorder{}); class(err) != measure.ClassCanceled {
		t.Errorf("%v (%s)", err, class(err))
	}
}

func TestWarm(t *testing.T) {
	addr, all, open := counting(t)
	client := newClient(t, Config{URL: "http://" + addr})
	if err := client.Warm(wiretest.Context(t), 5); err != nil {
		t.Fatal(err)
	}
	for all.Load() < 5 {
		time.Sleep(time.Millisecond)
	}
	var ex Exchange
	if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); err != nil || ex.NewConnection || open.Load() != 5 {
		t.Errorf("%v, new connection %v, %d open", err, ex.NewConnection, open.Load())
	}
	a := wiretest.NewAuthority(t)
	var conns atomic.Int64
	client = newClient(t, Config{URL: "https://" + secure(t, a, true, &conns, nothing), TLS: trusting(t, a)})
	if err := client.Warm(wiretest.Context(t), 5); err != nil || conns.Load() != 5 {
		t.Errorf("over HTTP/2: %v, %d connections", err, conns.Load())
	}
	if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); err != nil || ex.NewConnection {
		t.Errorf("over HTTP/2: %v, new connection %v", err, ex.NewConnection)
	}
	client = newClient(t, Config{URL: "http://" + closedPort(t)})
	if err := client.Warm(wiretest.Context(t), 5); err == nil || !strings.Contains(err.Error(), "0 of 5") || class(err) != measure.ClassConnect {
		t.Errorf("nobody listens: %v", err)
	}
}

// TestNames: a name is looked up once in a while; its addresses take turns, and one that does not answer
// is passed over.
func TestNames(t *testing.T) {
	addr, _, _ := counting(t)
	_, port, _ := strings.Cut(addr, ":")
	var now measure.Instant
	var tried []string
	control := func(_, address string, _ syscall.RawConn) error {
		tried = append(tried, strings.TrimSuffix(address, ":"+port))
		return nil
	}
	client := newClient(t, Config{URL: "http://target.test:" + port, Policy: PerRequest, Local: Local{
		Now: func() measure.Instant { now++; return now }, Control: control,
	}})
	lookups, found := 0, []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}
	client.names.ask = func(_ context.Context, host string) (addrs []netip.Addr, _ error) {
		lookups++
		if len(found) == 0 {
			return nil, errors.New("no such name")
		}
		for _, a := range found {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		return addrs, nil
	}
	one := func() (*Exchange, error) {
		ex := new(Exchange)
		return ex, client.Do(wiretest.Context(t), get("/"), ex, &recorder{})
	}
	// The server listens at 127.0.0.1 alone.
	for i := range 3 {
		ex, err := one()
		if err != nil || (ex.Lookup > 0) != (i == 0) {
			t.Fatalf("exchange %d: %v, lookup of %v", i, err, ex.Lookup)
		}
	}
	if got, want := strings.Join(tried, " "), "127.0.0.1 127.0.0.2 127.0.0.3 127.0.0.1 127.0.0.1"; got != want {
		t.Errorf("tried %s, want %s", got, want)
	}
	now += measure.Instant(nameTTL)
	if _, err := one(); err != nil || lookups != 2 {
		t.Errorf("after the time to live: %v, %d lookups", err, lookups)
	}
	now, found = 0, nil // the clock is set back to the start of the run
	if _, err := one(); class(err) != measure.ClassConnect || lookups != 3 {
		t.Errorf("a name that is gone: %v (%s), %d lookups", err, class(err), lookups)
	}
	found = []string{"127.0.0.4"}
	if _, err := one(); class(err) != measure.ClassConnect || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestAddressesTakeTurns(t *testing.T) {
	var n names
	n.init("target.test", nil)
	n.ask = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.2")}, nil
	}
	var first []string
	for range 6 {
		addrs, _, err := n.resolve(t.Context(), func() measure.Instant { return 0 })
		if err != nil || len(addrs) != 3 {
			t.Fatal(addrs, err)
		}
		first = append(first, addrs[0].String())
	}
	if want := []string{"::1", "10.0.0.1", "10.0.0.2", "::1", "10.0.0.1", "10.0.0.2"}; !slices.Equal(first, want) {
		t.Errorf("first %v, want %v", first, want)
	}
}

func TestOutOfPortsIsSaid(t *testing.T) {
	err := classifyDial(t.Context(), fmt.Errorf("dial: %w", syscall.EADDRNOTAVAIL), false, "")
	if class(err) != measure.ClassConnect || !strings.Contains(err.Error(), "out of local ports") {
		t.Error(err)
	}
}
