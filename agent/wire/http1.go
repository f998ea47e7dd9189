package wire

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"time"

	"github.com/loadline/loadline/internal/measure"
)

// answerGrace is how long an answer is awaited after the request could not be written in full.
const answerGrace = 100 * time.Millisecond

// exchange1 plays an exchange over HTTP/1.1 and reports whether the connection may be used again.
func (c *Client) exchange1(ctx context.Context, cn *conn, req *Request, ex *Exchange, sink Sink) (bool, error) {
	raw := cn.raw
	raw.lim = &ex.lim
	if !raw.enter(ctx) {
		return false, canceled(ctx)
	}
	in, out := raw.in, raw.out
	reusable, at, err := c.play1(cn, req, ex, sink)
	ex.BytesIn, ex.BytesOut = raw.in-in, raw.out-out
	if err == nil {
		ex.End = raw.last
		return reusable, nil
	}
	if err == errUnused {
		return false, err
	}
	var own *fromSink
	if errors.As(err, &own) {
		return false, own.err
	}
	return false, classify(ctx, err, at, ex.lim, ex.NewConnection)
}

// fromSink marks an error of the sink, which is handed back as it is.
type fromSink struct{ err error }

func (e *fromSink) Error() string { return e.err.Error() }

// play1 sends, then reads. On failure it tells the stage.
func (c *Client) play1(cn *conn, req *Request, ex *Exchange, sink Sink) (reusable bool, at stage, err error) {
	closes := ex.send.close
	sendErr := c.send1(cn, req, ex)
	if sendErr == errUnused || sendErr != nil && !cn.answered(sendErr) {
		return false, stageSend, sendErr
	}
	h, err := cn.readHead(req.Method, ex)
	if err != nil {
		if sendErr != nil {
			return false, stageSend, sendErr
		}
		return false, stageHead, err
	}
	ex.Status = h.status
	if err := c.head(ex, sink); err != nil {
		return false, stageHead, err
	}
	if err := c.readBody(cn, h, ex, sink); err != nil {
		return false, stageBody, err
	}
	reusable = sendErr == nil && !h.close && !closes && cn.in.empty() && h.status != http.StatusSwitchingProtocols
	return reusable, stageBody, nil
}

// send1 writes the request: small ones in one write, and without TLS in one turn with the first read. A connection
// that is not new and that the peer has closed is found out before, with errUnused.
func (c *Client) send1(cn *conn, req *Request, ex *Exchange) (err error) {
	defer c.letGo(ex)
	used, small := !ex.NewConnection, len(req.Body) <= inlineBody
	if small && cn.plain() {
		sent, err := cn.raw.ask(ex.send.out, used, &cn.in)
		if err == nil {
			ex.Sent = sent
		}
		return err
	}
	if used && cn.raw.sock.closed() {
		return errUnused
	}
	if _, err = cn.rw.Write(ex.send.out); err == nil && !small {
		_, err = cn.rw.Write(req.Body)
	}
	if err == nil {
		ex.Sent = c.cfg.Local.Now()
	}
	return err
}

// answered reports whether an answer is there although the request could not be written: servers
// refuse large bodies so. When time is up, only what has come already counts.
func (cn *conn) answered(sendErr error) bool {
	grace := answerGrace
	if errors.Is(sendErr, errLimit) {
		grace = time.Millisecond
	}
	cn.raw.shared = true // no limit of ours but this one
	defer func() { cn.raw.shared = false }()
	if cn.raw.stopped.Load() || cn.raw.Conn.SetReadDeadline(time.Now().Add(grace)) != nil {
		return false
	}
	err := cn.in.more()
	cn.raw.last, cn.raw.reads = cn.raw.now(), math.MaxInt64 // so that the next read sets its own
	return err == nil
}

// readHead reads the head of the final response; interim ones are passed over.
func (cn *conn) readHead(method string, ex *Exchange) (head, error) {
	budget := MaxHead
	for range maxInterim {
		if err := cn.in.more(); err != nil {
			return head{}, err
		}
		ex.FirstByte = cn.raw.last
		ex.stamped(cn.raw)
		ex.FirstByteStamp = ex.Stamp
		h, err := cn.in.readHead(method, &ex.Header, &budget)
		if err != nil || h.status >= 200 || h.status == http.StatusSwitchingProtocols {
			return h, err
		}
	}
	return head{}, fail(measure.ClassMalformed, "more than 16 interim responses")
}

// head hands the head on.
func (c *Client) head(ex *Exchange, sink Sink) error {
	w, err := sink.Head(ex)
	if err != nil {
		return &fromSink{err}
	}
	return c.note(ex, w, ex.FirstByte)
}

// readBody reads the body to its end and hands every piece on.
func (c *Client) readBody(cn *conn, h head, ex *Exchange, sink Sink) error {
	b := body{in: &cn.in, kind: h.body, left: h.bodyLeft()}
	for {
		p, err := b.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		ex.stamped(cn.raw)
		if err := c.deliver(ex, sink, p, cn.raw.last); err != nil {
			return err
		}
	}
}

// isTimeout reports whether a deadline fired.
func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}
