package record

import (
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// windows is what lives from one swap to the next.
type windows struct {
	since   int64 // end of the last window, in µs since the run's start
	sum     *set
	retired []*set
	entries []*entry
	levels  []level // by phase
	cursors []uint64
}

func newWindows(phases int, start measure.Instant, limit int) windows {
	return windows{since: floorMicros(start), sum: newSet(limit), levels: make([]level, phases)}
}

// floorMicros converts an instant, which may be negative, to microseconds, rounded down.
func floorMicros(t measure.Instant) int64 {
	us := int64(t) / 1000
	if int64(t)%1000 < 0 {
		us--
	}
	return us
}

// Swap returns everything that was recorded since the last swap. The window runs from the end
// of the one before to now, which should be later. Who calls it fills in run, agent,
// incarnation, sequence and health.
func (r *Recorder) Swap(now measure.Instant) *pb.Window {
	r.swapping.Lock()
	defer r.swapping.Unlock()
	w := &r.windows
	for i := range r.shards {
		s := &r.shards[i]
		w.cursors = s.exchange(w.cursors[:0])
		w.retired = append(w.retired, s.spare)
	}
	for _, s := range w.retired {
		w.sum.merge(s)
	}
	end := max(floorMicros(now), w.since+1)
	b := pb.Window_builder{
		StartUs:       w.since,
		EndUs:         end,
		Groups:        w.sum.proto(),
		InFlight:      r.inFlight(now),
		SeriesLeftOut: w.sum.leftOut,
		Cursors:       r.cursors(w.cursors, end),
	}
	b.Records, b.RecordsLeftOut = w.records(r.limit)
	w.since = end
	w.reset()
	return b.Build()
}

// exchange puts what was recorded aside, as spare, and appends the cursors to a list. It is all that a worker may have to wait for
// when a window ends.
func (s *shard) exchange(cursors []uint64) []uint64 {
	s.takeThis()
	defer s.give()
	s.active, s.spare = s.spare, s.active
	return append(cursors, s.cursors...)
}

func (w *windows) reset() {
	w.sum.reset()
	for _, s := range w.retired {
		s.reset()
	}
	clear(w.retired)
	w.retired = w.retired[:0]
	clear(w.entries)
	w.entries = w.entries[:0]
}

// inFlight adds the window's sessions to the levels of their phases.
func (r *Recorder) inFlight(now measure.Instant) []*pb.InFlight {
	flows := r.phases.Load().flows
	for len(r.windows.levels) < len(flows) {
		r.windows.levels = append(r.windows.levels, level{})
	}
	levels := r.windows.levels
	for p, g := range r.windows.sum.groups {
		levels[p.phase].open += g.open
		levels[p.phase].balance += g.balance
	}
	var out []*pb.InFlight
	for phase := range levels {
		peak, openUS, open := levels[phase].advance(flows[phase], uint64(now))
		if peak > 0 || openUS > 0 {
			out = append(out, pb.InFlight_builder{Phase: uint32(phase), Max: peak, OpenUs: openUS, Now: open}.Build())
		}
	}
	return out
}

// Totals returns what was counted over the whole run, apart from the windows. Who calls it fills
// in run, agent, incarnation and the number of the last window.
func (r *Recorder) Totals() *pb.Totals {
	sum := newSet(0)
	var values uint64
	var cursors []uint64
	for i := range r.shards {
		s := &r.shards[i]
		s.takeThis()
		for p, c := range s.totals {
			sum.group(p).window.add(c)
		}
		values += s.values
		cursors = append(cursors[:0], s.cursors...)
		s.give()
	}
	r.swapping.Lock()
	defer r.swapping.Unlock()
	return pb.Totals_builder{Groups: sum.proto(), Values: values, Cursors: r.cursors(cursors, r.windows.since)}.Build()
}
