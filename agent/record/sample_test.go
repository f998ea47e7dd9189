package record

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func TestRecordOfARequest(t *testing.T) {
	r := recorder(1, 10)
	r.Record(answered(3, func(o *measure.Outcome) {
		o.Phase, o.Workload, o.Turn, o.Status = 1, 1, 2, 200
		o.ID.Slot, o.ID.Epoch = 4, 1
		o.Body = []byte("an answer")
	}))
	got := r.Swap(5 * ms).GetRecords()
	want := []*pb.RequestRecord{pb.RequestRecord_builder{
		Phase: 1, Workload: 1, Arrival: 3, Slot: 4, Epoch: 1, Turn: 2, DueUs: 3000,
		DispatchedUs: 10, ConnectedUs: 110, SentUs: 120, FirstByteUs: 400, FirstTokenUs: 500, LastTokenUs: 900, EndUs: 1000,
		ContentEvents: 3, InputTokens: 50, OutputTokens: 4, Status: 200, NewConnection: true, Body: "an answer",
	}.Build()}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Errorf("want -, got +:\n%s", d)
	}
}

func TestRecordOfWhatWasNotReached(t *testing.T) {
	r := recorder(1, 10)
	var o measure.Outcome
	o.Reset()
	o.Due, o.Dispatched = 3*ms, 2*ms // early by a clock's whim: 0, for below 0 would mean not reached
	o.Fail(9*ms, measure.ClassConnect, "refused")
	r.Record(&o)
	got := r.Swap(10 * ms).GetRecords()
	want := []*pb.RequestRecord{pb.RequestRecord_builder{
		DueUs: 3000, DispatchedUs: 0, ConnectedUs: -1, SentUs: -1, FirstByteUs: -1, FirstTokenUs: -1, LastTokenUs: -1, EndUs: 6000,
		Class: measure.ClassConnect, Error: "refused",
	}.Build()}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Errorf("want -, got +:\n%s", d)
	}
}

// The sample is the first records by (failure, hash) of all requests of the window, whatever the
// shards and the order in which requests end.
func TestSampleDependsOnTheRequestsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(0, 12).Draw(t, "limit")
		outcomes := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) *measure.Outcome {
			return answered(rapid.Uint64Range(0, 1000).Draw(t, "number"), func(o *measure.Outcome) {
				if rapid.IntRange(0, 3).Draw(t, "failed") == 0 {
					failed(o)
				}
			})
		}), 0, 60, func(o *measure.Outcome) uint64 { return o.ID.Number }).Draw(t, "outcomes")
		r := recorder(8, limit)
		for _, o := range outcomes {
			busy := hold(r, rapid.Uint64().Draw(t, "busy"))
			r.Record(o)
			free(busy)
		}
		w := r.Swap(1000 * ms)

		slices.SortFunc(outcomes, func(a, b *measure.Outcome) int {
			var x, y entry
			x.fill(a, r.hash(a))
			y.fill(b, r.hash(b))
			return x.compare(&y)
		})
		var want, got []uint64
		for _, o := range outcomes[:min(limit, len(outcomes))] {
			want = append(want, o.ID.Number)
		}
		for _, record := range w.GetRecords() {
			got = append(got, record.GetArrival())
		}
		if !slices.Equal(got, want) {
			t.Fatalf("kept %v, want %v", got, want)
		}
		if left := w.GetRecordsLeftOut(); left != uint64(len(outcomes)-len(want)) {
			t.Fatalf("%d left out of %d, with %d kept", left, len(outcomes), len(want))
		}
	})
}

func TestFailuresComeFirst(t *testing.T) {
	r := recorder(4, 3)
	for n := range uint64(100) {
		o := answered(n)
		switch n {
		case 40, 50:
			failed(o)
		case 60, 70, 80:
			o.Class = measure.ClassCanceled // not a failure
		}
		r.Record(o)
	}
	records := r.Swap(1000 * ms).GetRecords()
	if len(records) != 3 || records[0].GetClass() != measure.ClassReset || records[1].GetClass() != measure.ClassReset || records[2].GetClass() == measure.ClassReset {
		t.Errorf("got %v", records)
	}
}

func TestHashTellsRequestsApart(t *testing.T) {
	r, other := recorder(1, 0), New(Config{Scenario: scenario(1, 1), Seed: 8, Shards: 1})
	seen := map[uint64]string{}
	note := func(what string, hash uint64) {
		if before, twice := seen[hash]; twice {
			t.Errorf("%s has the hash of %s", what, before)
		}
		seen[hash] = what
	}
	o := answered(1)
	note("request", r.hash(o))
	note("other seed", other.hash(o))
	o.ID.Number = 2
	note("other number", r.hash(o))
	o.Turn = 1
	note("other turn", r.hash(o))
	o.Phase = 1
	note("other phase", r.hash(o))
	o.ID.Slot = 1
	note("other slot", r.hash(o))
	o.ID.Epoch = 1
	note("other epoch", r.hash(o))
}

func TestAllRecords(t *testing.T) {
	r := recorder(2, -1)
	for n := range uint64(3000) {
		r.Record(answered(n))
	}
	w := r.Swap(5000 * ms)
	if len(w.GetRecords()) != 3000 || w.GetRecordsLeftOut() != 0 {
		t.Errorf("%d kept, %d left out of 3000", len(w.GetRecords()), w.GetRecordsLeftOut())
	}
	if got := recorder(1, MaxRecords+1).limit; got != MaxRecords {
		t.Errorf("limit %d", got)
	}
}

// Bodies are large; a window must fit a message all the same.
func TestRecordsHaveALimitInBytes(t *testing.T) {
	r := recorder(2, -1)
	body := []byte(strings.Repeat("x", measure.MaxBody))
	for n := range uint64(100) {
		r.Record(answered(n, func(o *measure.Outcome) { o.Body = body }))
	}
	w := r.Swap(1000 * ms)
	if kept := len(w.GetRecords()); kept != 31 || w.GetRecordsLeftOut() != 69 {
		t.Errorf("%d kept and %d left out; %d bodies of %d bytes fit %d", kept, w.GetRecordsLeftOut(), 31, len(body), measure.MaxRecordBytes)
	}
}

func TestLargeSampleGivesItsMemoryBack(t *testing.T) {
	s := sample{limit: MaxRecords}
	for n := range uint64(10_000) {
		s.offer(answered(n), n)
	}
	s.reset()
	s.offer(answered(1), 1)
	s.reset()
	if cap(s.kept) > smallSample {
		t.Errorf("room for %d entries is kept", cap(s.kept))
	}
}
