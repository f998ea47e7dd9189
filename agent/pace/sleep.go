package pace

import (
	"context"
	"time"

	"github.com/loadline/loadline/internal/measure"
)

// Portable waits with the timers of the Go runtime: about 0.5 ms late in the median, exact in fake
// time. It is what systems without a better way use, and what tests in a bubble need.
func Portable(now func() measure.Instant) Sleeper { return portable{now} }

type portable struct{ now func() measure.Instant }

func (p portable) Sleep(until measure.Instant, wake <-chan struct{}) {
	d := time.Duration(until - p.now())
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	}
}

// SleepUntil waits for the instant on the given clock and returns nil, or the context's cause when
// that ends first. It is for the slots of closed load: their starts and think times.
//
// It is a plain timer, late by about 0.5 ms, and no part of the pacer. A slot may wait that long
// unharmed, because its session is due when the slot is found free, after the wait: nobody offers
// a rate there that lateness could spoil. In return every slot is a goroutine that reads from top to bottom.
func SleepUntil(ctx context.Context, now func() measure.Instant, at measure.Instant) error {
	d := time.Duration(at - now())
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
