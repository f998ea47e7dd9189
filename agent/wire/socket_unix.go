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

	fill func(fd uintptr) bool
	in   *input
	bufs *buffers
	n    int
	err  error
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

// read waits until the socket is readable, takes a buffer and reads once. At the end of the stream
// it returns io.EOF. The deadline of the connection holds.
func (s *socket) read(in *input, bufs *buffers) (int, error) {
	s.in, s.bufs, s.n, s.err = in, bufs, 0, nil
	if err := s.rc.Read(s.fill); err != nil {
		return 0, err
	}
	switch {
	case s.err != nil:
		return 0, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", s.err)}
	case s.n <= 0:
		return 0, io.EOF
	}
	return s.n, nil
}

// try reads; false: nothing is there yet, and the buffer is given back meanwhile.
func (s *socket) try(fd uintptr) bool {
	buf := s.in.hold(s.bufs)
	for {
		s.n, s.err = unix.Read(int(fd), buf[:])
		switch s.err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			s.in.release(s.bufs)
			return false
		}
		return true
	}
}
