package agent

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loadline/loadline/agent/guard"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/measure"
)

// counting is a driver that remembers when it was called.
type counting struct {
	mu    sync.Mutex
	at    []time.Time
	now   atomic.Int64
	peak  atomic.Int64
	lasts time.Duration
}

func (c *counting) Do(_ context.Context, _ *workload.Request, o *measure.Outcome) {
	c.mu.Lock()
	c.at = append(c.at, time.Now())
	c.mu.Unlock()
	for n := c.now.Add(1); ; {
		if peak := c.peak.Load(); n <= peak || c.peak.CompareAndSwap(peak, n) {
			break
		}
	}
	time.Sleep(c.lasts)
	c.now.Add(-1)
	o.End = 0
}

func (c *counting) Close() error { return nil }

// TestTheOwnersCeilingsHoldBehindEverything lets users come back at once, as a fault of ours or a lying coordinator would.
func TestTheOwnersCeilingsHoldBehindEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		epoch := time.Now()
		now := func() measure.Instant { return measure.Instant(time.Since(epoch)) }
		own := &guard.Own{MaxRate: 50, MaxInFlight: 8}
		a := &Agent{time: guard.NewClock(func() int64 { return 0 }), config: Config{Own: own, Log: slog.New(slog.DiscardHandler)}, lease: &guard.Lease{}, ceilings: &ceilings{rate: own.NewWindow(), inFlight: own.NewInFlight()}}
		driver := &counting{lasts: 30 * time.Millisecond}
		met := &over{}
		one, two := a.limit(driver, met, now), a.limit(driver, met, now) // two targets, one agent
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var users sync.WaitGroup
		var refused, canceled atomic.Int64
		for i := range 40 {
			users.Go(func() {
				for ctx.Err() == nil {
					var o measure.Outcome
					o.Reset()
					if i%2 == 0 {
						one.Do(ctx, nil, &o)
					} else {
						two.Do(ctx, nil, &o)
					}
					switch o.Class {
					case measure.ClassRefused:
						refused.Add(1)
					case measure.ClassCanceled:
						canceled.Add(1)
					}
				}
			})
		}
		users.Wait()
		if met.rate.Load() == 0 || met.rate.Load() != a.ceilings.overRate.Load() || met.inFlight.Load() == 0 || met.inFlight.Load() != a.ceilings.overInFlight.Load() {
			t.Errorf("of the run %d met the rate and %d the requests in flight, of the agent %v", met.rate.Load(), met.inFlight.Load(), a.Counts())
		}
		for i := range driver.at {
			if last := i + 50; last < len(driver.at) && driver.at[last].Sub(driver.at[i]) <= time.Second {
				t.Fatalf("51 requests within a second, and the ceiling is 50")
			}
		}
		if peak := driver.peak.Load(); peak > 8 {
			t.Errorf("%d in flight, and the ceiling is 8", peak)
		}
		counts := a.Counts()
		if int(counts.Sent) != len(driver.at) || counts.OverRate == 0 || counts.OverInFlight == 0 || counts.InFlight != 0 {
			t.Errorf("the agent counts %+v, and %d were sent", counts, len(driver.at))
		}
		if len(driver.at) < 300 || refused.Load() == 0 || refused.Load() > 40*10*10+400 {
			t.Errorf("%d requests, %d refused: the ceilings let too little through, refuse nothing or make users spin", len(driver.at), refused.Load())
		}
	})
}
