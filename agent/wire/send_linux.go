package wire

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// send writes to a socket what there is room for, without waiting. It is a raw call as it never waits, so that the scheduler need not be told of it.
func send(fd uintptr, p []byte) (n int, err error) {
	got, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(got), nil
}

// idleSocket reports whether a socket has nothing to tell: no bytes, no end, no error. What it has stays there.
func idleSocket(fd uintptr) bool {
	var one [1]byte
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&one)), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	return errno == unix.EAGAIN || errno == unix.EINTR
}
