package sim

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// errBroken ends an exchange whose answer a fault has spoiled.
var errBroken = errors.New("broken by a fault")

// maxGaps is the number of gaps that a stream keeps before the ledger takes them.
const maxGaps = 4096

// exchange is one request and its answer.
type exchange struct {
	server  *Server
	w       http.ResponseWriter
	control *http.ResponseController
	flusher http.Flusher // nil: none
	r       *http.Request
	conn    any // connKey of the request
	// straight is the connection, once chunks may be written to it past net/http; nil: they may not. piece is the latest.
	straight *stampedConn
	piece    []byte
	sleep    sleeper
	// number counts requests from 0; key is what its draws depend on.
	number, key uint64
	fault       *Fault
	body        []byte
	bodyBuffer  *[]byte
	begun       int64
	renew       int64 // when the write deadline is to be set again; 0: it is not set
	aborted     bool  // the handler ends by cutting the connection
	end         ending
}

// serve wraps an answer with everything that all measured routes share.
func (s *Server) serve(r route, answer func(*exchange) error) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		x := s.open(r, w, req)
		defer x.close()
		if x.fault == nil && x.end.outcome == outcomeRefused {
			x.refuse(http.StatusServiceUnavailable, "overloaded_error", "too many requests in progress", time.Second)
			return
		}
		err := x.before()
		if err == nil {
			err = answer(x)
		}
		x.conclude(err)
	}
}

func (s *Server) open(r route, w http.ResponseWriter, req *http.Request) *exchange {
	conn := req.Context().Value(connKey{})
	begun := s.reached(conn, s.clock.now())
	x := &exchange{server: s, w: w, r: req, conn: conn, control: http.NewResponseController(w), begun: begun}
	x.flusher, _ = w.(http.Flusher)
	x.sleep = sleeper{clock: s.clock, ctx: req.Context(), gone: req.Context().Done(), stop: s.stop}
	number, epoch, ok := s.ledger.begin(r, x.begun)
	x.number, x.key = number, mix(number)
	arrival := req.Header.Get(headerArrival)
	if arrival != "" {
		x.key = mix(hashText(arrival))
	}
	x.end = ending{epoch: epoch, route: r, begun: x.begun, run: req.Header.Get(headerRun), arrival: arrival}
	if !ok {
		x.end.outcome = outcomeRefused
		return x
	}
	x.fault = s.fault(number, x.key, false)
	return x
}

// before reads the body and plays the faults that come before any answer.
func (x *exchange) before() error {
	if err := x.readBody(); err != nil {
		return err
	}
	if !x.server.authorized(x.r) {
		return x.refuse(http.StatusUnauthorized, "invalid_request_error", "Incorrect API key provided.", 0)
	}
	if x.fault == nil {
		return nil
	}
	switch f := x.fault; f.Kind {
	case KindStatus:
		return x.refuse(f.Code, "injected_error", "The simulator was told to fail.", f.RetryAfter)
	case KindWrongKey:
		return x.refuse(http.StatusUnauthorized, "invalid_request_error", "Incorrect API key provided.", 0)
	case KindSlowHeader:
		_, err := x.sleep.until(x.sleep.clock.now() + int64(f.For))
		return err
	case KindHang:
		return x.sleep.forever()
	}
	return nil
}

// conclude sorts the end of an exchange into an outcome.
func (x *exchange) conclude(err error) {
	switch {
	case err == nil:
	case errors.Is(err, errRefused):
		x.end.outcome = outcomeRefused
	case errors.Is(err, errBroken):
		x.end.outcome = outcomeBroken
	case x.fault != nil && x.fault.Kind == KindHang:
		x.end.outcome = outcomeBroken
		x.aborted = true
	default:
		x.end.outcome = outcomeCanceled
		x.aborted = true
	}
}

func (x *exchange) close() {
	x.sleep.close()
	x.server.recycle(x.bodyBuffer)
	if x.renew > 0 {
		_ = x.control.SetWriteDeadline(time.Time{}) // not every writer has deadlines
	}
	x.server.ledger.end(&x.end)
	if x.aborted {
		panic(http.ErrAbortHandler) // net/http closes the connection and says nothing
	}
}

