package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// fakeControl plays a run from a script: it sends what the test puts into messages, and ends when that is closed.
type fakeControl struct {
	pb.ControlServiceClient // what is not played here panics

	startErr  error
	messages  chan *pb.WatchRunResponse
	summary   *pb.Summary
	reportErr []error // one a call, then the summary
	onStop    func(pb.StopMode)
	stopErr   error

	mu      sync.Mutex
	started []*pb.StartRunRequest
	stops   []pb.StopMode
	watches int
	reports int
}

func newFake() *fakeControl {
	return &fakeControl{messages: make(chan *pb.WatchRunResponse), summary: &pb.Summary{}}
}

func (f *fakeControl) StartRun(_ context.Context, in *pb.StartRunRequest, _ ...grpc.CallOption) (*pb.StartRunResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.started = append(f.started, in)
	if f.startErr != nil {
		return nil, f.startErr
	}
	return pb.StartRunResponse_builder{RunId: "r1", Folder: "runs/r1"}.Build(), nil
}

func (f *fakeControl) WatchRun(ctx context.Context, _ *pb.WatchRunRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[pb.WatchRunResponse], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watches++
	return &fakeStream{ctx: ctx, messages: f.messages}, nil
}

func (f *fakeControl) StopRun(ctx context.Context, in *pb.StopRunRequest, _ ...grpc.CallOption) (*pb.StopRunResponse, error) {
	f.mu.Lock()
	f.stops = append(f.stops, in.GetMode())
	f.mu.Unlock()
	if f.onStop != nil {
		f.onStop(in.GetMode())
	}
	return &pb.StopRunResponse{}, f.stopErr
}

func (f *fakeControl) GetReport(ctx context.Context, _ *pb.GetReportRequest, _ ...grpc.CallOption) (*pb.GetReportResponse, error) {
	if ctx.Err() != nil {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reports++
	if f.reports <= len(f.reportErr) {
		return nil, f.reportErr[f.reports-1]
	}
	return pb.GetReportResponse_builder{Summary: f.summary}.Build(), nil
}

// fakeStream reads from the fake's messages; a nil message breaks the stream.
type fakeStream struct {
	ctx      context.Context
	messages <-chan *pb.WatchRunResponse
}

func (s *fakeStream) Recv() (*pb.WatchRunResponse, error) {
	select {
	case m, ok := <-s.messages:
		switch {
		case !ok:
			return nil, io.EOF
		case m == nil:
			return nil, status.Error(codes.Unavailable, "the stream broke")
		default:
			return m, nil
		}
	case <-s.ctx.Done():
		return nil, status.FromContextError(s.ctx.Err()).Err()
	}
}

func (s *fakeStream) Header() (metadata.MD, error) { return nil, nil }
func (s *fakeStream) Trailer() metadata.MD         { return nil }
func (s *fakeStream) CloseSend() error             { return nil }
func (s *fakeStream) Context() context.Context     { return s.ctx }
func (s *fakeStream) SendMsg(any) error            { return nil }
func (s *fakeStream) RecvMsg(any) error            { return io.EOF }

// testApp is an app without a process: an environment from a map, buffers for streams, the fake for the cluster.
type testApp struct {
	*app
	out, err *bytes.Buffer
	interr   chan os.Signal
	options  embeddedOptions // those that the cluster was started with
	stopped  int             // how often it was stopped
}

func newTestApp(t *testing.T, control *fakeControl, env map[string]string) *testApp {
	t.Helper()
	ta := &testApp{out: &bytes.Buffer{}, err: &bytes.Buffer{}, interr: make(chan os.Signal, signalsWaiting)}
	cache := t.TempDir()
	ta.app = &app{
		cache: func() (string, error) { return cache, nil },
		env:   func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		stdin: &bytes.Buffer{}, stdout: ta.out, stderr: ta.err,
		listen: func() <-chan os.Signal { return ta.interr },
		embedded: func(_ context.Context, o embeddedOptions) (pb.ControlServiceClient, func() error, error) {
			ta.options = o
			return control, func() error { ta.stopped++; return nil }, nil
		},
	}
	return ta
}
