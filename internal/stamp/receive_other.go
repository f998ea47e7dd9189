//go:build unix && !linux

package stamp

import "golang.org/x/sys/unix"

// Ask asks for stamps; here the kernel has none for streams of bytes.
func Ask(uintptr) bool { return false }

// Receive reads once from a socket without waiting.
func Receive(fd uintptr, p []byte) (n int, stamp int64, err error) {
	n, err = unix.Read(int(fd), p)
	return n, 0, err
}
