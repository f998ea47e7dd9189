//go:build !linux

package wire

import "syscall"

// bindLate cannot be had here: a port that is bound serves once for all targets.
func bindLate(syscall.RawConn) error { return nil }
