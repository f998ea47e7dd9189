//go:build unix

package agent

import "golang.org/x/sys/unix"

// processSeconds is the processor time, of user and system, that this process has taken; ok is false where it is not told.
func processSeconds() (seconds float64, ok bool) {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return 0, false
	}
	of := func(t unix.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return of(used.Utime) + of(used.Stime), true
}
