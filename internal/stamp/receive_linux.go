package stamp

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stampControl is what the kernel puts beside the bytes of a read: the time at which it received the last
// segment of them, on the wall clock.
type stampControl struct {
	head unix.Cmsghdr
	time unix.Timespec
}

// Ask asks for stamps. It reports whether the kernel gives them.
func Ask(fd uintptr) bool {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) == nil
}

// Receive reads once from a socket without waiting, with the kernel's stamp in nanoseconds of the wall clock;
// 0: none came. The call is a raw one: as it never waits, the scheduler need not be told of it, and what that
// saves pays for the stamp.
func Receive(fd uintptr, p []byte) (n int, stamp int64, err error) {
	var control stampControl
	piece := unix.Iovec{Base: unsafe.SliceData(p)}
	piece.SetLen(len(p))
	message := unix.Msghdr{Iov: &piece, Control: (*byte)(unsafe.Pointer(&control))}
	message.SetIovlen(1)
	message.SetControllen(int(unsafe.Sizeof(control)))
	got, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&message)), unix.MSG_DONTWAIT)
	runtime.KeepAlive(&piece) // the kernel alone followed the pointers to it and to p
	runtime.KeepAlive(p)
	if errno != 0 {
		return 0, 0, errno
	}
	if control.head.Level == unix.SOL_SOCKET && control.head.Type == unix.SCM_TIMESTAMPNS {
		stamp = control.time.Nano()
	}
	return int(got), stamp, nil
}
