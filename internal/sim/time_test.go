package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sink is a response that notes when each flush came.
type sink struct {
	server *Server
	header http.Header
	status int
	body   bytes.Buffer
	writes []time.Duration
}

func newSink(s *Server) *sink { return &sink{server: s, header: http.Header{}} }

func (w *sink) Header() http.Header    { return w.header }
func (w *sink) WriteHeader(status int) { w.status = status }
func (w *sink) Flush()                 { w.writes = append(w.writes, time.Duration(w.server.clock.now())) }
func (w *sink) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.body.Write(b)
}

// inFakeTime plays a test in a bubble, with a server that is closed at its end.
func inFakeTime(t *testing.T, cfg Config, play func(t *testing.T, s *Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		play(t, s)
	})
}

// post plays one request; aborted says that the handler cut the connection.
func post(ctx context.Context, s *Server, path, body string) (w *sink, aborted bool) {
	w = newSink(s)
	req, err := http.NewRequestWithContext(ctx, "POST", path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	defer func() {
		if v := recover(); v != nil {
			if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				panic(v)
			}
			aborted = true
		}
	}()
	s.Handler().ServeHTTP(w, req)
	return w, false
}

// times is the instants of the writes, in milliseconds.
func (w *sink) times() string {
	var b strings.Builder
	for i, at := range w.writes {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprint(&b, at.Milliseconds())
	}
	return b.String()
}

// TestStreamGolden holds the bytes of every shape of stream, and the moments of its writes.
func TestStreamGolden(t *testing.T) {
	base := func(change func(*Config)) Config {
		cfg := Default()
		cfg.Model = "demo"
		change(&cfg)
		return cfg
	}
	request := `{"model":"demo","messages":[{"role":"user","content":"one two three"}],"prompt":"a b","stream":true,"stream_options":{"include_usage":true},"max_tokens":5}`
	for _, c := range []struct {
		name, path string
		cfg        Config
		body       string
		times      string
	}{
		{"chat", chatPath, base(func(*Config) {}), request, "50 60 70 80 90 90"},
		{"completions", "/v1/completions", base(func(*Config) {}), request, "50 60 70 80 90 90"},
		{"role-at-once", chatPath, base(func(c *Config) { c.Role = RoleAtOnce }), request, "0 50 60 70 80 90 90"},
		{"role-none", chatPath, base(func(c *Config) { c.Role, c.FinishWithLast = RoleNone, true }), request, "50 60 70 80 90 90"},
		{"two-events-a-write", chatPath, base(func(c *Config) { c.EventsPerWrite = 2 }), request, "60 80 90 90"},
		{"two-tokens-an-event", chatPath, base(func(c *Config) { c.TokensPerEvent = 2 }), request, "60 80 90 90"},
		{"no-usage", chatPath, base(func(c *Config) { c.NoUsage = true }), request, "50 60 70 80 90 90"},
		{"stop", "/v1/completions", base(func(c *Config) { c.OutputTokens = 2 }), `{"model":"demo","prompt":"a","stream":true}`, "50 60 60"},
		{"unstreamed-chat", chatPath, base(func(*Config) {}), strings.Replace(request, `"stream":true`, `"stream":false`, 1), "90"},
		{"unstreamed-completions", "/v1/completions", base(func(*Config) {}), strings.Replace(request, `"stream":true`, `"stream":false`, 1), "90"},
		{"error-in-stream", chatPath, base(func(c *Config) { c.Faults = quick("error:after=2,code=503").Faults }), request, "50 60 60"},
		{"malformed", chatPath, base(func(c *Config) { c.Faults = quick("malformed:after=0").Faults }), request, "0 50 60 70 80 90 90"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, c.cfg, func(t *testing.T, s *Server) {
				w, _ := post(t.Context(), s, c.path, c.body)
				if w.times() != c.times {
					t.Errorf("writes at %s ms, want %s", w.times(), c.times)
				}
				golden(t, c.name+".txt", w.body.Bytes())
			})
		})
	}
}

// TestFaultTimes: the faults that wait do so exactly.
func TestFaultTimes(t *testing.T) {
	for fault, want := range map[string]string{
		"stall:after=2,for=3s":  "50 60 3060 3060 3060 3060 3060", // what came ready meanwhile follows at once
		"slow-header:for=2s":    "2000 2000 2000 2000 2000 2000 2000",
		"freeze:for=1s,at=65ms": "50 60 1070 1080 1090 1100 1100",
		"freeze:for=1s,at=60ms": "50 1060 1070 1080 1090 1100 1100",
		"freeze:for=10ms,at=0s": "60 70 80 90 100 110 110",
		// 4 ms of work in every 9 ms once 9 ms have passed: token i at w + (⌊(w − 9)/4⌋ + 1)·5, w = 50, 60 …
		"freeze:for=5ms,every=9ms": "105 125 150 170 195 215 215",
	} {
		cfg := Default()
		f, err := ParseFault(fault)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Faults = []Fault{f}
		t.Run(fault, func(t *testing.T) {
			inFakeTime(t, cfg, func(t *testing.T, s *Server) {
				w, _ := post(t.Context(), s, chatPath, chatBody)
				if w.times() != want {
					t.Errorf("writes at %s ms, want %s", w.times(), want)
				}
			})
		})
	}
}

