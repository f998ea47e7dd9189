package main

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// roomyHeap is the heap, in bytes, up to which garbage is left alone. A generator lives on little memory, so that by its own
	// rule the runtime would collect every few seconds or sooner, and on one core each time it makes reads and starts wait for
	// milliseconds: at 1,000 streams that was much of the 99th percentile of read_lag.
	roomyHeap = 64 << 20
	// heapLook is how often the rule is fitted to the heap in use. What the heap grows by meanwhile may be collected late, so it is short.
	heapLook = 250 * time.Millisecond
)

// leaveGarbage lets the heap grow to roomyHeap before garbage is collected, until stop. Where more than half of that is in use the runtime's
// own rule holds, so that the memory of many open streams grows by nothing. GOGC, where it is set, decides alone.
func leaveGarbage(env func(string) (string, bool)) (stop func()) {
	if _, given := env("GOGC"); given {
		return func() {}
	}
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		look := time.NewTicker(heapLook)
		defer look.Stop()
		for percent := 0; ; {
			if p := percentFor(heapInUse()); p != percent {
				percent = p
				debug.SetGCPercent(p)
			}
			select {
			case <-look.C:
			case <-end:
				return
			}
		}
	}()
	return func() { close(end); <-done }
}

// heapInUse is the heap that the latest collection found in use, and beside it what else the rule of GOGC counts: stacks and
// global data. In bytes.
func heapInUse() (live, beside uint64) {
	list := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(list)
	return list[0].Value.Uint64(), list[1].Value.Uint64() + list[2].Value.Uint64()
}

// leastHeap is the heap, in bytes, below which Go starts no collection where GOGC is 100; with another GOGC, in proportion.
const leastHeap = 4 << 20

// percentFor is the GOGC with which the heap may grow to roomyHeap; 100, the runtime's own, where that is more.
// Go starts a collection at live + (live + stacks + globals) · GOGC / 100 (https://go.dev/doc/gc-guide), and not before
// leastHeap · GOGC / 100, which is what counts where little is in use, as before the first collection.
func percentFor(live, beside uint64) int {
	if live >= roomyHeap {
		return 100
	}
	most := uint64(100 * roomyHeap / leastHeap)
	return int(max(100, min(most, 100*(roomyHeap-live)/max(live+beside, 1))))
}
