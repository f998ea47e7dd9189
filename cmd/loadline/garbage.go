package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// roomyHeap is the heap, in bytes, up to which garbage is left alone. A generator lives on little memory, so that by its own
// rule the runtime would collect every few seconds or sooner, and on one core each time it makes reads and starts wait for
// milliseconds: at 1,000 streams that was the 99th percentile of read_lag.
const roomyHeap = 128 << 20

// leaveGarbage lets the heap grow to roomyHeap before garbage is collected. Where more than half of that is in use the runtime's own
// rule holds, so that the memory of many open streams grows by nothing. GOGC, where it is set, decides alone.
func leaveGarbage(env func(string) (string, bool)) {
	if _, given := env("GOGC"); !given {
		new(collections).again()
	}
}

// collections looks at the heap after every collection.
type collections struct{ percent int }

// again sets the rule for the next collection, and asks to be called after it.
func (c *collections) again() {
	if p := percentFor(heapInUse()); p != c.percent {
		c.percent = p
		debug.SetGCPercent(p)
	}
	mark := new([16]byte)
	runtime.SetFinalizer(mark, func(*[16]byte) { c.again() })
}

// heapInUse is the heap that the latest collection found in use, and beside it what else the rule of GOGC counts: stacks and
// global data. In bytes.
func heapInUse() (live, beside uint64) {
	list := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(list)
	return list[0].Value.Uint64(), list[1].Value.Uint64() + list[2].Value.Uint64()
}

// percentFor is the GOGC with which the heap may grow to roomyHeap; 100, the runtime's own, where that is more.
// Go starts a collection at live + (live + stacks + globals) · GOGC / 100 (https://go.dev/doc/gc-guide).
func percentFor(live, beside uint64) int {
	base := max(live+beside, 1<<20)
	if live >= roomyHeap {
		return 100
	}
	return int(max(100, 100*(roomyHeap-live)/base))
}
