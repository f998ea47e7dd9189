package grpcdriver

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/scenario"
	simpb "github.com/loadline/loadline/proto/loadline/sim/v1"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// service is a real gRPC server whose answers are told by the text of the request.
type service struct {
	simpb.UnimplementedEchoServiceServer

	calls atomic.Int64
	last  atomic.Pointer[metadata.MD]

	mu    sync.Mutex
	peers map[string]int // calls so far by the client's address
}

// most is the most calls that came over one connection.
func (s *service) most() (most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.peers {
		most = max(most, n)
	}
	return most
}

func answer(r *simpb.EchoRequest, index uint32) *simpb.EchoResponse {
	return simpb.EchoResponse_builder{Text: new(r.GetText()), Payload: r.GetPayload(), Index: &index}.Build()
}

func (s *service) meet(ctx context.Context, text string) error {
	s.calls.Add(1)
	md, _ := metadata.FromIncomingContext(ctx)
	s.last.Store(&md)
	if p, ok := peer.FromContext(ctx); ok {
		s.mu.Lock()
		s.peers[p.Addr.String()]++
		s.mu.Unlock()
	}
	switch text {
	case "unavailable":
		return status.Error(codes.Unavailable, "not now")
	case "hang":
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (s *service) Unary(ctx context.Context, r *simpb.EchoRequest) (*simpb.EchoResponse, error) {
	if err := s.meet(ctx, r.GetText()); err != nil {
		return nil, err
	}
	if r.GetText() == "large" {
		return simpb.EchoResponse_builder{Payload: make([]byte, MaxMessage+1)}.Build(), nil
	}
	return answer(r, 0), nil
}

func (s *service) ServerStream(r *simpb.EchoRequest, stream grpc.ServerStreamingServer[simpb.EchoResponse]) error {
	if err := s.meet(stream.Context(), r.GetText()); err != nil {
		return err
	}
	for i := range r.GetCount() {
		if err := stream.Send(answer(r, i)); err != nil {
			return err
		}
	}
	switch r.GetText() {
	case "breaks off":
		return status.Error(codes.Unavailable, "in the middle")
	case "stalls":
		<-stream.Context().Done()
	}
	return nil
}

func (s *service) ClientStream(stream grpc.ClientStreamingServer[simpb.EchoRequest, simpb.EchoResponse]) error {
	n, last := uint32(0), &simpb.EchoRequest{}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			s.calls.Add(1)
			return stream.SendAndClose(answer(last, n))
		}
		if err != nil {
			return err
		}
		n, last = n+1, r
	}
}

func (s *service) Bidi(stream grpc.BidiStreamingServer[simpb.EchoRequest, simpb.EchoResponse]) error {
	for n := uint32(0); ; n++ {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(answer(r, n)); err != nil {
			return err
		}
	}
}

// serve serves on a loopback port until the test ends; with reflection as register says.
func serve(t *testing.T, register func(*grpc.Server), options ...grpc.ServerOption) (*service, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, web := &service{peers: map[string]int{}}, grpc.NewServer(options...)
	simpb.RegisterEchoServiceServer(web, s)
	if register != nil {
		register(web)
	}
	done := make(chan error, 1)
	go func() { done <- web.Serve(ln) }()
	t.Cleanup(func() {
		web.Stop()
		<-done
	})
	return s, ln.Addr().String()
}

func reflected(web *grpc.Server) { reflection.Register(web) }

// clock counts from the start of the test.
func clock() func() measure.Instant {
	begun := time.Now()
	return func() measure.Instant { return measure.Instant(time.Since(begun)) }
}

// rig is a driver with the workloads of a scenario.
type rig struct {
	t      *testing.T
	driver *Driver
	set    *workload.Set
}

// compile makes the driver of a scenario with one target, given the members of target and workloads.
func compile(t *testing.T, about string, files workload.Files, workloads ...string) (*rig, error) {
	t.Helper()
	text := "name: test\ntargets:\n  - {name: t, protocol: grpc, " + about + "}\nworkloads:\n"
	for _, w := range workloads {
		text += "  - {" + w + "}\n"
	}
	text += "load: [{open: {rate: 1}, duration: 1s}]\n"
	s, err := scenario.Parse(scenario.Source{Name: "test", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	secrets := func(*pb.SecretRef) (string, error) { return "", errors.New("none") }
	set, err := workload.Compile(s, files, secrets)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, set: set}
	var samples []*workload.Request
	for i := range workloads {
		sample := &workload.Request{}
		if err := set.Fill(i, workload.Key{}, sample); err != nil {
			t.Fatal(err)
		}
		samples = append(samples, sample)
	}
	r.driver, err = New(t.Context(), s.GetTargets()[0], Config{Local: wire.Local{Now: clock()}, Files: files, Samples: samples})
	if err == nil {
		t.Cleanup(func() { _ = r.driver.Close() })
	}
	return r, err
}

func mustCompile(t *testing.T, about string, workloads ...string) *rig {
	t.Helper()
	r, err := compile(t, about, nil, workloads...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// play plays a request of a workload.
func (r *rig) play(ctx context.Context, w int, number uint64) *measure.Outcome {
	r.t.Helper()
	var request workload.Request
	key := workload.Key{RunID: "run", Phase: "p", ID: measure.ID{Number: number}, Ordinal: number}
	if err := r.set.Fill(w, key, &request); err != nil {
		r.t.Fatal(err)
	}
	var o measure.Outcome
	o.Reset()
	r.driver.Do(ctx, &request, &o)
	return &o
}

func target(address string) string { return `url: "grpc://` + address + `"` }

// call is a workload of one call.
func workloadOf(name, method, more string) string {
	return "name: " + name + ", grpc: {method: loadline.sim.v1.EchoService/" + method + ", " + more + "}"
}

// inOrder checks the instants of a call that ended well.
func inOrder(t *testing.T, o *measure.Outcome) {
	t.Helper()
	at := []measure.Instant{o.Dispatched, o.Connected, o.Sent, o.End}
	for i := range at {
		if !at[i].Reached() || i > 0 && at[i] < at[i-1] {
			t.Errorf("dispatched, connected, sent, end are %v", at)
		}
	}
	last := o.FirstByte
	for _, e := range o.Events {
		if e < last {
			t.Errorf("first byte %v, events %v", o.FirstByte, o.Events)
		}
		last = e
	}
	if !o.FirstByte.Reached() || o.End < last {
		t.Errorf("first byte %v, events %v, end %v", o.FirstByte, o.Events, o.End)
	}
}

func mentions(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v\nlacks %q", err, part)
		}
	}
}
