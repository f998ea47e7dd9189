package merge

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/loadline/loadline/coordinator/merge/mergetest"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// encoded is everything that a run holds but its events, as bytes.
func encoded(r *Run) []byte {
	var out []byte
	for m := range r.Records() {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			panic(err) // our own messages
		}
		out = protowire.AppendBytes(out, data)
	}
	return out
}

// restored is a run made from what another one holds.
func restored(t tester, r *Run) *Run {
	t.Helper()
	fresh := newRun(t, r.Header())
	for m := range r.Records() {
		if m.HasHeader() {
			continue
		}
		if err := fresh.AddRecord(m); err != nil {
			t.Fatal(err)
		}
	}
	return fresh
}

// Wherever a run is cut into what a checkpoint holds and what comes after it, and however often, the
// result cannot be told from that of all windows.
func TestACheckpointStandsForItsWindows(t *testing.T) {
	first := play(t, mergetest.Scenario(twoPhases(), mergetest.Chat("short"), mergetest.Chat("long")), 5*time.Second, mixed)
	windows := first.sent.All()
	for i, w := range windows {
		w.SetHealth(pb.Health_builder{CpuMachine: 0.88 + float64(i%5)/100, ClockErrorBoundUs: uint64(i)}.Build())
		w.SetRecordsLeftOut(uint64(i))
		shift := int64(i/4) * 1_700_000_000 // the run is long past at its end
		w.SetStartUs(w.GetStartUs() + shift)
		w.SetEndUs(w.GetEndUs() + shift)
	}
	started := mergetest.Event(started, 0)
	rapid.Check(t, func(t *rapid.T) {
		whole, parts := newRun(t, first.header), newRun(t, first.header)
		for _, w := range rapid.Permutation(windows).Draw(t, "order") {
			for _, r := range []*Run{whole, parts} {
				if err := r.AddWindow(w); err != nil {
					t.Fatal(err)
				}
			}
			if rapid.IntRange(0, 3).Draw(t, "checkpoint") == 0 {
				parts = restored(t, parts)
			}
		}
		for _, totals := range first.sent.Totals {
			if err := whole.AddTotals(totals); err != nil {
				t.Fatal(err)
			}
			if err := parts.AddTotals(totals); err != nil {
				t.Fatal(err)
			}
		}
		parts = restored(t, parts)
		for _, r := range []*Run{whole, parts} {
			if err := r.AddEvent(started); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(encoded(whole), encoded(parts)) {
			t.Fatal("what the two hold differs")
		}
		if !bytes.Equal(canonical(whole), canonical(parts)) {
			t.Fatal("what the two show differs")
		}
	})
}

// Whoever gives a Run another field must say here that a checkpoint holds it, or why it need not.
func TestACheckpointHoldsEveryField(t *testing.T) {
	// Changes bring scenario, course, members and roster about; pending ones are in the journal, as events are.
	for _, known := range []struct {
		of     any
		fields string
	}{
		{Run{}, "header scenario course pending members roster changes groups whole agents timeline seconds inFlight lastEnd classes liveSeries " +
			"events cut cutKnown restoring duplicates lastEndUS lastSecond recordsLeftOut seriesLeftOut"},
		{Group{}, "Counters errors series"},
		{Agent{}, "Name Incarnation Health Lateness streams"},
		{stream{}, "received edges busy groups values totals"},
		{timeline{}, "kept last fine middle coarse entries recent"},
		{Entry{}, "Second Seconds Windows Health groups"},
		{entryGroup{}, "counters series"},
		{secondSum{}, "requests events judged"},
		{InFlight{}, "Max Now OpenUS"},
	} {
		of := reflect.TypeOf(known.of)
		var fields []string
		for i := range of.NumField() {
			fields = append(fields, of.Field(i).Name)
		}
		if got := strings.Join(fields, " "); got != known.fields {
			t.Errorf("%s has the fields %s; those known here are %s", of, got, known.fields)
		}
	}
}

func TestCheckpointRefuses(t *testing.T) {
	r := play(t, mergetest.Scenario(twoPhases()), 5*time.Second, mixed)
	r.addWindows(r.sent.All()...)
	parts := slices.Collect(r.parts())
	begin, end := parts[0], pb.Checkpoint_builder{End: pb.CheckpointEnd_builder{Parts: 2}.Build()}.Build()
	find := func(has func(*pb.Checkpoint) bool) *pb.Checkpoint { return parts[slices.IndexFunc(parts, has)] }
	group, agent := find((*pb.Checkpoint).HasGroup), find((*pb.Checkpoint).HasAgent)
	stretch, seconds := find((*pb.Checkpoint).HasStretch), find((*pb.Checkpoint).HasSeconds)
	shorter := proto.CloneOf(seconds)
	shorter.GetSeconds().SetJudged(nil)
	for name, bad := range map[string][]*pb.Checkpoint{
		"no begin":            {group},
		"begin twice":         {begin, begin},
		"another end":         {begin, group, end},
		"a group twice":       {begin, group, group},
		"an agent twice":      {begin, agent, agent},
		"a stretch twice":     {begin, stretch, stretch},
		"a second twice":      {begin, seconds, seconds},
		"columns that differ": {begin, shorter},
		"nothing":             {begin, {}},
	} {
		fresh := newRun(t, r.header)
		var err error
		for _, part := range bad {
			if err != nil {
				t.Fatalf("%s: refused too early: %v", name, err)
			}
			err = fresh.AddCheckpoint(part)
		}
		if err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
	fresh := newRun(t, r.header)
	if err := fresh.AddCheckpoint(begin); err != nil {
		t.Fatal(err)
	}
	if fresh.AddWindow(r.sent.All()[0]) == nil || fresh.AddTotals(r.sent.Totals[0]) == nil {
		t.Error("a window or totals are taken before the checkpoint has ended")
	}
	if err := r.AddCheckpoint(begin); err == nil {
		t.Error("a run that has windows takes a checkpoint")
	}
}

// Whatever stands in a checkpoint, taking it never panics, and neither does what is computed from it.
func FuzzCheckpoint(f *testing.F) {
	r := play(f, mergetest.Scenario(twoPhases()), 5*time.Second, mixed)
	r.addWindows(r.sent.All()...)
	r.addTotals(r.sent.Totals...)
	f.Add(encoded(r.Run))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		fresh := newRun(t, r.header)
		for len(data) > 0 {
			body, n := protowire.ConsumeBytes(data)
			if n < 0 {
				return
			}
			data = data[n:]
			var m pb.JournalRecord
			if proto.Unmarshal(body, &m) != nil || m.HasHeader() {
				continue
			}
			if fresh.AddRecord(&m) != nil {
				return
			}
		}
		// The ledger, which may walk millions of arrivals, has its own limits.
		fresh.LiveLedger()
		for e := range fresh.Timeline() {
			fresh.OpenIn(e)
		}
		encoded(fresh)
	})
}
