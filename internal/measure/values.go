package measure

// Micros converts a duration in nanoseconds to whole microseconds, rounded down; a negative one
// counts as 0.
func Micros(ns int64) uint64 {
	if ns <= 0 {
		return 0
	}
	return uint64(ns) / 1000
}

// Succeeded reports whether the request was answered well.
func (o *Outcome) Succeeded() bool { return o.Class == "" }

// Canceled reports whether the scenario or a person ended the request: neither success nor failure.
func (o *Outcome) Canceled() bool { return o.Class == ClassCanceled }

// Failed reports whether the request failed; a canceled one did not.
func (o *Outcome) Failed() bool { return o.Class != "" && o.Class != ClassCanceled }

// Values yields every value that the request adds to a series, by the formulas of metrics.md.
// The gaps of ITL and the round trips come in order, one call each. Session is not among them: it is a matter of
// the whole session. A failed request yields Lateness, Connect with its parts, ReadLag and E2EFailed alone, a
// canceled one Lateness, Connect with its parts, and ReadLag. Values allocates nothing.
func (o *Outcome) Values(yield func(Series, uint64)) {
	if o.Turn == 0 {
		between(yield, Lateness, o.Due, o.Dispatched)
	}
	if o.NewConnection {
		o.connection(yield)
	}
	o.lags(yield)
	switch {
	case o.Failed():
		between(yield, E2EFailed, o.Due, o.End)
	case o.Succeeded():
		o.success(yield)
	}
}

func (o *Outcome) connection(yield func(Series, uint64)) {
	between(yield, Connect, o.Dispatched, o.Connected)
	if o.Lookup > 0 {
		yield(DNS, Micros(int64(o.Lookup)))
	}
	if o.Handshake > 0 {
		yield(TLS, Micros(int64(o.Handshake)))
	}
}

// lags yields how long after the kernel we had what came, once for every read whose instant is used. Reads
// have instants of their own: an equal one is the same read.
func (o *Outcome) lags(yield func(Series, uint64)) {
	between(yield, ReadLag, o.FirstByteStamp, o.FirstByte)
	if len(o.Stamps) != len(o.Events) {
		return
	}
	before := o.FirstByte
	for i, at := range o.Events {
		if at != before {
			between(yield, ReadLag, o.Stamps[i], at)
			before = at
		}
	}
}

func (o *Outcome) success(yield func(Series, uint64)) {
	between(yield, Send, o.Connected, o.Sent)
	between(yield, Wait, o.Sent, o.FirstByte)
	between(yield, Receive, o.FirstByte, o.End)
	between(yield, E2E, o.Due, o.End)
	between(yield, E2EService, o.Dispatched, o.End)
	if o.InputTokens > 0 {
		yield(InputTokens, o.InputTokens)
	}
	if o.OutputTokens > 0 {
		yield(OutputTokens, o.OutputTokens)
	}
	if o.Streamed && len(o.Events) > 0 {
		o.stream(yield)
	}
	for _, d := range o.RoundTrips {
		yield(RoundTrip, Micros(int64(d)))
	}
}

func (o *Outcome) stream(yield func(Series, uint64)) {
	first, last := o.Events[0], o.Events[len(o.Events)-1]
	between(yield, TTFT, o.Due, first)
	between(yield, TTFTService, o.Dispatched, first)
	between(yield, TTFO, o.Due, o.FirstAnswer)
	if len(o.Events) > 1 {
		o.gaps(yield)
	}
	if o.OutputTokens > 1 {
		yield(TPOT, Micros(max(int64(last-first), 0))/(o.OutputTokens-1))
	}
	if o.OutputTokens > 0 {
		yield(TokensPerEvent, o.OutputTokens*1000/uint64(len(o.Events)))
	}
	if o.Wire && len(o.Stamps) == len(o.Events) {
		o.wire(yield)
	}
}

// wire yields what the kernel saw of a stream.
func (o *Outcome) wire(yield func(Series, uint64)) {
	between(yield, TTFTWire, o.Dispatched, o.Stamps[0])
	for i := 1; i < len(o.Stamps); i++ {
		between(yield, ITLWire, o.Stamps[i-1], o.Stamps[i])
	}
}

func (o *Outcome) gaps(yield func(Series, uint64)) {
	var largest uint64
	before := o.Events[0]
	for _, at := range o.Events[1:] {
		gap := Micros(int64(at - before))
		largest = max(largest, gap)
		yield(ITL, gap)
		before = at
	}
	yield(MaxITL, largest)
}

// between yields to − from in microseconds if both were reached.
func between(yield func(Series, uint64), s Series, from, to Instant) {
	if from.Reached() && to.Reached() {
		yield(s, Micros(int64(to-from)))
	}
}
