// Package record counts what an agent measures.
//
// Workers record outcomes into shards. A shard is taken by one compare-and-swap, written with
// plain additions and given back, so nobody ever waits for a lock, and a worker that the
// scheduler stops while it holds a shard only makes the others use other shards. Swap exchanges
// what the shards have gathered, one pointer each, and adds it up outside. Because all of it is
// addition of whole numbers, the sum does not depend on which shard saw what.
//
// Totals are counted beside the windows in counters that no swap ever touches: that the windows
// add up to them shows that none was lost.
//
// The package is pure: time comes in as instants. All methods may be called at the same time.
package record

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Limits on what an agent keeps and sends.
const (
	// MaxRecords bounds the request records of one window, whatever the scenario asks for.
	MaxRecords = 100_000
	// MaxSeries bounds the series (phase × workload × metric) of a run.
	MaxSeries = 1000
	// maxIdle is the number of swaps for which the memory of a (phase, workload) without
	// values is kept.
	maxIdle = 10
)

// Span is the time in which a phase offers its load, in nanoseconds since the run's start.
type Span struct {
	// Start belongs to the span, End does not; math.MaxInt64: the end is not known.
	Start, End int64
}

// Config says what to record and how.
type Config struct {
	// Scenario is validated and has its defaults filled in.
	Scenario *pb.Scenario
	// Spans holds one entry a phase.
	Spans []Span
	// Seed of the sample of request records: the run's.
	Seed uint64
	// Shards is at least 1; more than twice the processors make taking one free of waits. It is
	// rounded up to a power of two.
	Shards int
	// Records is the number of request records kept a window; negative: all, up to MaxRecords.
	Records int
	// Start is the beginning of the first window.
	Start measure.Instant
}

// Recorder counts. It is made by New.
type Recorder struct {
	workloads int
	phases    atomic.Pointer[layout] // replaced when phases are appended or end elsewhere
	bounds    [][]bound              // of a good request; by workload
	streams   []bool                 // answers are streams of tokens; by workload
	drain     measure.Instant
	seed      uint64
	limit     int

	shards []shard // the last one is for arrivals alone
	mask   uint64

	swapping sync.Mutex // guards everything below
	windows  windows
}

// New returns a recorder for the scenario.
func New(cfg Config) *Recorder {
	limit := cfg.Records
	if limit < 0 || limit > MaxRecords {
		limit = MaxRecords
	}
	shards := 1
	for shards < cfg.Shards {
		shards <<= 1
	}
	phases := len(cfg.Scenario.GetLoad())
	r := &Recorder{
		workloads: len(cfg.Scenario.GetWorkloads()),
		bounds:    compileGood(cfg.Scenario),
		streams:   streams(cfg.Scenario),
		drain:     measure.Instant(cfg.Scenario.GetDrain().AsDuration()),
		seed:      cfg.Seed,
		limit:     limit,
		shards:    make([]shard, shards+1),
		mask:      uint64(shards - 1),
	}
	r.phases.Store(newLayout(cfg.Scenario, cfg.Spans))
	for i := range r.shards {
		r.shards[i] = shard{active: newSet(limit), spare: newSet(limit), totals: make(map[pair]*counters)}
	}
	r.shards[shards].cursors = make([]uint64, phases)
	r.windows = newWindows(phases, cfg.Start, limit)
	return r
}

// shard is written by whoever holds it.
type shard struct {
	held   atomic.Bool
	active *set
	totals map[pair]*counters
	values uint64 // recorded into series over the whole run

	cursors []uint64 // by phase, of the shard for arrivals: the number after the last arrival that was counted

	spare *set // empty; the swap's

	_ [64]byte // keeps neighbours off this cache line
}

// take returns a shard that nobody else holds, hint's if it is free.
func (r *Recorder) take(hint uint64) *shard {
	for i := hint; ; i++ {
		s := &r.shards[i&r.mask]
		if s.held.CompareAndSwap(false, true) {
			return s
		}
		if i-hint == r.mask {
			// All are held, so some holder is waiting for a processor: let it have this one.
			runtime.Gosched()
			hint = i + 1
		}
	}
}

