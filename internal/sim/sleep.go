package sim

import (
	"context"
	"errors"
	"time"
)

// errStopped ends the wait of a handler whose server stops.
var errStopped = errors.New("the simulator stops")

// clock counts nanoseconds since the server was made, on the monotonic clock, and knows when the
// server is frozen.
type clock struct {
	base     time.Time
	calendar calendar
}

func (c *clock) now() int64 { return int64(time.Since(c.base)) }

// sleeper waits on behalf of one request: until a moment, the end of the request or of the server.
// It keeps one timer, so that waiting for a token allocates nothing.
type sleeper struct {
	clock *clock
	gone  <-chan struct{}
	ctx   context.Context // of the request; kept because a sleeper lives exactly as long
	stop  <-chan struct{}
	timer *time.Timer
}

func (s *sleeper) close() {
	if s.timer != nil {
		s.timer.Stop()
	}
}

// until waits for wall time t and returns the moment it woke at.
func (s *sleeper) until(t int64) (int64, error) {
	now := s.clock.now()
	for now < t {
		if s.timer == nil {
			s.timer = time.NewTimer(time.Duration(t - now))
		} else {
			s.timer.Reset(time.Duration(t - now))
		}
		if err := s.wait(s.timer.C); err != nil {
			return now, err
		}
		now = s.clock.now()
	}
	return now, nil
}

// thaw waits for the end of a freeze, if there is one, and returns the moment it woke at.
func (s *sleeper) thaw() (int64, error) {
	now := s.clock.now()
	for {
		t := s.clock.calendar.resume(now)
		if t <= now {
			return now, nil
		}
		var err error
		if now, err = s.until(t); err != nil {
			return now, err
		}
	}
}

func (s *sleeper) wait(c <-chan time.Time) error {
	select {
	case <-c:
		return nil
	case <-s.gone:
		return s.ctx.Err()
	case <-s.stop:
		return errStopped
	}
}

// forever waits for the end of the request or of the server.
func (s *sleeper) forever() error { return s.wait(nil) }
