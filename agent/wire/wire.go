// Package wire plays one HTTP exchange and reports an instant for every step of it and for every
// read of the body. It knows nothing of models: drivers build on it.
//
// An exchange goes like this:
//
//  1. dispatched: a connection is looked for. The idle one used last is taken; else one is dialled. Where a
//     look right before the request is written shows that the peer has closed it, another one is taken.
//  2. connected: a connection is ready. Equal to dispatched when it is a reused one.
//  3. sent: the last byte of the request has been handed to the system.
//  4. first byte: the read that brought the first byte of the response returned.
//  5. Sink.Head, then Sink.Body for every piece of the body with the instant of the read that
//     brought it.
//  6. end: the message is complete, or the failure is known.
//
// A request is sent once. Nothing is retried, no redirect is followed, no proxy is used and no
// compression is offered. The way it fails is told by [Error.Class].
//
// HTTP/1.1 runs on the caller's goroutine over connections of our own, so that instants are taken
// beside the system call and time limits are deadlines of the socket. HTTP/2, where it is asked for or
// the peer chooses it in the TLS handshake, runs over client connections of net/http, which do not
// retry either; the pool of them is ours, and so is the link between each and its socket, which walks over the
// frames to take the instants beside the system calls.
package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"math"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/scenario"
	"github.com/loadline/loadline/internal/stamp"
)

// Limits on what is taken from a target and kept for it.
const (
	// MaxHead bounds the status line and headers of a response, interim ones included, in bytes.
	MaxHead = 64 << 10
	// MaxBody bounds the body of a response, in bytes.
	MaxBody = 64 << 20
	// MaxIdle bounds the idle connections that a client keeps.
	MaxIdle = 16 << 10
	// DefaultIdle is how long an unused connection is kept. It is below what servers commonly
	// allow, so that they seldom close a connection just as it is used again.
	DefaultIdle = scenario.DefaultIdle

	maxInterim = 16       // 1xx responses before the final one
	readBuffer = 16 << 10 // most bytes read at once
	maxErrText = 512      // bytes of an error's text
)

