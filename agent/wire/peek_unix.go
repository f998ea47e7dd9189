//go:build unix

package wire

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// peek looks whether the peer of an idle connection has closed it, without taking anything.
type peek struct {
	rc   syscall.RawConn
	fn   func(fd uintptr)
	dead bool
}

func (k *peek) init(nc net.Conn) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return
	}
	k.rc = rc
	k.fn = k.once
}

// once peeks at the socket. On an idle connection there is nothing to read: bytes are a notice
// that TLS is being closed or an answer nobody asked for, none is the end of the stream.
func (k *peek) once(fd uintptr) {
	var b [1]byte
	_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	k.dead = err != unix.EAGAIN && err != unix.EINTR
}

// closed reports whether the connection is known to be of no use.
func (k *peek) closed() bool {
	if k.rc == nil {
		return false
	}
	k.dead = true
	if err := k.rc.Control(k.fn); err != nil {
		return true
	}
	return k.dead
}
