package sim

// calendar says when the server is frozen. Freezes begin at, at+every, at+2·every … and last length
// each; with every = 0 there is one; with length = 0 none. A freeze stops the server's own time:
// what was due some time after its begin comes as much later after its end. So there are two
// axes, both in nanoseconds since the start: wall time, and working time, which stands still in a
// freeze. working never goes back; wall is its inverse and never falls inside a freeze.
type calendar struct {
	at, every, length int64
}

func newCalendar(faults []Fault) calendar {
	for i := range faults {
		if f := &faults[i]; f.Kind == KindFreeze {
			at := f.At
			if at == 0 {
				at = f.Every
			}
			return calendar{at: int64(at), every: int64(f.Every), length: int64(f.For)}
		}
	}
	return calendar{}
}

// working is the working time at wall time t.
func (c calendar) working(t int64) int64 {
	if c.length == 0 || t < c.at {
		return t
	}
	since := t - c.at
	if c.every == 0 {
		return t - min(since, c.length)
	}
	return t - (since/c.every)*c.length - min(since%c.every, c.length)
}

// wall is the latest wall time at which the working time is w: of a moment that falls on a freeze,
// its end.
func (c calendar) wall(w int64) int64 {
	if c.length == 0 || w < c.at {
		return w
	}
	if c.every == 0 {
		return w + c.length
	}
	return w + ((w-c.at)/(c.every-c.length)+1)*c.length
}

// resume is t itself, or the end of the freeze that t falls into.
func (c calendar) resume(t int64) int64 {
	if c.length == 0 {
		return t
	}
	return c.wall(c.working(t))
}

// count is the number of freezes begun until t.
func (c calendar) count(t int64) uint64 {
	switch {
	case c.length == 0 || t < c.at:
		return 0
	case c.every == 0:
		return 1
	default:
		return uint64((t-c.at)/c.every) + 1
	}
}
