package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"golang.org/x/net/http2"

	"github.com/loadline/loadline/internal/measure"
)

// Error is how an exchange failed.
type Error struct {
	// Class is one of the classes of metrics.md.
	Class string
	// Err says more. Its text holds no header and no part of the URL but the host.
	Err error
}

// Error is the failure in words, at most 512 bytes.
func (e *Error) Error() string {
	s := e.Err.Error()
	if len(s) > maxErrText {
		s = strings.ToValidUTF8(s[:maxErrText], "")
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// refusal is an error of the guard.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

var (
	errLimit    = errors.New("a time limit has passed")
	errCanceled = errors.New("canceled")
	// errUnused says that a connection was found unusable before anything of the request was written to it.
	errUnused = errors.New("the connection was closed before it was used")
	// errUnwritten says that a request could not be written at once.
	errUnwritten = errors.New("the socket has room for a part of the request")
	errHeadSize  = errors.New("status line and headers are longer than 64 KiB")
)

func fail(class, text string) *Error { return &Error{class, errors.New(text)} }

func oversized(text string) *Error { return fail(measure.ClassOversized, text) }

func canceled(ctx context.Context) *Error {
	return &Error{measure.ClassCanceled, context.Cause(ctx)}
}

func timedOut(class string) *Error {
	text := map[string]string{
		measure.ClassConnectTimeout:    "no connection was ready in time",
		measure.ClassFirstTokenTimeout: "the answer did not begin in time",
		measure.ClassStallTimeout:      "the answer fell silent",
		measure.ClassTotalTimeout:      "the answer was not complete in time",
	}[class]
	return fail(class, text)
}

// stage is where in an exchange something failed.
type stage uint8

const (
	stageTLS stage = iota
	stageSend
	stageHead
	stageBody
)

// classify tells the class of an error that came up while talking over a connection. fresh says
// that the connection was opened for this exchange.
func classify(ctx context.Context, err error, at stage, lim limit, fresh bool) error {
	var own *Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, errCanceled):
		return canceled(ctx)
	case errors.Is(err, errLimit):
		return timedOut(lim.class)
	case errors.Is(err, errHeadSize):
		return &Error{measure.ClassOversized, err}
	case at == stageTLS || isAlert(err):
		return &Error{measure.ClassTLS, plain(err)}
	case at == stageSend && fresh:
		return &Error{measure.ClassSend, plain(err)}
	case at == stageSend:
		return &Error{measure.ClassReset, reused(err)}
	case isReset(err) || at == stageHead && isEOF(err):
		if !fresh {
			return &Error{measure.ClassReset, reused(err)}
		}
		return &Error{measure.ClassReset, plain(err)}
	case isEOF(err):
		return fail(measure.ClassTruncated, "the body ended before it was complete")
	}
	return &Error{measure.ClassMalformed, plain(err)}
}

// reused says that the connection had been used before: what is often the server closing an idle
// connection just as it is used again.
func reused(err error) error {
	return errors.New("on a reused connection: " + plain(err).Error())
}

// classifyDial tells the class of an error that came up while connecting.
func classifyDial(ctx context.Context, err error, late bool, class string) error {
	var refused *refusal
	var dns *net.DNSError
	switch {
	case ctx.Err() != nil:
		return canceled(ctx)
	case errors.As(err, &refused):
		return &Error{measure.ClassRefused, refused.err}
	case late:
		return timedOut(class)
	case errors.As(err, &dns):
		return fail(measure.ClassDNS, "lookup "+dns.Name+": "+dns.Err)
	case errors.Is(err, syscall.EMFILE):
		return fail(measure.ClassConnect, "too many open files: raise the limit of this process (ulimit -n)")
	case notOurs(err):
		return fail(measure.ClassConnect, "a socket could not be bound to its source address, which is not one of this machine: see connections.source_addresses")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fail(measure.ClassConnect, "out of local ports for this target: keep connections (connections: {policy: reuse}), "+
			"name more addresses in connections.source_addresses, or widen net.ipv4.ip_local_port_range")
	}
	return &Error{measure.ClassConnect, plain(err)}
}

// plain leaves out the ends of the connection, which differ from one failure to the next.
func plain(err error) error {
	if isEOF(err) {
		return errors.New("the server closed the connection")
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return errors.New(strings.TrimPrefix(op.Op, "raw-") + ": " + op.Err.Error())
	}
	return err
}

func isEOF(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func isReset(err error) bool {
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return true
	}
	var stream http2.StreamError
	return errors.As(err, &stream) && stream.Code != http2.ErrCodeProtocol
}

func isAlert(err error) bool {
	var alert tls.AlertError
	var op *net.OpError
	return errors.As(err, &alert) || errors.As(err, &op) && op.Op == "remote error"
}
