package main

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/loadline/loadline/coordinator/report"
	"github.com/loadline/loadline/internal/sim"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// witness is a simulator that keeps every request, as one protocol reaches it.
type witness struct {
	server           *sim.Server
	target, workload string
	// tokens is what our records say of an answer's: gRPC has no word for them.
	tokens uint64
}

// witnesses serves one simulator for each protocol. Answers have 6 tokens.
func witnesses(t *testing.T, change func(*sim.Config)) map[string]witness {
	keep := func(c *sim.Config) {
		c.Requests = sim.MaxRequests
		if change != nil {
			change(c)
		}
	}
	first, second := serveSim(t, keep), serveSim(t, keep)
	service, address := serveGRPC(t, keep)
	const words = "{synthetic: {input_tokens: {fixed: 4}, output_tokens: {fixed: 6}}}"
	return map[string]witness{
		"http1": {first.server, fmt.Sprintf("{url: %s/v1, protocol: openai-chat, model: m}", first.root), words, 6},
		"http2": {second.server, fmt.Sprintf("{url: %s/v1, protocol: openai-chat, model: m, connections: {http: http2}}", second.root), words, 6},
		"grpc": {service, fmt.Sprintf("{url: %s, protocol: grpc}", address),
			"{grpc: {method: loadline.sim.v1.GeneratorService/Generate, message: {prompt: a b c d, count: 6}}}", 0},
	}
}

// witnessed plays so many sessions against a witness and joins both records of every request. What a client
// sees comes after what the server did, whatever the machine is busy with.
func witnessed(t *testing.T, w witness, sessions int) (*played, []sim.RequestTruth) {
	t.Helper()
	p := playThrough(t, files{"s.yaml": fmt.Sprintf(`name: witnessed
targets: [%s]
workloads: [%s]
load: [{name: p, open: {rate: 60, arrivals: poisson}, sessions: %d}]
capture: {records: all}
`, w.target, w.workload, sessions) + everyArrival}, "--quiet", "--agents", "2")
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	n := uint64(sessions)
	if a, r := p.summary.GetArrivals(), p.summary.GetRequests(); a.GetDue() != n || a.GetStarted() != n || r.GetSucceeded() != n {
		t.Fatalf("arrivals %v, requests %v, errors %v", a, r, p.summary.GetErrors())
	}
	rows, err := parquet.ReadFile[report.Row](filepath.Join(p.folder, "requests.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	seen := w.server.Requests(p.summary.GetRunId())
	if len(rows) != sessions || len(seen) != sessions {
		t.Fatalf("%d records of ours and %d of the simulator's, want %d of each", len(rows), len(seen), sessions)
	}
	theirs := map[string]sim.RequestTruth{}
	for _, one := range seen {
		theirs[one.Arrival] = one
	}
	for _, r := range rows {
		compare(t, r, w.tokens, theirs[fmt.Sprintf("%s/%d/%d", r.Phase, r.Arrival, r.Turn)])
	}
	return p, seen
}

// compare holds our record of a request against the simulator's.
func compare(t *testing.T, r report.Row, tokens uint64, truth sim.RequestTruth) {
	t.Helper()
	if truth.Outcome != "completed" || truth.Events != 6 || truth.Tokens != 6 || r.ContentEvents != 6 || r.OutputTokens != tokens {
		t.Errorf("arrival %d: ours %d events and %d tokens, the simulator's %+v", r.Arrival, r.ContentEvents, r.OutputTokens, truth)
		return
	}
	const rounding = 2 // microseconds are rounded down, twice
	ours, theirs := *r.FirstTokenUS-*r.DispatchedUS, (truth.FirstNS-truth.BegunNS)/1000
	if ours+rounding < theirs {
		t.Errorf("arrival %d: the first token was read %d µs after the start of the request and written after %d µs", r.Arrival, ours, theirs)
	}
	ours, theirs = *r.LastTokenUS-*r.DispatchedUS, (truth.LastNS-truth.BegunNS)/1000
	if ours+rounding < theirs {
		t.Errorf("arrival %d: the last token was read %d µs after the start of the request and written after %d µs", r.Arrival, ours, theirs)
	}
}

// TestTruthRequestByRequest: over each protocol every request, event, gap and token of ours is one of the simulator's, and
// nothing is seen before it happened. How near the times are is measured by scripts/bench truth.
func TestTruthRequestByRequest(t *testing.T) {
	t.Parallel()
	law := func(c *sim.Config) {
		c.Law = sim.LawFixed
		c.Fixed = sim.FixedLaw{TTFT: sim.Fixed(20 * time.Millisecond), ITL: sim.Fixed(3 * time.Millisecond)}
	}
	for name, w := range witnesses(t, law) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const sessions = 60
			p, _ := witnessed(t, w, sessions)
			truth, counts := w.server.Truth(), map[string]uint64{}
			for _, s := range p.summary.GetSeries() {
				if s.GetPhase() == "" && s.GetWorkload() == "" && s.GetTarget() == "" {
					counts[s.GetName()] = s.GetCount()
				}
			}
			if counts["ttft_service"] != sessions || truth.TTFT.Count != sessions || counts["itl"] != 5*sessions || truth.ITL.Count != 5*sessions {
				t.Errorf("%d first tokens and %d gaps, the simulator's %d and %d", counts["ttft_service"], counts["itl"], truth.TTFT.Count, truth.ITL.Count)
			}
			if truth.CompletionTokens != 6*sessions || truth.RequestsDropped != 0 {
				t.Errorf("%d tokens, %d requests not kept", truth.CompletionTokens, truth.RequestsDropped)
			}
		})
	}
}

// TestStallRequestByRequest: over each protocol a target that stands still hides nothing: every arrival of the stall is
// started and waits it out, and none is withheld until the answers come again.
func TestStallRequestByRequest(t *testing.T) {
	t.Parallel()
	const pause = 600 * time.Millisecond
	for name, w := range witnesses(t, fault(t, "freeze:at=1s,for=600ms,every=2s")) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, seen := witnessed(t, w, 180) // 3 s: a whole stall at least, whenever it begins
			waited := 0
			for _, one := range seen {
				if time.Duration(one.FirstNS-one.BegunNS) > pause/10 {
					waited++
				}
			}
			// 32 are to be expected. A client that waits for answers would have the few that it keeps in flight.
			if truth := w.server.Truth(); waited < 8 || truth.InFlightMax < 8 || truth.Faults["freeze"] == 0 {
				t.Errorf("%d waited, %d in flight at most, faults %v", waited, truth.InFlightMax, truth.Faults)
			}
		})
	}
}
