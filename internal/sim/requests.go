package sim

// RequestTruth is one request that carried an X-Loadline-Arrival, as GET /truth/requests lists it once it has ended.
// Instants are nanoseconds on the simulator's monotonic clock, counted from its start.
type RequestTruth struct {
	// Run and Arrival are the headers that came with it.
	Run     string `json:"run"`
	Arrival string `json:"arrival"`
	// Route and Outcome as in GET /truth: chat, and completed, refused, broken or canceled.
	Route   string `json:"route"`
	Outcome string `json:"outcome"`
	// BegunNS is when its header had been read.
	BegunNS int64 `json:"begun_ns"`
	// FirstNS and LastNS are those right before the writes of the first and the last content event of a
	// streamed answer; -1: there was none.
	FirstNS int64 `json:"first_ns"`
	LastNS  int64 `json:"last_ns"`
	// EndNS is that right before the last write; BegunNS where nothing was written.
	EndNS int64 `json:"end_ns"`
	// Events and Tokens are those of the answer that were written.
	Events uint32 `json:"events"`
	Tokens uint32 `json:"tokens"`
}

// requestSeen is a RequestTruth as it is kept: without text, so that a million of them are 100 MB.
type requestSeen struct {
	run                     *runArrivals
	key                     arrivalKey
	begun, first, last, end int64
	events, tokens          uint32
	route                   route
	outcome                 outcome
}

// requestLog keeps the instants of the first requests that end, at most limit.
type requestLog struct {
	limit   int
	kept    []requestSeen
	dropped uint64
}

func (l *requestLog) clear() {
	l.kept, l.dropped = nil, 0
}

// note keeps a request that has ended. One without an arrival cannot be joined with anything and is left out; one
// whose arrival cannot be read is counted by the set of arrivals.
func (l *requestLog) note(arrivals *arrivalSet, e *ending) {
	if l.limit == 0 || e.arrival == "" {
		return
	}
	key, ok := arrivals.parse(e.arrival)
	if !ok || len(e.run) > MaxName {
		return
	}
	run := arrivals.run(e.run)
	if run == nil || len(l.kept) >= l.limit {
		l.dropped++
		return
	}
	seen := requestSeen{
		run: run, key: key, begun: e.begun, first: -1, last: -1, end: e.begun + e.latency,
		events: uint32(e.events), tokens: uint32(e.completion), route: e.route, outcome: e.outcome,
	}
	if e.streamed && e.completion > 0 {
		seen.first, seen.last = e.begun+e.ttft, e.last
	}
	l.kept = append(l.kept, seen)
}

// list returns the requests of a run (empty: of all), in the order in which they ended.
func (l *requestLog) list(arrivals *arrivalSet, run string) []RequestTruth {
	list := make([]RequestTruth, 0, len(l.kept))
	for i := range l.kept {
		r := &l.kept[i]
		if run != "" && r.run.name != run {
			continue
		}
		list = append(list, RequestTruth{
			Run: r.run.name, Arrival: arrivals.format(r.key), Route: r.route.String(), Outcome: r.outcome.String(),
			BegunNS: r.begun, FirstNS: r.first, LastNS: r.last, EndNS: r.end, Events: r.events, Tokens: r.tokens,
		})
	}
	return list
}
