package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// journal is a Run that remembers what was appended and calls it durable when told.
type journal struct {
	stop    *pb.StopRequest
	mu      sync.Mutex
	inbox   Inbox
	windows []uint64
	totals  int
	pending []func()
	bad     error
}

func (j *journal) Agent(name string, incarnation uint64) (*Inbox, error) {
	if name != "a1" || incarnation != 7 {
		if j.bad != nil {
			return nil, j.bad
		}
		return nil, errors.New("agent x is not of this run")
	}
	return &j.inbox, nil
}

func (j *journal) Window(_ context.Context, w *pb.Window, durable func()) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.bad != nil {
		return j.bad
	}
	j.windows = append(j.windows, w.GetSequence())
	j.pending = append(j.pending, durable)
	return nil
}

func (j *journal) Totals(_ context.Context, _ *pb.Totals, durable func()) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.totals++
	j.pending = append(j.pending, durable)
	return nil
}

func (j *journal) sync() {
	j.mu.Lock()
	pending := j.pending
	j.pending = nil
	j.mu.Unlock()
	for _, durable := range pending {
		durable()
	}
}

// Stop orders a stop once the run is stopped.
func (j *journal) Stop(string, uint64) *pb.StopRequest {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.stop
}

// renewed grants whatever is asked for, and says for which incarnation.
func renewed(q *pb.RenewRequest) *pb.RenewResponse {
	return pb.RenewResponse_builder{Granted: true, Epoch: uint32(q.GetIncarnation())}.Build()
}

// conversation is the server's side of a stream, in memory.
type conversation struct {
	grpc.ServerStream
	ctx  context.Context
	up   chan *pb.PushWindowsRequest
	mu   sync.Mutex
	down []*pb.PushWindowsResponse
}

func (c *conversation) Context() context.Context { return c.ctx }

func (c *conversation) Recv() (*pb.PushWindowsRequest, error) {
	m, ok := <-c.up
	if !ok {
		return nil, io.EOF
	}
	return m, nil
}

func (c *conversation) Send(m *pb.PushWindowsResponse) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = append(c.down, m)
	return nil
}

func (c *conversation) last() (uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.down) == 0 {
		return 0, false
	}
	m := c.down[len(c.down)-1]
	return m.GetAcknowledged(), m.GetTotalsAcknowledged()
}

func talk(t *testing.T, j *journal) (*conversation, <-chan error) {
	c := &conversation{ctx: t.Context(), up: make(chan *pb.PushWindowsRequest)}
	s := New(func(id string) (Run, bool) { return j, id == "r" }, renewed, slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- s.PushWindows(c) }()
	return c, ended
}

func hello() *pb.PushWindowsRequest {
	return pb.PushWindowsRequest_builder{Hello: pb.Hello_builder{RunId: "r", Agent: "a1", Incarnation: 7}.Build()}.Build()
}

func window(n uint64) *pb.PushWindowsRequest {
	return pb.PushWindowsRequest_builder{Window: pb.Window_builder{RunId: "r", Agent: "a1", Incarnation: 7, Sequence: n}.Build()}.Build()
}

func totals(last uint64) *pb.PushWindowsRequest {
	return pb.PushWindowsRequest_builder{Totals: pb.Totals_builder{RunId: "r", Agent: "a1", Incarnation: 7, LastSequence: last}.Build()}.Build()
}

func TestOnlyWhatIsDurableIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		c, ended := talk(t, j)
		c.up <- hello()
		c.up <- window(1)
		c.up <- window(2)
		synctest.Wait()
		if acked, _ := c.last(); acked != 0 {
			t.Errorf("acknowledged %d before the sync", acked)
		}
		j.sync()
		synctest.Wait()
		if acked, done := c.last(); acked != 2 || done {
			t.Errorf("acknowledged %d, totals %v, want 2", acked, done)
		}
		c.up <- totals(2)
		synctest.Wait()
		if _, done := c.last(); done {
			t.Error("totals acknowledged before the sync")
		}
		j.sync()
		synctest.Wait()
		if _, done := c.last(); !done {
			t.Error("totals not acknowledged")
		}
		close(c.up)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestARepeatedWindowIsAcknowledgedAndDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		first, _ := talk(t, j)
		first.up <- hello()
		first.up <- window(1)
		synctest.Wait()
		second, _ := talk(t, j) // the first stream was lost
		second.up <- hello()
		second.up <- window(1)
		second.up <- window(2)
		synctest.Wait()
		j.sync()
		synctest.Wait()
		if acked, _ := second.last(); acked != 2 || len(j.windows) != 2 {
			t.Errorf("acknowledged %d, appended %v", acked, j.windows)
		}
		close(first.up)
		close(second.up)
	})
}

