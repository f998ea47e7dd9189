// Package ingest is the results service: it takes windows from agents, checks their numbers, hands
// them on to be appended, and acknowledges what is durable.
package ingest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Errors of a Run that are no fault of the agent's.
var (
	// ErrEnded: the run has ended and takes nothing any more, whoever asks. The agent may give its results up.
	ErrEnded = errors.New("the run has ended: it takes no more results")
	// ErrClosing: the journal is being closed. The agent is to try again: it then learns how that came out.
	ErrClosing = errors.New("the run's journal is being closed: try again")
)

// Run takes what the agents of one run send. Implementations must be safe for concurrent use; calls
// about one agent do not overlap. An error of Window or Totals other than ErrEnded and ErrClosing means
// that the message itself is wrong; ctx's error means that it could not be queued in time. Each ends the
// agent's stream.
type Run interface {
	// Agent finds an agent of the run, or says why it has no place in it.
	Agent(name string, incarnation uint64) (*Inbox, error)
	// Window appends a window and calls durable once it is synced and merged.
	Window(ctx context.Context, w *pb.Window, durable func()) error
	// Totals appends an agent's totals and calls durable once they are synced and merged.
	Totals(ctx context.Context, t *pb.Totals, durable func()) error
	// Stop is the order to stop that stands for an agent; nil: there is none.
	Stop(name string, incarnation uint64) *pb.StopRequest
}

// Runs finds a run by its id.
type Runs func(id string) (Run, bool)

// Service implements ResultsService.
type Service struct {
	pb.UnimplementedResultsServiceServer
	runs  Runs
	renew Renew
	log   *slog.Logger
}

// Renew renews a lease over the results stream. It must be quick.
type Renew func(*pb.RenewRequest) *pb.RenewResponse

// maxAnswers bounds the answers to renewals that wait to be sent; what does not fit is left out, and the agent asks again.
const maxAnswers = 16

// bareWait is how long the answer to a renewal that grants the lease and says nothing else waits for an acknowledgement to go with:
// the window that came with it is synced soon, as a rule. It is little of a lease.
const bareWait = 250 * time.Millisecond

// New makes the service.
func New(runs Runs, renew Renew, log *slog.Logger) *Service {
	return &Service{runs: runs, renew: renew, log: log.With("component", "ingest")}
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
	session := &session{run: run, inbox: inbox, hello: hello, stream: stream, progress: make(chan struct{}, 1), renew: s.renew, answers: make(chan *pb.RenewResponse, maxAnswers)}
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
		return nil, nil, nil, status.Error(codeOf(err, codes.PermissionDenied), err.Error())
	}
	return run, inbox, hello, nil
}

// session is one stream of one agent.
type session struct {
	run      Run
	inbox    *Inbox
	hello    *pb.Hello
	stream   stream
	progress chan struct{} // something became durable, or there is an order; holds at most one
	renew    Renew
	answers  chan *pb.RenewResponse
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
		case message.HasRenew():
			err = s.renewed(message.GetRenew())
		default:
			err = status.Error(codes.InvalidArgument, "after the hello a stream carries windows, totals and renewals")
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
	return status.Error(codeOf(err, codes.InvalidArgument), err.Error())
}

// codeOf is the code of an error of a Run; fault, where it is the agent's.
func codeOf(err error, fault codes.Code) codes.Code {
	switch {
	case errors.Is(err, ErrEnded):
		return codes.FailedPrecondition
	case errors.Is(err, ErrClosing):
		return codes.Unavailable
	}
	return fault
}

// renewed answers a renewal in its turn.
func (s *session) renewed(q *pb.RenewRequest) error {
	if q.GetAgent() != s.hello.GetAgent() || q.GetIncarnation() != s.hello.GetIncarnation() {
		return status.Error(codes.InvalidArgument, "a renewal names another sender than its stream")
	}
	if s.renew == nil {
		return nil
	}
	select {
	case s.answers <- s.renew(q):
		return nil
	default:
		return status.Error(codes.ResourceExhausted, "answers to renewals are not read")
	}
}

// acknowledge tells the agent what is durable, each time that has grown, answers its renewals and repeats the order to stop.
// A stream that cannot be sent on is about to end: receive finds out why.
func (s *session) acknowledge(ctx context.Context) {
	var renewed *pb.RenewResponse
	patience := time.NewTimer(bareWait)
	defer patience.Stop()
	for {
		windows, totals := s.inbox.Durable()
		answer := pb.PushWindowsResponse_builder{
			Acknowledged: windows, TotalsAcknowledged: totals, Stop: s.run.Stop(s.hello.GetAgent(), s.hello.GetIncarnation()), Renewed: renewed,
		}.Build()
		if s.stream.Send(answer) != nil {
			return
		}
		renewed = nil
		select {
		case <-s.progress:
		case renewed = <-s.answers:
			if bare(renewed) {
				patience.Reset(bareWait)
				s.await(ctx, patience)
			}
		case <-ctx.Done():
			return
		}
	}
}

// await waits until there is something to acknowledge or to order, or patience is at its end.
func (s *session) await(ctx context.Context, patience *time.Timer) {
	select {
	case <-s.progress:
	case <-patience.C:
	case <-ctx.Done():
	}
}

// bare reports whether an answer grants the lease and says nothing else: whatever else it says must not wait.
func bare(r *pb.RenewResponse) bool {
	return r.GetGranted() && !r.GetIntroduce() && !r.HasProposed() && len(r.GetCommitted()) == 0 && r.GetStop() == pb.StopMode_STOP_MODE_UNSPECIFIED
}
