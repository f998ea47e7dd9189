package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/loadline/loadline/internal/bus"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// countingTarget is a target that knows how often each arrival reached it.
type countingTarget struct {
	*httptest.Server
	mu   sync.Mutex
	seen map[uint64]int
}

func newCountingTarget(t *testing.T) *countingTarget {
	w := &countingTarget{seen: map[uint64]int{}}
	w.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		words := strings.Split(r.Header.Get("X-Loadline-Arrival"), "/")
		n, err := strconv.ParseUint(words[min(1, len(words)-1)], 10, 64)
		if err != nil {
			t.Errorf("arrival %q", words)
		}
		w.mu.Lock()
		w.seen[n]++
		w.mu.Unlock()
	}))
	t.Cleanup(w.Close)
	return w
}

// TestALoadInFlux plays a Poisson load on a cluster that changes under it: one of three agents dies without a word, the
// rate is set anew, a fourth agent comes, one leaves, the load pauses and goes on. Every arrival reaches the target at
// most once, and each that does not lies in a stretch that the report names.
func TestALoadInFlux(t *testing.T) {
	if testing.Short() {
		t.Skip("a lease takes its time to lapse")
	}
	w := newCountingTarget(t)
	c, o := &cluster{}, embeddedOptions{
		Agents: 2, Runs: t.TempDir(), Env: func(string) (string, bool) { return "", false }, Log: slog.New(slog.DiscardHandler),
	}
	if err := c.start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	})
	mortal, kill := context.WithCancel(context.WithoutCancel(t.Context()))
	if _, err := c.add(mortal, "a3", o); err != nil {
		t.Fatal(err)
	}
	silent := c.conns[len(c.conns)-1] // of a3
	client := pb.NewControlServiceClient(c.client)
	id := startFlux(t, client, w.URL)
	wait := func(d time.Duration) { time.Sleep(d) } // the run's time is real
	wait(2 * time.Second)
	silent.Close() // without a word
	kill()
	adjust(t, client, id, pb.AdjustRunRequest_builder{RequestId: "rate", Phase: "hold", Rate: new(120.0)}) // waits until a3's lease has lapsed
	leaver, err := c.add(context.WithoutCancel(t.Context()), "a4", o)
	if err != nil {
		t.Fatal(err)
	}
	wait(2500 * time.Millisecond)
	adjust(t, client, id, pb.AdjustRunRequest_builder{RequestId: "pause", Paused: new(true)})
	adjust(t, client, id, pb.AdjustRunRequest_builder{RequestId: "resume", Resumed: new(true)})
	again := adjust(t, client, id, pb.AdjustRunRequest_builder{RequestId: "resume", Resumed: new(true)})
	if again.GetEpoch() < 5 {
		t.Errorf("the last change has epoch %d: loss, rate, joining, pause and resumption make at least 5", again.GetEpoch())
	}
	leaver.Leave()
	w.compare(t, endOfRun(t, client, id))
}

// startFlux begins the run once three agents are there.
func startFlux(t *testing.T, client pb.ControlServiceClient, url string) string {
	t.Helper()
	s, err := scenario.Parse(scenario.Source{Name: "flux.yaml", Data: []byte(fmt.Sprintf(`
name: flux
targets: [{name: t, url: "%s", protocol: http}]
workloads: [{name: w, target: t, http: {method: GET, path: /}}]
load: [{name: hold, open: {rate: 60, arrivals: poisson}, duration: 16s}]
`, url))})
	if err != nil {
		t.Fatal(err)
	}
	started, err := client.StartRun(t.Context(), pb.StartRunRequest_builder{RequestId: "flux", Scenario: s, Agents: 3}.Build())
	if err != nil {
		t.Fatal(err)
	}
	return started.GetRunId()
}

