package coordinator

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/loadline/loadline/internal/badrequest"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Limits of what a caller may send.
const (
	maxRequestID = 128
	maxReason    = 1024
	maxBaseDir   = 4096
	maxFiles     = 512
)

// control implements ControlService.
type control struct {
	pb.UnimplementedControlServiceServer
	coordinator *Coordinator
}

func (s *control) StartRun(ctx context.Context, q *pb.StartRunRequest) (*pb.StartRunResponse, error) {
	if err := checkStart(q); err != nil {
		return nil, err
	}
	known, err := s.coordinator.startOnce(ctx, q, nil)
	if err != nil {
		return nil, err
	}
	return pb.StartRunResponse_builder{RunId: known.header.GetRunId(), Folder: known.folder}.Build(), nil
}

func checkStart(q *pb.StartRunRequest) error {
	switch {
	case q.GetRequestId() == "" || len(q.GetRequestId()) > maxRequestID:
		return badrequest.Field("request_id", "1 to 128 characters are needed")
	case q.GetScenario() == nil:
		return badrequest.Field("scenario", "it is missing")
	case len(q.GetSource()) > scenario.MaxSource:
		return badrequest.Field("source", "it is longer than 1 MiB")
	case len(q.GetBaseDir()) > maxBaseDir:
		return badrequest.Field("base_dir", "it is longer than 4,096 characters")
	case len(q.GetFiles()) > maxFiles:
		return badrequest.Field("files", "there are more than 512")
	}
	return nil
}

// find finds a run that must be there.
func (s *control) find(id string) (*liveRun, error) {
	if run, ok := s.coordinator.run(id); ok {
		return run, nil
	}
	var known []string
	for _, run := range s.coordinator.known() {
		known = append(known, run.header.GetRunId())
	}
	return nil, status.Errorf(codes.NotFound, "there is no run %q; %sloadline runs lists them", strings.ToValidUTF8(id, "?"), scenario.DidYouMean(id, known))
}

func (s *control) GetRun(_ context.Context, q *pb.GetRunRequest) (*pb.GetRunResponse, error) {
	run, err := s.find(q.GetRunId())
	if err != nil {
		return nil, err
	}
	return pb.GetRunResponse_builder{Status: run.currentStatus()}.Build(), nil
}

func (r *liveRun) currentStatus() *pb.RunStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

func (s *control) WatchRun(q *pb.WatchRunRequest, stream pb.ControlService_WatchRunServer) error {
	run, err := s.find(q.GetRunId())
	if err != nil {
		return err
	}
	run.mu.Lock()
	queue, missed := run.watchers.add(), run.watchers.since(q.GetFromSecond())
	first := pb.WatchRunResponse_builder{Status: run.status, Plan: run.header.GetPlan()}.Build()
	run.mu.Unlock()
	if queue == nil {
		return status.Errorf(codes.ResourceExhausted, "run %s has %d watchers, the limit", q.GetRunId(), maxWatchers)
	}
	defer func() {
		run.mu.Lock()
		run.watchers.remove(queue)
		run.mu.Unlock()
	}()
	for _, m := range slices.Insert(missed, 0, first) {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	for {
		select {
		case m, open := <-queue:
			if !open {
				<-run.ended // the report must be there when the stream ends
				return stream.Send(pb.WatchRunResponse_builder{Status: run.currentStatus()}.Build())
			}
			if err := stream.Send(m); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (s *control) StopRun(_ context.Context, q *pb.StopRunRequest) (*pb.StopRunResponse, error) {
	if len(q.GetReason()) > maxReason {
		return nil, badrequest.Field("reason", "it is longer than 1,024 characters")
	}
	run, err := s.find(q.GetRunId())
	if err != nil {
		return nil, err
	}
	reason := q.GetReason()
	if reason == "" {
		reason = "stopped through the API"
	}
	run.stop(q.GetMode(), reason)
	return pb.StopRunResponse_builder{Status: run.currentStatus()}.Build(), nil
}

func (s *control) GetReport(_ context.Context, q *pb.GetReportRequest) (*pb.GetReportResponse, error) {
	run, err := s.find(q.GetRunId())
	if err != nil {
		return nil, err
	}
	if !run.over() {
		return nil, status.Errorf(codes.FailedPrecondition, "run %s has not ended", q.GetRunId())
	}
	return pb.GetReportResponse_builder{Summary: run.summary}.Build(), nil
}

func (s *control) ValidateScenario(_ context.Context, q *pb.ValidateScenarioRequest) (*pb.ValidateScenarioResponse, error) {
	parsed, err := scenario.Parse(scenario.Source{Name: q.GetName(), Data: q.GetSource()})
	var problems scenario.Problems
	if errors.As(err, &problems) {
		answer := &pb.ValidateScenarioResponse{}
		for _, p := range problems {
			answer.SetProblems(append(answer.GetProblems(), pb.Problem_builder{
				File: p.File, Line: uint32(p.Line), Column: uint32(p.Column), Path: p.Path, Message: p.Message, Hint: p.Hint,
			}.Build()))
		}
		return answer, nil
	}
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	digest := scenario.Digest(parsed, nil)
	return pb.ValidateScenarioResponse_builder{Digest: hex.EncodeToString(digest[:])}.Build(), nil
}
