package wire

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/stamp"
)

// Dialer opens connections to one host and port as a client does, through Control, without TLS and without a proxy. It is for
// engines that bring their own protocol. It may be used by many goroutines.
type Dialer struct {
	local   Local
	address string
	port    string
	names   names
	dialer  net.Dialer
	stamps  stamp.Clock
}

// NewDialer makes a dialer to host:port.
func NewDialer(local Local, address string) *Dialer {
	d := &Dialer{local: local, address: address}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host = address // which no name server knows
	}
	d.port = port
	d.names.init(host, local.Resolver)
	d.dialer.Control = control(local.Control, false)
	d.stamps.Init(local.Now)
	return d
}

// Connect opens a connection until ctx ends, and says how long the name was looked up for it; 0: it was known. The error is an
// [*Error] of the class dns, connect, connect_timeout or refused.
func (d *Dialer) Connect(ctx context.Context) (*Socket, time.Duration, error) {
	var nc net.Conn
	var lookup time.Duration
	var err error
	if d.local.Dial != nil {
		nc, err = d.local.Dial(ctx, "tcp", d.address)
	} else {
		by, _ := ctx.Deadline()
		nc, lookup, err = d.names.dial(ctx, by, d.local.Now, func(a netip.Addr, until time.Time) (net.Conn, error) {
			one := d.dialer
			one.Deadline = until
			return one.DialContext(ctx, "tcp", net.JoinHostPort(a.String(), d.port))
		})
	}
	if err != nil {
		late := isTimeout(err) || errors.Is(ctx.Err(), context.DeadlineExceeded)
		if late {
			ctx = context.WithoutCancel(ctx) // its end is the time limit, not a wish of the scenario
		}
		return nil, lookup, classifyDial(ctx, err, late, measure.ClassConnectTimeout)
	}
	s := &Socket{Conn: nc, received: newReceived(&d.stamps), now: d.local.Now, at: measure.None}
	s.sock.init(nc, d.local.Now)
	return s, lookup, nil
}

// Socket is a connection that knows of its latest read when it returned and when the kernel had received the end of what it
// took. Reads, and questions about them, must come one after the other.
type Socket struct {
	net.Conn
	sock     socket
	received received
	now      func() measure.Instant
	at       measure.Instant
}

// Read reads once.
func (s *Socket) Read(p []byte) (n int, err error) {
	s.received.at = measure.None
	if s.sock.stamping() && len(p) > 0 {
		n, s.received.wall, err = s.sock.readTo(p)
	} else {
		n, err = s.Conn.Read(p)
	}
	s.at = s.now()
	return n, err
}

// At is when the latest read returned; [measure.None]: there was none.
func (s *Socket) At() measure.Instant { return s.at }

// Stamp is when the kernel had received the end of what the latest read took, never after At; [measure.None]: the system does not
// tell. dropped says, once a read, that there was a stamp and that it is of no use.
func (s *Socket) Stamp() (stamp measure.Instant, dropped bool) { return s.received.when(s.at) }