// readBody reads the whole body and notes the arrival with its digest.
func (x *exchange) readBody() error {
	if x.r.ContentLength > MaxBody {
		return x.tooLarge()
	}
	_ = x.control.SetReadDeadline(time.Now().Add(bodyTimeout)) // not every writer has deadlines
	buf := x.server.borrow()
	x.bodyBuffer = buf
	body, err := appendAll((*buf)[:0], http.MaxBytesReader(x.w, x.r.Body, MaxBody))
	*buf, x.body = body, body
	if arrival := x.r.Header.Get(headerArrival); arrival != "" {
		sum := sha256.Sum256(body)
		x.server.ledger.arrival(x.r.Header.Get(headerRun), arrival, binary.BigEndian.Uint64(sum[:]))
	}
	_ = x.control.SetReadDeadline(time.Time{})
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return x.tooLarge()
	}
	return err
}

func (x *exchange) tooLarge() error {
	return x.refuse(http.StatusRequestEntityTooLarge, "invalid_request_error", "The body is larger than 64 MiB.", 0)
}

// appendAll reads r to its end.
func appendAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// write sends b at once, after a freeze if there is one.
func (x *exchange) write(b []byte) error {
	now, err := x.prepare()
	if err != nil {
		return err
	}
	if err := x.put(b); err != nil {
		return err
	}
	x.end.latency = now - x.begun
	return nil
}

// emit sends b, which holds so many content events, as write does.
func (x *exchange) emit(b []byte, out *emission, events int) error {
	now, err := x.prepare()
	if err != nil {
		return err
	}
	return out.send(now, events, func() error { return x.put(b) })
}

// prepare waits for the end of a freeze, and returns the moment at which there may be written.
func (x *exchange) prepare() (int64, error) {
	now, err := x.sleep.thaw()
	if err != nil {
		return now, err
	}
	if now >= x.renew {
		_ = x.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // not every writer has deadlines
		x.renew = now + int64(writeTimeout/4)
	}
	if x.end.status == 0 {
		x.end.status = http.StatusOK
	}
	return x.sleep.clock.now(), nil
}

// put hands b over. Of an answer in chunks over HTTP/1.1 only the first piece goes through net/http, with the header; the
// others are written as chunks by ourselves, which takes a quarter of the CPU off a stream, and net/http, which has nothing in its buffers then, writes the end.
func (x *exchange) put(b []byte) error {
	if x.straight != nil {
		return x.chunk(b)
	}
	if _, err := x.w.Write(b); err != nil {
		return err
	}
	if x.flusher == nil {
		return nil
	}
	x.flusher.Flush()
	if c, ok := x.conn.(*stampedConn); ok && x.chunked() {
		x.straight = c
	}
	return nil
}

// chunked reports whether net/http has chosen chunks for an answer whose header it has sent.
func (x *exchange) chunked() bool {
	return x.r.ProtoMajor == 1 && x.r.ProtoMinor > 0 && x.r.Method != http.MethodHead && x.end.status == http.StatusOK &&
		x.w.Header().Get("Content-Length") == ""
}

func (x *exchange) chunk(b []byte) error {
	if len(b) == 0 { // it would be the end
		return nil
	}
	c := strconv.AppendUint(x.piece[:0], uint64(len(b)), 16)
	c = append(c, "\r\n"...)
	c = append(c, b...)
	c = append(c, "\r\n"...)
	x.piece = c
	_, err := x.straight.Write(c)
	return err
}

// status sends the header.
func (x *exchange) status(code int) error {
	if _, err := x.sleep.thaw(); err != nil {
		return err
	}
	x.end.status = code
	x.w.WriteHeader(code)
	return nil
}

// reset ends the connection by RST, or the HTTP/2 stream by RST_STREAM.
func (x *exchange) reset() error {
	if conn, _, err := x.control.Hijack(); err == nil {
		resetConn(conn)
		x.renew = 0
		return errBroken
	}
	x.aborted = true
	return errBroken
}

// rng is the source of the draws of this request.
func (x *exchange) rng() *rand.Rand { return rngOf(x.server, x.key) }

// rngOf is the source of the draws of the request with a key.
func rngOf(s *Server, key uint64) *rand.Rand { return rand.New(rand.NewPCG(s.cfg.Seed, key)) }

// keepBuffer bounds the buffers kept for later requests, in bytes.
const keepBuffer = 1 << 20

func (s *Server) borrow() *[]byte { return s.buffers.Get().(*[]byte) }

func (s *Server) recycle(b *[]byte) {
	if b != nil && cap(*b) <= keepBuffer {
		s.buffers.Put(b)
	}
}
