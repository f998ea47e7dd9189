package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Bounds of following a run.
const (
	// maxWatches bounds how often a broken live stream is opened again while the run goes on.
	maxWatches = 10
	// watchPause is the time between two attempts.
	watchPause = 500 * time.Millisecond
	// stopTimeout bounds one request to stop.
	stopTimeout = 10 * time.Second
	// reportTimeout bounds the making of the report.
	reportTimeout = 5 * time.Minute
)

// errLeft says that a person left a run at once, at the third ctrl-c.
var errLeft = errors.New("left at once")

// view shows a run while it goes on. One goroutine uses it.
type view interface {
	// Show takes in one message of WatchRun.
	Show(m *pb.WatchRunResponse)
	// Stopping says how often a stop has been asked for.
	Stopping(times int)
	// Notice shows a sentence.
	Notice(text string)
	// Stops yields a value for each key that asks for a stop; nil: there are no keys.
	Stops() <-chan struct{}
	// Close ends the view.
	Close() error
}

// follower sees one run through to its summary, and carries requests to stop it.
type follower struct {
	client  pb.ControlServiceClient
	runID   string
	view    view
	signals <-chan os.Signal
	pause   time.Duration // between two attempts to watch
	stops   int
	// patience is how long a coordinator that cannot be reached is tried again; 0: not at all.
	patience time.Duration
	// onlyWatch leaves with errLeft at the first signal or key and stops nothing.
	onlyWatch bool
	next      uint64 // the first second that has not been shown
}

// ending is how a run came out.
type ending struct {
	summary *pb.Summary
	err     error
}

// follow returns the summary once the run has ended. The first signal or key asks for a drain, the second for a stop
// now, the third leaves with errLeft.
func (f *follower) follow(ctx context.Context) (*pb.Summary, error) {
	ctx, cancel := context.WithCancel(ctx)
	messages, ended, notices := make(chan *pb.WatchRunResponse), make(chan ending, 1), make(chan string)
	var running sync.WaitGroup
	running.Go(func() {
		summary, err := f.watch(ctx, messages, notices)
		ended <- ending{summary, err}
	})
	for {
		select {
		case m := <-messages:
			f.view.Show(m)
		case text := <-notices:
			f.view.Notice(text)
		case e := <-ended:
			cancel()
			running.Wait()
			return e.summary, e.err
		case <-f.signals:
			f.stop(ctx, &running, notices)
		case <-f.view.Stops():
			f.stop(ctx, &running, notices)
		}
		if f.stops > 2 || f.stops > 0 && f.onlyWatch {
			cancel() // what still runs ends by itself; a third ctrl-c waits for nothing
			return nil, errLeft
		}
	}
}

// stop asks for the end of the run, harder each time, without waiting for the reply.
func (f *follower) stop(ctx context.Context, running *sync.WaitGroup, notices chan<- string) {
	f.stops++
	if f.onlyWatch {
		return
	}
	f.view.Stopping(f.stops)
	if f.stops > 2 {
		return
	}
	mode, reason := pb.StopMode_STOP_MODE_DRAIN, "stopped by a person or signal"
	if f.stops == 2 {
		mode, reason = pb.StopMode_STOP_MODE_NOW, "stopped at once by a person or signal"
	}
	running.Go(func() {
		call, cancel := context.WithTimeout(ctx, stopTimeout)
		defer cancel()
		_, err := f.client.StopRun(call, pb.StopRunRequest_builder{RunId: f.runID, Mode: mode, Reason: reason}.Build())
		if err == nil || ctx.Err() != nil {
			return
		}
		f.say(ctx, notices, "the request to stop failed: "+status.Convert(err).Message())
	})
}

// watch hands every message on until the run has ended, and then fetches the summary. A stream that breaks while the
// run goes on is opened again.
func (f *follower) watch(ctx context.Context, messages chan<- *pb.WatchRunResponse, notices chan<- string) (*pb.Summary, error) {
	var away time.Time // since when the coordinator cannot be reached
	for attempt := 1; ; attempt++ {
		broken := f.stream(ctx, messages)
		call, cancel := context.WithTimeout(ctx, reportTimeout)
		response, err := f.client.GetReport(call, pb.GetReportRequest_builder{RunId: f.runID}.Build())
		cancel()
		switch {
		case err == nil:
			return response.GetSummary(), nil
		case status.Code(err) == codes.FailedPrecondition && (f.patience > 0 || attempt < maxWatches):
			away = time.Time{}
		case f.patience > 0 && unreachable(err) && (away.IsZero() || time.Since(away) < f.patience):
			if away.IsZero() {
				away = time.Now()
				f.say(ctx, notices, fmt.Sprintf("the coordinator cannot be reached; trying again for %v, the run goes on there", f.patience))
			}
		default:
			return nil, errors.Join(fmt.Errorf("no report of run %s: %w", f.runID, plainError(err)), broken)
		}
		if !pause(ctx, f.pause) {
			return nil, ctx.Err()
		}
	}
}

// unreachable reports whether a call failed on its way, not by what was asked.
func unreachable(err error) bool {
	code := status.Code(err)
	return (code == codes.Unavailable || code == codes.DeadlineExceeded) && !credentialsRefused(err)
}

func (f *follower) say(ctx context.Context, notices chan<- string, text string) {
	select {
	case notices <- text:
	case <-ctx.Done():
	}
}

// stream reads one live stream to its end, from the first second on that has not been shown; nil when the run ended it.
func (f *follower) stream(ctx context.Context, messages chan<- *pb.WatchRunResponse) error {
	stream, err := f.client.WatchRun(ctx, pb.WatchRunRequest_builder{RunId: f.runID, FromSecond: f.next}.Build())
	if err != nil {
		return fmt.Errorf("watch run %s: %w", f.runID, plainError(err))
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return endOfStream(err)
		}
		if m.HasSnapshot() {
			f.next = m.GetSnapshot().GetSecond() + 1
		}
		select {
		case messages <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
