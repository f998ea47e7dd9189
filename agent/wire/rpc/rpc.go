// Package rpc carries gRPC calls over HTTP/2 connections of its own.
//
// One goroutine reads each connection and one writes it, however many calls are under way; a message costs
// no goroutine, no wake-up and no allocation. Frames and header compression are those of golang.org/x/net/http2.
// The instant of a message is that of the read of the socket that brought its last byte, under TLS as well. A call is sent once: what the
// server turned away is a failure.
package rpc

import (
	"context"
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/internal/measure"
)

const (
	// MaxConns bounds the connections of a pool.
	MaxConns = 256
	// MaxStreams are put on one connection before another is opened: what many servers allow.
	MaxStreams = 100
	// firstConns carry the calls in turn; more are opened when those are full.
	firstConns = 4
	// reconnectPause is the time between two tries to connect; calls in between fail as the last try did.
	reconnectPause = 100 * time.Millisecond

	// streamWindow and connWindow are what a server may send before it hears of us again. What comes is
	// taken in at once and hardly ever kept, so they bound no memory here.
	streamWindow = 1 << 20
	connWindow   = 16 << 20
	// readBuffer is how much is read at once.
	readBuffer = 32 << 10
	// maxQueued is what waits to be written on a connection before messages wait for it; maxOwed is
	// where a server that asks for answers and does not read is given up.
	maxQueued, maxOwed = 1 << 20, 64 << 20
	// maxBlocks bounds the header blocks that a connection remembers.
	maxBlocks = 1024
)

// Config says what a pool talks to.
type Config struct {
	// Address is the host:port to connect to.
	Address string
	// TLS is the configuration, with the server's name; nil: none.
	TLS *tls.Config
	// Timeouts bound every call. First ends with the first message, and Stall is the silence after each.
	Timeouts wire.Timeouts
	// Max bounds the connections; 0: MaxConns.
	Max int
	// Private gives every call a connection of its own.
	Private bool
	// Local is the machine's side.
	Local wire.Local
}

// Fields are header fields that many calls have in common, names in lower case, pseudo-headers first. They
// must not be changed once a call has them: connections remember how they were packed.
type Fields struct{ list []hpack.HeaderField }

// NewFields makes fields of names and values.
func NewFields(list []wire.Header) *Fields {
	f := &Fields{}
	for _, h := range list {
		f.list = append(f.list, hpack.HeaderField{Name: h.Name, Value: h.Value})
	}
	return f
}

// Sink takes the messages of an answer. Calls come from the connection's goroutine, one at a time and none after
// Do has returned; they must not wait. An error ends the call.
type Sink interface {
	// Message takes a message of size bytes, unpacked. data holds it where Call.Keep asks for it, until
	// the method returns; else it is nil.
	Message(data []byte, size int, at measure.Instant) error
}

// Call is one call. It may be used again when Do has returned, and keeps its buffers.
type Call struct {
	// Steady are the fields that many calls share, Vary those of this call alone.
	Steady *Fields
	Vary   []wire.Header
	// Messages are sent, at least one, the next one Every after the one before. Packed says that gzip has
	// been applied to each. They are not written to and must not change before Do returns.
	Messages [][]byte
	Packed   bool
	Every    time.Duration
	// Deadline bounds the call beside the pool's time limits; 0: none.
	Deadline time.Duration
	// Keep hands the messages' bytes to the sink; MaxMessage bounds each of them.
	Keep       bool
	MaxMessage int
	// NoteSent asks for SentAt.
	NoteSent bool
	Sink     Sink

	// What came of it; measure.None where an instant was not reached. FirstByte is the header of the
	// answer, End its end.
	Dispatched, Connected, Sent, FirstByte, End measure.Instant
	// SentAt is when each message was begun to be handed over.
	SentAt            []measure.Instant
	BytesIn, BytesOut uint64
	// FirstByteStamp and Stamp are when the kernel had received the end of the read that brought the header of the answer, and of the
	// one that brought the message which the sink is given; measure.None: the system does not tell. StampsDropped counts the
	// reads whose stamp was of no use.
	FirstByteStamp, Stamp measure.Instant
	StampsDropped         uint64
	// NewConnection says that a connection was opened for this call, and how long the name was looked up for it and its TLS
	// handshake took; 0: there was none.
	NewConnection     bool
	Lookup, Handshake time.Duration
	// Answered says that the server gave the status: its code, its text, and its details as sent.
	Answered bool
	Code     uint32
	Text     string
	Details  []byte

	// All below is guarded by the lock of the connection while a stream is open.
	id     uint32
	window int64 // what may be sent
	got    int   // what came since the server was last told so
	next   int   // the message being sent
	offset int   // of its bytes, prefix included
	closed bool  // our half of the stream
	over   bool
	hungry bool // waits for room to send
	err    error
	begun  time.Duration // since Dispatched; when sending began
	headed bool
	packed bool            // the answer's messages may be packed
	late   measure.Instant // when the last message came
	frame  frame
	wake   chan struct{}
	timer  *time.Timer
}

// Pool keeps the connections to one target. It may be used by many goroutines at once.
type Pool struct {
	cfg     Config
	now     func() measure.Instant
	dialer  *wire.Dialer
	list    atomic.Pointer[[]*slot]
	turn    atomic.Uint64
	waiting atomic.Int64

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu      sync.Mutex
	waiters []chan struct{}
	closing bool
	private chan struct{} // one for each connection of its own
}

// New makes a pool. It connects when it is first used; no connection is opened when ctx has ended.
func New(ctx context.Context, cfg Config) *Pool {
	if cfg.Max <= 0 || cfg.Max > MaxConns && !cfg.Private {
		cfg.Max = MaxConns
	}
	if cfg.TLS != nil {
		cfg.TLS = cfg.TLS.Clone()
		cfg.TLS.NextProtos = []string{"h2"}
	}
	p := &Pool{cfg: cfg, now: cfg.Local.Now, dialer: wire.NewDialer(cfg.Local, cfg.Address)}
	if cfg.Private && cfg.Max < MaxConns {
		p.private = make(chan struct{}, cfg.Max)
	}
	p.ctx, p.cancel = context.WithCancel(ctx)
	list := []*slot{}
	for range min(firstConns, cfg.Max) {
		list = append(list, p.newSlot())
	}
	p.list.Store(&list)
	return p
}

// Close breaks the connections off and waits for their goroutines.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closing = true
	list := *p.list.Load()
	p.mu.Unlock()
	p.cancel()
	for _, s := range list {
		if cn := s.conn.Load(); cn != nil {
			cn.fail(errClosed)
		}
	}
	p.tasks.Wait()
	return nil
}
