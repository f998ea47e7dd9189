package grpcdriver

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/loadline/loadline/internal/measure"
)

// together plays n calls at once and gives the outcomes.
func together(t *testing.T, r *rig, n int) []*measure.Outcome {
	t.Helper()
	all := make([]*measure.Outcome, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { all[i] = r.play(t.Context(), 0, uint64(i)) })
	}
	wg.Wait()
	return all
}

func allWell(t *testing.T, all []*measure.Outcome) (opened int) {
	t.Helper()
	for _, o := range all {
		if o.Class != "" {
			t.Errorf("%+v", o)
		}
		if o.NewConnection {
			opened++
		}
		inOrder(t, o)
	}
	return opened
}

// TestLargeMessages: six hundred kilobytes there and back through small windows, with other calls beside.
func TestLargeMessages(t *testing.T) {
	_, address := serve(t, reflected, grpc.InitialWindowSize(65536), grpc.InitialConnWindowSize(65536))
	r := mustCompile(t, target(address)+", connections: {max: 1}", workloadOf("w", "Unary", `message: {text: big, payload: "`+strings.Repeat("AAAA", 200<<10)+`"}`))
	for _, o := range together(t, r, 6) {
		if o.Class != "" || o.BytesIn < 600<<10 || o.BytesOut < 600<<10 {
			t.Errorf("%s %s, %d bytes in, %d out", o.Class, o.Err, o.BytesIn, o.BytesOut)
		}
	}
}

// TestServersLimits: a server of few streams turns nothing away, over one connection or several.
func TestServersLimits(t *testing.T) {
	s, address := serve(t, reflected, grpc.MaxConcurrentStreams(3))
	for _, max := range []int{1, 2} {
		r := mustCompile(t, target(address)+fmt.Sprintf(", connections: {max: %d}", max), workloadOf("w", "Bidi", "messages: [{text: a}, {text: b}], every: 2ms"))
		allWell(t, together(t, r, 40))
	}
	if s.calls.Load() != 0 { // Bidi does not count
		t.Errorf("%d calls", s.calls.Load())
	}
}

// TestOldConnections: a server that sends every connection away after a while loses no call.
func TestOldConnections(t *testing.T) {
	s, address := serve(t, reflected, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 20 * time.Millisecond, MaxConnectionAgeGrace: 5 * time.Second}))
	r := mustCompile(t, target(address)+", connections: {max: 2}", workloadOf("w", "Unary", echo))
	opened := 0
	begun := s.calls.Load()
	for range 30 {
		opened += allWell(t, together(t, r, 8))
		time.Sleep(3 * time.Millisecond)
	}
	if opened < 3 || s.calls.Load()-begun != 240 {
		t.Errorf("%d connections, %d calls", opened, s.calls.Load()-begun)
	}
}

// TestPolicies: connections of their own, and those opened before the load.
func TestPolicies(t *testing.T) {
	_, address := serve(t, reflected)
	r := mustCompile(t, target(address)+", connections: {policy: per-request}", workloadOf("w", "Unary", echo))
	if opened := allWell(t, together(t, r, 10)); opened != 10 {
		t.Errorf("%d connections for 10 calls", opened)
	}
	r = mustCompile(t, target(address)+", connections: {warm: 6}", workloadOf("w", "Unary", echo))
	if err := r.driver.Warm(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	if opened := allWell(t, together(t, r, 12)); opened != 0 {
		t.Errorf("%d connections were opened after all", opened)
	}
}

// TestRoundTrips: each message of a stream in both directions that is answered in turn has its own.
func TestRoundTrips(t *testing.T) {
	_, address := serve(t, reflected)
	r := mustCompile(t, target(address),
		workloadOf("bidi", "Bidi", "messages: [{text: a}, {text: b}, {text: c}], every: 5ms"),
		workloadOf("server", "ServerStream", "message: {count: 3}"),
		workloadOf("unary", "Unary", echo))
	for w, want := range []int{3, 0, 0} {
		o := r.play(t.Context(), w, 1)
		if o.Class != "" || len(o.RoundTrips) != want {
			t.Errorf("%+v", o)
		}
		for i, d := range o.RoundTrips {
			if d <= 0 || o.Events[i]-o.Dispatched < measure.Instant(d) {
				t.Errorf("round trip %d took %v of %+v", i, d, o)
			}
		}
	}
}

// TestHeadersThatVary: headers of one call alone never take the place of those of another.
func TestHeadersThatVary(t *testing.T) {
	s, address := serve(t, reflected)
	r := mustCompile(t, target(address), workloadOf("w", "Unary", `message: {}, metadata: {x-n: "{{arrival}}", x-fixed: always, x-n-bin: "AAE="}`))
	for i := range uint64(20) {
		if o := r.play(t.Context(), 0, i); o.Class != "" {
			t.Fatalf("%+v", o)
		}
		md := *s.last.Load()
		for name, want := range map[string]string{"x-n": fmt.Sprint(i), "x-fixed": "always", "x-n-bin": "\x00\x01", "x-loadline-arrival": fmt.Sprintf("p/%d/0", i)} {
			if got := md.Get(name); len(got) != 1 || got[0] != want {
				t.Errorf("call %d: %s is %q, want %q", i, name, got, want)
			}
		}
	}
}
