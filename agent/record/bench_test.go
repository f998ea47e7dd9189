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

// BenchmarkSwapStall has a worker record without a pause while windows are swapped, and reports how long a swap had each shard
// to itself: the median and the 99th percentile. That is the longest for which it can stop a worker; in fact one that finds its shard taken
// takes the next one. Timing the worker instead tells of the system alone: it is taken off its processor for as long without any swap.
func BenchmarkSwapStall(b *testing.B) {
	r := recorder(2*runtime.GOMAXPROCS(0)+1, 200)
	var ended atomic.Bool
	worker := make(chan struct{})
	go func() {
		defer close(worker)
		for o := answered(1); !ended.Load(); o.ID.Number++ {
			r.Record(o)
		}
	}()
	var held []int64
	var cursors []uint64
	for at := measure.Instant(time.Second); b.Loop(); at += measure.Instant(time.Second) {
		time.Sleep(2 * time.Millisecond) // so that there is something to merge
		r.Swap(at)
		time.Sleep(2 * time.Millisecond)
		for i := range r.shards { // as Swap does, and back: the window goes on
			before := time.Now()
			cursors = r.shards[i].exchange(cursors[:0])
			held = append(held, int64(time.Since(before)))
			cursors = r.shards[i].exchange(cursors[:0])
		}
	}
	ended.Store(true)
	<-worker
	slices.Sort(held)
	b.ReportMetric(float64(held[len(held)/2])/1e3, "p50-µs")
	b.ReportMetric(float64(held[len(held)*99/100])/1e3, "p99-µs")
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
