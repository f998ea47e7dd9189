package grpcdriver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"

	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/agent/wire/rpc"
	"github.com/loadline/loadline/internal/measure"
)

// TestKinds: each kind of call, what was sent and what came back, with every instant.
func TestKinds(t *testing.T) {
	s, address := serve(t, reflected)
	r := mustCompile(t, target(address),
		workloadOf("unary", "Unary", `message: {text: "n {{arrival}}", payload: AAE=}`)+`, checks: [{json_path: {path: $.text, equals: n 7}}, {json_path: {path: $.payload, equals: AAE=}}]`,
		workloadOf("server", "ServerStream", `message: {text: a, count: "{{random 5 5}}"}, compression: gzip`)+`, checks: [{json_path: {path: "$[4].index", equals: 4}}]`,
		workloadOf("client", "ClientStream", `messages: [{text: a}, {text: b}, {text: c}], every: 5ms`)+`, checks: [{contains: '"index":3'}, {contains: '"text":"c"'}]`,
		workloadOf("bidi", "Bidi", `messages: [{text: a}, {text: "{{uuid}}"}], deadline: 10s`)+`, checks: [{json_path: {path: "$[1].index", equals: 1}}]`,
		workloadOf("none", "Unary", `deadline: 10s`),
		workloadOf("one-of-many", "Bidi", `message: {text: x}`),
		workloadOf("quiet", "ServerStream", `message: {count: 0}`),
		workloadOf("not-measured", "ServerStream", `message: {count: 3}`)+", stream: false",
	)
	for w, c := range []struct {
		name     string
		streamed bool
		events   int
	}{{"unary", false, 0}, {"server", true, 5}, {"client", false, 0}, {"bidi", true, 2}, {"none", false, 0}, {"one-of-many", true, 1}, {"quiet", true, 0}, {"not-measured", false, 0}} {
		for range 2 {
			o := r.play(t.Context(), w, 7)
			if o.Class != "" || o.Status != 0 || o.Streamed != c.streamed || len(o.Events) != c.events || o.BytesOut == 0 {
				t.Errorf("%s: %+v", c.name, o)
			}
			inOrder(t, o)
		}
	}
	md := *s.last.Load()
	for name, want := range map[string]string{"x-loadline-run": "run", "x-loadline-arrival": "p/7/0", "content-type": "application/grpc"} {
		if got := md.Get(name); len(got) != 1 || got[0] != want {
			t.Errorf("metadata %s is %q, want %q", name, got, want)
		}
	}
}

// firstChannels are the connections of a target to begin with, maxStreams the calls on each.
const firstChannels, maxStreams = 4, 100

// TestConnections: the first call on each connection waits for it, later ones do not.
func TestConnections(t *testing.T) {
	_, address := serve(t, nil)
	r, err := compile(t, target(address)+", descriptor_set: svc.binpb", inMemory(map[string][]byte{"svc.binpb": simSet(t)}), workloadOf("w", "Unary", "message: {}"))
	if err != nil {
		t.Fatal(err)
	}
	opened, waited := 0, 0
	for i := range 3 * firstChannels {
		o := r.play(t.Context(), 0, uint64(i))
		if o.NewConnection {
			opened++
		}
		if o.Connected > o.Dispatched {
			waited++
		}
	}
	if opened != firstChannels || waited != firstChannels {
		t.Errorf("%d connections opened, %d calls waited, want %d", opened, waited, firstChannels)
	}
}

// TestFailures: every way to fail has its class.
func TestFailures(t *testing.T) {
	s, address := serve(t, reflected)
	const hasty = ", timeouts: {connect: 5s, first_token: 200ms, stall: 200ms, total: 5s}"
	r := mustCompile(t, target(address)+hasty,
		workloadOf("grpc_unavailable", "Unary", `message: {text: unavailable}`),
		workloadOf("grpc_unavailable-2", "ServerStream", `message: {text: breaks off, count: 3}`),
		workloadOf("grpc_deadline_exceeded", "Unary", `message: {text: hang}, deadline: 50ms`),
		workloadOf("first_token_timeout", "Unary", `message: {text: hang}`),
		workloadOf("stall_timeout", "ServerStream", `message: {text: stalls, count: 2}`),
		workloadOf("oversized", "Unary", `message: {text: large}`),
		workloadOf("check_contains", "Unary", `message: {text: hello}`)+", checks: [{contains: goodbye}]",
		workloadOf("check_max_body", "Unary", `message: {text: hello}`)+", checks: [{max_body: 3}]",
		workloadOf("script", "Unary", `message: {}, metadata: {x-bin: "{{arrival}}?"}`),
	)
	for w, c := range []struct {
		class, text string
		status      uint32
		events      int
	}{
		{"grpc_unavailable", "not now", 14, 0}, {"grpc_unavailable", "in the middle", 14, 3}, {"grpc_deadline_exceeded", "deadline", 4, 0},
		{"first_token_timeout", "did not begin", 0, 0}, {"stall_timeout", "silent", 0, 2}, {"oversized", "4 MiB", 0, 0},
		{"check_contains", "goodbye", 0, 0}, {"check_max_body", "3 bytes", 0, 0}, {"script", "x-bin", 0, 0},
	} {
		before := s.calls.Load()
		o := r.play(t.Context(), w, 1)
		if o.Class != c.class || !strings.Contains(o.Err, c.text) || o.Status != c.status || len(o.Events) != c.events || !o.End.Reached() {
			t.Errorf("want %+v, got %+v", c, o)
		}
		if n := s.calls.Load() - before; c.class != "script" && n != 1 {
			t.Errorf("%s: the server was called %d times", c.class, n)
		}
	}
}

