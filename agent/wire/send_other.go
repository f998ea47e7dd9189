//go:build unix && !linux

package wire

import "golang.org/x/sys/unix"

// send writes to a socket what there is room for, without waiting.
func send(fd uintptr, p []byte) (n int, err error) { return unix.Write(int(fd), p) }

// idleSocket reports whether a socket has nothing to tell: no bytes, no end, no error. What it has stays there.
func idleSocket(fd uintptr) bool {
	ask := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(ask[:], 0)
	return n == 0 || err == unix.EINTR
}
