// Package uplink streams an agent's windows to the coordinator and keeps each until it is
// acknowledged. A broken stream is opened again and what was not acknowledged is sent again,
// unchanged and in order; so no window is lost, and the coordinator can tell a repeated one.
package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

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

// Uplink is the way of one run's windows. It is safe for concurrent use.
type Uplink struct {
	client pb.ResultsServiceClient
	hello  *pb.Hello
	log    *slog.Logger
	wake   chan struct{} // something changed; holds at most one

	mu      sync.Mutex
	waiting []*pb.Window // not acknowledged, in order
	sizes   []int
	bytes   int
	sent    int // of waiting, how many the present stream has sent
	last    uint64
	totals  *pb.Totals
	done    bool // the totals are acknowledged
}

// New makes the uplink of one run. Run moves the windows.
func New(client pb.ResultsServiceClient, hello *pb.Hello, log *slog.Logger) *Uplink {
	return &Uplink{client: client, hello: hello, log: log.With("component", "uplink"), wake: make(chan struct{}, 1)}
}

// Room reports whether another window may be pushed. While it does not, the caller goes on
// recording into the window it has: resolution is lost then, and no sample.
func (u *Uplink) Room() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.waiting) < MaxWaiting && u.bytes < MaxBytes
}

// Waiting is the number of windows that are not acknowledged.
func (u *Uplink) Waiting() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.waiting)
}

// Push takes a window over, gives it the next number and the sender's name, and sends it when it
// can. The caller must not change it any more.
func (u *Uplink) Push(w *pb.Window) {
	u.mu.Lock()
	u.last++
	w.SetRunId(u.hello.GetRunId())
	w.SetAgent(u.hello.GetAgent())
	w.SetIncarnation(u.hello.GetIncarnation())
	w.SetSequence(u.last)
	size := proto.Size(w)
	u.waiting, u.sizes, u.bytes = append(u.waiting, w), append(u.sizes, size), u.bytes+size
	u.mu.Unlock()
	u.kick()
}

// Finish takes the totals over, which are sent after the last window. Nothing may be pushed after it.
func (u *Uplink) Finish(t *pb.Totals) {
	u.mu.Lock()
	t.SetRunId(u.hello.GetRunId())
	t.SetAgent(u.hello.GetAgent())
	t.SetIncarnation(u.hello.GetIncarnation())
	t.SetLastSequence(u.last)
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

// Run moves windows until the totals are acknowledged, and then returns nil; or until ctx ends,
// and then says how many windows were never acknowledged.
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
	u.sent = 0
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
	totalsSent := false
	for {
		next := u.next()
		switch {
		case next != nil:
			if err := stream.Send(pb.PushWindowsRequest_builder{Window: next}.Build()); err != nil {
				return err
			}
			continue
		case u.finished():
			return nil
		case !totalsSent && u.ready():
			totalsSent = true
			if err := stream.Send(pb.PushWindowsRequest_builder{Totals: u.totals}.Build()); err != nil {
				return err
			}
			continue
		}
		select {
		case <-u.wake:
		case <-ended:
			return errors.New("the stream has ended")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// next takes the next window that may be sent, or nil.
func (u *Uplink) next() *pb.Window {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sent == len(u.waiting) || u.sent == maxOutstanding {
		return nil
	}
	u.sent++
	return u.waiting[u.sent-1]
}

// ready reports whether every window has been sent and the totals are known.
func (u *Uplink) ready() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.totals != nil && u.sent == len(u.waiting)
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
	for gone < u.sent && u.waiting[gone].GetSequence() <= answer.GetAcknowledged() {
		u.bytes -= u.sizes[gone]
		u.waiting[gone] = nil
		gone++
	}
	u.waiting, u.sizes, u.sent = u.waiting[gone:], u.sizes[gone:], u.sent-gone
	u.done = u.done || answer.GetTotalsAcknowledged() && u.totals != nil && len(u.waiting) == 0
	return u.done, gone
}
