//go:build unix

package wire

import (
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/stamp"
)

// socket is the system's side of a connection, for what package net has no call for: to take a buffer
// only when there is something to read, to look whether the peer has closed an idle connection, and to
// write a request in the turn in which its answer is awaited.
type socket struct {
	rc  syscall.RawConn // nil: there is no socket
	now func() measure.Instant

	look func(fd uintptr)
	dead bool

	out  []byte          // what is to be written before the next read
	used bool            // the connection is not new: look whether it is closed before out is written
	sent measure.Instant // when the last byte of out was written

	fill  func(fd uintptr) bool
	in    *input // nil: into p
	bufs  *buffers
	p     []byte
	n     int
	stamp int64
	err   error

	stamps bool // reads come with the kernel's stamp
}

func (s *socket) init(nc net.Conn, now func() measure.Instant) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return
	}
	s.rc, s.now, s.look, s.fill = rc, now, s.peek, s.try
	if _, ok := nc.(*net.TCPConn); ok {
		// An error means that the connection is gone, which the next read or write tells.
		_ = rc.Control(func(fd uintptr) { s.stamps = stamp.Ask(fd) })
	}
}

// peek asks whether the socket has anything to tell. On an idle connection there is nothing to read:
// bytes are a notice that TLS is being closed or an answer nobody asked for, none is the end of the stream.
func (s *socket) peek(fd uintptr) { s.dead = !idleSocket(fd) }

// closed reports whether an idle connection is known to be of no use.
func (s *socket) closed() bool {
	if s.rc == nil {
		return false
	}
	s.dead = true
	if err := s.rc.Control(s.look); err != nil {
		return true
	}
	return s.dead
}

func (s *socket) usable() bool { return s.rc != nil }

// stamping reports whether the kernel says of each read when it received the end of it.
func (s *socket) stamping() bool { return s.stamps }

// read waits until the socket is readable, takes a buffer and reads once, with the kernel's stamp in
// nanoseconds of the wall clock; 0: there is none. At the end of the stream it returns io.EOF. The
// deadline of the connection holds.
func (s *socket) read(in *input, bufs *buffers) (n int, stamp int64, err error) {
	s.in, s.bufs = in, bufs
	return s.wait()
}

// readTo does the same into p.
func (s *socket) readTo(p []byte) (n int, stamp int64, err error) {
	s.in, s.p = nil, p
	n, stamp, err = s.wait()
	s.p = nil
	return n, stamp, err
}

// ask writes out, and reads as read does once something has come in answer. A connection that is not new is looked
// at first: if the peer has closed it, nothing is written and the error is errUnused. left is what has not been
// written: with errUnwritten since the socket is full, else since writing failed.
//
// All of it is one turn of the poller. The usual order, to write and then to read, costs two calls more: a look that is a turn of
// its own, and a read that nearly always comes too early. No notice of the poller is lost by that: it is reset before the look, so
// what comes after the look makes a new one. A new connection is not looked at. What came on it before the reset has lost its notice, as
// of a server that speaks first; so there the read is tried at once.
func (s *socket) ask(out []byte, used bool, in *input, bufs *buffers) (n int, stamp int64, left []byte, err error) {
	s.out, s.used = out, used
	n, stamp, err = s.read(in, bufs)
	left, s.out = s.out, nil
	return n, stamp, left, err
}

func (s *socket) wait() (int, int64, error) {
	s.n, s.stamp, s.err = 0, 0, nil
	if err := s.rc.Read(s.fill); err != nil {
		return 0, 0, err
	}
	switch {
	case s.err == errUnused || s.err == errUnwritten:
		return 0, 0, s.err
	case s.err != nil && len(s.out) > 0:
		return 0, 0, &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", s.err)}
	case s.err != nil:
		return 0, 0, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", s.err)}
	case s.n <= 0:
		return 0, 0, io.EOF
	}
	return s.n, s.stamp, nil
}

// speak writes what there is to write; false: all of it, and the answer is awaited.
func (s *socket) speak(fd uintptr) bool {
	if s.used && !idleSocket(fd) {
		s.err = errUnused
		return true
	}
	n, err := send(fd, s.out)
	for err == unix.EINTR {
		n, err = send(fd, s.out)
	}
	switch s.out = s.out[max(n, 0):]; {
	case len(s.out) == 0:
		s.sent = s.now()
		return false
	case err == nil || err == unix.EAGAIN:
		s.err = errUnwritten
	default:
		s.err = err
	}
	return true
}

// try reads; false: nothing is there yet, and the buffer is given back meanwhile.
func (s *socket) try(fd uintptr) bool {
	if len(s.out) > 0 {
		if s.speak(fd) {
			return true
		}
		if s.used {
			return false // the look found nothing, so what comes makes a notice
		}
	}
	p := s.p
	if s.in != nil {
		p = s.in.hold(s.bufs)[:]
	}
	for {
		if s.stamps {
			s.n, s.stamp, s.err = stamp.Receive(fd, p)
		} else {
			s.n, s.err = unix.Read(int(fd), p)
		}
		switch s.err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			if s.in != nil {
				s.in.release(s.bufs)
			}
			return false
		}
		return true
	}
}
