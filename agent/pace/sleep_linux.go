package pace

import (
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loadline/loadline/internal/measure"
)

// fine is the last part of a wait, for which the kernel's own timer is used. It is not interrupted, so it also
// bounds how long a nudge may go unheard. It is far longer than the runtime's timers are late, so that
// the coarse part before it does not overshoot.
const fine = 5 * time.Millisecond

// System waits as exactly as the system can: on a timerfd set to an absolute time, which the runtime's network
// poller watches like a socket. The runtime's own timers wake that poller at millisecond granularity and are
// late by half a millisecond.
//
// A thread that sleeps in clock_nanosleep wakes as exactly, but takes its processor into the sleep: what it
// has just released waits until the runtime's monitor has noticed, 70 µs in the median where there is one processor.
// Here the pacer parks as any goroutine does, and the session that it has released runs at once.
//
// The sleeper holds one file; Pacer.Run closes it.
func System(now func() measure.Instant) Sleeper { return &system{now: now} }

type system struct {
	now   func() measure.Instant
	timer *os.File // nil: not made yet
	fd    int      // of timer
	fired [8]byte  // how often the timer has fired, which says nothing here
}

func (s *system) Sleep(until measure.Instant, wake <-chan struct{}) {
	coarse := until - measure.Instant(fine)
	if s.now() < coarse {
		portable{s.now}.Sleep(coarse, wake)
		return // the caller looks at the clock and at what woke it, then comes back for the rest
	}
	if s.wait(until) != nil { // no file is left, or the kernel has no such timer
		portable{s.now}.Sleep(until, wake)
	}
}

// wait waits on the timer.
func (s *system) wait(until measure.Instant) error {
	if s.timer == nil {
		fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
		if err != nil {
			return err
		}
		s.timer, s.fd = os.NewFile(uintptr(fd), "timer"), fd // non-blocking, so that the poller takes it
	}
	// The kernel's clock is read before ours: a pause between the two makes the wait end early, never late.
	var at unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &at); err != nil {
		return err
	}
	d := until - s.now()
	if d <= 0 {
		return nil
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(at.Nano() + int64(d))}
	if err := unix.TimerfdSettime(s.fd, unix.TFD_TIMER_ABSTIME, &spec, nil); err != nil {
		return err
	}
	_, err := s.timer.Read(s.fired[:])
	return err
}

// Close gives the file back. The sleeper can be used again.
func (s *system) Close() error {
	if s.timer == nil {
		return nil
	}
	err := s.timer.Close()
	s.timer = nil
	return err
}