// takeThis waits until this shard is free; holders give it back within a microsecond or so.
func (s *shard) takeThis() {
	for !s.held.CompareAndSwap(false, true) {
		runtime.Gosched()
	}
}

func (s *shard) give() { s.held.Store(false) }

// hold takes a shard and returns it with its counts for a pair. Indexes that the scenario does
// not have panic before anything is held.
func (r *Recorder) hold(hint uint64, phase, workload int) (*shard, *group) {
	admitted := r.phases.Load().admitted[phase*r.workloads+workload]
	s := r.take(hint)
	return s, s.pair(phase, workload, admitted)
}

// pair returns the counts of a shard that is held for a pair.
func (s *shard) pair(phase, workload int, admitted uint32) *group {
	p := pair{uint32(phase), uint32(workload)}
	g := s.active.group(p)
	if g.totals == nil {
		g.admitted = admitted
		if g.totals = s.totals[p]; g.totals == nil {
			g.totals = new(counters)
			s.totals[p] = g.totals
		}
	}
	return g
}

// Due counts n arrivals that fell due.
func (r *Recorder) Due(phase, workload int, n uint64) { r.count(phase, workload, due, n) }

func (r *Recorder) count(phase, workload int, c counter, n uint64) {
	s, g := r.hold(uint64(c), phase, workload)
	g.count(c, n)
	s.give()
}

// Started counts an arrival whose session starts at the given instant, opens it in the count of
// what is in flight, and counts its first request as sent. Every started session must end in
// SessionEnded, and its first request in Record.
func (r *Recorder) Started(phase, workload int, at measure.Instant) {
	s, g := r.hold(uint64(at), phase, workload)
	g.count(started, 1)
	g.count(requestsSent, 1)
	g.open++
	g.balance -= uint64(at)
	s.give()
	r.phases.Load().flows[phase].begin()
}

// Late records the lateness in nanoseconds of an arrival that never gets a request, such as a
// missed one. Record takes care of the lateness of every other.
func (r *Recorder) Late(phase, workload int, late int64) {
	s, g := r.hold(uint64(late), phase, workload)
	s.value(g, measure.Lateness, measure.Micros(late))
	s.give()
}

// SessionEnded counts a session that was started: class is empty for success, ClassCanceled, or
// the class of its failure. due and end are the due instant of the session and the end of its
// last request.
func (r *Recorder) SessionEnded(phase, workload int, due, end measure.Instant, class string) {
	r.phases.Load().flows[phase].end()
	s, g := r.hold(uint64(end), phase, workload)
	g.open--
	g.balance += uint64(end)
	switch class {
	case "":
		g.count(sessionsSucceeded, 1)
		s.value(g, measure.Session, measure.Micros(int64(end-due)))
	case measure.ClassCanceled:
		g.count(sessionsCanceled, 1)
	default:
		g.count(sessionsFailed, 1)
	}
	s.give()
}

// Record counts one request that has ended, with every value it adds to a series. It allocates
// nothing once the memory for its series is there.
func (r *Recorder) Record(o *measure.Outcome) {
	hash := measure.Rank(r.seed, uint32(o.Phase), o.Turn, o.ID)
	request := request{
		good: goodness{bounds: r.bounds[o.Workload]}, inSpan: r.inSpan(o), drain: r.drain, streams: r.streams[o.Workload],
	}
	s, g := r.hold(hash, o.Phase, o.Workload)
	before := g.window[overRange]
	o.Values(func(series measure.Series, v uint64) {
		s.value(g, series, v)
		request.good.see(series, v)
	})
	request.overRange = g.window[overRange] - before
	g.window.request(o, &request)
	g.totals.request(o, &request)
	if o.Failed() {
		g.fail(o.Class, o.Err, hash, 1)
	}
	s.active.sample.offer(o, hash)
	s.give()
}

func (r *Recorder) inSpan(o *measure.Outcome) bool {
	span := r.phases.Load().spans[o.Phase]
	return int64(o.End) >= span.Start && int64(o.End) < span.End
}