// TestHangEnds: a hanging request ends with its client or with the server.
func TestHangEnds(t *testing.T) {
	inFakeTime(t, quick("hang"), func(t *testing.T, s *Server) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w, aborted := post(ctx, s, chatPath, chatBody)
		if !aborted || w.status != 0 || s.clock.now() != int64(time.Minute) {
			t.Errorf("aborted %v with status %d at %s", aborted, w.status, time.Duration(s.clock.now()))
		}
		time.AfterFunc(time.Minute, s.Close)
		if _, aborted = post(t.Context(), s, chatPath, chatBody); !aborted || s.clock.now() != int64(2*time.Minute) {
			t.Errorf("aborted %v at %s", aborted, time.Duration(s.clock.now()))
		}
		if got := s.Truth(); got.Routes["chat"].Broken != 2 || got.Statuses["none"] != 2 || got.InFlight != 0 {
			t.Errorf("truth: %+v", got)
		}
	})
}

// TestFreezeOracle is section 3.7 of the reliability page in fake time: frozen 1 s every 10 s, at
// 1,000 requests a second over two whole periods, P(L > x) = (1 s − x)/10 s, so p95 = 500 ms.
func TestFreezeOracle(t *testing.T) {
	inFakeTime(t, quick("freeze:for=1s,every=10s"), func(t *testing.T, s *Server) {
		time.Sleep(5 * time.Second)
		var all sync.WaitGroup
		for range 20_000 {
			all.Go(func() { post(t.Context(), s, "/echo", "x") })
			time.Sleep(time.Millisecond)
		}
		all.Wait()
		truth := s.Truth()
		latency := truth.Routes["echo"].Latency
		if latency.Count != 20_000 || latency.P90 > 2_000 || latency.P95 < 495_000 || latency.P95 > 505_000 || latency.Max != 1_000_000 {
			t.Errorf("latency %+v; want p95 at 500 ms and a maximum of 1 s", latency)
		}
		if truth.Faults["freeze"] != 2 || truth.InFlightMax < 1000 {
			t.Errorf("%v, %d in flight at most", truth.Faults, truth.InFlightMax)
		}
	})
}

// TestHealthWaitsForThaw and the truth does not.
func TestHealthWaitsForThaw(t *testing.T) {
	inFakeTime(t, quick("freeze:for=1s,at=0s"), func(t *testing.T, s *Server) {
		for path, want := range map[string]time.Duration{"/truth": 0, "/health": time.Second} {
			req, err := http.NewRequestWithContext(t.Context(), "GET", path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			before := time.Duration(s.clock.now())
			if before > 0 {
				want = 0
			}
			w := newSink(s)
			s.Handler().ServeHTTP(w, req)
			if took := time.Duration(s.clock.now()) - before; took != want || w.status != 200 {
				t.Errorf("%s: %d after %s, want %s", path, w.status, took, want)
			}
		}
	})
}

// TestBatchingStream: tokens come at the ends of the steps, and a second request shares them.
func TestBatchingStream(t *testing.T) {
	cfg := Default()
	cfg.Law = LawBatching
	cfg.Batching = Batching{Step: 10 * time.Millisecond, PerSequence: time.Millisecond, Batch: 4, KV: 1000}
	inFakeTime(t, cfg, func(t *testing.T, s *Server) {
		var all sync.WaitGroup
		var first, second *sink
		all.Go(func() { first, _ = post(t.Context(), s, chatPath, chatBody) })
		time.Sleep(25 * time.Millisecond)
		all.Go(func() { second, _ = post(t.Context(), s, chatPath, chatBody) })
		all.Wait()
		// alone 11 ms a step until 33, then 12 ms with two, then 11 again
		if got := first.times(); got != "11 22 33 45 57 69 69" {
			t.Errorf("first at %s", got)
		}
		if got := second.times(); got != "45 57 69 80 91 102 102" {
			t.Errorf("second at %s", got)
		}
		truth := s.Truth()
		if b := truth.Batching; b.Steps != 9 || b.RunningMax != 2 || b.ReservedMax != 18 || b.Reserved != 0 {
			t.Errorf("engine: %+v", b)
		}
		if truth.TTFT.Max != 20_000 || truth.TTFT.Min != 11_000 || truth.ITL.Count != 10 || truth.ITL.Max != 12_000 {
			t.Errorf("TTFT %+v, ITL %+v", truth.TTFT, truth.ITL)
		}
	})
}

// TestBatchingFreeze: a freeze stops the engine where it stands.
func TestBatchingFreeze(t *testing.T) {
	cfg := quick("freeze:for=1s,at=25ms")
	cfg.Law = LawBatching
	cfg.Batching = Batching{Step: 10 * time.Millisecond, Batch: 4, KV: 1000}
	inFakeTime(t, cfg, func(t *testing.T, s *Server) {
		if w, _ := post(t.Context(), s, chatPath, chatBody); w.times() != "10 20 1030 1040 1050 1060 1060" {
			t.Errorf("writes at %s", w.times())
		}
	})
}

// TestBatchingCancel: a client that leaves gives its place and cache back.
func TestBatchingCancel(t *testing.T) {
	cfg := Default()
	cfg.Law = LawBatching
	cfg.Batching = Batching{Step: 10 * time.Millisecond, Batch: 1, KV: 1000, Queue: 1}
	inFakeTime(t, cfg, func(t *testing.T, s *Server) {
		var all sync.WaitGroup
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Millisecond)
		defer cancel()
		all.Go(func() { post(ctx, s, chatPath, chatBody) })
		time.Sleep(time.Millisecond)
		var waiting, refused *sink
		all.Go(func() { waiting, _ = post(t.Context(), s, chatPath, chatBody) })
		time.Sleep(time.Millisecond)
		all.Go(func() { refused, _ = post(t.Context(), s, chatPath, chatBody) })
		all.Wait()
		if refused.status != 503 || refused.header.Get("Retry-After") != "1" {
			t.Errorf("third: %d %v", refused.status, refused.header)
		}
		if got := waiting.times(); got != "30 40 50 60 70 80 80" { // the first leaves at the end of its second step
			t.Errorf("second at %s", got)
		}
		truth := s.Truth()
		if r := truth.Routes["chat"]; r.Canceled != 1 || r.Completed != 1 || r.Refused != 1 || truth.Batching.Reserved != 0 {
			t.Errorf("truth: %+v %+v", r, truth.Batching)
		}
	})
}

