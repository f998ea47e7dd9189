package pace_test

import (
	"context"
	"slices"
	"strconv"
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

// BenchmarkRate plays one second at each rate into a sink that does next to nothing, again and again, and
// reports how late the arrivals were: up to what rate one pacer keeps up. Nothing asserts it.
func BenchmarkRate(b *testing.B) {
	for _, rate := range []int{50_000, 100_000, 200_000, 400_000, 800_000} {
		b.Run(strconv.Itoa(rate), func(b *testing.B) {
			late := lateness{values: make([]time.Duration, 0, rate)}
			var p50, p99 time.Duration
			for b.Loop() {
				late.values = late.values[:0]
				gap := measure.Instant(time.Second) / measure.Instant(rate)
				pace.New(pace.Config{Now: clock(), MaxLateness: time.Minute}, constant(gap, uint64(rate)), &late).Run(context.Background())
				slices.Sort(late.values)
				p50, p99 = max(p50, late.values[rate/2]), max(p99, late.values[rate*99/100])
			}
			b.ReportMetric(float64(p50.Nanoseconds())/1e3, "p50-µs")
			b.ReportMetric(float64(p99.Nanoseconds())/1e3, "p99-µs")
		})
	}
}

type lateness struct{ values []time.Duration }

func (l *lateness) Fire(a pace.Arrival, now measure.Instant) {
	l.values = append(l.values, time.Duration(now-a.Due))
}

func (l *lateness) Miss(a pace.Arrival, now measure.Instant) { l.Fire(a, now) }
