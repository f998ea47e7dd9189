package coordinator

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/loadline/loadline/coordinator/drive"
	"github.com/loadline/loadline/internal/badrequest"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// maxDrivenLoad bounds the phases of the scenario of a driven run: the first step ends them all at once.
const maxDrivenLoad = 32

func errSlow() error {
	return status.Errorf(codes.ResourceExhausted, "the program has not read %d messages, the limit: take the run up again", maxOutbox)
}

func errReplaced() error { return status.Error(codes.Aborted, "another stream drives the run now") }

// DriveRun implements ControlService.
func (s *control) DriveRun(stream pb.ControlService_DriveRunServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	r, err := s.driven(stream.Context(), first)
	if err != nil {
		return err
	}
	box, number := r.driver.attach(first.GetRequestId(), first.HasOpen(), first.GetResume().GetFromSecond())
	// Recv returns when this method has, at the latest: gRPC ends the stream's context then.
	go func() {
		for {
			q, err := stream.Recv()
			if err != nil {
				r.driver.detach(number)
				return
			}
			r.driver.step(drive.Asked{Request: q})
		}
	}()
	return send(stream, box)
}

// send sends what the outbox gets until nothing more comes.
func send(stream pb.ControlService_DriveRunServer, box *outbox) error {
	for {
		messages, ended, why := box.take()
		for _, m := range messages {
			if err := stream.Send(m); err != nil {
				if errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
		}
		if ended && len(messages) == 0 {
			return why
		}
		if len(messages) > 0 {
			continue
		}
		select {
		case <-box.wake:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

// driven opens the run that a stream begins with, or finds it.
func (s *control) driven(ctx context.Context, q *pb.DriveRunRequest) (*liveRun, error) {
	if id := q.GetRequestId(); id == "" || len(id) > maxRequestID {
		return nil, badrequest.Field("request_id", "1 to 128 characters are needed")
	}
	var r *liveRun
	var err error
	switch {
	case q.HasOpen():
		r, err = s.openDriven(ctx, q)
	case q.HasResume():
		r, err = s.find(q.GetResume().GetRunId())
	default:
		return nil, badrequest.Field("step", "the first of a stream is open or resume")
	}
	switch {
	case err != nil:
		return nil, err
	case !r.header.GetDriven():
		return nil, status.Errorf(codes.FailedPrecondition, "run %s was not opened by DriveRun; use AdjustRun", r.header.GetRunId())
	case r.over():
		return nil, status.Errorf(codes.FailedPrecondition, "run %s has ended: ask for its report", r.header.GetRunId())
	}
	return r, nil
}

// openDriven opens a run, once for each request.
func (s *control) openDriven(ctx context.Context, q *pb.DriveRunRequest) (*liveRun, error) {
	o := q.GetOpen()
	hold := o.GetOnDisconnect().GetHold()
	if hold != nil && (hold.CheckValid() != nil || hold.AsDuration() < 0 || hold.AsDuration() > drive.MaxLimit) {
		return nil, badrequest.Field("open.on_disconnect.hold", "it is 0s to 24h")
	}
	plan, err := scenarioOf(o)
	if err != nil {
		return nil, err
	}
	request := pb.StartRunRequest_builder{
		RequestId: q.GetRequestId(), Scenario: plan, Source: o.GetSource(), BaseDir: o.GetBaseDir(), Files: o.GetFiles(),
		Agents: o.GetAgents(), Digest: o.GetDigest(),
	}.Build()
	if err := checkStart(request); err != nil {
		return nil, err
	}
	policy := &pb.OnDisconnect{}
	if o.HasOnDisconnect() {
		policy = o.GetOnDisconnect()
	}
	return s.coordinator.startOnce(ctx, request, policy)
}

// scenarioOf is the scenario of an open, with its defaults filled in.
func scenarioOf(o *pb.DriveOpen) (*pb.Scenario, error) {
	switch {
	case len(o.GetSource()) > scenario.MaxSource:
		return nil, badrequest.Field("open.source", "it is longer than 1 MiB")
	case o.HasScenario():
		s := proto.CloneOf(o.GetScenario())
		if problems := scenario.CheckDriven(s); len(problems) > 0 {
			return nil, invalidScenario("open.scenario", problems)
		}
		scenario.Normalize(s)
		return s, boundedLoad("open.scenario.load", s)
	case len(o.GetSource()) == 0:
		return nil, badrequest.Field("open.scenario", "it is missing, and so is source")
	}
	s, err := scenario.ParseDriven(scenario.Source{Name: "open.source", Data: o.GetSource()})
	if err != nil {
		return nil, invalidScenario("open.source", scenario.AsProblems(err, ""))
	}
	return s, boundedLoad("open.source.load", s)
}

func boundedLoad(path string, s *pb.Scenario) error {
	if n := len(s.GetLoad()); n > maxDrivenLoad {
		return badrequest.Field(path, "it has %d phases; a run that a program drives begins with at most %d", n, maxDrivenLoad)
	}
	return nil
}
