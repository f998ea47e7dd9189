package record

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loadline/loadline/internal/measure"
)

func BenchmarkRecord(b *testing.B) {
	for _, events := range []int{1, 64} {
		b.Run(fmt.Sprintf("events=%d", events), func(b *testing.B) {
			r := recorder(2*runtime.GOMAXPROCS(0), 200)
			o := answered(1)
			for len(o.Events) < events {
				o.Events = append(o.Events, o.LastToken()+20*ms)
			}
			o.Events = o.Events[:events]
			b.ReportAllocs()
			for b.Loop() {
				o.ID.Number++
				r.Record(o)
			}
		})
	}
}

func BenchmarkRecordParallel(b *testing.B) {
	r := recorder(2*runtime.GOMAXPROCS(0), 200)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		o := answered(1)
		for p.Next() {
			o.ID.Number++
			r.Record(o)
		}
	})
}

// BenchmarkSwapStall has a worker record without a pause while windows are swapped, and reports how long a
// Record took at most during a swap: the median and the 99th percentile over the swaps. A worker that
// finds its shard taken takes the next one, so a swap should not be felt at all. What the system takes the
// worker off its processor for is in the figures too.
func BenchmarkSwapStall(b *testing.B) {
	r := recorder(2*runtime.GOMAXPROCS(0)+1, 200)
	var swapping, ended atomic.Bool
	var most atomic.Int64
	worker := make(chan struct{})
	go func() {
		defer close(worker)
		o := answered(1)
		for !ended.Load() {
			o.ID.Number++
			during := swapping.Load()
			before := time.Now()
			r.Record(o)
			if took := int64(time.Since(before)); during && took > most.Load() {
				most.Store(took)
			}
		}
	}()
	var stalls []int64
	for at := measure.Instant(time.Second); b.Loop(); at += measure.Instant(time.Second) {
		time.Sleep(2 * time.Millisecond) // so that there is something to merge
		most.Store(0)
		swapping.Store(true)
		r.Swap(at)
		swapping.Store(false)
		stalls = append(stalls, most.Load())
	}
	ended.Store(true)
	<-worker
	slices.Sort(stalls)
	b.ReportMetric(float64(stalls[len(stalls)/2])/1e3, "p50-µs")
	b.ReportMetric(float64(stalls[len(stalls)*99/100])/1e3, "p99-µs")
}

func BenchmarkSwap(b *testing.B) {
	r := recorder(2*runtime.GOMAXPROCS(0), 200)
	o := answered(1)
	for b.Loop() {
		b.StopTimer()
		for range 1000 {
			o.ID.Number++
			r.Record(o)
		}
		b.StartTimer()
		r.Swap(o.Due + measure.Instant(o.ID.Number)*ms)
	}
}