func adjust(t *testing.T, client pb.ControlServiceClient, id string, b pb.AdjustRunRequest_builder) *pb.AdjustRunResponse {
	t.Helper()
	b.RunId = id
	answer, err := client.AdjustRun(t.Context(), b.Build())
	if err != nil {
		t.Fatalf("%s: %v", b.RequestId, err)
	}
	return answer
}

// endOfRun waits for the end of the run.
func endOfRun(t *testing.T, client pb.ControlServiceClient, id string) *pb.Summary {
	t.Helper()
	watch, err := client.WatchRun(t.Context(), pb.WatchRunRequest_builder{RunId: id}.Build())
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = watch.Recv()
	}
	answer, err := client.GetReport(t.Context(), pb.GetReportRequest_builder{RunId: id}.Build())
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetSummary()
}

// compare holds the target's own count against the report.
func (w *countingTarget) compare(t *testing.T, s *pb.Summary) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	lost, names := uint64(0), map[string]bool{}
	for _, a := range s.GetAgents() {
		names[a.GetName()] = true
		for _, stretch := range a.GetLost() {
			lost += stretch.GetArrivals()
			if a.GetName() != "a3" {
				t.Errorf("agent %s lost %v", a.GetName(), stretch)
			}
		}
	}
	started, due := uint64(len(w.seen)), s.GetArrivals().GetDue()
	for n, times := range w.seen {
		if times != 1 || n >= due {
			t.Errorf("arrival %d of %d reached the target %d times", n, due, times)
		}
	}
	a := s.GetArrivals()
	t.Logf("%v, state %v, changes %v", a, s.GetState(), s.GetChanges())
	if s.GetState() != pb.SummaryState_SUMMARY_STATE_PARTIAL || lost == 0 || lost != a.GetLost() {
		t.Errorf("state %v, %d lost by the stretches and %d by the ledger; want partial, as a3 died", s.GetState(), lost, a.GetLost())
	}
	// What a3 fired since its last window is lost to the report and known to the target.
	if absent := due - started; absent > a.GetLost()+a.GetMissed()+a.GetShed() || started < a.GetStarted() {
		t.Errorf("%d of %d arrivals did not reach the target, the report says %v", absent, due, a)
	}
	if !names["a4"] || len(s.GetChanges()) < 5 {
		t.Errorf("agents %v, changes %v", names, s.GetChanges())
	}
}

// TestARefusalComesBackWithoutTheBus: NATS is gone, so the proposal comes with the renewals of the results stream, and so does the word of the
// agent that its owner does not allow it.
func TestARefusalComesBackWithoutTheBus(t *testing.T) {
	w := serveTally(t)
	server, err := bus.StartListening(bus.Listening{Host: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	c := &clusterOf{dir: w.scenario(20, 15, "poisson", "limits: {max_lateness: 1s}\n").write(t)}
	c.coordinator = start(t, c.dir, nil, "coordinator", "--listen", "127.0.0.1:0", "--nats-url", "nats://"+server.Addr().String(), "--data", "kept")
	c.story(t)
	said := regexp.MustCompile(`coordinator at (\S+)\n`)
	c.coordinator.until(t, "it serves", func() bool { return said.MatchString(c.coordinator.out.String()) })
	c.address = said.FindStringSubmatch(c.coordinator.out.String())[1]
	c.join(t, "a1", "--max-rate", "100")
	c.wantAgents(t, 1)
	p := c.play(t, w)
	time.Sleep(time.Second)
	server.Stop()
	conn, err := grpc.NewClient(c.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	client := pb.NewControlServiceClient(conn)
	runs, err := client.ListRuns(t.Context(), &pb.ListRunsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.AdjustRun(t.Context(), pb.AdjustRunRequest_builder{
		RunId: runs.GetRuns()[0].GetRunId(), RequestId: "too-much", Rate: new(500.0),
	}.Build())
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "--max-rate") || !strings.Contains(err.Error(), "a1") {
		t.Errorf("%v, want the refusal by a1's owner", err)
	}
	w.compare(t, p.end(t))
}
