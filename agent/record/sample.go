package record

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// entry is what is kept of one request.
type entry struct {
	place            measure.Place
	workload, status uint32

	due, dispatched, connected, sent, firstByte, firstToken, lastToken, end measure.Instant

	events, inputTokens, outputTokens uint64

	class, err, body string
	newConnection    bool
}

// compare orders entries by which is kept first.
func (e *entry) compare(o *entry) int { return e.place.Compare(&o.place) }

// sample keeps the first limit entries by that order out of any number offered.
type sample struct {
	limit int
	seen  uint64
	// kept is a plain list until it is full, then a heap with the last by order at its root.
	kept []entry
}

// offer keeps the request if it is among the first by order so far.
func (s *sample) offer(o *measure.Outcome, hash uint64) {
	s.seen++
	if len(s.kept) < s.limit {
		s.kept = append(s.kept, entry{})
		s.kept[len(s.kept)-1].fill(o, hash)
		if len(s.kept) == s.limit {
			for i := len(s.kept)/2 - 1; i >= 0; i-- {
				s.sink(i)
			}
		}
		return
	}
	if s.limit == 0 || !s.displaces(o, hash) {
		return
	}
	s.kept[0].fill(o, hash)
	s.sink(0)
}

// displaces reports whether the request goes before the last one kept.
func (s *sample) displaces(o *measure.Outcome, hash uint64) bool {
	candidate := placeOf(o, hash)
	return candidate.Compare(&s.kept[0].place) < 0
}

// sink restores the heap below i.
func (s *sample) sink(i int) {
	for {
		last := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(s.kept); child++ {
			if s.kept[child].compare(&s.kept[last]) > 0 {
				last = child
			}
		}
		if last == i {
			return
		}
		s.kept[i], s.kept[last] = s.kept[last], s.kept[i]
		i = last
	}
}

// smallSample is the number of entries whose memory is kept whatever was used of it.
const smallSample = 1024

func (s *sample) reset() {
	s.seen = 0
	if cap(s.kept) > smallSample && len(s.kept) < cap(s.kept)/4 {
		s.kept = nil
		return
	}
	clear(s.kept) // lets go of the texts
	s.kept = s.kept[:0]
}

func placeOf(o *measure.Outcome, hash uint64) measure.Place {
	return measure.Place{Rank: hash, Failed: o.Failed(), Phase: uint32(o.Phase), Turn: o.Turn, ID: o.ID}
}

func (e *entry) fill(o *measure.Outcome, hash uint64) {
	*e = entry{
		place: placeOf(o, hash), workload: uint32(o.Workload), status: o.Status,
		due: o.Due, dispatched: o.Dispatched, connected: o.Connected, sent: o.Sent, firstByte: o.FirstByte,
		firstToken: o.FirstToken(), lastToken: o.LastToken(), end: o.End,
		events: uint64(len(o.Events)), inputTokens: o.InputTokens, outputTokens: o.OutputTokens,
		class: o.Class, err: o.Err, newConnection: o.NewConnection,
	}
	if len(o.Body) > 0 { // only where the scenario asked to keep it
		e.body = string(o.Body[:min(len(o.Body), measure.MaxBody)])
	}
}

// records returns the sample of the window and how many requests are not in it.
func (w *windows) records(limit int) (records []*pb.RequestRecord, leftOut uint64) {
	for _, s := range w.retired {
		leftOut += s.sample.seen
		for i := range s.sample.kept {
			w.entries = append(w.entries, &s.sample.kept[i])
		}
	}
	slices.SortFunc(w.entries, (*entry).compare)
	size := 0
	for _, e := range w.entries[:min(limit, len(w.entries))] {
		record := e.proto()
		if size += proto.Size(record); size > measure.MaxRecordBytes {
			break
		}
		records = append(records, record)
	}
	return records, leftOut - uint64(len(records))
}

func (e *entry) proto() *pb.RequestRecord {
	return pb.RequestRecord_builder{
		Phase: e.place.Phase, Workload: e.workload, Arrival: e.place.ID.Number, Slot: e.place.ID.Slot, Epoch: e.place.ID.Epoch, Turn: e.place.Turn,
		DueUs:         floorMicros(e.due),
		DispatchedUs:  e.after(e.dispatched),
		ConnectedUs:   e.after(e.connected),
		SentUs:        e.after(e.sent),
		FirstByteUs:   e.after(e.firstByte),
		FirstTokenUs:  e.after(e.firstToken),
		LastTokenUs:   e.after(e.lastToken),
		EndUs:         e.after(e.end),
		ContentEvents: e.events,
		InputTokens:   e.inputTokens,
		OutputTokens:  e.outputTokens,
		Class:         e.class,
		Error:         measure.CleanErr(e.err),
		Status:        e.status,
		NewConnection: e.newConnection,
		Body:          strings.ToValidUTF8(e.body, "\uFFFD"),
	}.Build()
}

// after is an instant in microseconds after the due one; -1: not reached.
func (e *entry) after(t measure.Instant) int64 {
	if !t.Reached() {
		return -1
	}
	return int64(measure.Micros(int64(t - e.due)))
}
