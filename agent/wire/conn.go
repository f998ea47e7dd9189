package wire

import (
	"bufio"
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/loadline/loadline/internal/measure"
)

// rawConn is the socket below HTTP and TLS. It takes the instant of every read, counts bytes, and
// turns time limits into deadlines of the socket.
//
// A deadline is set when there is none or when it lies behind the limit in force. A limit that
// moves on leaves it as it is: it fires early once, and is then set to the limit of that moment.
// So a stream of many reads sets few deadlines.
type rawConn struct {
	net.Conn
	now  func() measure.Instant
	lim  *limit          // limit in force, of the exchange that has the connection
	last measure.Instant // when the latest read returned
	in   uint64
	out  uint64

	reads, writes measure.Instant // deadlines set on the socket; math.MaxInt64: none
	stopped       atomic.Bool     // the exchange was canceled
	shared        bool            // HTTP/2 has the connection: pass everything through
	look          peek
}

func newRaw(nc net.Conn, now func() measure.Instant) *rawConn {
	r := &rawConn{Conn: nc, now: now, lim: &never, reads: math.MaxInt64, writes: math.MaxInt64}
	r.look.init(nc)
	return r
}

// Read reads once and notes the instant right after.
func (r *rawConn) Read(p []byte) (int, error) {
	if r.shared {
		return r.Conn.Read(p)
	}
	for {
		if r.reads > r.lim.at {
			r.arm(r.Conn.SetReadDeadline, &r.reads)
		}
		n, err := r.Conn.Read(p)
		r.last = r.now()
		r.in += uint64(n)
		if n > 0 || err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if err := r.passed(r.last); err != nil {
			return 0, err
		}
		r.reads = math.MaxInt64
		r.arm(r.Conn.SetReadDeadline, &r.reads)
	}
}

// Write writes all of p unless the connection fails or the limit passes.
func (r *rawConn) Write(p []byte) (int, error) {
	if r.shared {
		return r.Conn.Write(p)
	}
	done := 0
	for {
		if r.writes > r.lim.at {
			r.arm(r.Conn.SetWriteDeadline, &r.writes)
		}
		n, err := r.Conn.Write(p[done:])
		done += n
		r.out += uint64(n)
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return done, err
		}
		if err := r.passed(r.now()); err != nil {
			return done, err
		}
		r.writes = math.MaxInt64
		r.arm(r.Conn.SetWriteDeadline, &r.writes)
	}
}

// passed tells why a deadline fired: nil when it was only an old one.
func (r *rawConn) passed(now measure.Instant) error {
	if r.stopped.Load() {
		return errCanceled
	}
	if now >= r.lim.at {
		return errLimit
	}
	return nil
}

// arm sets a deadline of the socket to the limit in force.
func (r *rawConn) arm(set func(time.Time) error, armed *measure.Instant) {
	*armed = r.lim.at
	t := time.Time{}
	if r.lim.at != math.MaxInt64 {
		t = time.Now().Add(time.Duration(r.lim.at - r.now()))
	}
	// An error means that the connection is gone, which the next read or write tells.
	_ = set(t)
	if r.stopped.Load() { // cancel may have come in between
		_ = set(aLongTimeAgo)
	}
}

var aLongTimeAgo = time.Unix(1, 0)

// watch ends reads and writes when ctx ends. The function it returns ends the watching and
// reports whether the connection was left alone.
func (r *rawConn) watch(ctx context.Context) func() bool {
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, func() {
		r.stopped.Store(true)
		_ = r.Conn.SetDeadline(aLongTimeAgo)
	})
}

// share hands the connection over to HTTP/2.
func (r *rawConn) share() {
	r.shared = true
	_ = r.Conn.SetDeadline(time.Time{})
}

// conn is one connection: HTTP/1.1 with what belongs to it, or HTTP/2.
type conn struct {
	raw  *rawConn
	rw   net.Conn // raw, or TLS above it
	head headReader
	br   *bufio.Reader
	req  http.Request // what the parser of responses must know
	out  []byte       // head of the request
	idle measure.Instant
	used bool

	h2 *http.ClientConn
}

func newConn(raw *rawConn, rw net.Conn) *conn {
	cn := &conn{raw: raw, rw: rw}
	cn.head.c = rw
	cn.br = bufio.NewReaderSize(&cn.head, connBuffer)
	return cn
}

// close closes the socket at once. TLS is not told: its notice could block on a peer that does not read.
func (cn *conn) close() { _ = cn.raw.Conn.Close() }

// headReader bounds how much is read before the head of the response is complete.
type headReader struct {
	c    net.Conn
	left int   // < 0: no bound
	err  error // of the latest read
}

func (h *headReader) Read(p []byte) (int, error) {
	if h.left < 0 {
		return h.c.Read(p)
	}
	if h.left == 0 {
		h.err = errHeadSize
		return 0, h.err
	}
	var n int
	n, h.err = h.c.Read(p[:min(len(p), h.left)])
	h.left -= n
	return n, h.err
}
