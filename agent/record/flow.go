package record

import "sync/atomic"

// flow counts the open sessions of a phase, across all shards: the greatest number at one moment
// cannot be added up from parts.
type flow struct {
	open, peak atomic.Int64
}

func (f *flow) begin() {
	n := f.open.Add(1)
	for peak := f.peak.Load(); n > peak; peak = f.peak.Load() {
		if f.peak.CompareAndSwap(peak, n) {
			return
		}
	}
}

func (f *flow) end() { f.open.Add(-1) }

// level follows a phase from swap to swap.
type level struct {
	now int64 // open at the end of the window before

	// The time that sessions were open until instant T is open·T + balance, where balance is
	// the ends of the closed less the starts of the opened: exact whatever the swaps. All of it
	// wraps, and differences come out right.
	open, balance, until uint64
	// rest is what was open and not yet reported, in nanoseconds: less than a microsecond, or
	// below zero when something ended before a swap that did not see it.
	rest int64
}

// advance moves to the end of a window and returns the greatest number open within it, the sum
// of open times in microseconds, and what is open now.
func (l *level) advance(f *flow, now uint64) (peak, openUS, open uint64) {
	highest := max(f.peak.Swap(0), l.now)
	l.now = f.open.Load()
	highest = max(highest, l.now)

	until := l.open*now + l.balance
	l.rest += int64(until - l.until)
	l.until = until
	if l.rest > 0 {
		openUS = uint64(l.rest / 1000)
		l.rest %= 1000
	}
	return uint64(max(highest, 0)), openUS, uint64(max(l.now, 0))
}
