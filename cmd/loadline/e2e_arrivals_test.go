package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/loadline/loadline/coordinator/report"
	"github.com/loadline/loadline/internal/sim"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// mixed is open and closed load, synthetic prompts and a data set: everything whose requests follow from seed and number.
const mixed = `name: mixed
seed: 5
targets:
  - {url: TARGET/v1, protocol: openai-chat, model: m}
workloads:
  - name: made
    weight: 3
    synthetic: {input_tokens: {uniform: {min: 5, max: 60}}, output_tokens: {uniform: {min: 1, max: 6}}, shared_prefix: {tokens: 4, groups: 3}}
  - {name: rows, weight: 2, dataset: {file: rows.jsonl, order: shuffle, output_tokens: {fixed: 3}}}
load:
  - {name: warm, open: {rate: 40}, duration: 250ms, discard: true}
  - {name: poisson, open: {ramp: {from: 20, to: 120}, arrivals: poisson}, duration: 1s}
  - {name: users, closed: {users: 9}, sessions: 60}
capture: {records: all}
` + everyArrival

// mixedFiles are the scenario with the address of its target, and its data set.
func mixedFiles(g *target) files {
	var rows strings.Builder
	for i := range 17 {
		fmt.Fprintf(&rows, "{\"prompt\": \"row number %d of the data set\"}\n", i)
	}
	return files{"s.yaml": strings.ReplaceAll(mixed, "TARGET", g.root), "rows.jsonl": rows.String()}
}

// seriesCounts is the number of values of each series. Those of connect and read_lag are left out: how many connections a
// run opens depends on how its requests overlap, and how many reads an answer takes on how it came.
func seriesCounts(s *pb.Summary) map[string]uint64 {
	counts := map[string]uint64{}
	for _, v := range s.GetSeries() {
		if v.GetName() != "connect" && v.GetName() != "read_lag" {
			counts[v.GetName()+" "+v.GetPhase()+" "+v.GetWorkload()+" "+v.GetTarget()] = v.GetCount()
		}
	}
	return counts
}

// TestSameArrivalsWithAnyNumberOfAgents: 1, 3 and 7 agents play the same schedule, by the count of the target.
func TestSameArrivalsWithAnyNumberOfAgents(t *testing.T) {
	t.Parallel()
	g := serveSim(t, nil)
	runs := map[int]*played{}
	seen := map[int]map[string]sim.Arrival{}
	for _, agents := range []int{1, 3, 7} {
		p := playThrough(t, mixedFiles(g), "--quiet", "--agents", fmt.Sprint(agents))
		p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
		runs[agents], seen[agents] = p, g.arrivals(t, p.summary.GetRunId())
		wantOnce(t, seen[agents])
		a := p.summary.GetArrivals()
		if n := uint64(len(seen[agents])); n != a.GetDue() || n != a.GetStarted() || n != p.summary.GetRequests().GetSucceeded() {
			t.Errorf("%d agents: the target saw %d arrivals; the ledger: %v, %v", agents, n, a, p.summary.GetRequests())
		}
		if len(p.summary.GetAgents()) != agents {
			t.Errorf("%d agents: the summary has %d", agents, len(p.summary.GetAgents()))
		}
	}
	one := runs[1].summary
	if n := one.GetPhases()[0].GetArrivals().GetDue(); n != 10 {
		t.Errorf("%d arrivals of 40/s for 250 ms", n)
	}
	if n := one.GetPhases()[2].GetArrivals().GetDue(); n != 60 {
		t.Errorf("%d sessions of closed load, want 60", n)
	}
	for _, agents := range []int{3, 7} {
		if diff := cmp.Diff(bodies(seen[1]), bodies(seen[agents])); diff != "" {
			t.Errorf("arrivals and bodies of 1 and of %d agents differ:\n%s", agents, diff)
		}
		if diff := cmp.Diff(seriesCounts(one), seriesCounts(runs[agents].summary)); diff != "" {
			t.Errorf("counts of 1 and of %d agents differ:\n%s", agents, diff)
		}
	}
}

// bodies are the digests of what was sent, by arrival.
func bodies(seen map[string]sim.Arrival) map[string]string {
	out := map[string]string{}
	for name, a := range seen {
		out[name] = a.Body
	}
	return out
}

// dues are the due instants of open arrivals, by phase and number.
func dues(t *testing.T, folder string) map[string]int64 {
	t.Helper()
	rows, err := parquet.ReadFile[report.Row](folder + "/requests.parquet")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	for _, r := range rows {
		if r.Slot == 0 {
			out[fmt.Sprintf("%s/%d", r.Phase, r.Arrival)] = r.DueUS
		}
	}
	return out
}

