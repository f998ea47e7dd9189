// Package uplink streams an agent's windows to the coordinator and keeps each until it is
// acknowledged. A broken stream is opened again and what was not acknowledged is sent again,
// unchanged and in order; so no window is lost, and the coordinator can tell a repeated one.
//
// What waits is bounded. Past the bound, windows that were never sent are merged with each other:
// they get their numbers when they are first sent, so the numbers have no gap, and what has a number
// is never changed. Resolution is lost then, and no sample.
package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Limits of the uplink.
const (
	// MaxWaiting bounds the windows that wait for their acknowledgement: 15 minutes of one a second.
	MaxWaiting = 900
	// MaxBytes bounds their size together.
	MaxBytes = 256 << 20
	// maxOutstanding bounds the windows sent and not yet acknowledged.
	maxOutstanding = 64
	// firstPause and lastPause bound the pause before a broken stream is opened again; it doubles.
	firstPause = 20 * time.Millisecond
	lastPause  = 2 * time.Second
)

// ErrGivenUp says that the coordinator has ended the run and takes nothing more of it: trying again is of no use.
var ErrGivenUp = errors.New("the coordinator takes no more results of the run")

// Merge makes one window of two that follow each other, without changing either; record.Merger has it.
type Merge func(a, b *pb.Window) (*pb.Window, error)

// Uplink is the way of one run's windows. It is safe for concurrent use.
type Uplink struct {
	client pb.ResultsServiceClient
	hello  *pb.Hello
	log    *slog.Logger
	wake   chan struct{} // something changed; holds at most one
	renewals

	mu     sync.Mutex
	spool  spool
	totals *pb.Totals
	done   bool // the totals are acknowledged
}

// New makes the uplink of one run. Run moves the windows.
func New(client pb.ResultsServiceClient, hello *pb.Hello, merge Merge, log *slog.Logger) *Uplink {
	return &Uplink{
		client: client, hello: hello, log: log.With("component", "uplink"), wake: make(chan struct{}, 1),
		spool: spool{merge: merge, maxWindows: MaxWaiting, maxBytes: MaxBytes},
	}
}

// Room reports whether another window may be pushed: always, but for a spool so full of large
// windows that no two of them may be merged. While there is none, the caller goes on recording into
// the window it has: resolution is lost then, and no sample.
func (u *Uplink) Room() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.spool.room()
}

// Waiting is the number of windows that are not acknowledged.
func (u *Uplink) Waiting() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.spool.len()
}

// Push takes a window over and sends it when it can; its number it gets then. The caller must not
// change it any more.
func (u *Uplink) Push(w *pb.Window) {
	w.SetRunId(u.hello.GetRunId())
	w.SetAgent(u.hello.GetAgent())
	w.SetIncarnation(u.hello.GetIncarnation())
	u.mu.Lock()
	err := u.spool.push(w)
	u.mu.Unlock()
	if err != nil {
		u.log.Error("windows that wait cannot be merged", "error", err)
	}
	u.kick()
}

// Finish takes the totals over, which are sent after the last window. Nothing may be pushed after it.
func (u *Uplink) Finish(t *pb.Totals) {
	t.SetRunId(u.hello.GetRunId())
	t.SetAgent(u.hello.GetAgent())
	t.SetIncarnation(u.hello.GetIncarnation())
	u.mu.Lock()
	u.totals = t
	u.mu.Unlock()
	u.kick()
}

