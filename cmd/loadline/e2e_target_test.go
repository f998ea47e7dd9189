package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// failing is a target that fails every request in one way.
type failing struct {
	name, url string
	// more is what the target says beside its address.
	more  string
	class string
	// example is part of the failure in words.
	example string
}

// hasty cuts a wait short that would never end.
const hasty = "timeouts: {connect: 5s, first_token: 300ms, stall: 300ms, total: 1m}"

// failingTargets fail in every way that this version can tell apart on loopback.
func failingTargets(t *testing.T, redirected *atomic.Uint64) []failing {
	t.Helper()
	var all []failing
	simulated := map[string]struct{ fault, more, class, example string }{
		"unauthorized":  {"wrong-key", "", "http_401", "Incorrect API key"},
		"too-many":      {"status:code=429,retry_after=1s", "", "http_429", "told to fail"},
		"server-error":  {"status:code=500", "", "http_500", "told to fail"},
		"error-object":  {"error:code=503", "", "http_503", "told to fail"},
		"silent":        {"hang", hasty, "first_token_timeout", "did not begin in time"},
		"stalls":        {"stall:after=2,for=1h", hasty, "stall_timeout", "fell silent"},
		"never-done":    {"hang", "timeouts: {total: 400ms}", "total_timeout", "not complete in time"},
		"reset":         {"reset:after=2", "", "reset", ""},
		"truncated":     {"truncated:after=2", "", "truncated", ""},
		"empty":         {"empty:done=true", "", "empty", ""},
		"broken-json":   {"malformed:after=1", "", "malformed", ""},
		"endless":       {"endless:after=1,bytes=8MiB", "", "oversized", ""},
		"slow-to-start": {"slow-header:for=1h", hasty, "first_token_timeout", ""},
	}
	for name, s := range simulated {
		url := serveSim(t, fault(t, s.fault)).root + "/v1"
		all = append(all, failing{name, url, s.more, s.class, s.example})
		twice := strings.TrimPrefix(s.more+", connections: {http: http2}", ", ")
		all = append(all, failing{name + "-http2", url, twice, s.class, s.example})
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { redirected.Add(1) }))
	t.Cleanup(elsewhere.Close)
	redirecting := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(redirecting.Close)
	garbage := serveRaw(t, func(conn net.Conn) {
		fmt.Fprint(conn, "\x00\x01\x02 this is not HTTP\r\n\r\n")
		drainConn(conn)
	})
	longHeader := serveRaw(t, func(conn net.Conn) {
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nX-Long: ", strings.Repeat("a", 1<<17))
		drainConn(conn)
	})
	mute := serveRaw(t, drainConn)
	leaving := serveRaw(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1<<16)) })
	return append(all,
		failing{"refused", "http://" + closedPort(t) + "/v1", "", "connect", "refused"},
		failing{"nowhere", "http://nowhere.invalid/v1", "timeouts: {connect: 1m}", "dns", "nowhere.invalid"},
		failing{"redirecting", redirecting.URL + "/v1", "", "http_307", ""},
		failing{"garbage", "http://" + garbage + "/v1", "", "malformed", ""},
		failing{"long-header", "http://" + longHeader + "/v1", "", "oversized", "64 KiB"},
		failing{"leaving", "http://" + leaving + "/v1", "", "reset", ""},
		failing{"mute", "http://" + mute + "/v1", hasty, "first_token_timeout", ""},
		failing{"no-tls", "https://" + strings.TrimPrefix(serveSim(t, nil).root, "http://") + "/v1", "", "tls", ""},
	)
}

// failingScenario has one tenant for each failing target, all at the same time, and one for a target that is well.
func failingScenario(targets []failing, well *target, each int) string {
	var names, workloads, load strings.Builder
	add := func(f failing) {
		fmt.Fprintf(&names, "  - {name: %s, url: %q, protocol: openai-chat, model: m, %s}\n", f.name, f.url, f.more)
		fmt.Fprintf(&workloads, "  - {name: %s, target: %s, synthetic: {input_tokens: {fixed: 5}, output_tokens: {fixed: 4}}}\n", f.name, f.name)
		fmt.Fprintf(&load, "  - {name: %s, at: 0s, open: {rate: 10}, sessions: %d, workloads: [%s]}\n", f.name, each, f.name)
	}
	for _, f := range targets {
		add(f)
	}
	add(failing{name: "well", url: well.root + "/v1", more: "timeouts: {connect: 1m}"})
	return "name: failing\nslo: [error_rate < 1%]\n" + everyArrival + "targets:\n" + names.String() +
		"workloads:\n" + workloads.String() + "load:\n" + load.String()
}

