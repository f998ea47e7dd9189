//go:build unix

package agent

import (
	"math"

	"golang.org/x/sys/unix"
)

// raiseOpenFiles raises the process's limit on open files to the highest that it may and returns it; false:
// the system does not tell.
func raiseOpenFiles() (uint64, bool) {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0, false
	}
	if l.Cur < l.Max {
		soft := l.Cur
		l.Cur = l.Max
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &l) != nil { // some systems promise more than they give
			l.Cur = soft
		}
	}
	if n := uint64(l.Cur); n < math.MaxInt64 {
		return n, true
	}
	return 0, false
}
