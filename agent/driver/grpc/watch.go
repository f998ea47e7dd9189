package grpcdriver

import (
	"context"
	"math"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/internal/measure"
)

// callKey is where the context of a call holds it.
type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// watcher notes what the connection's own goroutines see of a call: it is nearer to the system call
// than who waits for the message.
type watcher struct{}

func (watcher) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (watcher) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (watcher) HandleConn(context.Context, stats.ConnStats)                       {}

func (watcher) HandleRPC(ctx context.Context, s stats.RPCStats) {
	c := callOf(ctx)
	if c == nil {
		return
	}
	switch s := s.(type) {
	case *stats.OutHeader:
		c.written.Store(true)
	case *stats.OutPayload:
		c.out.Add(uint64(s.WireLength))
	case *stats.InHeader:
		c.first.CompareAndSwap(0, int64(c.d.local.Now())+1)
		c.in.Add(uint64(s.WireLength))
	case *stats.InPayload:
		c.in.Add(uint64(s.WireLength))
	case *stats.InTrailer:
		now := int64(c.d.local.Now()) + 1
		c.first.CompareAndSwap(0, now)
		c.trailer.CompareAndSwap(0, now)
		c.in.Add(uint64(s.WireLength))
	}
}

// once lets a call reach the wire once. grpc-go sends a stream again by itself when the server has turned
// it away unread (REFUSED_STREAM, GOAWAY); here that would hide a failure and send what was sent. The
// credentials of a call are asked for once for each try, before anything is written.
type once struct{}

func (once) RequireTransportSecurity() bool { return false }

func (once) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if c := callOf(ctx); c != nil && c.written.Load() {
		c.again.Store(true)
		return nil, status.Error(codes.Unavailable, "the server turned the stream away; it is not sent again")
	}
	return nil, nil
}

// timer enforces the time limit in force. It keeps one timer and sets it anew only when it fires or the
// limit comes nearer, so that a message costs a comparison.
type timer struct {
	mu     sync.Mutex
	now    func() measure.Instant
	limits *wire.Timeouts
	begun  measure.Instant
	cancel context.CancelCauseFunc
	timer  *time.Timer
	armed  measure.Instant // when the timer fires
	at     measure.Instant // the limit in force, and the class of missing it
	class  string
	over   bool
}

// start begins with the limit of a connection.
func (t *timer) start(now func() measure.Instant, begun measure.Instant, limits *wire.Timeouts, cancel context.CancelCauseFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now, t.begun, t.limits, t.cancel = now, begun, limits, cancel
	t.set(begun, limits.Connect, measure.ClassConnectTimeout)
	t.nearer(begun, limits.First, measure.ClassFirstTokenTimeout)
	t.nearer(begun, limits.Total, measure.ClassTotalTimeout)
	t.armed = t.at
	t.timer = time.AfterFunc(time.Duration(t.at-begun), t.fire)
}

// connected goes on with the limit of the first message.
func (t *timer) connected() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set(t.begun, t.limits.First, measure.ClassFirstTokenTimeout)
	t.nearer(t.begun, t.limits.Total, measure.ClassTotalTimeout)
	t.arm()
}

// progress goes on with the limit of the silence after a message.
func (t *timer) progress(at measure.Instant) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set(at, t.limits.Stall, measure.ClassStallTimeout)
	t.nearer(t.begun, t.limits.Total, measure.ClassTotalTimeout)
	t.arm()
}

func (t *timer) set(from measure.Instant, d time.Duration, class string) {
	t.at, t.class = math.MaxInt64, class
	t.nearer(from, d, class)
}

func (t *timer) nearer(from measure.Instant, d time.Duration, class string) {
	if d > 0 && from+measure.Instant(d) < t.at {
		t.at, t.class = from+measure.Instant(d), class
	}
}

// arm sets the timer where the limit came nearer.
func (t *timer) arm() {
	if t.at < t.armed && !t.over {
		t.armed = t.at
		t.timer.Reset(time.Duration(t.at - t.now()))
	}
}

func (t *timer) fire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	if left := time.Duration(t.at - t.now()); left > 0 {
		t.armed = t.at
		t.timer.Reset(left)
		return
	}
	t.over = true
	t.cancel(wire.TimedOut(t.class))
}

func (t *timer) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	t.timer.Stop()
}
