package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/loadline/loadline/agent/record"
	"github.com/loadline/loadline/agent/uplink"
	"github.com/loadline/loadline/coordinator/ingest"
	"github.com/loadline/loadline/coordinator/journal"
	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/coordinator/merge/mergetest"
	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// stalled is a disk that takes nothing until it is let go.
type stalled struct {
	open    chan struct{}
	reached chan struct{} // closed by the first write that waits
	once    sync.Once
	begun   atomic.Bool
}

func (s *stalled) WriteAt(p []byte, _ int64) (int, error) {
	if s.begun.Swap(true) { // the file's own beginning is let through
		s.once.Do(func() { close(s.reached) })
		<-s.open
	}
	return len(p), nil
}
func (s *stalled) Truncate(int64) error { return nil }
func (s *stalled) Sync() error          { return nil }
func (s *stalled) Close() error         { return nil }

// standing is a run whose journal may stand still.
type standing struct {
	journal *journal.Journal
	inbox   ingest.Inbox
	mu      sync.Mutex
	merged  *merge.Run
	taken   atomic.Int64 // windows that were taken off the stream
}

func (s *standing) Agent(name string, incarnation uint64) (*ingest.Inbox, error) {
	if name != "a1" || incarnation != 1 {
		return nil, errors.New("not of this run")
	}
	return &s.inbox, nil
}

func (s *standing) Window(ctx context.Context, w *pb.Window, durable func()) error {
	s.taken.Add(1)
	return s.append(ctx, pb.JournalRecord_builder{Window: w}.Build(), durable)
}

// Stop implements ingest.Run: nobody stops the run.
func (s *standing) Stop(string, uint64) *pb.StopRequest { return nil }

func (s *standing) Totals(ctx context.Context, t *pb.Totals, durable func()) error {
	return s.append(ctx, pb.JournalRecord_builder{Totals: t}.Build(), durable)
}

func (s *standing) append(ctx context.Context, r *pb.JournalRecord, durable func()) error {
	return s.journal.Append(ctx, r, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.merged.AddRecord(r); err != nil {
			panic(err) // a window of this test
		}
		durable()
	})
}

// TestACoordinatorThatStandsStillLosesNothing: while the coordinator's disk takes nothing, agents are told of nothing,
// have at most 64 windows under way and keep the rest, merging what they never sent; when it goes on, every sample
// arrives, and none twice. Over real gRPC; time is counted in windows, of which an agent has one a second.
func TestACoordinatorThatStandsStillLosesNothing(t *testing.T) {
	t.Parallel()
	for name, windows := range map[string]int{"for 20 seconds": 20, "for 25 minutes": 1500} {
		t.Run(name, func(t *testing.T) {
			disk := &stalled{open: make(chan struct{}), reached: make(chan struct{})}
			run := newStanding(t, disk)
			client := dialResults(t, run)
			u := uplink.New(client, pb.Hello_builder{RunId: mergetest.RunID, Agent: "a1", Incarnation: 1}.Build(),
				record.NewMerger(1, 10).Merge, slog.New(slog.DiscardHandler))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var moving sync.WaitGroup
			var moved error
			moving.Go(func() { moved = u.Run(ctx) })
			totals := pushSeconds(u, windows, disk.reached)
			if n := u.Waiting(); n != min(windows, uplink.MaxWaiting) {
				t.Errorf("%d windows wait, of %d", n, windows)
			}
			u.Finish(totals)
			if n := run.taken.Load(); n > 64 {
				t.Errorf("%d windows were sent without an acknowledgement", n)
			}
			close(disk.open)
			moving.Wait()
			if moved != nil {
				t.Fatal(moved)
			}
			if err := run.journal.Close(ctx); err != nil {
				t.Fatal(err)
			}
			run.check(t, windows)
		})
	}
}

func newStanding(t *testing.T, disk *stalled) *standing {
	t.Helper()
	h := mergetest.Header(mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", 1, time.Hour)}), "a1")
	merged, err := merge.New(h)
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.New(disk, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &standing{journal: j, merged: merged}
}

// dialResults serves the run's results over TCP.
func dialResults(t *testing.T, run *standing) pb.ResultsServiceClient {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterResultsServiceServer(server, ingest.New(func(string) (ingest.Run, bool) { return run, true }, nil, slog.New(slog.DiscardHandler)))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		serving.Wait()
	})
	return pb.NewResultsServiceClient(conn)
}

// pushSeconds pushes a window a second, waits after the first until it has met the disk, and returns their totals.
func pushSeconds(u *uplink.Uplink, windows int, reached <-chan struct{}) *pb.Totals {
	for i := range windows {
		var h hist.Histogram
		h.Record(uint64(i))
		u.Push(pb.Window_builder{
			StartUs: int64(i) * 1e6, EndUs: int64(i+1) * 1e6,
			Groups: []*pb.Group{pb.Group_builder{
				Counters: pb.Counters_builder{Due: 1, Started: 1, SessionsSucceeded: 1, RequestsSent: 1, RequestsSucceeded: 1}.Build(),
				Series:   []*pb.SeriesData{pb.SeriesData_builder{Series: pb.Series_SERIES_E2E, Histogram: h.AppendBinary(nil)}.Build()},
			}.Build()},
		}.Build())
		if i == 0 {
			<-reached
		}
	}
	n := uint64(windows)
	return pb.Totals_builder{Values: n, Groups: []*pb.Group{pb.Group_builder{
		Counters: pb.Counters_builder{Due: n, Started: n, SessionsSucceeded: n, RequestsSent: n, RequestsSucceeded: n}.Build(),
	}.Build()}}.Build()
}

// check holds what was merged against what was pushed.
func (s *standing) check(t *testing.T, windows int) {
	t.Helper()
	var want hist.Histogram
	for i := range windows {
		want.Record(uint64(i))
	}
	if got := s.merged.Whole().Histogram(measure.E2E); string(got.AppendBinary(nil)) != string(want.AppendBinary(nil)) {
		t.Errorf("%d values arrived, sum %d; want %d, sum %d", got.Count(), got.Sum(), want.Count(), want.Sum())
	}
	a := s.merged.Agents()[0]
	if a.MissingWindows() != 0 || a.Windows() > uint64(windows) || a.Windows() < uint64(min(windows, uplink.MaxWaiting)) || s.merged.Duplicates() != 0 {
		t.Errorf("%d windows, %d missing, %d twice", a.Windows(), a.MissingWindows(), s.merged.Duplicates())
	}
	sent := s.merged.Sent()
	if len(sent) != 1 || !sent[0].Totals {
		t.Errorf("sent: %+v", sent)
	}
}
