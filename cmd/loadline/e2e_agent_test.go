package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/loadline/loadline/agent"
	"github.com/loadline/loadline/coordinator"
	"github.com/loadline/loadline/coordinator/report"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// joinMortal lets one more agent join the cluster, with connections of its own, and returns what makes it die: from
// then on it says nothing more, as a machine that has lost its power.
func joinMortal(t *testing.T, c *cluster, name string, log *slog.Logger) (die func()) {
	t.Helper()
	client, err := grpc.NewClient("passthrough:///mortal", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := c.connect(name, log)
	if err != nil {
		t.Fatal(err)
	}
	a, err := agent.New(agent.Config{Name: name, Bus: conn, Results: pb.NewResultsServiceClient(client), Env: os.LookupEnv, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var living sync.WaitGroup
	living.Go(func() { _ = a.Run(ctx) })
	die = sync.OnceFunc(func() {
		_ = client.Close() // first, so that nothing of its end gets through
		conn.Close()
		cancel()
		living.Wait()
	})
	t.Cleanup(die)
	return die
}

// hasWindow says that the journal holds a window of an agent.
func hasWindow(t *testing.T, folder, agent string) bool {
	t.Helper()
	for _, r := range records(t, folder) {
		if r.HasWindow() && r.GetWindow().GetAgent() == agent {
			return true
		}
	}
	return false
}

// TestLostAgent: an agent that dies in the middle of a run is declared lost when its lease has lapsed; the rest of the run
// goes on, and what the dead one owned and nobody knows of is counted as lost, no more and no less.
func TestLostAgent(t *testing.T) {
	t.Parallel()
	g := serveSim(t, nil)
	s, err := scenario.Parse(scenario.Source{Name: "s.yaml", Data: []byte(steadyFor(g) + "slo: [error_rate < 90%]\n")},
		"load[0].duration=3s", "drain=1s")
	if err != nil {
		t.Fatal(err)
	}
	var said output
	log := slog.New(slog.NewTextHandler(&said, nil))
	folder := filepath.Join(t.TempDir(), "r")
	c := &cluster{}
	err = c.start(t.Context(), embeddedOptions{Agents: 1, Folder: folder, Env: os.LookupEnv, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	})
	die := joinMortal(t, c, "mortal", log)
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	control := pb.NewControlServiceClient(c.client)
	started, err := control.StartRun(ctx, pb.StartRunRequest_builder{RequestId: "lost", Scenario: s, Agents: 2}.Build())
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(waitLimit)
	for !hasWindow(t, folder, "mortal") && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	die()
	got := waitReport(ctx, t, control, started.GetRunId())
	checkLedger(t, got)
	p := &played{folder: folder, summary: got}
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_PARTIAL)
	var dead *pb.AgentSummary
	for _, a := range got.GetAgents() {
		if a.GetName() == "mortal" {
			dead = a
		} else if a.GetMissingWindows() != 0 {
			t.Errorf("windows of the living agent are missing: %v", a)
		}
	}
	a := got.GetArrivals()
	if a.GetDue() != 150 || a.GetLost() == 0 || a.GetLost() > 75 || dead.GetWindows() == 0 {
		t.Errorf("arrivals %v; the dead agent: %v\n%s", a, dead, &said)
	}
	if seen := g.arrivals(t, got.GetRunId()); uint64(len(seen)) < a.GetStarted() {
		t.Errorf("the target saw %d arrivals, %d were started", len(seen), a.GetStarted())
	} else {
		wantOnce(t, seen)
	}
	if words := strings.Join(append(got.GetNotes(), got.GetReasons()...), "\n"); !strings.Contains(words, "mortal") {
		t.Errorf("the report does not name the lost agent: %q", words)
	}
	again, err := coordinator.Recompute(folder)
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	if err := report.WriteJSON(&first, got); err != nil {
		t.Fatal(err)
	}
	if err := report.WriteJSON(&second, again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Errorf("recomputed otherwise:\n%s\n%s", &first, &second)
	}
}
