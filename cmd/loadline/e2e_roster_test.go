package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// TestAScenarioChoosesItsAgents waits for the fewest that carry a label, plays with no more than the scenario lets in, and is
// refused where too few come.
func TestAScenarioChoosesItsAgents(t *testing.T) {
	t.Parallel()
	target := serveSim(t, nil)
	c := startCluster(t, clusterScenario(target, 30, 1, "agents: {match: {pool: x}, min: 2, max: 2, wait: 60s}\n"), 1, false)
	few := execLoadline(t, c.dir, nil, c.client("run", "s.yaml", "--out", "few", "--set", "agents.wait=1s")...)
	if said := few.out.String() + few.err.String(); few.status != statusUnforeseen || !strings.Contains(said, "0 of at least 2 agents") ||
		!strings.Contains(said, "a1 does not carry pool=x") || strings.Contains(said, "cannot be reached") {
		t.Errorf("exit status %d: %s", few.status, said)
	}
	p := &played{dir: c.dir, folder: filepath.Join(c.dir, "r")}
	p.process = start(t, c.dir, nil, c.client("run", "s.yaml", "--plain", "--out", "r")...)
	p.until(t, "it says what it waits for", func() bool {
		return strings.Contains(p.err.String(), "waiting for 2 agents that carry pool=x: 0 there")
	})
	c.join(t, "a2", "--label", "pool=x")
	c.join(t, "a3", "--label", "pool=x")
	p.wait()
	p.read(t)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	var names []string
	for _, a := range p.summary.GetAgents() {
		names = append(names, a.GetName())
	}
	if got := strings.Join(names, " "); got != "a2 a3" {
		t.Errorf("played by %s, want a2 a3", got)
	}
	c.wantAgents(t, 3)
	if text := c.ask(t, "agents"); strings.Count(text, "idle") != 3 {
		t.Errorf("agents: %s", text)
	}
}

// TestAnAgentOutlivesItsCoordinator: one whose coordinator is gone for good ends its load by itself, and plays for another that comes
// to the same address with nothing known.
func TestAnAgentOutlivesItsCoordinator(t *testing.T) {
	if testing.Short() {
		t.Skip("a schedule has to end")
	}
	t.Parallel()
	target := serveSim(t, nil)
	c := startCluster(t, clusterScenario(target, 20, 6, "drain: 1s\n"), 1, false)
	watched, _ := c.begin(t, target)
	c.coordinator.signal(t, syscall.SIGKILL)
	c.coordinator.wait()
	watched.signal(t, syscall.SIGINT)
	agent := c.agents[0]
	agent.until(t, "its load has ended", func() bool { return strings.Contains(agent.err.String(), "its schedule is over") })
	if err := os.RemoveAll(filepath.Join(c.dir, "kept")); err != nil {
		t.Fatal(err)
	}
	c.serve(t, c.address, c.bus)
	p := &played{dir: c.dir, folder: filepath.Join(c.dir, "r2")}
	p.process = execLoadline(t, c.dir, nil, c.client("run", "s.yaml", "--out", "r2", "--set", "load[0].duration=1s")...)
	p.read(t)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	if n := p.summary.GetArrivals().GetStarted(); n != 20 {
		t.Errorf("%d arrivals started, want 20", n)
	}
}
