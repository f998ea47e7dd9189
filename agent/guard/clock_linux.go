package guard

import "golang.org/x/sys/unix"

// Boottime reads the clock that counts the time that the machine sleeps, in nanoseconds.
func Boottime() int64 {
	var at unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &at) != nil {
		return 0 // a clock that stands still notices no sleep
	}
	return at.Nano()
}
