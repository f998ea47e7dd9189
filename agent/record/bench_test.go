package record

import (
	"fmt"
	"runtime"
	"testing"

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
