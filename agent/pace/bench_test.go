package pace_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/loadline/loadline/agent/pace"
	"github.com/loadline/loadline/internal/measure"
)

// BenchmarkLateness plays one arrival every 200 µs for as long as the benchmark lasts and reports
// how late they were fired. scripts/bench reads it; nothing asserts it.
func BenchmarkLateness(b *testing.B) {
	for _, bb := range []struct {
		name     string
		portable bool
		precise  bool
	}{{name: "system"}, {name: "precise", precise: true}, {name: "portable", portable: true}} {
		b.Run(bb.name, func(b *testing.B) {
			now := clock()
			cfg := pace.Config{Now: now, MaxLateness: time.Minute, Precise: bb.precise}
			if bb.portable {
				cfg.Sleeper = pace.Portable(now)
			}
			late := lateness{values: make([]time.Duration, 0, b.N)}
			pace.New(cfg, constant(measure.Instant(200*time.Microsecond), uint64(b.N)), &late).Run(context.Background())
			slices.Sort(late.values)
			b.ReportMetric(float64(late.values[b.N/2].Nanoseconds())/1e3, "p50-µs")
			b.ReportMetric(float64(late.values[b.N*99/100].Nanoseconds())/1e3, "p99-µs")
		})
	}
}

type lateness struct{ values []time.Duration }

func (l *lateness) Fire(a pace.Arrival, now measure.Instant) {
	l.values = append(l.values, time.Duration(now-a.Due))
}

func (l *lateness) Miss(a pace.Arrival, now measure.Instant) { l.Fire(a, now) }
