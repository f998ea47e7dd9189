package wire

import (
	"context"
	"errors"
	"net"

	"github.com/loadline/loadline/internal/measure"
)

// Connect opens a connection to host:port as a client does, through Control, without TLS and without a
// proxy, until ctx ends. It is for engines that bring their own protocol. The error is an [*Error] of
// the class dns, connect, connect_timeout or refused.
func (l Local) Connect(ctx context.Context, address string) (net.Conn, error) {
	dialer := net.Dialer{Resolver: l.Resolver}
	dial := dialer.DialContext
	if l.Dial != nil {
		dial = l.Dial
	} else if l.Control != nil {
		dialer.Control = control(l.Control, false)
		dial = dialer.DialContext
	}
	nc, err := dial(ctx, "tcp", address)
	if err != nil {
		late := isTimeout(err) || errors.Is(ctx.Err(), context.DeadlineExceeded)
		if late {
			ctx = context.WithoutCancel(ctx) // its end is the time limit, not a wish of the scenario
		}
		return nil, classifyDial(ctx, err, late, measure.ClassConnectTimeout)
	}
	return nc, nil
}

// HandshakeError tells the class of an error of a TLS handshake that ctx bounded: tls, or
// connect_timeout.
func HandshakeError(ctx context.Context, err error) *Error {
	if isTimeout(err) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &Error{measure.ClassConnectTimeout, errors.New("no connection was ready in time")}
	}
	return &Error{measure.ClassTLS, plain(err)}
}

// TimedOut is the failure of a request whose time limit of the given class has passed.
func TimedOut(class string) *Error { return timedOut(class) }

// BrokenError tells the class of an error of reading or writing on a connection that had been ready: tls
// where the peer says so, else reset.
func BrokenError(err error) *Error {
	if isAlert(err) {
		return &Error{measure.ClassTLS, plain(err)}
	}
	return &Error{measure.ClassReset, plain(err)}
}
