package guard

import "sync/atomic"

// Lease is the permission to start requests; it lapses by itself. The zero value has lapsed. Safe for
// use by many goroutines.
//
// Its clock is the caller's, in nanoseconds from 0 on, and must count the time that the machine
// sleeps: a laptop that wakes up with a lease of yesterday must not go on.
type Lease struct {
	// deadline is the first moment without permission; 0: none was ever granted.
	deadline atomic.Int64
}

// revoked stands in deadline once a lease has been taken away: no clock shows a time before it.
const revoked = -1

// Grant prolongs the lease to the deadline, a moment after 0 that is itself no longer covered. It
// never shortens it: renewals may arrive out of order. It reports whether the lease stands, false once it has been revoked.
func (l *Lease) Grant(deadline int64) bool {
	for {
		old := l.deadline.Load()
		if old == revoked {
			return false
		}
		if l.deadline.CompareAndSwap(old, max(old, deadline)) {
			return true
		}
	}
}

// Suspend takes the lease away until it is granted again.
func (l *Lease) Suspend() {
	for old := l.deadline.Load(); old != revoked && !l.deadline.CompareAndSwap(old, 0); {
		old = l.deadline.Load()
	}
}

// Revoke takes the lease away for good, whatever is granted later.
func (l *Lease) Revoke() { l.deadline.Store(revoked) }

// Valid reports whether requests may be started at the moment now, which is at least 0.
func (l *Lease) Valid(now int64) bool { return now < l.deadline.Load() }
