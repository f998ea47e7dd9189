package main

import (
	"strings"
	"testing"
	"time"

	"github.com/loadline/loadline/internal/sim"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const flood = `name: flood
targets:
  - {url: TARGET, protocol: http}
workloads:
  - http: {path: /echo}
load:
  - {name: flood, open: {rate: 200k}, duration: 1s}
slo: [error_rate < 50%, p50(e2e) < 1h]
limits: {max_in_flight: 15k}
drain: 10s
capture: {records: 0}
`

// TestOverloadedGenerator: 200,000 arrivals a second are more than the machine can start. The run is not valid and
// says why in words, every arrival is accounted for, and nothing that was never sent looks like an answer.
// It runs alone, before the tests that go on side by side.
func TestOverloadedGenerator(t *testing.T) {
	g := serveSim(t, nil)
	p := playThrough(t, files{"s.yaml": strings.ReplaceAll(flood, "TARGET", g.root)}, "--quiet")
	v := p.summary.GetValidity()
	if p.status != 98 || v.GetValid() || p.summary.GetVerdict() == pb.Verdict_VERDICT_PASS {
		t.Errorf("exit status %d, valid %v, verdict %v\n%s", p.status, v.GetValid(), p.summary.GetVerdict(), &p.out)
	}
	reasons := strings.Join(v.GetReasons(), "\n")
	if !strings.Contains(reasons, "the generator") || !strings.Contains(reasons, "lower the rate") {
		t.Errorf("the reasons do not name the generator and give no advice: %q", reasons)
	}
	if out := strings.Join(strings.Fields(p.out.String()), " "); !strings.Contains(out, "lower the rate") {
		t.Errorf("the final block does not say why:\n%s", &p.out)
	}
	a, r := p.summary.GetArrivals(), p.summary.GetRequests()
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	if a.GetDue() != 200_000 || a.GetStarted() == 0 || a.GetStarted() == a.GetDue() || a.GetLost() != 0 {
		t.Errorf("arrivals: %v", a)
	}
	if seen := g.begun(); seen > r.GetSent() || r.GetSucceeded() > seen {
		t.Errorf("the target saw %d requests; the ledger: %v", seen, r)
	}
}

// cramped is a target that carries 20 requests of 4 tokens a second: 4 at a time, in 4 steps of 50 ms.
func cramped(c *sim.Config) {
	c.Law = sim.LawBatching
	c.Batching = sim.Batching{Step: 50 * time.Millisecond, Batch: 4, KV: 10_000}
	c.MeanInput, c.MeanOutput = 10, 4
}

const drowning = `name: drowning
targets:
  - {url: TARGET/v1, protocol: openai-chat, model: m}
workloads:
  - synthetic: {input_tokens: {fixed: 10}, output_tokens: {fixed: 4}}
load:
  - {name: flood, open: {rate: 60}, duration: 3s}
slo: ['p99(ttft) < 500ms', 'error_rate < 1%']
drain: 500ms
` + everyArrival

// TestDrownedTarget: a target of 20 requests a second that is offered 60 fails its objective however few of its
// answers came, and what is never answered is not taken for an error of the target's.
func TestDrownedTarget(t *testing.T) {
	t.Parallel()
	g := serveSim(t, cramped)
	if c := g.server.Capacity(); c.Requests < 19 || c.Requests > 21 {
		t.Fatalf("the target carries %v requests a second, 20 are wanted", c.Requests)
	}
	p := playThrough(t, files{"s.yaml": strings.ReplaceAll(drowning, "TARGET", g.root)}, "--quiet")
	p.wantVerdict(t, 99)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	s := p.summary
	if a := s.GetArrivals(); a.GetDue() != 180 || a.GetStarted() != 180 {
		t.Errorf("arrivals: %v", a)
	}
	// In 3.5 s it can answer 70; whatever this machine is like, it cannot answer all.
	if r := s.GetRequests(); r.GetCanceled() < 60 || r.GetSucceeded() > 120 || r.GetFailed() != 0 {
		t.Errorf("requests: %v", r)
	}
	slow, failed := s.GetSlo()[0], s.GetSlo()[1]
	if slow.GetVerdict() != pb.Verdict_VERDICT_FAIL || slow.GetReason() == "" || slow.HasHigh() {
		t.Errorf("the objective on ttft: %v", slow)
	}
	if failed.GetVerdict() == pb.Verdict_VERDICT_PASS || failed.GetObserved() != 0 || failed.GetLow() != 0 || failed.GetHigh() < 0.3 {
		t.Errorf("the objective on errors: %v", failed)
	}
}

// TestShedArrivals: at the ceiling of requests in flight arrivals are shed and counted, which is no fault of the
// generator's. A target that answers nothing at all fails.
func TestShedArrivals(t *testing.T) {
	t.Parallel()
	g := serveSim(t, fault(t, "hang:from=0"))
	p := playThrough(t, files{"s.yaml": strings.ReplaceAll(drowning, "TARGET", g.root)}, "--quiet",
		"--set", "limits.max_in_flight=7", "--set", "load[0].duration=1s", "--agents", "2")
	p.wantVerdict(t, 99)
	a, r := p.summary.GetArrivals(), p.summary.GetRequests()
	if a.GetDue() != 60 || a.GetStarted() != 7 || a.GetShed() != 53 || r.GetCanceled() != 7 {
		t.Errorf("arrivals: %v; requests: %v", a, r)
	}
	if in := p.summary.GetPhases()[0].GetInFlightMax(); in != 7 {
		t.Errorf("at most %d in flight, want 7", in)
	}
	if o := p.summary.GetSlo()[0]; o.GetVerdict() != pb.Verdict_VERDICT_FAIL {
		t.Errorf("nothing was answered, and the objective on ttft is %v", o)
	}
	if v := strings.Join(p.summary.GetValidity().GetReasons(), "\n"); strings.Contains(v, "shed") {
		t.Errorf("shedding is held against the generator: %s", v)
	}
}

// TestAbortCondition: a target that fails every request ends the run early, and the report is whole.
func TestAbortCondition(t *testing.T) {
	t.Parallel()
	g := serveSim(t, fault(t, "status:p=1,code=503"))
	text := steadyFor(g) + "abort: ['error_rate > 20% for 1s']\n"
	p := playThrough(t, files{"s.yaml": text}, "--quiet", "--agents", "2", "--set", "load[0].duration=5m")
	p.wantVerdict(t, 99)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_ABORTED)
	s := p.summary
	if s.GetArrivals().GetDue() >= plannedArrivals || s.GetArrivals().GetLost() != 0 {
		t.Errorf("arrivals %v", s.GetArrivals())
	}
	if e := s.GetErrors(); len(e) != 1 || e[0].GetClass() != "http_503" || e[0].GetCount() != s.GetRequests().GetSent() {
		t.Errorf("errors %v of requests %v", e, s.GetRequests())
	}
	if said := strings.Join(s.GetReasons(), "\n"); !strings.Contains(said, "error_rate > 20%") {
		t.Errorf("the reasons do not name the condition: %q", said)
	}
	before := read(t, p.folder, "summary.json")
	if status, again := reported(t, p.dir); status != p.status || string(again) != string(before) {
		t.Errorf("the report of an aborted run is not the same again (exit status %d)", status)
	}
}

// TestAbortConditionThatDoesNotHold: a fault that is over in time ends nothing.
func TestAbortConditionThatDoesNotHold(t *testing.T) {
	t.Parallel()
	g := serveSim(t, fault(t, "status:count=5"))
	text := steadyFor(g) + "abort: ['error_rate > 20% for 2s']\n"
	p := playThrough(t, files{"s.yaml": text}, "--quiet")
	p.wantVerdict(t, 0)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	if r := p.summary.GetRequests(); r.GetFailed() != 5 || r.GetSucceeded() != 95 {
		t.Errorf("requests: %v", r)
	}
}
