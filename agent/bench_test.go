package agent

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/loadline/loadline/agent/pace"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// instant is a driver whose target answers at once and costs nothing.
type instant struct{ now func() measure.Instant }

func (d instant) Do(_ context.Context, _ *workload.Request, o *measure.Outcome) {
	o.Dispatched = d.now()
	o.Connected, o.Sent, o.FirstByte, o.End, o.Status = o.Dispatched, o.Dispatched, o.Dispatched, o.Dispatched, 200
}

func (d instant) Close() error { return nil }

// BenchmarkPlayer plays one second at each rate through pacer, workers and recorder against a driver that
// does nothing, and reports how late the sessions were: up to what rate one pacer feeds a player. Nothing
// asserts it.
func BenchmarkPlayer(b *testing.B) {
	for _, rate := range []int{25_000, 50_000, 100_000, 200_000, 400_000} {
		b.Run(fmt.Sprint(rate), func(b *testing.B) {
			var late hist.Histogram
			var missed uint64
			for b.Loop() {
				missed += playSecond(b, rate, &late)
			}
			b.ReportMetric(float64(late.Quantile(0.5)), "p50-µs")
			b.ReportMetric(float64(late.Quantile(0.99)), "p99-µs")
			b.ReportMetric(float64(missed)/float64(b.N), "missed/op")
		})
	}
}

func playSecond(b *testing.B, rate int, late *hist.Histogram) (missed uint64) {
	st := newStage(b, fmt.Sprintf("limits: {max_in_flight: 1000000}\nload: [{open: {rate: %d}, duration: 1s}]\n", rate), nil, nil)
	st.agent.config.Sleeper = pace.System
	st.part.drivers = []Driver{instant{st.target.now}}
	st.part.start.Store(st.agent.now() + int64(50*time.Millisecond))
	st.player = st.agent.newPlayer(st.part, st.lease)
	st.player.run()
	for _, g := range st.player.recorder.Swap(st.player.now() + 1).GetGroups() {
		missed += g.GetCounters().GetMissed()
		for _, d := range g.GetSeries() {
			if d.GetSeries() != pb.Series_SERIES_LATENESS {
				continue
			}
			if err := late.MergeBinary(d.GetHistogram()); err != nil {
				b.Fatal(err)
			}
		}
	}
	return missed
}
