//go:build unix

package wire

import (
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket is the system's side of a connection, for what package net has no call for: to take a buffer
// only when there is something to read, and to look whether the peer has closed an idle connection.
type socket struct {
	rc syscall.RawConn // nil: there is no socket

	look func(fd uintptr)
	ask  [1]unix.PollFd
	dead bool

	fill  func(fd uintptr) bool
	in    *input // nil: into p
	bufs  *buffers
	p     []byte
	n     int
	stamp int64
	err   error

	stamps bool // reads come with the kernel's stamp
}

func (s *socket) init(nc net.Conn) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return
	}
	s.rc, s.look, s.fill = rc, s.peek, s.try
	if _, ok := nc.(*net.TCPConn); ok {
		// An error means that the connection is gone, which the next read or write tells.
		_ = rc.Control(func(fd uintptr) { s.stamps = stampReads(fd) })
	}
}

// peek asks whether the socket has anything to tell. On an idle connection there is nothing to read:
// bytes are a notice that TLS is being closed or an answer nobody asked for, none is the end of the stream.
func (s *socket) peek(fd uintptr) {
	s.ask[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	n, err := unix.Poll(s.ask[:], 0)
	s.dead = n != 0 && err != unix.EINTR
}

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

func (s *socket) wait() (int, int64, error) {
	s.n, s.stamp, s.err = 0, 0, nil
	if err := s.rc.Read(s.fill); err != nil {
		return 0, 0, err
	}
	switch {
	case s.err != nil:
		return 0, 0, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", s.err)}
	case s.n <= 0:
		return 0, 0, io.EOF
	}
	return s.n, s.stamp, nil
}

// try reads; false: nothing is there yet, and the buffer is given back meanwhile.
func (s *socket) try(fd uintptr) bool {
	p := s.p
	if s.in != nil {
		p = s.in.hold(s.bufs)[:]
	}
	for {
		if s.stamps {
			s.n, s.stamp, s.err = receive(fd, p)
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
