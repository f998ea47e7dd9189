package sim

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	simpb "github.com/loadline/loadline/proto/loadline/sim/v1"
)

// dial serves a simulator by gRPC until the test ends, and connects to it.
func dial(t *testing.T, cfg Config) (*Server, *grpc.ClientConn) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.ServeGRPC(ctx, ln) }()
	conn, err := grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, conn
}

func generate(ctx context.Context, t *testing.T, conn *grpc.ClientConn, n uint32) (string, int, error) {
	t.Helper()
	stream, err := simpb.NewGeneratorServiceClient(conn).Generate(ctx, simpb.GenerateRequest_builder{Prompt: new("tell me"), Count: &n}.Build())
	if err != nil {
		return "", 0, err
	}
	text, events := "", 0
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return text, events, nil
		}
		if err != nil {
			return text, events, err
		}
		text += m.GetText()
		events++
	}
}

// TestGRPCServices: what the four kinds of echo and the tokens are, and that the truth knows of them.
func TestGRPCServices(t *testing.T) {
	cfg := quick()
	cfg.TokensPerEvent = 2
	s, conn := dial(t, cfg)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-loadline-run", "r", "x-loadline-arrival", "p/1/0")
	echo := simpb.NewEchoServiceClient(conn)
	ask := simpb.EchoRequest_builder{Text: new("hello"), Count: new(uint32(3))}.Build()
	if m, err := echo.Unary(ctx, ask); err != nil || m.GetText() != "hello" || m.GetReceived() != 1 {
		t.Errorf("unary: %v %v", m, err)
	}
	several, err := echo.ServerStream(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	for i := uint32(0); ; i++ {
		m, err := several.Recv()
		if errors.Is(err, io.EOF) && i == 3 {
			break
		}
		if err != nil || m.GetIndex() != i {
			t.Fatalf("answer %d: %v %v", i, m, err)
		}
	}
	many, err := echo.ClientStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := many.Send(ask); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := many.CloseAndRecv(); err != nil || m.GetReceived() != 4 {
		t.Errorf("client stream: %v %v", m, err)
	}
	bidi, err := echo.Bidi(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint32(2) {
		if err := bidi.Send(simpb.EchoRequest_builder{Text: new("x")}.Build()); err != nil {
			t.Fatal(err)
		}
		if m, err := bidi.Recv(); err != nil || m.GetIndex() != i || m.GetReceived() != i+1 {
			t.Errorf("bidi: %v %v", m, err)
		}
	}
	if err := bidi.CloseSend(); err != nil {
		t.Error(err)
	}
	if _, err := bidi.Recv(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if text, events, err := generate(t.Context(), t, conn, 5); err != nil || text == "" || events != 3 {
		t.Errorf("%q in %d events, %v", text, events, err)
	}
	if h, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil || h.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("%v %v", h, err)
	}
	truth := settled(t, s)
	if e, g := truth.Routes["grpc_echo"], truth.Routes["grpc_generate"]; e.Completed != 4 || g.Completed != 1 || truth.Statuses["grpc_ok"] != 5 {
		t.Errorf("%+v %v", truth.Routes, truth.Statuses)
	}
	if truth.CompletionTokens != 5 || truth.TTFT.Count != 1 || truth.ITL.Count != 2 || len(truth.Runs) != 1 {
		t.Errorf("%+v", truth)
	}
}

// settled is the truth once nothing is in progress.
func settled(t *testing.T, s *Server) Truth {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < 10*time.Second; time.Sleep(time.Millisecond) {
		if truth := s.Truth(); truth.InFlight == 0 {
			return truth
		}
	}
	t.Fatal("calls do not end")
	return Truth{}
}

// TestGRPCFaults: what a client sees of each fault, and how it is counted.
func TestGRPCFaults(t *testing.T) {
	for _, c := range []struct {
		fault  string
		code   codes.Code
		events int
		count  func(RouteTruth) uint64
	}{
		{"status:code=429,retry_after=1s", codes.ResourceExhausted, 0, func(r RouteTruth) uint64 { return r.Refused }},
		{"wrong-key", codes.Unauthenticated, 0, func(r RouteTruth) uint64 { return r.Refused }},
		{"truncated:after=2", codes.Unavailable, 2, func(r RouteTruth) uint64 { return r.Broken }},
		{"error:after=2,code=500", codes.Internal, 2, func(r RouteTruth) uint64 { return r.Broken }},
		{"reset:after=2", codes.Unavailable, -1, func(r RouteTruth) uint64 { return r.Broken }},
		{"stall:after=2,for=20ms", codes.OK, 4, func(r RouteTruth) uint64 { return r.Completed }},
		{"slow-header:for=20ms", codes.OK, 4, func(r RouteTruth) uint64 { return r.Completed }},
		{"empty", codes.OK, 0, func(r RouteTruth) uint64 { return r.Broken }},
		{"hang", codes.DeadlineExceeded, 0, func(r RouteTruth) uint64 { return r.Broken }},
		{"malformed", codes.OK, 4, func(r RouteTruth) uint64 { return r.Completed }},
	} {
		t.Run(c.fault, func(t *testing.T) {
			s, conn := dial(t, quick(c.fault))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if c.fault == "hang" {
				ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
			}
			defer cancel()
			_, events, err := generate(ctx, t, conn, 4)
			st := status.Convert(err)
			if st.Code() != c.code || c.events >= 0 && events != c.events {
				t.Errorf("%d events, %v; want %d, %s", events, err, c.events, c.code)
			}
			if details := len(st.Details()); (details > 0) != (c.code == codes.ResourceExhausted) {
				t.Errorf("%d details", details)
			}
			if r := settled(t, s).Routes["grpc_generate"]; c.count(r) != 1 || r.Begun != 1 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestGRPCRefusals: what cannot be answered, and who may not ask.
func TestGRPCRefusals(t *testing.T) {
	cfg := quick()
	cfg.Context, cfg.APIKey = 10, "key"
	_, conn := dial(t, cfg)
	if _, _, err := generate(t.Context(), t, conn, 4); status.Code(err) != codes.Unauthenticated {
		t.Error(err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer key")
	for n, want := range map[uint32]codes.Code{4: codes.OK, 9: codes.InvalidArgument, MaxTokens + 1: codes.InvalidArgument} {
		if _, _, err := generate(ctx, t, conn, n); status.Code(err) != want {
			t.Errorf("%d tokens: %v", n, err)
		}
	}
	several, err := simpb.NewEchoServiceClient(conn).ServerStream(ctx, simpb.EchoRequest_builder{Count: new(uint32(maxEchoes + 1))}.Build())
	if err == nil {
		_, err = several.Recv()
	}
	if status.Code(err) != codes.InvalidArgument {
		t.Error(err)
	}
}
