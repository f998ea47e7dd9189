package wire

import (
	"context"
	"errors"

	"github.com/loadline/loadline/internal/measure"
)

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
