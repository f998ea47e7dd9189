package guard

import "golang.org/x/sys/unix"

// boottime reads the clock that counts the time that the machine sleeps, in nanoseconds.
func boottime() int64 {
	var at unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &at) != nil {
		return 0 // a clock that stands still notices no sleep
	}
	return at.Nano()
}
