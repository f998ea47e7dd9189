package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/stamp"
)

// rawConn is the socket below HTTP and TLS. It takes the instant of every read, counts bytes, and
// turns time limits into deadlines of the socket.
//
// A deadline is set when there is none or when it lies behind the limit in force. A limit that
// moves on leaves it as it is: it fires early once, and is then set to the limit of that moment.
// So a stream of many reads sets few deadlines.
type rawConn struct {
	net.Conn
	now      func() measure.Instant
	lim      *limit          // limit in force, of the exchange that has the connection
	last     measure.Instant // when the latest read returned
	received received

	in  uint64
	out uint64

	reads, writes measure.Instant // deadlines set on the socket; math.MaxInt64: none
	stopped       atomic.Bool     // the exchange was canceled
	shared        bool            // HTTP/2 has the connection: it has no limit of ours
	dry           bool            // only what has been read already may be used
	request       []byte          // what is to be written before the next read, in one turn with it
	used          bool            // look whether the peer has closed the connection before that
	ahead         error           // what the next read returns: it has been made already
	watch         *watch          // of the context of the latest exchange; nil: none
	sock          socket
	bufs          *buffers
}

func newRaw(nc net.Conn, now func() measure.Instant, bufs *buffers, stamps *stamp.Clock) *rawConn {
	r := &rawConn{
		Conn: nc, now: now, lim: &never, reads: math.MaxInt64, writes: math.MaxInt64, bufs: bufs,
		received: newReceived(stamps),
	}
	r.sock.init(nc, now)
	return r
}

// Read reads once and notes the instant right after.
func (r *rawConn) Read(p []byte) (int, error) { return r.limited(p, nil) }

// read reads once into a buffer that is taken when there is something to read, and notes the
// instant right after.
func (r *rawConn) read(in *input) error {
	n, err := r.limited(nil, in)
	in.w = n
	if n > 0 {
		return nil
	}
	in.release(r.bufs)
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// ask writes a request and waits for what comes first in answer, which the next read of in gives. It returns when the
// last byte was written. used says that the connection is not new: where the peer has closed it, nothing is
// written and the error is errUnused.
func (r *rawConn) ask(request []byte, used bool, in *input) (measure.Instant, error) {
	r.request, r.used = request, used
	n, err := r.limited(nil, in)
	left := r.request
	r.request = nil
	r.out += uint64(len(request) - len(left))
	switch {
	case err == errUnwritten:
		_, err = r.Write(left)
		return r.now(), err
	case len(left) > 0:
		return measure.None, err
	case n == 0:
		in.release(r.bufs)
		r.ahead = err
	}
	in.w = n
	return r.sock.sent, nil
}

// limited reads once, into p or into the buffer of in, until the limit in force.
func (r *rawConn) limited(p []byte, in *input) (int, error) {
	if r.dry {
		return 0, dryError{}
	}
	if err := r.ahead; err != nil {
		r.ahead = nil
		return 0, err
	}
	if r.shared {
		n, err := r.once(p, in)
		r.last = r.now()
		return n, err
	}
	for {
		if r.reads > r.lim.at {
			r.arm(r.Conn.SetReadDeadline, &r.reads)
		}
		n, err := r.once(p, in)
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

func (r *rawConn) once(p []byte, in *input) (n int, err error) {
	r.received.at = measure.None
	switch {
	case len(r.request) > 0:
		n, r.received.wall, r.request, err = r.sock.ask(r.request, r.used, in, r.bufs)
		return n, err
	case in == nil && r.sock.stamping():
		n, r.received.wall, err = r.sock.readTo(p)
		return n, err
	case in == nil:
		return r.Conn.Read(p)
	case r.sock.usable():
		n, r.received.wall, err = r.sock.read(in, r.bufs)
		return n, err
	}
	return r.Conn.Read(in.hold(r.bufs)[:])
}

// dryError tells TLS that nothing more has come. TLS tries again after errors that are temporary.
type dryError struct{}

func (dryError) Error() string   { return "nothing more has come" }
func (dryError) Timeout() bool   { return true }
func (dryError) Temporary() bool { return true }

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

// watch ends what a connection is doing when a context ends. It is registered with the context once
// and serves all exchanges of the connection under it, so that an exchange costs no registration.
type watch struct {
	raw   *rawConn
	done  <-chan struct{}
	stop  func() bool
	state atomic.Int32
}

const (
	watchIdle  int32 = iota // no exchange is under way
	watchBusy               // one is
	watchFired              // the context ended during one
)

// enter watches ctx for an exchange. It reports false when ctx has ended already.
func (r *rawConn) enter(ctx context.Context) bool {
	done := ctx.Done()
	if done == nil {
		r.unwatch()
		return true
	}
	if r.watch == nil || r.watch.done != done {
		r.unwatch()
		w := &watch{raw: r, done: done}
		w.stop = context.AfterFunc(ctx, w.fire)
		r.watch = w
	}
	r.watch.state.Store(watchBusy)
	// Where fire came before the line above, ctx had ended before it.
	return ctx.Err() == nil
}

// leave ends the watching for this exchange and reports whether the connection was left alone.
func (r *rawConn) leave() bool {
	return r.watch == nil || r.watch.state.CompareAndSwap(watchBusy, watchIdle)
}

func (r *rawConn) unwatch() {
	if r.watch != nil {
		r.watch.stop()
		r.watch = nil
	}
}

func (w *watch) fire() {
	if w.state.CompareAndSwap(watchBusy, watchFired) {
		w.raw.stopped.Store(true)
		_ = w.raw.Conn.SetDeadline(aLongTimeAgo)
	}
}

// share hands the connection over to HTTP/2.
func (r *rawConn) share() {
	r.unwatch()
	r.shared = true
	_ = r.Conn.SetDeadline(time.Time{})
}

// conn is one connection: HTTP/1.1 with what belongs to it, or HTTP/2.
type conn struct {
	raw  *rawConn
	rw   net.Conn // raw, or TLS above it
	in   input
	one  [1]byte
	idle measure.Instant

	http2 bool    // the peer chose HTTP/2 in the TLS handshake
	h2    *h2conn // HTTP/2 has the connection; rw and raw may be nil
}

func newConn(raw *rawConn) *conn {
	cn := &conn{raw: raw, rw: raw}
	cn.in.src = raw
	return cn
}

// plain reports whether HTTP stands on the socket itself.
func (cn *conn) plain() bool { return cn.rw == net.Conn(cn.raw) && cn.raw.sock.usable() }

// secure puts TLS above the socket.
func (cn *conn) secure(tc *tls.Conn) { cn.rw, cn.in.src = tc, cn }

// read reads what TLS has, and waits for it without a buffer: one byte is awaited, and then the rest
// of its record is taken, for which the socket is not touched.
func (cn *conn) read(in *input) error {
	in.release(cn.raw.bufs)
	if n, err := cn.rw.Read(cn.one[:]); n == 0 {
		return err
	}
	buf := in.hold(cn.raw.bufs)
	buf[0] = cn.one[0]
	cn.raw.dry = true
	n, _ := cn.rw.Read(buf[1:]) // an error that counts comes again
	cn.raw.dry = false
	in.w = 1 + n
	return nil
}

// rest makes an idle connection hold nothing of the exchange that it was used for.
func (cn *conn) rest() {
	cn.raw.lim = &never
	cn.in.release(cn.raw.bufs)
}

// close closes the socket at once. TLS is not told: its notice could block on a peer that does not read.
func (cn *conn) close() {
	cn.in.release(cn.raw.bufs)
	cn.raw.unwatch()
	_ = cn.raw.Conn.Close()
}
