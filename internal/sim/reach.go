package sim

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"

	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/stamp"
)

// A request begins when it reached this machine, not when its handler was let run: what lies between is this server's
// own waiting for a processor, which the law of the answer must not be shifted by, and which nobody who asks can know of.

// stampedConn is a connection that remembers when the kernel received the end of what its latest read took, and tells
// departures of its writes.
type stampedConn struct {
	*net.TCPConn

	rc   syscall.RawConn
	wall atomic.Int64 // on the wall clock; 0: nothing was read yet
	dock dock
}

// stampConn wraps a connection where the system offers stamps; now reads the clock of departures.
func stampConn(conn net.Conn, now func() int64) net.Conn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn
	}
	rc, err := tcp.SyscallConn()
	if err != nil {
		return conn
	}
	stamps := false
	if err := rc.Control(func(fd uintptr) { stamps = stamp.Ask(fd) }); err != nil || !stamps {
		return conn
	}
	return &stampedConn{TCPConn: tcp, rc: rc, dock: dock{now: now}}
}

// Read reads once.
func (c *stampedConn) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	var wall int64
	var failed error
	err = c.rc.Read(func(fd uintptr) bool {
		n, wall, failed = stamp.Receive(fd, p)
		for errors.Is(failed, syscall.EINTR) {
			n, wall, failed = stamp.Receive(fd, p)
		}
		return !errors.Is(failed, syscall.EAGAIN)
	})
	switch {
	case err != nil:
		return 0, err
	case failed != nil:
		return 0, &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: failed}
	case n == 0:
		return 0, io.EOF
	}
	c.wall.Store(wall)
	return n, nil
}

// Write lets go what waits for it.
func (c *stampedConn) Write(p []byte) (int, error) {
	c.dock.writes()
	return c.TCPConn.Write(p)
}

// ReadFrom hides that of the connection, which would write past Write.
func (c *stampedConn) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c}, r)
}

// WriteTo hides that of the connection, which would read past Read.
func (c *stampedConn) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}

type connKey struct{}

// withConn lets handlers know their connection.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// reached is when a request that is handled at now reached the machine over a connection: the stamp of the latest read, which over
// HTTP/1.1 is the one that brought the end of its head. Where many requests share a connection, another one's may have come later. Without
// a stamp it is now.
func (s *Server) reached(conn any, now int64) int64 {
	c, ok := conn.(*stampedConn)
	if !ok {
		return now
	}
	wall := c.wall.Load()
	if wall == 0 {
		return now
	}
	t := s.stamps.Instant(wall, measure.Instant(now))
	if !t.Reached() {
		return now
	}
	return int64(t)
}