// TestFailingTargets: every way to fail has its class, beside each other in one run, which ends with a whole ledger;
// a target that is well is not touched by it.
func TestFailingTargets(t *testing.T) {
	t.Parallel()
	const each = 3
	var redirected atomic.Uint64
	targets, well := failingTargets(t, &redirected), serveSim(t, nil)
	p := playThrough(t, files{"s.yaml": failingScenario(targets, well, each)}, "--quiet", "--agents", "2")
	p.wantVerdict(t, 99)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	phases := map[string]*pb.PhaseSummary{}
	for _, phase := range p.summary.GetPhases() {
		phases[phase.GetName()] = phase
	}
	classes := map[string]uint64{}
	for _, f := range targets {
		classes[f.class] += each
		t.Run(f.name, func(t *testing.T) {
			phase := phases[f.name]
			if phase.GetArrivals().GetStarted() != each || phase.GetRequests().GetFailed() != each || phase.GetSessions().GetFailed() != each {
				t.Errorf("arrivals %v, requests %v", phase.GetArrivals(), phase.GetRequests())
			}
			e := phase.GetErrors()
			if len(e) != 1 || e[0].GetClass() != f.class || e[0].GetCount() != each || !strings.Contains(e[0].GetExample(), f.example) {
				t.Errorf("errors %v, want %d of class %s with %q", e, each, f.class, f.example)
			}
		})
	}
	if r := phases["well"].GetRequests(); r.GetSucceeded() != each || len(phases["well"].GetErrors()) > 0 {
		t.Errorf("the target that is well: %v %v", r, phases["well"].GetErrors())
	}
	got := map[string]uint64{}
	for _, e := range p.summary.GetErrors() {
		got[e.GetClass()] = e.GetCount()
	}
	for class, n := range classes {
		if got[class] != n {
			t.Errorf("%d errors of class %s in the run, want %d", got[class], class, n)
		}
	}
	if len(got) != len(classes) {
		t.Errorf("classes %v, want %v", got, classes)
	}
	if n := redirected.Load(); n > 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

// TestFailingHTTPTarget: the plain protocol has the same classes, and those of its checks and expected statuses.
func TestFailingHTTPTarget(t *testing.T) {
	t.Parallel()
	well := serveSim(t, nil)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/created":
			w.WriteHeader(http.StatusCreated)
		case "/short":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "cut off")
		case "/large":
			_, _ = w.Write(make([]byte, 4096))
		}
	}))
	defer web.Close()
	text := `name: plain
targets:
  - {name: sim, url: SIM, protocol: http}
  - {name: web, url: WEB, protocol: http}
workloads:
  - {name: http_404, target: sim, http: {path: /nothing}}
  - {name: check_contains, target: sim, http: {method: POST, path: /echo, body: hello}, checks: [{contains: goodbye}]}
  - {name: check_json_path, target: sim, http: {method: POST, path: /echo, body: '{"a": 1}'}, checks: [{json_path: {path: $.a, equals: 2}}]}
  - {name: check_max_body, target: web, http: {path: /large}, checks: [{max_body: 100}]}
  - {name: http_201, target: web, http: {path: /created, expect_status: [200]}}
  - {name: truncated, target: web, http: {path: /short}}
load:
  - {open: {rate: 40}, sessions: 24}
` + everyArrival
	p := playThrough(t, files{"s.yaml": strings.NewReplacer("SIM", well.root, "WEB", web.URL).Replace(text)}, "--quiet")
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	if e := p.summary.GetErrors(); len(e) != 6 || p.summary.GetRequests().GetFailed() != 24 {
		t.Errorf("requests %v, errors %v", p.summary.GetRequests(), e)
	}
	for _, e := range p.summary.GetErrors() {
		want := map[string]bool{"http_404": true, "check_contains": true, "check_json_path": true, "check_max_body": true, "http_201": true, "truncated": true}
		if !want[e.GetClass()] || e.GetCount() != 4 || e.GetExample() == "" {
			t.Errorf("error %v", e)
		}
	}
}