func (u *Uplink) kick() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// Run moves windows until the totals are acknowledged, and then returns nil; or until ctx ends, or the
// coordinator says by FAILED_PRECONDITION that the run has ended (ErrGivenUp), and then says how many
// windows were never acknowledged. After any other error it tries again: a coordinator that is closing,
// or is started anew, takes what waits later.
func (u *Uplink) Run(ctx context.Context) error {
	pause := firstPause
	for {
		progressed, err := u.stream(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%d windows were not acknowledged: %w", u.Waiting(), context.Cause(ctx))
		}
		if s := status.Convert(err); s.Code() == codes.FailedPrecondition {
			return fmt.Errorf("%w: %d windows were not acknowledged: %s", ErrGivenUp, u.Waiting(), s.Message())
		}
		if progressed {
			pause = firstPause
		}
		u.log.Warn("results stream broken; opening it again", "error", err, "waiting", u.Waiting(), "pause", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// stream moves windows over one stream. It returns nil once the totals are acknowledged, and
// whether anything was acknowledged at all.
func (u *Uplink) stream(ctx context.Context) (progressed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := u.client.PushWindows(ctx)
	if err != nil {
		cancel()
		return false, err
	}
	if err := stream.Send(pb.PushWindowsRequest_builder{Hello: u.hello}.Build()); err != nil {
		cancel()
		return false, err
	}
	u.mu.Lock()
	u.spool.rewind()
	u.asked = nil
	u.mu.Unlock()

	var reader sync.WaitGroup
	var readErr error
	ended := make(chan struct{})
	reader.Go(func() {
		defer close(ended)
		progressed, readErr = u.receive(stream)
	})
	sendErr := u.send(ctx, stream, ended)
	cancel()
	reader.Wait()
	if u.finished() {
		return true, nil
	}
	// The reader knows why the stream ended; the writer only that it did.
	if readErr != nil && !errors.Is(sendErr, context.Canceled) {
		return progressed, readErr
	}
	return progressed, errors.Join(sendErr, readErr)
}

type sender interface {
	Send(*pb.PushWindowsRequest) error
}

// send sends what is new until the stream ends or everything is acknowledged.
func (u *Uplink) send(ctx context.Context, stream sender, ended <-chan struct{}) error {
	var totals *pb.Totals
	turns := newTurns()
	defer turns.timer.Stop()
	for {
		next := u.next()
		switch {
		case next != nil:
			if err := u.sendWindow(stream, next, turns); err != nil {
				return err
			}
			continue
		case u.finished():
			return nil
		}
		if totals == nil {
			if totals = u.lastWord(); totals != nil {
				if err := stream.Send(pb.PushWindowsRequest_builder{Totals: totals}.Build()); err != nil {
					return err
				}
				continue
			}
		}
		select {
		case <-u.wake:
		case <-turns.timer.C:
			if err := u.renew(stream, turns); err != nil {
				return err
			}
		case <-ended:
			return errors.New("the stream has ended")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sendWindow sends a window, and before it a renewal where one is due: a coordinator that is slow to take windows has it by then.
func (u *Uplink) sendWindow(stream sender, w *pb.Window, t *turns) error {
	if t.rides() {
		if err := u.renew(stream, t); err != nil {
			return err
		}
	}
	return stream.Send(pb.PushWindowsRequest_builder{Window: w}.Build())
}

// next takes the next window that may be sent, or nil.
func (u *Uplink) next() *pb.Window {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.spool.next()
}

// lastWord returns the totals once they are known and every window has been sent, else nil.
func (u *Uplink) lastWord() *pb.Totals {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.totals == nil || !u.spool.allSent() {
		return nil
	}
	u.totals.SetLastSequence(u.spool.last)
	return u.totals
}

func (u *Uplink) finished() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.done
}

type receiver interface {
	Recv() (*pb.PushWindowsResponse, error)
}

// receive takes acknowledgements until the stream ends or everything is acknowledged.
func (u *Uplink) receive(stream receiver) (progressed bool, err error) {
	for {
		answer, err := stream.Recv()
		if err != nil {
			return progressed, err
		}
		u.heard(answer)
		done, gone := u.acknowledged(answer)
		if done {
			return true, nil
		}
		progressed = progressed || gone > 0 // the answer to a hello acknowledges nothing new
		u.kick()
	}
}

// acknowledged forgets what is durable at the coordinator; it reports whether that is everything,
// and how many windows it was.
func (u *Uplink) acknowledged(answer *pb.PushWindowsResponse) (done bool, gone int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	gone = u.spool.acknowledged(answer.GetAcknowledged())
	u.done = u.done || answer.GetTotalsAcknowledged() && u.totals != nil && u.spool.len() == 0
	return u.done, gone
}
