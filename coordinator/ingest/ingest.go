// Package ingest is the results service: it takes windows from agents, checks their numbers, hands
// them on to be appended, and acknowledges what is durable.
package ingest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Run takes what the agents of one run send. Implementations must be safe for concurrent use; calls
// about one agent do not overlap. An error of Window or Totals means that the message itself is
// wrong and ends the agent's stream; ctx's error means that it could not be queued in time.
type Run interface {
	// Agent finds an agent of the run, or says why it has no place in it.
	Agent(name string, incarnation uint64) (*Inbox, error)
	// Window appends a window and calls durable once it is synced and merged.
	Window(ctx context.Context, w *pb.Window, durable func()) error
	// Totals appends an agent's totals and calls durable once they are synced and merged.
	Totals(ctx context.Context, t *pb.Totals, durable func()) error
}

// Runs finds a run by its id.
type Runs func(id string) (Run, bool)

// Service implements ResultsService.
type Service struct {
	pb.UnimplementedResultsServiceServer
	runs Runs
	log  *slog.Logger
}

// New makes the service.
func New(runs Runs, log *slog.Logger) *Service {
	return &Service{runs: runs, log: log.With("component", "ingest")}
}

type stream interface {
	Context() context.Context
	Recv() (*pb.PushWindowsRequest, error)
	Send(*pb.PushWindowsResponse) error
}

// PushWindows serves one agent's stream.
func (s *Service) PushWindows(stream pb.ResultsService_PushWindowsServer) error {
	run, inbox, hello, err := s.open(stream)
	if err != nil {
		return err
	}
	session := &session{run: run, inbox: inbox, hello: hello, stream: stream, progress: make(chan struct{}, 1)}
	inbox.listen(session.progress)
	defer inbox.forget(session.progress)

	ctx, cancel := context.WithCancel(stream.Context())
	var acks sync.WaitGroup
	acks.Go(func() { session.acknowledge(ctx) })
	err = session.receive(ctx)
	cancel()
	acks.Wait()
	if err != nil && stream.Context().Err() == nil {
		s.log.Warn("results stream refused", "run", hello.GetRunId(), "agent", hello.GetAgent(), "error", err)
	}
	return err
}

// open reads the hello and finds its run and agent.
func (s *Service) open(stream stream) (Run, *Inbox, *pb.Hello, error) {
	first, err := stream.Recv()
	if err != nil {
		return nil, nil, nil, err
	}
	hello := first.GetHello()
	if hello == nil {
		return nil, nil, nil, status.Error(codes.InvalidArgument, "a stream begins with a hello")
	}
	run, ok := s.runs(hello.GetRunId())
	if !ok {
		return nil, nil, nil, status.Errorf(codes.NotFound, "no run %q takes results", hello.GetRunId())
	}
	inbox, err := run.Agent(hello.GetAgent(), hello.GetIncarnation())
	if err != nil {
		return nil, nil, nil, status.Error(codes.PermissionDenied, err.Error())
	}
	return run, inbox, hello, nil
}

// session is one stream of one agent.
type session struct {
	run      Run
	inbox    *Inbox
	hello    *pb.Hello
	stream   stream
	progress chan struct{} // something became durable; holds at most one
}

// receive takes messages until the agent closes the stream or breaks the protocol.
func (s *session) receive(ctx context.Context) error {
	for {
		message, err := s.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case message.HasWindow():
			err = s.window(ctx, message.GetWindow())
		case message.HasTotals():
			err = s.totals(ctx, message.GetTotals())
		default:
			err = status.Error(codes.InvalidArgument, "after the hello a stream carries windows and totals")
		}
		if err != nil {
			return err
		}
	}
}

func (s *session) window(ctx context.Context, w *pb.Window) error {
	if w.GetRunId() != s.hello.GetRunId() || w.GetAgent() != s.hello.GetAgent() || w.GetIncarnation() != s.hello.GetIncarnation() {
		return status.Error(codes.InvalidArgument, "a window names another sender than its stream")
	}
	return s.inbox.take(w.GetSequence(), func(durable func()) error {
		return refused(ctx, s.run.Window(ctx, w, durable))
	})
}

func (s *session) totals(ctx context.Context, t *pb.Totals) error {
	if t.GetRunId() != s.hello.GetRunId() || t.GetAgent() != s.hello.GetAgent() || t.GetIncarnation() != s.hello.GetIncarnation() {
		return status.Error(codes.InvalidArgument, "totals name another sender than their stream")
	}
	return s.inbox.close(t.GetLastSequence(), func(durable func()) error {
		return refused(ctx, s.run.Totals(ctx, t, durable))
	})
}

// refused turns what is wrong with a message into a status; a canceled context stays what it is.
func refused(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	return status.Error(codes.InvalidArgument, err.Error())
}

// acknowledge tells the agent what is durable, each time that has grown. A stream that cannot be
// sent on is about to end: receive finds out why.
func (s *session) acknowledge(ctx context.Context) {
	for {
		windows, totals := s.inbox.Durable()
		answer := pb.PushWindowsResponse_builder{Acknowledged: windows, TotalsAcknowledged: totals}.Build()
		if s.stream.Send(answer) != nil {
			return
		}
		select {
		case <-s.progress:
		case <-ctx.Done():
			return
		}
	}
}
