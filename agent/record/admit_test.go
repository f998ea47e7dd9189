package record

import (
	"fmt"
	"math/bits"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// modelSeries are those that the targets of these tests can yield: they have no TLS and make no calls.
func modelSeries() uint32 { return everySeries() &^ (1<<measure.TLS | 1<<measure.RoundTrip) }

func admittedIn(sets []uint32) int {
	n := 0
	for _, s := range sets {
		n += bits.OnesCount32(s)
	}
	return n
}

func TestFewSeriesAreAllAdmitted(t *testing.T) {
	for i, got := range admit(scenario(6, 7), MaxSeries) { // 1,000 are enough for those of 42 pairs
		if got&modelSeries() != modelSeries() {
			t.Errorf("pair %d has %b", i, got)
		}
	}
}

func TestManySeriesAreAdmittedByImportance(t *testing.T) {
	s := scenario(100, 3, func(s *pb.Scenario) {
		s.SetSlo([]*pb.Objective{objective("wait", lt, 1), objective("error_rate", lt, 1), objective("wait", lt, 2)})
	})
	sets := admit(s, MaxSeries)
	if n := admittedIn(sets); n != MaxSeries {
		t.Errorf("%d series are admitted", n)
	}
	for i, got := range sets {
		// The objective's, then lateness and read_lag for all 300 pairs; e2e for the first 100.
		want := uint32(1<<measure.Wait | 1<<measure.Lateness | 1<<measure.ReadLag)
		if i < 100 {
			want |= 1 << measure.E2E
		}
		if got != want {
			t.Fatalf("pair %d has %b, want %b", i, got, want)
		}
	}
}

// Room is not spent on what cannot come.
func TestSeriesThatCannotComeAreAdmittedLast(t *testing.T) {
	s := scenario(2, 3, func(s *pb.Scenario) {
		s.SetTargets(append(s.GetTargets(), pb.Target_builder{Name: proto.String("api"), Protocol: pb.Protocol_PROTOCOL_HTTP.Enum()}.Build()))
		s.GetWorkloads()[0].SetTarget("api")
		s.GetWorkloads()[1].SetStream(false)
		s.GetLoad()[1].SetWorkloads([]string{"workload-2"})
	})
	const http, plain, streamed = 11, 13, 20
	sets := admit(s, http+2*plain+streamed)
	for i, want := range []int{http, plain, streamed, 0, plain, 0} {
		if got := bits.OnesCount32(sets[i]); got != want {
			t.Errorf("pair %d has %d series, want %d", i, got, want)
		}
	}
	if sets[0]&streamSeries != 0 {
		t.Errorf("http has series of streams: %b", sets[0])
	}
	if n := admittedIn(admit(s, MaxSeries)); n != 4*len(measure.All()) {
		t.Errorf("with room for all, %d are admitted", n)
	}
}

// The series of the kernel's stamps are expected where they are asked for, and of streams alone.
func TestSeriesOfStampsOnRequest(t *testing.T) {
	for _, asked := range []bool{false, true} {
		s := scenario(1, 2, func(s *pb.Scenario) {
			s.SetCapture(pb.Capture_builder{Wire: &asked}.Build())
			s.GetWorkloads()[1].SetStream(false)
		})
		sets := likelySeries(s)
		if got := sets[0]&wireSeries == wireSeries; got != asked {
			t.Errorf("asked for: %t, expected of a stream: %t", asked, got)
		}
		if sets[1]&wireSeries != 0 {
			t.Errorf("expected of what does not stream: %b", sets[1])
		}
	}
}

func TestValuesOfOtherSeriesAreCountedAsLeftOut(t *testing.T) {
	s := scenario(100, 10) // 1,000 pairs: lateness for each, nothing else
	r := New(Config{Scenario: s, Spans: make([]Span, 100), Shards: 2})
	var values uint64
	o := answered(1)
	o.Values(func(measure.Series, uint64) { values++ })
	for n := range uint64(10) {
		o.ID.Number, o.Phase = n, int(n)
		r.Record(o)
	}
	w := r.Swap(10 * ms)
	if got, want := w.GetSeriesLeftOut(), 10*(values-1); got != want {
		t.Errorf("%d values left out, want %d", got, want)
	}
	if got := r.Totals().GetValues(); got != 10 {
		t.Errorf("the totals know of %d values, want 10", got)
	}
	for _, g := range w.GetGroups() {
		if len(g.GetSeries()) != 1 || g.GetSeries()[0].GetSeries() != pb.Series_SERIES_LATENESS {
			t.Error(fmt.Sprint("series ", g.GetSeries()))
		}
		if g.GetCounters().GetGood() != 1 {
			t.Error("what is not kept is judged all the same")
		}
	}
	if left := r.Swap(20 * ms).GetSeriesLeftOut(); left != 0 {
		t.Errorf("%d left out of an empty window", left)
	}
}
