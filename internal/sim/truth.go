package sim

import (
	"strconv"
	"sync"
	"time"

	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
)

// Truth is what the simulator did since it was made or last reset. Durations are in microseconds.
type Truth struct {
	// StartedTime and ElapsedSeconds bound the count.
	StartedTime    time.Time `json:"started_time"`
	ElapsedSeconds float64   `json:"elapsed_seconds"`
	// InFlight is the number of requests in progress, InFlightMax the most there were.
	InFlight    int64 `json:"in_flight"`
	InFlightMax int64 `json:"in_flight_max"`
	// Routes tells of chat, completions and echo, and of grpc_echo and grpc_generate.
	Routes map[string]RouteTruth `json:"routes"`
	// Statuses counts answers by status, calls of gRPC by code as grpc_ok; "none" are requests that ended without one.
	Statuses map[string]uint64 `json:"statuses"`
	// PromptTokens and CompletionTokens are those of requests that have ended; the latter as written.
	PromptTokens     uint64 `json:"prompt_tokens"`
	CompletionTokens uint64 `json:"completion_tokens"`
	// TTFT is the time from the arrival of a streamed request (its header is read) to the write of
	// its first content event, and ITL that between the writes of content events; events of one
	// write are 0 apart. Both are taken right before the socket is written to and counted when the answer ends.
	TTFT Quantiles `json:"ttft"`
	ITL  Quantiles `json:"itl"`
	// Faults counts the faults injected by kind; a freeze counts when it begins.
	Faults map[string]uint64 `json:"faults"`
	// Arrivals counts requests over time.
	Arrivals Timeline `json:"arrivals"`
	// Runs tells of the X-Loadline-Arrival headers seen, by run. ArrivalsFull says that there was
	// no room for ArrivalsDropped more, ArrivalsUnread counts headers that make no sense.
	Runs            []RunTruth `json:"runs"`
	ArrivalsFull    bool       `json:"arrivals_full"`
	ArrivalsDropped uint64     `json:"arrivals_dropped"`
	ArrivalsUnread  uint64     `json:"arrivals_unread"`
	// RequestsKept counts the requests that GET /truth/requests lists, RequestsDropped those that there was no
	// room for; both 0 where Config.Requests is.
	RequestsKept    uint64 `json:"requests_kept"`
	RequestsDropped uint64 `json:"requests_dropped"`
	// Batching tells of the engine; nil under the fixed law.
	Batching *BatchingTruth `json:"batching,omitempty"`
}

// RouteTruth counts the requests of one route: Begun = Completed + Refused + Broken + Canceled +
// those in progress.
type RouteTruth struct {
	Begun uint64 `json:"begun"`
	// Completed were answered as they should, Refused with a status of 400 or more, Broken by a
	// fault that spoiled the answer, Canceled by the client or the end of the server.
	Completed uint64 `json:"completed"`
	Refused   uint64 `json:"refused"`
	Broken    uint64 `json:"broken"`
	Canceled  uint64 `json:"canceled"`
	// Latency of those completed, from arrival to the last write.
	Latency Quantiles `json:"latency"`
}

// Quantiles sums up a distribution, in microseconds. The quantiles are those of package hist.
type Quantiles struct {
	Count uint64  `json:"count"`
	Min   uint64  `json:"min"`
	Max   uint64  `json:"max"`
	Mean  float64 `json:"mean"`
	P50   uint64  `json:"p50"`
	P90   uint64  `json:"p90"`
	P95   uint64  `json:"p95"`
	P99   uint64  `json:"p99"`
	P999  uint64  `json:"p999"`
}

// Timeline counts what happened in slots of 100 ms, over the last ten minutes.
type Timeline struct {
	// FirstMillis is where the first slot begins, in milliseconds since StartedTime.
	FirstMillis int64 `json:"first_ms"`
	SlotMillis  int64 `json:"slot_ms"`
	// Counts ends with the last slot in which anything happened.
	Counts []uint32 `json:"counts"`
}