// TestSeedDecidesWhatIsSentAndWhen: the same seed asks the same at the same due times, another one does not.
func TestSeedDecidesWhatIsSentAndWhen(t *testing.T) {
	t.Parallel()
	g := serveSim(t, nil)
	run := func(args ...string) (*played, map[string]string, map[string]int64) {
		p := playThrough(t, mixedFiles(g), append(args, "--quiet")...)
		p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
		return p, bodies(g.arrivals(t, p.summary.GetRunId())), dues(t, p.folder)
	}
	first, firstBodies, firstDues := run()
	again, againBodies, againDues := run("--agents", "2")
	other, otherBodies, otherDues := run("--seed", "6")
	if diff := cmp.Diff(firstBodies, againBodies); diff != "" {
		t.Errorf("the same seed asked otherwise:\n%s", diff)
	}
	if diff := cmp.Diff(firstDues, againDues); diff != "" {
		t.Errorf("the same seed had other due times:\n%s", diff)
	}
	if len(firstDues) == 0 || first.summary.GetScenarioDigest() != again.summary.GetScenarioDigest() {
		t.Errorf("%d due times; digests %s and %s", len(firstDues), first.summary.GetScenarioDigest(), again.summary.GetScenarioDigest())
	}
	if first.summary.GetScenarioDigest() == other.summary.GetScenarioDigest() || other.summary.GetSeed() != 6 {
		t.Errorf("seed %d has the digest of seed 5", other.summary.GetSeed())
	}
	for _, phase := range []string{"warm", "poisson", "users"} {
		if n, same := shared(firstBodies, otherBodies, phase); n == 0 || same*2 > n {
			t.Errorf("phase %s: %d of %d arrivals asked the same with another seed", phase, same, n)
		}
	}
	// Constant spacing is the same with every seed, Poisson arrivals are not.
	if n, same := shared(firstDues, otherDues, "warm"); n == 0 || same != n {
		t.Errorf("phase warm: %d of %d due times are the same with another seed", same, n)
	}
	if n, same := shared(firstDues, otherDues, "poisson"); n == 0 || same*2 > n {
		t.Errorf("phase poisson: %d of %d due times are the same with another seed", same, n)
	}
}

// shared counts the arrivals of a phase that stand in both, and those of them with the same value.
func shared[V comparable](a, b map[string]V, phase string) (n, same int) {
	for name, v := range a {
		w, ok := b[name]
		if !ok || !strings.HasPrefix(name, phase+"/") {
			continue
		}
		n++
		if v == w {
			same++
		}
	}
	return n, same
}

const tenants = `name: tenants
targets:
  - {name: left, url: LEFT, protocol: http}
  - {name: right, url: RIGHT/v1, protocol: openai-completions, model: m}
workloads:
  - {name: echo, target: left, http: {method: POST, path: /echo, body: '{"n": {{arrival}}}'}}
  - {name: long, target: right, weight: 1, synthetic: {input_tokens: {fixed: 9}, output_tokens: {fixed: 2}}}
  - {name: short, target: right, weight: 2, synthetic: {input_tokens: {fixed: 3}, output_tokens: {fixed: 2}}}
load:
  - {name: base, open: {rate: 30}, duration: 1s, workloads: [echo]}
  - {name: tenant, at: 300ms, open: {rate: 60}, sessions: 30, workloads: [long, short]}
  - {name: counted, at: 500ms, closed: {users: 4}, sessions: 10, workloads: [echo]}
slo: ['error_rate{phase=tenant} < 1%']
` + everyArrival

// TestTenantsAndCountedSessions: phases overlap, each draws from its own workloads, and a closed loop ends after its
// sessions, spread evenly over its users.
func TestTenantsAndCountedSessions(t *testing.T) {
	t.Parallel()
	left, right := serveSim(t, nil), serveSim(t, nil)
	text := strings.NewReplacer("LEFT", left.root, "RIGHT", right.root).Replace(tenants)
	p := playThrough(t, files{"s.yaml": text}, "--quiet", "--agents", "3")
	p.wantVerdict(t, 0)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	var want []string
	for n := range 30 {
		want = append(want, fmt.Sprintf("base/%d/0", n))
	}
	for slot, sessions := range map[int]int{1: 3, 2: 3, 3: 2, 4: 2} {
		for i := range sessions {
			want = append(want, fmt.Sprintf("counted/%d.1.%d/0", slot, i))
		}
	}
	slices.Sort(want)
	atLeft := left.arrivals(t, p.summary.GetRunId())
	wantOnce(t, atLeft)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(atLeft))); diff != "" {
		t.Errorf("arrivals at the target of echo:\n%s", diff)
	}
	atRight := right.arrivals(t, p.summary.GetRunId())
	wantOnce(t, atRight)
	for n := range 30 {
		if _, ok := atRight[fmt.Sprintf("tenant/%d/0", n)]; !ok || len(atRight) != 30 {
			t.Errorf("tenant/%d/0 is missing, or not 30 but %d came", n, len(atRight))
		}
	}
	counts := seriesCounts(p.summary)
	for series, n := range map[string]uint64{
		"e2e base echo left": 30, "e2e counted echo left": 10, "e2e tenant long right": 10, "e2e tenant short right": 20, "e2e   ": 70,
	} {
		if counts[series] != n {
			t.Errorf("series %q has %d values, want %d", series, counts[series], n)
		}
	}
	for i, offered := range []bool{true, true, false} {
		if phase := p.summary.GetPhases()[i]; phase.HasOfferedRate() != offered {
			t.Errorf("phase %s has an offered rate: %v", phase.GetName(), !offered)
		}
	}
	if o := p.summary.GetSlo(); len(o) != 1 || o[0].GetObserved() != 0 {
		t.Errorf("objective of the tenant: %v", o)
	}
}
