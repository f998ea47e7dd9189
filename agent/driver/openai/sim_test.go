package openai

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loadline/loadline/agent/wire/wiretest"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/sim"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func simulate(t *testing.T, faults ...string) (*sim.Server, string) {
	t.Helper()
	cfg := sim.Default()
	cfg.Law = sim.LawFixed
	cfg.Fixed = sim.FixedLaw{TTFT: sim.Fixed(20 * time.Millisecond), ITL: sim.Fixed(2 * time.Millisecond)}
	for _, f := range faults {
		fault, err := sim.ParseFault(f)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Faults = append(cfg.Faults, fault)
	}
	s, err := sim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewUnstartedServer(s.Handler())
	_ = h.Listener.Close()
	h.Listener = l
	h.Config.Protocols = new(http.Protocols)
	h.Config.Protocols.SetHTTP1(true)
	h.Config.Protocols.SetUnencryptedHTTP2(true)
	h.Start()
	t.Cleanup(func() { h.CloseClientConnections(); s.Close(); h.Close() })
	return s, l.Addr().String()
}

func ask(tokens int) *workload.Request {
	r := request()
	r.Body = fmt.Appendf(nil, `{"model":"m","messages":[{"role":"user","content":"hello"}],"max_tokens":%d,"stream":true,"stream_options":{"include_usage":true}}`, tokens)
	return r
}

// TestAgainstTheSimulator: what the driver counts is what the simulator did, by both versions of HTTP.
func TestAgainstTheSimulator(t *testing.T) {
	for name, version := range versions() {
		t.Run(name, func(t *testing.T) { againstTheSimulator(t, version) })
	}
}

func versions() map[string]pb.HttpVersion {
	return map[string]pb.HttpVersion{"http1": pb.HttpVersion_HTTP_VERSION_HTTP1, "http2": pb.HttpVersion_HTTP_VERSION_HTTP2}
}

func againstTheSimulator(t *testing.T, version pb.HttpVersion) {
	s, addr := simulate(t)
	d := newDriverBy(t, addr, version)
	const streams, tokens = 40, 16
	var mu sync.Mutex
	var ttft []measure.Instant
	var wg sync.WaitGroup
	for range streams {
		wg.Go(func() {
			var o measure.Outcome
			o.Reset()
			d.Do(wiretest.Context(t), ask(tokens), &o)
			mu.Lock()
			defer mu.Unlock()
			if o.Class != "" || o.OutputTokens != tokens || len(o.Events) != tokens || o.Tokens != measure.TokensServer || o.InputTokens == 0 {
				t.Errorf("class %q (%s), %d tokens from %d, %d events", o.Class, o.Err, o.OutputTokens, o.Tokens, len(o.Events))
				return
			}
			ttft = append(ttft, o.FirstToken()-o.Connected)
			if len(o.Stamps) != tokens || slices.ContainsFunc(o.Stamps, func(at measure.Instant) bool { return at > o.LastToken() }) {
				t.Errorf("%d events, stamps %v", len(o.Events), o.Stamps)
			}
		})
	}
	wg.Wait()
	truth := s.Truth()
	if truth.CompletionTokens != streams*tokens || truth.TTFT.Count != streams || truth.ITL.Count != streams*(tokens-1) {
		t.Errorf("truth: %d tokens, %d first tokens, %d gaps", truth.CompletionTokens, truth.TTFT.Count, truth.ITL.Count)
	}
	if len(ttft) > 0 {
		slices.Sort(ttft)
		t.Logf("first token in the median: ours %d µs, the simulator's %d µs", ttft[len(ttft)/2]/1000, truth.TTFT.P50)
	}
}

// TestSimulatedFaults: every fault that the simulator has is a failure of its class, by both versions of HTTP.
func TestSimulatedFaults(t *testing.T) {
	for fault, classes := range map[string]string{
		"status:code=429": "http_429",
		"status:code=503": "http_503",
		"reset:after=5":   "reset truncated",
		"truncated":       "truncated",
		"empty":           "empty",
		"error":           "http_500 http_503",
		"malformed":       "malformed",
		"endless":         "oversized",
		"wrong-key":       "http_401",
	} {
		for name, version := range versions() {
			t.Run(fault+"/"+name, func(t *testing.T) {
				_, addr := simulate(t, fault)
				o := run(t, newDriverBy(t, addr, version), ask(16))
				if !slices.Contains(strings.Fields(classes), o.Class) {
					t.Errorf("class %q (%s), want %s", o.Class, o.Err, classes)
				}
			})
		}
	}
}
