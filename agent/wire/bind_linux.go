package wire

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// bindLate makes a socket that is bound to an address choose its port when it connects: so a port serves once for
// each target, not once in all.
func bindLate(rc syscall.RawConn) error {
	var err error
	if cerr := rc.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); cerr != nil {
		return cerr
	}
	return os.NewSyscallError("setsockopt", err)
}
