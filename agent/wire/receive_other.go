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