// TestPrefixAcrossRequests: the second of two equal prompts finds the first one's blocks.
func TestPrefixAcrossRequests(t *testing.T) {
	cfg := Default()
	cfg.Law = LawBatching
	cfg.Batching = Batching{Step: 10 * time.Millisecond, PerPrompt: time.Millisecond, Batch: 4, KV: 1000}
	prompt := strings.Repeat("word ", 40)
	body := `{"prompt":"` + prompt + `","stream":true,"stream_options":{"include_usage":true},"max_tokens":1}`
	for off, want := range map[bool]string{false: "18", true: "50"} {
		cfg.Batching.NoPrefix = off
		inFakeTime(t, cfg, func(t *testing.T, s *Server) {
			first, _ := post(t.Context(), s, "/v1/completions", body)
			time.Sleep(time.Second - time.Duration(s.clock.now()))
			second, _ := post(t.Context(), s, "/v1/completions", body)
			if got := first.times(); got != "50 50" {
				t.Errorf("first at %s", got)
			}
			if got := fmt.Sprint(second.writes[0].Milliseconds() - 1000); got != want {
				t.Errorf("second after %s ms, want %s", got, want)
			}
			if cached := strings.Contains(second.body.String(), `"cached_tokens":32`); cached == off {
				t.Errorf("usage: %s", second.body.String())
			}
		})
	}
}

// TestSameSeedSameTimes: draws follow the arrival, not the order of requests.
func TestSameSeedSameTimes(t *testing.T) {
	cfg := Default()
	cfg.Fixed = FixedLaw{TTFT: Distribution{ShapeUniform, 10 * time.Millisecond, time.Second}, ITL: Distribution{ShapeExponential, 10 * time.Millisecond, 0}}
	times := func(seed uint64, order ...string) map[string]string {
		got := map[string]string{}
		cfg.Seed = seed
		inFakeTime(t, cfg, func(t *testing.T, s *Server) {
			for _, arrival := range order {
				begun := time.Duration(s.clock.now())
				w := newSink(s)
				req, err := http.NewRequestWithContext(t.Context(), "POST", chatPath, strings.NewReader(chatBody))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set(headerArrival, arrival)
				s.Handler().ServeHTTP(w, req)
				for i := range w.writes {
					w.writes[i] -= begun
				}
				got[arrival] = fmt.Sprint(w.writes)
			}
		})
		return got
	}
	a, b, c := times(1, "p/1/0", "p/2/0"), times(1, "p/2/0", "p/1/0"), times(2, "p/1/0", "p/2/0")
	for arrival := range a {
		if a[arrival] != b[arrival] {
			t.Errorf("%s: %s, then %s", arrival, a[arrival], b[arrival])
		}
		if a[arrival] == c[arrival] {
			t.Errorf("%s: another seed gave the same times", arrival)
		}
	}
	if a["p/1/0"] == a["p/2/0"] {
		t.Error("two arrivals have the same times")
	}
}
