package coordinator

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/loadline/loadline/coordinator/fleet"
	"github.com/loadline/loadline/internal/bus"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// begin starts a coordinator on a bus of its own and returns a connection for an agent of the test.
func begin(t *testing.T) (*Coordinator, *bus.Conn) { return beginIn(t, t.TempDir()) }

// beginIn is begin over a folder of runs, which an earlier coordinator may have left.
func beginIn(t *testing.T, folder string) (*Coordinator, *bus.Conn) {
	t.Helper()
	e, err := bus.StartEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	log := slog.New(slog.DiscardHandler)
	var conns []*bus.Conn
	for _, name := range []string{"coordinator", "agent"} {
		conn, err := bus.Connect("", name, log, e.Option())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		conns = append(conns, conn)
	}
	c, err := New(t.Context(), Config{
		Bus: conns[0], Folder: func(id string) string { return filepath.Join(folder, id) }, StartAhead: time.Millisecond, Log: log, Resume: folder,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, conns[1]
}

func register(t *testing.T, agent *bus.Conn, name string) uint64 {
	t.Helper()
	var reply pb.RegisterResponse
	err := agent.Call(t.Context(), bus.Register, pb.RegisterRequest_builder{
		Nonce: 1, Agent: pb.AgentInfo_builder{Name: name, Protocol: fleet.Protocol, Cores: 1}.Build(),
	}.Build(), &reply)
	if err != nil || reply.GetRefusal() != "" {
		t.Fatal(err, reply.GetRefusal())
	}
	return reply.GetIncarnation()
}

func renew(t *testing.T, agent *bus.Conn, name string, incarnation uint64) {
	t.Helper()
	var reply pb.RenewResponse
	err := agent.Call(t.Context(), bus.Renew, pb.RenewRequest_builder{
		Agent: name, Incarnation: incarnation,
		Clock: pb.ClockSample_builder{SentNs: 1, ReceivedNs: 2, RepliedNs: 3, ReturnedNs: 4}.Build(),
	}.Build(), &reply)
	if err != nil || !reply.GetGranted() {
		t.Fatal(err, reply.GetRefusal())
	}
}

// An agent that has not renewed its lease may not have heard yet that it was admitted: an assignment
// sent to it then would be refused, and the run would end before it began.
func TestAnAgentIsOnTheRosterOnceItHasRenewed(t *testing.T) {
	c, agent := begin(t)
	incarnation := register(t, agent, "a1")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if agents, err := c.roster(ctx, selection{min: 1, wait: agentWait}); err == nil || !strings.Contains(err.Error(), "a1 has not renewed its lease") {
		t.Fatalf("roster %v, error %v before the first renewal", agents, err)
	}
	renew(t, agent, "a1", incarnation)
	agents, err := c.roster(t.Context(), selection{min: 1, wait: agentWait})
	if err != nil || len(agents) != 1 || agents[0].Incarnation != incarnation {
		t.Errorf("roster %v, error %v after it", agents, err)
	}
}

func start(t *testing.T, id, target string) *pb.StartRunRequest {
	t.Helper()
	s, err := scenario.Parse(scenario.Source{Name: "test", Data: []byte("name: test\ntargets: [{url: " + target +
		", protocol: http}]\nworkloads: [{http: {path: /}}]\nload: [{open: {rate: 1}, duration: 1s}]\n")})
	if err != nil {
		t.Fatal(err)
	}
	return pb.StartRunRequest_builder{RequestId: id, Scenario: s}.Build()
}

// A repeated request finds the run of the first, also when both come at once.
func TestARepeatedStartGivesTheSameRun(t *testing.T) {
	c, agent := begin(t)
	renew(t, agent, "a1", register(t, agent, "a1"))
	s := &control{coordinator: c}
	ids := make(chan string, 4)
	for range cap(ids) {
		go func() {
			reply, err := s.StartRun(t.Context(), start(t, "same", "http://127.0.0.1:1"))
			if err != nil {
				t.Error(err)
			}
			ids <- reply.GetRunId()
		}()
	}
	first := <-ids
	for range cap(ids) - 1 {
		if id := <-ids; id != first || id == "" {
			t.Errorf("run %q and run %q of one request", first, id)
		}
	}
	if status, err := s.GetRun(t.Context(), pb.GetRunRequest_builder{RunId: first}.Build()); err != nil || status.GetStatus().GetRunId() != first {
		t.Errorf("GetRun: %v, %v", status, err)
	}
}

func TestRequestsThatCannotBeServed(t *testing.T) {
	c, agent := begin(t)
	renew(t, agent, "a1", register(t, agent, "a1"))
	s := &control{coordinator: c}
	wrong := start(t, "wrong", "http://127.0.0.1:1")
	wrong.SetDigest("00")
	broken := start(t, "broken", "http://127.0.0.1:1")
	broken.GetScenario().GetLoad()[0].ClearDuration()
	for name, test := range map[string]struct {
		call func() error
		want codes.Code
	}{
		"a start without an id": {func() error { _, err := s.StartRun(t.Context(), start(t, "", "http://127.0.0.1:1")); return err }, codes.InvalidArgument},
		"a start without a scenario": {func() error {
			_, err := s.StartRun(t.Context(), pb.StartRunRequest_builder{RequestId: "x"}.Build())
			return err
		}, codes.InvalidArgument},
		"another digest":    {func() error { _, err := s.StartRun(t.Context(), wrong); return err }, codes.InvalidArgument},
		"a broken scenario": {func() error { _, err := s.StartRun(t.Context(), broken); return err }, codes.InvalidArgument},
		"an unknown run": {func() error {
			_, err := s.GetRun(t.Context(), pb.GetRunRequest_builder{RunId: "x"}.Build())
			return err
		}, codes.NotFound},
		"a stop of no run": {func() error {
			_, err := s.StopRun(t.Context(), pb.StopRunRequest_builder{RunId: "x"}.Build())
			return err
		}, codes.NotFound},
		"a report of no run": {func() error {
			_, err := s.GetReport(t.Context(), pb.GetReportRequest_builder{RunId: "x"}.Build())
			return err
		}, codes.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			if err := test.call(); status.Code(err) != test.want {
				t.Errorf("error = %v, want %v", err, test.want)
			}
		})
	}
}

// A run whose agent never answers is given up and says so; its report is there afterwards.
func TestAReportIsRefusedUntilTheRunHasEnded(t *testing.T) {
	c, agent := begin(t)
	renew(t, agent, "a1", register(t, agent, "a1"))
	s := &control{coordinator: c}
	started, err := s.StartRun(t.Context(), start(t, "one", "http://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	report := pb.GetReportRequest_builder{RunId: started.GetRunId()}.Build()
	if _, err := s.GetReport(t.Context(), report); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a report while the run goes on: %v", err)
	}
	stop := pb.StopRunRequest_builder{RunId: started.GetRunId(), Reason: "the test"}.Build()
	if _, err := s.StopRun(t.Context(), stop); err != nil {
		t.Fatal(err)
	}
	run, _ := c.run(started.GetRunId())
	<-run.ended
	got, err := s.GetReport(t.Context(), report)
	if err != nil || got.GetSummary().GetState() != pb.SummaryState_SUMMARY_STATE_ABORTED {
		t.Errorf("report %v, error %v", got.GetSummary().GetState(), err)
	}
	if again, err := Recompute(run.folder); err != nil || again.GetExitStatus() != got.GetSummary().GetExitStatus() {
		t.Errorf("computed again: %v, %v", again, err)
	}
}
