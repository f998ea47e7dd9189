package wire

import (
	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/stamp"
)

// received is when the kernel had received the end of what a connection's latest read took. It is worked out when somebody asks, once
// a read, however many pieces come of it.
type received struct {
	clock *stamp.Clock
	wall  int64 // as the kernel stamped it, until somebody asks; 0: there is nothing to ask for
	at    measure.Instant
}

func newReceived(clock *stamp.Clock) received { return received{clock: clock, at: measure.None} }

// when is the instant, for a read that returned at the given one; [measure.None]: the system does not tell. dropped says, once a read,
// that there was a stamp and that it is of no use.
func (r *received) when(read measure.Instant) (at measure.Instant, dropped bool) {
	if r.wall != 0 {
		r.at = r.clock.Instant(r.wall, read)
		r.wall, dropped = 0, !r.at.Reached()
	}
	return r.at, dropped
}

// stamped notes when the kernel received the last segment of the connection's latest read.
func (ex *Exchange) stamped(raw *rawConn) {
	at, dropped := raw.received.when(raw.last)
	if dropped {
		ex.StampsDropped++
	}
	ex.Stamp = at
}
