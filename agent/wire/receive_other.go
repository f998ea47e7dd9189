//go:build unix && !linux

package wire

import "golang.org/x/sys/unix"

// stampReads asks for stamps; here the kernel has none for streams of bytes.
func stampReads(uintptr) bool { return false }

// receive reads once from a socket without waiting.
func receive(fd uintptr, p []byte) (n int, stamp int64, err error) {
	n, err = unix.Read(int(fd), p)
	return n, 0, err
}

// send writes to a socket what there is room for, without waiting.
func send(fd uintptr, p []byte) (n int, err error) { return unix.Write(int(fd), p) }

// idleSocket reports whether a socket has nothing to tell: no bytes, no end, no error. What it has stays there.
func idleSocket(fd uintptr) bool {
	ask := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(ask[:], 0)
	return n == 0 || err == unix.EINTR
}
