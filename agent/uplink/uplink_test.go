package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/loadline/loadline/agent/record"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// server is a results service that loses streams at random, as a bad network does, and remembers
// what it took.
type server struct {
	pb.UnimplementedResultsServiceServer
	mu     sync.Mutex
	random *rand.Rand
	lose   float64 // probability of losing the stream at each message
	mute   bool    // takes windows and never acknowledges
	greet  error   // acknowledges the hello and refuses every window so
	ending int     // so many streams are refused because the journal is being closed
	taken  []uint64
	totals *pb.Totals
	hellos int
	most   int // windows sent beyond the last acknowledgement
	acked  uint64
}

func (s *server) PushWindows(stream pb.ResultsService_PushWindowsServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	s.mu.Lock()
	s.hellos++
	ending := s.hellos <= s.ending
	s.mu.Unlock()
	if ending {
		return status.Error(codes.Unavailable, "the run's journal is being closed: try again")
	}
	if s.greet != nil {
		if err := stream.Send(&pb.PushWindowsResponse{}); err != nil {
			return err
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
		return s.greet
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		answer, err := s.take(m)
		if err != nil {
			return err
		}
		if answer != nil {
			if err := stream.Send(answer); err != nil {
				return err
			}
		}
	}
}

// take loses the stream before or after the message counts, or takes it.
func (s *server) take(m *pb.PushWindowsRequest) (*pb.PushWindowsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := status.Error(codes.Unavailable, "lost")
	if s.random.Float64() < s.lose {
		return nil, lost
	}
	if n := m.GetWindow().GetSequence(); m.HasWindow() && n == uint64(len(s.taken))+1 {
		s.taken = append(s.taken, n)
	} else if m.HasWindow() && n > uint64(len(s.taken)) {
		return nil, status.Errorf(codes.OutOfRange, "window %d after %d", n, len(s.taken))
	}
	if m.HasTotals() {
		s.totals = m.GetTotals()
	}
	s.most = max(s.most, len(s.taken)-int(s.acked))
	if s.random.Float64() < s.lose {
		return nil, lost
	}
	if s.mute {
		return nil, nil
	}
	s.acked = uint64(len(s.taken))
	return pb.PushWindowsResponse_builder{Acknowledged: s.acked, TotalsAcknowledged: s.totals != nil}.Build(), nil
}

func dial(t *testing.T, s *server) pb.ResultsServiceClient {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	g := grpc.NewServer()
	pb.RegisterResultsServiceServer(g, s)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(listener) })
	conn, err := grpc.NewClient("passthrough:///results",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
		serving.Wait()
	})
	return pb.NewResultsServiceClient(conn)
}

func hello() *pb.Hello {
	return pb.Hello_builder{RunId: "r", Agent: "a1", Incarnation: 7}.Build()
}

// merge is the merging of an agent that keeps four records a window.
func merge(a, b *pb.Window) (*pb.Window, error) { return record.NewMerger(1, 4).Merge(a, b) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestEveryWindowArrivesOnceInOrderThroughABadNetwork(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			s := &server{random: rand.New(rand.NewPCG(seed, 1)), lose: 0.03}
			u := New(dial(t, s), hello(), merge, quiet())
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			var pusher sync.WaitGroup
			pusher.Go(func() {
				for range 200 {
					u.Push(&pb.Window{})
				}
				u.Finish(&pb.Totals{})
			})
			err := u.Run(ctx)
			pusher.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if len(s.taken) != 200 || s.totals.GetLastSequence() != 200 || u.Waiting() != 0 {
				t.Errorf("took %d windows, totals name %d, %d wait", len(s.taken), s.totals.GetLastSequence(), u.Waiting())
			}
			if s.hellos < 2 {
				t.Error("the network never failed: the test has shown nothing")
			}
		})
	}
}

func TestWindowsCarryTheirSender(t *testing.T) {
	s := &server{random: rand.New(rand.NewPCG(1, 1))}
	u := New(dial(t, s), hello(), merge, quiet())
	w := &pb.Window{}
	u.Push(w)
	u.Finish(&pb.Totals{})
	if err := u.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.GetRunId() != "r" || w.GetAgent() != "a1" || w.GetIncarnation() != 7 || w.GetSequence() != 1 {
		t.Errorf("window = %v", w)
	}
	if s.totals.GetRunId() != "r" || s.totals.GetIncarnation() != 7 {
		t.Errorf("totals = %v", s.totals)
	}
}

func TestWithoutAcknowledgementsWindowsAreKeptAndBounded(t *testing.T) {
	s := &server{random: rand.New(rand.NewPCG(1, 1)), mute: true}
	u := New(dial(t, s), hello(), merge, quiet())
	for i := range 2 * MaxWaiting {
		if !u.Room() {
			t.Fatalf("no room for window %d", i+1)
		}
		u.Push(&pb.Window{})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := u.Run(ctx)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%d windows were not acknowledged", MaxWaiting)) {
		t.Errorf("error = %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.most != maxOutstanding {
		t.Errorf("%d windows outstanding, want %d", s.most, maxOutstanding)
	}
}

// A window that is refused is offered again with growing pauses: the answer to the hello, which
// acknowledges nothing, is no progress. Without that it would be offered 25 times in this time.
func TestARefusedWindowIsOfferedAtGrowingPauses(t *testing.T) {
	s := &server{random: rand.New(rand.NewPCG(1, 1)), greet: status.Error(codes.InvalidArgument, "refused")}
	u := New(dial(t, s), hello(), merge, quiet())
	u.Push(&pb.Window{})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := u.Run(ctx); err == nil {
		t.Fatal("a refused window was taken for acknowledged")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hellos < 2 || s.hellos > 8 {
		t.Errorf("%d streams in half a second, want a few with pauses of 20 ms, 40 ms, 80 ms …", s.hellos)
	}
}

// TestTheResultsOfAnEndedRunAreGivenUp: nobody ever takes them, so they are offered once.
func TestTheResultsOfAnEndedRunAreGivenUp(t *testing.T) {
	s := &server{random: rand.New(rand.NewPCG(1, 1)), greet: status.Error(codes.FailedPrecondition, "run r: the run has ended")}
	u := New(dial(t, s), hello(), merge, quiet())
	u.Push(&pb.Window{})
	u.Push(&pb.Window{})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := u.Run(ctx)
	if !errors.Is(err, ErrGivenUp) || !strings.Contains(err.Error(), "2 windows were not acknowledged: run r: the run has ended") {
		t.Errorf("error = %v", err)
	}
	if s.hellos != 1 {
		t.Errorf("offered %d times", s.hellos)
	}
}

// TestACoordinatorThatIsClosingIsTriedAgain: the one that comes after it takes everything.
func TestACoordinatorThatIsClosingIsTriedAgain(t *testing.T) {
	s := &server{random: rand.New(rand.NewPCG(1, 1)), ending: 3}
	u := New(dial(t, s), hello(), merge, quiet())
	u.Push(&pb.Window{})
	u.Finish(&pb.Totals{})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := u.Run(ctx); err != nil || len(s.taken) != 1 || s.hellos != 4 {
		t.Errorf("error %v, %d windows, %d streams", err, len(s.taken), s.hellos)
	}
}
