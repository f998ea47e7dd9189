package pace

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/loadline/loadline/internal/measure"
)

// fine is the last part of a wait, slept through in the kernel on an absolute time. It cannot be
// interrupted, so it also bounds how long a nudge may go unheard. It is far longer than the
// runtime's timers are late, so that the coarse part before it does not overshoot.
const fine = 5 * time.Millisecond

// System waits as exactly as the system can: with clock_nanosleep on an absolute time, about
// 50 µs late on a thread of its own with a timer slack of 1 ns. The runtime's timers, which wake
// the network poller at millisecond granularity, would be ten times as late.
func System(now func() measure.Instant) Sleeper { return system{now} }

type system struct{ now func() measure.Instant }

func (s system) Sleep(until measure.Instant, wake <-chan struct{}) {
	coarse := until - measure.Instant(fine)
	if s.now() < coarse {
		portable(s).Sleep(coarse, wake)
		return // the caller looks at the clock and at what woke it, then comes back for the rest
	}
	// The kernel's clock is read before ours: a pause between the two makes the wait end early, never late.
	var at unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &at) != nil {
		portable(s).Sleep(until, wake)
		return
	}
	d := until - s.now()
	if d <= 0 {
		return
	}
	at = unix.NsecToTimespec(at.Nano() + int64(d))
	// A signal (the runtime sends them to preempt) ends the wait early, which Sleep may do.
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &at, nil)
}

// sharpen sets the thread's timer slack to 1 ns; the default of 50 µs lets the kernel gather timers.
// Where the system refuses, the pacer works on, 50 µs less exact.
func sharpen() (restore func()) {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	return func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) } // 0: the thread's default
}