// TestCanceled: the cause of the context is the text.
func TestCanceled(t *testing.T) {
	_, address := serve(t, reflected)
	r := mustCompile(t, target(address), workloadOf("w", "Unary", "message: {text: hang}"))
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(errors.New("the run was stopped")) })
	if o := r.play(ctx, 0, 1); o.Class != measure.ClassCanceled || o.Err != "the run was stopped" || !o.End.Reached() {
		t.Errorf("%+v", o)
	}
	if o := r.play(ctx, 0, 2); o.Class != measure.ClassCanceled {
		t.Errorf("%+v", o)
	}
}

// TestNoRetries: what the server turned away is not sent again, whatever its service config says.
func TestNoRetries(t *testing.T) {
	s, address := serve(t, reflected)
	r := mustCompile(t, target(address), workloadOf("w", "Unary", "message: {text: unavailable}"))
	const n = 20
	for i := range n {
		if o := r.play(t.Context(), 0, uint64(i)); o.Class != "grpc_unavailable" {
			t.Fatalf("%+v", o)
		}
	}
	if got := s.calls.Load(); got != n {
		t.Errorf("%d calls for %d requests", got, n)
	}
}

// TestGone: a server that goes away in the middle, and one that is not there.
func TestGone(t *testing.T) {
	var web *grpc.Server
	_, address := serve(t, func(w *grpc.Server) { web = w; reflection.Register(w) })
	r := mustCompile(t, target(address), workloadOf("w", "ServerStream", "message: {text: stalls, count: 2}"))
	time.AfterFunc(100*time.Millisecond, web.Stop)
	if o := r.play(t.Context(), 0, 1); o.Class != measure.ClassReset || len(o.Events) != 2 {
		t.Errorf("gone in the middle: %+v", o)
	}
	var o *measure.Outcome
	for i := range 2 * firstChannels { // a channel may not have noticed at first
		if o = r.play(t.Context(), 0, uint64(i)); o.Class != measure.ClassConnect && o.Class != measure.ClassReset {
			t.Errorf("not there: %+v", o)
		}
	}
	if o.Class != measure.ClassConnect || !strings.Contains(o.Err, "refused") {
		t.Errorf("not there: %+v", o)
	}
}

// TestRefused: the guard's hook sees the address that is dialled.
func TestRefused(t *testing.T) {
	_, address := serve(t, reflected)
	r := mustCompile(t, target(address), workloadOf("w", "Unary", "message: {}"))
	r.driver.pool = rpc.New(t.Context(), rpc.Config{Address: address, Local: wire.Local{
		Now: clock(), Control: func(string, string, syscall.RawConn) error { return errors.New("no way") },
	}})
	if o := r.play(t.Context(), 0, 1); o.Class != measure.ClassRefused || !strings.Contains(o.Err, "no way") {
		t.Errorf("%+v", o)
	}
}

// TestMetadata: names in lower case, bytes from base64.
func TestMetadata(t *testing.T) {
	s, address := serve(t, reflected)
	r := mustCompile(t, target(address)+", headers: {X-Team: a, x-b: of the target}",
		workloadOf("w", "Unary", `metadata: {X-B: "{{arrival}}", x-raw-bin: AAECAw}`)+`, headers: {X-C: c}`)
	if o := r.play(t.Context(), 0, 5); o.Class != "" {
		t.Fatalf("%+v", o)
	}
	md := *s.last.Load()
	for name, want := range map[string]string{"x-team": "a", "x-b": "5", "x-c": "c", "x-raw-bin": "\x00\x01\x02\x03"} {
		if got := md.Get(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if agent := md.Get("user-agent"); len(agent) != 1 || !strings.HasPrefix(agent[0], "loadline") {
		t.Errorf("user agent %q", agent)
	}
}

// TestManyStreams: calls beyond what one channel takes get channels of their own.
func TestManyStreams(t *testing.T) {
	s, address := serve(t, reflected)
	r := mustCompile(t, target(address), workloadOf("w", "Unary", "message: {text: hang}"))
	ctx, cancel := context.WithCancel(t.Context())
	const n = firstChannels*maxStreams + 50
	done := make(chan string, n)
	for i := range n {
		go func() { done <- r.play(ctx, 0, uint64(i)).Class }()
	}
	for start := time.Now(); s.calls.Load() < n && time.Since(start) < 10*time.Second; {
		time.Sleep(time.Millisecond)
	}
	cancel()
	classes := map[string]int{}
	for range n {
		classes[<-done]++
	}
	if got := s.most(); got != maxStreams || classes[measure.ClassCanceled] != n || s.calls.Load() != n {
		t.Errorf("%d calls on one connection, %v, %d calls", got, classes, s.calls.Load())
	}
}

// TestSecretsAreMasked: what was sent as metadata does not stand in the example.
func TestSecretsAreMasked(t *testing.T) {
	register := func(w *grpc.Server) { reflection.Register(w) }
	_, address := serve(t, register, grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		return nil, fmt.Errorf("bad key %s", md.Get("x-key"))
	}))
	r := mustCompile(t, target(address), workloadOf("w", "Unary", `metadata: {x-key: very-secret-value}`))
	if o := r.play(t.Context(), 0, 1); o.Class != "grpc_unknown" || strings.Contains(o.Err, "very-secret") {
		t.Errorf("%+v", o)
	}
}