func TestRefusals(t *testing.T) {
	stranger := pb.PushWindowsRequest_builder{Hello: pb.Hello_builder{RunId: "r", Agent: "x", Incarnation: 7}.Build()}.Build()
	elsewhere := pb.PushWindowsRequest_builder{Hello: pb.Hello_builder{RunId: "s"}.Build()}.Build()
	forged := pb.PushWindowsRequest_builder{Window: pb.Window_builder{RunId: "r", Agent: "b", Incarnation: 7, Sequence: 1}.Build()}.Build()
	for name, test := range map[string]struct {
		messages []*pb.PushWindowsRequest
		bad      error
		code     codes.Code
		want     string
	}{
		"no hello":                 {[]*pb.PushWindowsRequest{window(1)}, nil, codes.InvalidArgument, "hello"},
		"an unknown run":           {[]*pb.PushWindowsRequest{elsewhere}, nil, codes.NotFound, `"s"`},
		"an agent of no place":     {[]*pb.PushWindowsRequest{stranger}, nil, codes.PermissionDenied, "not of this run"},
		"a missing window":         {[]*pb.PushWindowsRequest{hello(), window(1), window(3)}, nil, codes.OutOfRange, "window 2 is missing"},
		"number zero":              {[]*pb.PushWindowsRequest{hello(), window(0)}, nil, codes.OutOfRange, "window 1 is missing"},
		"another's window":         {[]*pb.PushWindowsRequest{hello(), forged}, nil, codes.InvalidArgument, "another sender"},
		"totals before the end":    {[]*pb.PushWindowsRequest{hello(), window(1), totals(2)}, nil, codes.OutOfRange, "window 1 is"},
		"a window after the end":   {[]*pb.PushWindowsRequest{hello(), totals(0), window(1)}, nil, codes.FailedPrecondition, "after"},
		"a window that is damaged": {[]*pb.PushWindowsRequest{hello(), window(1)}, errors.New("bad histogram"), codes.InvalidArgument, "bad histogram"},
		"a run that has ended":     {[]*pb.PushWindowsRequest{hello(), window(1)}, fmt.Errorf("run r: %w", ErrEnded), codes.FailedPrecondition, "run r: the run has ended"},
		"an ended run's stranger":  {[]*pb.PushWindowsRequest{stranger}, fmt.Errorf("run r: %w", ErrEnded), codes.FailedPrecondition, "has ended"},
		"a run that is ending":     {[]*pb.PushWindowsRequest{hello(), window(1)}, fmt.Errorf("run r: %w", ErrClosing), codes.Unavailable, "try again"},
		"a second hello":           {[]*pb.PushWindowsRequest{hello(), hello()}, nil, codes.InvalidArgument, "windows, totals and renewals"},
	} {
		t.Run(name, func(t *testing.T) {
			c, ended := talk(t, &journal{bad: test.bad})
			for _, m := range test.messages {
				c.up <- m
			}
			err := <-ended
			if status.Code(err) != test.code || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want %v with %q", err, test.code, test.want)
			}
		})
	}
}

// Whatever is repeated, skipped or reordered, each number is accepted once and in order.
func TestSequenceAcceptsEveryNumberOnceAndInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Sequence
		next := uint64(1)
		for _, n := range rapid.SliceOf(rapid.Uint64Range(0, 20)).Draw(t, "numbers") {
			got := s.Offer(n)
			switch {
			case n == next:
				if got != Fresh {
					t.Fatalf("window %d judged %d, want fresh", n, got)
				}
				next++
			case n >= 1 && n < next:
				if got != Repeated {
					t.Fatalf("window %d judged %d, want repeated", n, got)
				}
			case got != Gap:
				t.Fatalf("window %d judged %d, want gap", n, got)
			}
		}
	})
}
