package record

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/loadline/loadline/internal/hist"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// drawWindow draws a window with everything that a window may hold.
func drawWindow(t *rapid.T, i int, limit int) *pb.Window {
	small := func(name string) uint64 { return rapid.Uint64Range(0, 50).Draw(t, name) }
	w := pb.Window_builder{
		RunId: "r", Agent: "a1", Incarnation: 3, StartUs: int64(i) * 1e6, EndUs: int64(i+1) * 1e6,
		RecordsLeftOut: small("left out"), SeriesLeftOut: small("series left out"), Epoch: uint32(1 + i/4),
		Cursors: []*pb.Cursor{pb.Cursor_builder{NextArrival: uint64(i) * 10}.Build()},
	}
	for workload := range rapid.Uint32Range(0, 2).Draw(t, "workloads") {
		var h hist.Histogram
		for _, v := range rapid.SliceOfN(rapid.Uint64Range(0, 1e6), 0, 5).Draw(t, "values") {
			h.Record(v)
		}
		g := pb.Group_builder{
			Workload: workload, Counters: pb.Counters_builder{Due: small("due"), Started: small("started"), BytesOut: small("bytes")}.Build(),
			Series: []*pb.SeriesData{pb.SeriesData_builder{Series: pb.Series_SERIES_TTFT, Histogram: h.AppendBinary(nil)}.Build()},
		}
		if n := small("failures"); n > 0 {
			g.Errors = []*pb.ClassCount{pb.ClassCount_builder{
				Class: rapid.SampledFrom([]string{"http-500", "reset"}).Draw(t, "class"), Count: n,
				Example: fmt.Sprint("example ", n), ExampleHash: small("hash"),
			}.Build()}
		}
		w.Groups = append(w.Groups, g.Build())
		w.InFlight = []*pb.InFlight{pb.InFlight_builder{Max: small("max"), OpenUs: small("open"), Now: small("now")}.Build()}
	}
	for k := range rapid.IntRange(0, limit).Draw(t, "records") {
		w.Records = append(w.Records, pb.RequestRecord_builder{
			Arrival: uint64(i*100 + k), Class: rapid.SampledFrom([]string{"", "", "reset", "canceled"}).Draw(t, "end"),
		}.Build())
	}
	if rapid.Bool().Draw(t, "has health") {
		w.Health = pb.Health_builder{CpuMachine: float64(small("cpu")) / 50, CpuProcess: -1, Goroutines: small("goroutines")}.Build()
	}
	return w.Build()
}

// mergeSomehow merges neighbours in an order that the test draws, until one window is left.
func mergeSomehow(t *rapid.T, m Merger, windows []*pb.Window) *pb.Window {
	windows = slices.Clone(windows)
	for len(windows) > 1 {
		at := rapid.IntRange(0, len(windows)-2).Draw(t, "pair")
		merged, err := m.Merge(windows[at], windows[at+1])
		if err != nil {
			t.Fatal(err)
		}
		windows = slices.Replace(windows, at, at+2, merged)
	}
	return windows[0]
}

// Whichever neighbours are merged first, the result is byte for byte the same.
func TestMergeDoesNotDependOnItsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const limit = 4
		m := NewMerger(42, limit)
		var windows, before []*pb.Window
		for i := range rapid.IntRange(2, 6).Draw(t, "windows") {
			w := drawWindow(t, i, limit)
			windows, before = append(windows, w), append(before, proto.CloneOf(w))
		}
		first, second := mergeSomehow(t, m, windows), mergeSomehow(t, m, windows)
		if !proto.Equal(first, second) {
			t.Fatalf("merged in two orders:\n%v\n%v", first, second)
		}
		for i, w := range windows {
			if !proto.Equal(w, before[i]) {
				t.Fatalf("window %d was changed by merging", i)
			}
		}
		if int(first.GetMerged()) != len(windows) || first.GetStartUs() != 0 || first.GetEndUs() != int64(len(windows))*1e6 {
			t.Fatalf("merged %d windows from %d to %d", first.GetMerged(), first.GetStartUs(), first.GetEndUs())
		}
		last := windows[len(windows)-1]
		if first.GetEpoch() != last.GetEpoch() || !proto.Equal(first.GetCursors()[0], last.GetCursors()[0]) {
			t.Fatalf("epoch %d and cursors %v, want those of the last window", first.GetEpoch(), first.GetCursors())
		}
		checkRecords(t, windows, first, limit)
	})
}

// checkRecords: what is not kept is counted, and no failure is dropped for a success.
func checkRecords(t *rapid.T, windows []*pb.Window, merged *pb.Window, limit int) {
	var all, failed uint64
	for _, w := range windows {
		all += uint64(len(w.GetRecords())) + w.GetRecordsLeftOut()
		for _, r := range w.GetRecords() {
			if r.GetClass() == "reset" {
				failed++
			}
		}
	}
	kept := uint64(0)
	for _, r := range merged.GetRecords() {
		if r.GetClass() == "reset" {
			kept++
		}
	}
	if got := uint64(len(merged.GetRecords())) + merged.GetRecordsLeftOut(); got != all || len(merged.GetRecords()) > limit {
		t.Fatalf("%d records kept and %d counted, of %d", len(merged.GetRecords()), got, all)
	}
	if kept != min(failed, uint64(limit)) {
		t.Fatalf("%d failures kept of %d, limit %d", kept, failed, limit)
	}
}

func TestMergeNamesTheHistogramThatCannotBeRead(t *testing.T) {
	bad := func() *pb.Window {
		return pb.Window_builder{Groups: []*pb.Group{pb.Group_builder{
			Series: []*pb.SeriesData{pb.SeriesData_builder{Series: pb.Series_SERIES_E2E, Histogram: []byte{9}}.Build()},
		}.Build()}}.Build()
	}
	if _, err := NewMerger(1, 1).Merge(bad(), bad()); err == nil {
		t.Error("a histogram of an unknown version was merged")
	}
}

// Every counter that the schema has is added.
func TestEveryCounterIsAdded(t *testing.T) {
	var c pb.Counters
	fields := c.ProtoReflect().Descriptor().Fields()
	a, b := &pb.Counters{}, &pb.Counters{}
	for i := range fields.Len() {
		a.ProtoReflect().Set(fields.Get(i), a.ProtoReflect().NewField(fields.Get(i)))
		b.ProtoReflect().Set(fields.Get(i), protoreflect.ValueOfUint64(uint64(i+1)))
	}
	sum := addCounters(addCounters(a, b), b)
	for i := range fields.Len() {
		if got := sum.ProtoReflect().Get(fields.Get(i)).Uint(); got != 2*uint64(i+1) {
			t.Errorf("%s is %d, want %d", fields.Get(i).Name(), got, 2*(i+1))
		}
	}
}