// BatchingTruth tells of the engine now, of its peaks and sums since the start of the server.
type BatchingTruth struct {
	Running      int64  `json:"running"`
	RunningMax   int64  `json:"running_max"`
	Queued       int64  `json:"queued"`
	Reserved     int64  `json:"kv_reserved"`
	ReservedMax  int64  `json:"kv_reserved_max"`
	KV           int64  `json:"kv"`
	Steps        uint64 `json:"steps"`
	CachedTokens uint64 `json:"cached_tokens"`
}

// route is a route with counts of its own.
type route uint8

const (
	routeChat route = iota
	routeCompletions
	routeEcho
	routeGRPCEcho
	routeGenerate
	routes
)

func (r route) String() string {
	return [...]string{"chat", "completions", "echo", "grpc_echo", "grpc_generate"}[r]
}

// outcome is how a request ended.
type outcome uint8

const (
	outcomeCompleted outcome = iota
	outcomeRefused
	outcomeBroken
	outcomeCanceled
	outcomes
)

func (o outcome) String() string { return [...]string{"completed", "refused", "broken", "canceled"}[o] }

type routeCount struct {
	begun   uint64
	ended   [outcomes]uint64
	latency hist.Histogram
}

// ledger gathers the truth. A request takes its lock a few times, never per token: a stream keeps
// its gaps to itself until it ends.
type ledger struct {
	mu sync.Mutex
	// epoch counts resets, so that a request begun before one is not counted as ended after it.
	epoch                uint64
	start                time.Time
	origin               int64
	number               uint64
	inFlight, maxFlight  int64
	routes               [routes]routeCount
	statuses             map[int]uint64
	prompt, completion   uint64
	ttft, itl            hist.Histogram
	faults               map[Kind]uint64
	fired                [MaxFaults]uint64
	slots                [arrivalSlots]uint32
	firstSlot, lastSlot  int64
	arrivals             *arrivalSet
	requests             requestLog
	freezesBeforeTheBase uint64
}

// newLedger makes a ledger that keeps up to so many requests one by one.
func newLedger(requests int) *ledger {
	l := &ledger{requests: requestLog{limit: requests}}
	l.clear(time.Now(), 0, 0)
	return l
}

func (l *ledger) clear(start time.Time, origin int64, freezes uint64) {
	l.epoch++
	l.start, l.origin, l.freezesBeforeTheBase = start, origin, freezes
	l.number, l.maxFlight, l.prompt, l.completion = 0, l.inFlight, 0, 0
	l.routes = [routes]routeCount{}
	l.statuses, l.faults = make(map[int]uint64), make(map[Kind]uint64)
	l.fired, l.slots = [MaxFaults]uint64{}, [arrivalSlots]uint32{}
	l.firstSlot, l.lastSlot = 0, -1
	l.ttft, l.itl = hist.Histogram{}, hist.Histogram{}
	l.arrivals = newArrivalSet(MaxArrivals)
	l.requests.clear()
}

// begin numbers a request; false: there are too many in progress.
func (l *ledger) begin(r route, now int64) (number, epoch uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	number = l.number
	l.number++
	l.routes[r].begun++
	l.inFlight++
	l.maxFlight = max(l.maxFlight, l.inFlight)
	l.tick(now)
	return number, l.epoch, l.inFlight <= MaxConcurrent
}

// tick counts an arrival in its slot, clearing slots that the ring leaves behind.
func (l *ledger) tick(now int64) {
	slot := max(now-l.origin, 0) / int64(arrivalSlot)
	for l.lastSlot < slot {
		l.lastSlot = max(l.lastSlot+1, slot-arrivalSlots)
		l.slots[l.lastSlot%arrivalSlots] = 0
	}
	l.firstSlot = max(0, l.lastSlot-arrivalSlots+1)
	if slot >= l.firstSlot {
		l.slots[slot%arrivalSlots]++
	}
}

// fire counts a fault, unless its Count is used up.
func (l *ledger) fire(index int, f *Fault) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.Count > 0 && l.fired[index] >= f.Count {
		return false
	}
	l.fired[index]++
	l.faults[f.Kind]++
	return true
}