// Local is what a client needs of the machine that it runs on.
type Local struct {
	// Now reads the clock of all instants; needed.
	Now func() measure.Instant
	// Control sees every address before it is connected to, as [net.Dialer] calls it; an error
	// makes the class refused. Nil: every address is allowed.
	Control func(network, address string, c syscall.RawConn) error
	// Resolver looks names up; nil: the system's.
	Resolver *net.Resolver
	// Dial replaces the dialler, Control and Resolver with it; for tests. Nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Timeouts bound one exchange, each with a class of its own; 0: no bound.
type Timeouts struct {
	// Connect runs from dispatched until a connection is ready.
	Connect time.Duration
	// First runs from dispatched until the sink reports [Progress] for the first time.
	First time.Duration
	// Stall runs from each read for which the sink reported [Progress].
	Stall time.Duration
	// Total runs from dispatched until the end.
	Total time.Duration
}

// Config says what a client talks to.
type Config struct {
	// URL is the target's address, http, https or unix, without credentials and fragment. Paths of
	// requests are appended to its path.
	URL string
	// TLS is used for https; nil: the defaults of [TLS].
	TLS *tls.Config
	// HTTP is the version spoken.
	HTTP Version
	// Streams bounds the exchanges at once on one HTTP/2 connection; 0: [DefaultStreams]. The peer's own bound holds
	// beside it.
	Streams int
	// Timeouts bound every exchange.
	Timeouts Timeouts
	// Idle is how long an unused connection is kept; 0: [DefaultIdle].
	Idle time.Duration
	// Policy says when a connection is used again.
	Policy Policy
	// Max bounds the connections that are open at once; an exchange waits for one to be free, over HTTP/2 for a
	// stream. One that the peer is closing (GOAWAY) no longer counts. 0: no bound.
	Max int
	// Sources are the addresses from which connections are opened, in turn; empty: the system chooses.
	Sources []netip.Addr
	// Local is the machine's side.
	Local Local
}

// Version says which version of HTTP is spoken.
type Version uint8

const (
	// Auto: what the peer chooses of HTTP/2 and HTTP/1.1 in the TLS handshake; without TLS HTTP/1.1.
	Auto Version = iota
	// HTTP1: HTTP/1.1 alone.
	HTTP1
	// HTTP2: HTTP/2 alone; without TLS it is spoken without being agreed on (prior knowledge).
	HTTP2
)

// DefaultStreams is how many exchanges share an HTTP/2 connection at most.
const DefaultStreams = scenario.DefaultStreams

// Header is one header line of a request.
type Header struct{ Name, Value string }

// Request is what is sent. Host, User-Agent and Content-Length are added.
type Request struct {
	Method string
	// Path is appended to the path of the client's URL and may hold a query.
	Path   string
	Header []Header
	// Body is not kept after Do; empty: none.
	Body []byte
	// Session is the session that the request belongs to; nil: it is one of its own.
	Session *Session
}

// Wait is what a sink says about what it was given.
type Wait uint8

const (
	// Keep: nothing came that counts; the time limit in force runs on.
	Keep Wait = iota
	// Progress: what was awaited came. From now on, Timeouts.Stall bounds the silence.
	Progress
)

// Sink takes the response of one exchange. Calls do not overlap and come from the goroutine of
// Do. An error ends the exchange: the connection is closed and Do returns that error as it is.
type Sink interface {
	// Head is called once, when Status, Header and FirstByte of the exchange are set.
	Head(ex *Exchange) (Wait, error)
	// Body is called for every piece of the body, with the instant at which the read that brought
	// it returned; pieces of one read share their instant. p is valid only during the call.
	Body(p []byte, at measure.Instant) (Wait, error)
}

// Exchange is what happened. A worker owns one and uses it again and again.
type Exchange struct {
	// The instants of metrics.md; measure.None where not reached. End is always set by Do.
	Dispatched, Connected, Sent, FirstByte, End measure.Instant
	// Lookup and Handshake are how long the target's name was looked up and how long the TLS handshake of
	// a new connection took, both between dispatched and connected; 0: there was none.
	Lookup, Handshake time.Duration
	// FirstByteStamp and Stamp are when the kernel received the end of what a read took: the read of
	// FirstByte, and that of the piece which a sink is given, or has been given last. None: the system does not
	// tell. It does on TCP on Linux, under TLS as well. A stamp is never after its read returned.
	FirstByteStamp, Stamp measure.Instant
	// StampsDropped counts the reads whose stamp was dropped, since the wall clock that the kernel takes it
	// from was set.
	StampsDropped uint64
	// NewConnection says that a connection was opened for this exchange.
	NewConnection bool
	// Stale counts idle connections that were found closed by the peer before anything was written
	// to them, and passed over.
	Stale uint32
	// Status is the final status; 0: none came.
	Status int
	// Header holds the headers of the final response until the next exchange.
	Header Fields
	// BytesIn and BytesOut count what crossed the socket between connected and end. For HTTP/2,
	// whose connections are shared, they are the sizes of body and uncompressed header fields.
	BytesIn, BytesOut uint64

	send *sender // what writes the request; nil: it is sent
	body uint64  // bytes of body so far
	buf  []byte  // what a body over HTTP/2 is read into
	lim  limit   // time limit in force
	all  limit   // limit of the whole exchange
}

// Fill copies what happened into an outcome.
func (ex *Exchange) Fill(o *measure.Outcome) {
	o.Dispatched, o.Connected, o.Sent, o.FirstByte = ex.Dispatched, ex.Connected, ex.Sent, ex.FirstByte
	o.Lookup, o.Handshake = ex.Lookup, ex.Handshake
	o.NewConnection, o.Status = ex.NewConnection, uint32(ex.Status)
	o.BytesIn, o.BytesOut = ex.BytesIn, ex.BytesOut
	o.FirstByteStamp, o.StampsDropped = ex.FirstByteStamp, ex.StampsDropped
	o.Stale = uint64(ex.Stale)
}

func (ex *Exchange) reset(now measure.Instant) {
	*ex = Exchange{
		Dispatched: now, Connected: measure.None, Sent: measure.None, FirstByte: measure.None,
		End: measure.None, FirstByteStamp: measure.None, Stamp: measure.None, buf: ex.buf, Header: ex.Header,
	}
	ex.Header.reset()
}

// limit is a moment and the class of missing it.
type limit struct {
	at    measure.Instant
	class string
}

var never = limit{at: math.MaxInt64}

// after is the limit d from t on; d = 0: never.
func after(t measure.Instant, d time.Duration, class string) limit {
	if d <= 0 || int64(t) > math.MaxInt64-int64(d) {
		return never
	}
	return limit{t + measure.Instant(d), class}
}

func (l limit) earlier(m limit) limit {
	if m.at < l.at {
		return m
	}
	return l
}

// Client talks to one target over connections that it keeps. It may be used by many goroutines.
type Client struct {
	cfg     Config
	secure  bool
	scheme  string
	socket  string // path of the Unix socket to dial; empty: there is none
	addr    string // host:port to dial
	port    string
	host    string // Host header
	base    string // path of the URL, without a slash at the end
	tls     *tls.Config
	dialer  net.Dialer
	sources atomic.Uint64 // whose turn it is
	names   names
	slots   chan struct{} // one for each connection in use; nil: no bound
	bufs    buffers
	stamps  stamp.Clock
	senders senders
	pool    pool
	h2      h2pool
}

// New makes a client. It opens no connection.
func New(cfg Config) (*Client, error) {
	if cfg.Local.Now == nil {
		return nil, errors.New("wire: Config.Local.Now is needed")
	}
	at, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	if cfg.Idle <= 0 {
		cfg.Idle = DefaultIdle
	}
	c := &Client{
		cfg: cfg, secure: at.scheme == "https", scheme: at.scheme, socket: at.socket, host: at.authority, base: at.base,
		addr: net.JoinHostPort(at.host, at.port), port: at.port,
	}
	if c.secure {
		c.tls = tlsFor(cfg, at.host)
	}
	c.names.init(at.host, cfg.Local.Resolver)
	if cfg.Max > 0 {
		c.slots = make(chan struct{}, cfg.Max)
	}
	c.dialer.Control = control(cfg.Local.Control, len(cfg.Sources) > 0)
	c.stamps.Init(cfg.Local.Now)
	c.pool.idleFor = cfg.Idle
	if cfg.Streams <= 0 {
		cfg.Streams = DefaultStreams
	}
	c.h2.init(cfg.Idle, cfg.Streams, cfg.Max)
	return c, nil
}

// Close closes the idle connections; those in use are closed when their exchange ends.
func (c *Client) Close() error {
	c.pool.close()
	c.h2.close()
	return nil
}

// Do plays one exchange and returns when it has ended: nil, the sink's error, or an [*Error] with
// the class of failure. When ctx ends, so does the exchange, with the class canceled.
func (c *Client) Do(ctx context.Context, req *Request, ex *Exchange, sink Sink) error {
	ex.reset(c.cfg.Local.Now())
	t := &c.cfg.Timeouts
	ex.all = after(ex.Dispatched, t.Total, measure.ClassTotalTimeout)
	first := after(ex.Dispatched, t.First, measure.ClassFirstTokenTimeout).earlier(ex.all)
	ex.lim = after(ex.Dispatched, t.Connect, measure.ClassConnectTimeout).earlier(first)
	err := c.do(ctx, req, ex, first, sink)
	c.letGo(ex)
	if !ex.End.Reached() {
		ex.End = c.cfg.Local.Now()
	}
	return err
}

func (c *Client) do(ctx context.Context, req *Request, ex *Exchange, first limit, sink Sink) error {
	if ctx.Err() != nil {
		return canceled(ctx)
	}
	two := c.cfg.HTTP == HTTP2 || c.h2.known.Load()
	if two && c.cfg.Policy == Reuse {
		return c.do2(ctx, req, ex, first, sink)
	}
	if err := c.enter(ctx, req.Session, ex.lim); err != nil {
		return err
	}
	defer c.leave(req.Session)
	if two || c.h2.known.Load() { // it may have become known while waiting
		return c.do2(ctx, req, ex, first, sink)
	}
	return c.do1(ctx, req, ex, first, sink)
}

// do1 plays an exchange over HTTP/1.1. In the end there is a new connection, which cannot be gone before it is used.
func (c *Client) do1(ctx context.Context, req *Request, ex *Exchange, first limit, sink Sink) error {
	ex.send = c.senders.get()
	if err := ex.send.prepare(c, req); err != nil {
		return err
	}
	return c.use(ctx, req, ex, first, sink, math.MaxInt, c.connection)
}

// use plays an exchange on a connection that find gives, within ex.lim. One that turns out to be gone before anything of the request
// has been written is passed over, at most so many times.
func (c *Client) use(ctx context.Context, req *Request, ex *Exchange, first limit, sink Sink, most int, find finder) error {
	connect := ex.lim
	for range most {
		ex.lim = connect
		cn, err := find(ctx, req, ex)
		if err != nil {
			return err
		}
		ex.lim = first
		if err := c.run(ctx, cn, req, ex, sink); err != errUnused {
			return err
		}
		ex.Stale++
	}
	return &Error{measure.ClassReset, errUnused}
}

// finder is a way to a connection: connection, or reserve.
type finder func(context.Context, *Request, *Exchange) (*conn, error)

// deliver hands a piece of body to the sink and moves the time limit on.
func (c *Client) deliver(ex *Exchange, sink Sink, p []byte, at measure.Instant) error {
	ex.body += uint64(len(p))
	if ex.body > MaxBody {
		return oversized("the body is longer than 64 MiB")
	}
	w, err := sink.Body(p, at)
	if err != nil {
		return &fromSink{err}
	}
	return c.note(ex, w, at)
}

// note moves the time limit on after what the sink said, and enforces the one in force.
func (c *Client) note(ex *Exchange, w Wait, at measure.Instant) error {
	if w == Progress {
		ex.lim = after(at, c.cfg.Timeouts.Stall, measure.ClassStallTimeout).earlier(ex.all)
		return nil
	}
	if at > ex.lim.at {
		return timedOut(ex.lim.class)
	}
	return nil
}

// buffer is what a body over HTTP/2 is read into.
func (ex *Exchange) buffer() []byte {
	if ex.buf == nil {
		ex.buf = make([]byte, readBuffer)
	}
	return ex.buf
}
