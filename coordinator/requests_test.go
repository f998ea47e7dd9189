package coordinator

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/loadline/loadline/coordinator/merge/mergetest"
	"github.com/loadline/loadline/coordinator/run"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// A request that has begun a run begins no other one, also if the run has ended and the coordinator was started anew since.
func TestARequestOutlivesItsCoordinator(t *testing.T) {
	runs := t.TempDir()
	c, agent := beginIn(t, runs)
	renew(t, agent, "a1", register(t, agent, "a1"))
	request := start(t, "one", "http://127.0.0.1:1")
	began, err := (&control{coordinator: c}).StartRun(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	for range 2 {
		c, _ = beginIn(t, runs) // without agents: nothing could begin here
		s := &control{coordinator: c}
		again, err := s.StartRun(t.Context(), request)
		if err != nil || again.GetRunId() != began.GetRunId() || again.GetFolder() != began.GetFolder() {
			t.Fatalf("repeated: %v, %v; want %v", again, err, began)
		}
		got, err := s.GetReport(t.Context(), pb.GetReportRequest_builder{RunId: began.GetRunId()}.Build())
		if err != nil || got.GetSummary().GetRunId() != began.GetRunId() {
			t.Errorf("report: %v, %v", got.GetSummary().GetRunId(), err)
		}
		status, err := s.GetRun(t.Context(), pb.GetRunRequest_builder{RunId: began.GetRunId()}.Build())
		if err != nil || status.GetStatus().GetState() != pb.RunState_RUN_STATE_ABORTED {
			t.Errorf("status: %v, %v", status, err)
		}
		c.Close()
	}
	if entries, err := os.ReadDir(runs); err != nil || len(entries) != 1 {
		t.Errorf("%d run folders, %v", len(entries), err)
	}
}

// However far the coordinator had come when it was killed: once the header is on record, the request has begun its run.
func TestARequestOutlivesACoordinatorThatWasKilled(t *testing.T) {
	t.Parallel()
	for name, keep := range map[string]func(*pb.JournalRecord) bool{
		"before the start": (*pb.JournalRecord).HasHeader,
		"while it went on": func(r *pb.JournalRecord) bool {
			return r.HasHeader() || r.GetEvent().GetKind() == pb.RunEventKind_RUN_EVENT_KIND_STARTED
		},
		"before its report": func(*pb.JournalRecord) bool { return true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // closing waits for the leases of agents that were never there
			runs := t.TempDir()
			left(t, runs, mergetest.RunID, keep)
			c, _ := beginIn(t, runs)
			plan := mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", 5, 4*time.Second)})
			request := pb.StartRunRequest_builder{RequestId: "left", Scenario: plan}.Build()
			again, err := (&control{coordinator: c}).StartRun(t.Context(), request)
			if err != nil || again.GetRunId() != mergetest.RunID {
				t.Errorf("repeated: %v, %v", again, err)
			}
		})
	}
}

// The id of a request stands for what it asked for: with anything else it is refused, at once and after a restart.
func TestTheIdOfARequestStandsForItsContent(t *testing.T) {
	runs := t.TempDir()
	c, agent := beginIn(t, runs)
	renew(t, agent, "a1", register(t, agent, "a1"))
	ask := func(target string, driven *pb.OnDisconnect) error {
		_, err := c.startOnce(t.Context(), start(t, "one", target), driven)
		return err
	}
	hold := pb.OnDisconnect_builder{Hold: durationpb.New(time.Second)}.Build()
	if err := ask("http://127.0.0.1:1", hold); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"at once", "after a restart"} {
		if err := ask("http://127.0.0.1:1", hold); err != nil {
			t.Errorf("%s, the same: %v", when, err)
		}
		for name, err := range map[string]error{
			"another target":        ask("http://127.0.0.1:2", hold),
			"another on_disconnect": ask("http://127.0.0.1:1", &pb.OnDisconnect{}),
			"another call":          ask("http://127.0.0.1:1", nil),
		} {
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("%s, %s: %v", when, name, err)
			}
		}
		c.Close()
		c, _ = beginIn(t, runs)
	}
}

// A run that was refused is not on record: its request begins one when there is room.
func TestARefusedRunLeavesNoRequestBehind(t *testing.T) {
	runs := t.TempDir()
	c, agent := beginIn(t, runs)
	renew(t, agent, "a1", register(t, agent, "a1"))
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	if _, err := (&control{coordinator: c}).StartRun(t.Context(), start(t, "one", "http://127.0.0.1:1")); status.Code(err) != codes.ResourceExhausted {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(runs, "*", "journal"))
	if err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// A program whose coordinator was killed opens its run again with the request that opened it, and finds it going on.
func TestAnOpenFindsItsRunAfterARestart(t *testing.T) {
	t.Parallel() // as above
	runs := t.TempDir()
	h := drivenHeader(t)
	leave(t, filepath.Join(runs, h.GetRunId()), pb.JournalRecord_builder{Header: h}.Build(), pb.JournalRecord_builder{Event: pb.RunEvent_builder{
		Kind: pb.RunEventKind_RUN_EVENT_KIND_STARTED, Time: h.GetCreatedTime(),
	}.Build()}.Build())
	c, _ := beginIn(t, runs)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request := pb.StartRunRequest_builder{RequestId: h.GetRequestId(), Scenario: h.GetScenario()}.Build()
	r, err := c.startOnce(ctx, request, h.GetOnDisconnect())
	if err != nil || r.header.GetRunId() != h.GetRunId() || r.over() {
		t.Fatalf("%v, %v", r, err)
	}
	box, _ := r.driver.attach(h.GetRequestId(), true, 0)
	for {
		messages, ended, why := box.take()
		for _, m := range messages {
			if a := m.GetAnswer(); a != nil {
				if a.GetRunId() != h.GetRunId() || a.GetCode() != 0 {
					t.Errorf("answer %v", a)
				}
				return
			}
		}
		if ended {
			t.Fatalf("no answer: %v", why)
		}
		select {
		case <-box.wake:
		case <-ctx.Done():
			t.Fatal("no answer")
		}
	}
}

// drivenHeader is what a driven run with a program that may come back begins with.
func drivenHeader(t *testing.T) *pb.RunHeader {
	t.Helper()
	runs := t.TempDir()
	c, agent := beginIn(t, runs)
	renew(t, agent, "a1", register(t, agent, "a1"))
	r, err := c.startOnce(t.Context(), start(t, "open", "http://127.0.0.1:1"), pb.OnDisconnect_builder{Hold: durationpb.New(time.Minute)}.Build())
	if err != nil {
		t.Fatal(err)
	}
	r.mail.post(run.Stop{Mode: pb.StopMode_STOP_MODE_NOW})
	return r.header
}