func (l *ledger) arrival(run, arrival string, body uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrivals.note(run, arrival, body)
}

// ending is what an exchange hands in when it ends.
type ending struct {
	epoch              uint64
	route              route
	outcome            outcome
	status             int
	latency            int64
	prompt, completion int
	streamed           bool
	ttft               int64
	gaps               []uint32
	// begun and last are the instants of the arrival and of the last content event, run and arrival the
	// headers, events the number of content events.
	begun, last  int64
	run, arrival string
	events       int
}

func (l *ledger) end(e *ending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	if e.epoch != l.epoch {
		return
	}
	r := &l.routes[e.route]
	r.ended[e.outcome]++
	l.statuses[e.status]++
	l.prompt += uint64(e.prompt)
	l.completion += uint64(e.completion)
	if e.outcome == outcomeCompleted {
		r.latency.Record(micros(e.latency))
	}
	if e.streamed && e.completion > 0 {
		l.ttft.Record(micros(e.ttft))
	}
	l.addGaps(e.gaps)
	l.requests.note(l.arrivals, e)
}

func (l *ledger) addGaps(gaps []uint32) {
	for _, g := range gaps {
		l.itl.Record(uint64(g))
	}
}

// spill takes the gaps of a long stream before its end.
func (l *ledger) spill(epoch uint64, gaps []uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch == l.epoch {
		l.addGaps(gaps)
	}
}

func micros(ns int64) uint64 { return uint64(max(ns, 0)) / 1000 }

// truth sums up; freezes is the number begun since the server was made.
func (l *ledger) truth(now int64, freezes uint64) Truth {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := Truth{
		StartedTime: l.start, ElapsedSeconds: float64(now-l.origin) / 1e9,
		InFlight: l.inFlight, InFlightMax: l.maxFlight,
		PromptTokens: l.prompt, CompletionTokens: l.completion,
		TTFT: quantiles(&l.ttft), ITL: quantiles(&l.itl), Arrivals: l.timeline(),
		Routes: make(map[string]RouteTruth), Statuses: make(map[string]uint64), Faults: make(map[string]uint64),
		Runs: l.arrivals.truths(), ArrivalsFull: l.arrivals.dropped > 0,
		ArrivalsDropped: l.arrivals.dropped, ArrivalsUnread: l.arrivals.unread,
		RequestsKept: uint64(len(l.requests.kept)), RequestsDropped: l.requests.dropped,
	}
	for i := range l.routes {
		r := &l.routes[i]
		t.Routes[route(i).String()] = RouteTruth{
			Begun: r.begun, Completed: r.ended[outcomeCompleted], Refused: r.ended[outcomeRefused],
			Broken: r.ended[outcomeBroken], Canceled: r.ended[outcomeCanceled], Latency: quantiles(&r.latency),
		}
	}
	for status, n := range l.statuses {
		name := "none"
		switch {
		case status >= grpcStatus:
			name = measure.GRPCClass(status - grpcStatus)
		case status > 0:
			name = strconv.Itoa(status)
		}
		t.Statuses[name] = n
	}
	for kind, n := range l.faults {
		t.Faults[string(kind)] = n
	}
	if n := freezes - l.freezesBeforeTheBase; n > 0 {
		t.Faults[string(KindFreeze)] = n
	}
	return t
}

func (l *ledger) timeline() Timeline {
	t := Timeline{FirstMillis: l.firstSlot * arrivalSlot.Milliseconds(), SlotMillis: arrivalSlot.Milliseconds(), Counts: []uint32{}}
	for slot := l.firstSlot; slot <= l.lastSlot; slot++ {
		t.Counts = append(t.Counts, l.slots[slot%arrivalSlots])
	}
	return t
}

func quantiles(h *hist.Histogram) Quantiles {
	return Quantiles{
		Count: h.Count(), Min: h.Min(), Max: h.Max(), Mean: h.Mean(),
		P50: h.Quantile(0.50), P90: h.Quantile(0.90), P95: h.Quantile(0.95), P99: h.Quantile(0.99), P999: h.Quantile(0.999),
	}
}
