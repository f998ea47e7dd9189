package measure

import (
	"bytes"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// drawRecords draws the records of some windows; no two are of the same request.
func drawRecords(t *rapid.T) (windows [][]*pb.RequestRecord, all []*pb.RequestRecord) {
	for i := range rapid.IntRange(2, 6).Draw(t, "windows") {
		var records []*pb.RequestRecord
		for k := range rapid.IntRange(0, 6).Draw(t, "records") {
			records = append(records, pb.RequestRecord_builder{
				Phase: rapid.Uint32Range(0, 1).Draw(t, "phase"), Arrival: uint64(i*100 + k),
				Slot: rapid.Uint32Range(0, 2).Draw(t, "slot"), Turn: rapid.Uint32Range(0, 1).Draw(t, "turn"),
				Class: rapid.SampledFrom([]string{"", "", ClassReset, ClassCanceled}).Draw(t, "class"),
			}.Build())
		}
		windows, all = append(windows, records), append(all, records...)
	}
	return windows, all
}

func isFailure(r *pb.RequestRecord) bool { return r.GetClass() == ClassReset }

// Whichever neighbours are joined first, the same records stay: those that one window of the limit would have kept.
func TestThinDoesNotDependOnItsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit, seed := rapid.IntRange(0, 8).Draw(t, "limit"), rapid.Uint64().Draw(t, "seed")
		windows, all := drawRecords(t)
		whole, out := Thin(seed, limit, nil, all)
		dropped := uint64(0)
		for len(windows) > 1 {
			at := rapid.IntRange(0, len(windows)-2).Draw(t, "pair")
			before := slices.Clone(windows[at])
			kept, n := Thin(seed, limit, windows[at], windows[at+1])
			if !slices.Equal(before, windows[at]) {
				t.Fatal("joining changed what was joined")
			}
			windows, dropped = slices.Replace(windows, at, at+2, kept), dropped+n
		}
		if !slices.Equal(windows[0], whole) || dropped != out {
			t.Fatalf("%d kept and %d dropped piece by piece, %d and %d at once", len(windows[0]), dropped, len(whole), out)
		}
	})
}

// Failures go before others, and among their like the smallest ranks are kept, in order.
func TestThinKeepsTheFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit, seed := rapid.IntRange(0, 8).Draw(t, "limit"), rapid.Uint64().Draw(t, "seed")
		_, all := drawRecords(t)
		kept, dropped := Thin(seed, limit, all, nil)
		if len(kept) != min(limit, len(all)) || int(dropped) != len(all)-len(kept) {
			t.Fatalf("%d kept and %d dropped of %d, limit %d", len(kept), dropped, len(all), limit)
		}
		rank := func(r *pb.RequestRecord) uint64 {
			return Rank(seed, r.GetPhase(), r.GetTurn(), ID{Number: r.GetArrival(), Slot: r.GetSlot(), Epoch: r.GetEpoch()})
		}
		for i, r := range all {
			if slices.Contains(kept, r) {
				continue
			}
			for _, k := range kept {
				if isFailure(r) && !isFailure(k) || isFailure(r) == isFailure(k) && rank(r) < rank(k) {
					t.Fatalf("record %d was dropped, and one that comes after it was kept", i)
				}
			}
		}
		for i := 1; i < len(kept); i++ {
			if !isFailure(kept[i-1]) && isFailure(kept[i]) {
				t.Fatal("a failure comes after a success")
			}
		}
	})
}

func TestThinBoundsBytes(t *testing.T) {
	record := func(n uint64) *pb.RequestRecord {
		return pb.RequestRecord_builder{Arrival: n, Body: string(bytes.Repeat([]byte("x"), MaxRecordBytes/3))}.Build()
	}
	kept, dropped := Thin(1, 10, []*pb.RequestRecord{record(1), record(2)}, []*pb.RequestRecord{record(3), record(4)})
	size := 0
	for _, r := range kept {
		size += proto.Size(r)
	}
	if len(kept) != 2 || dropped != 2 || size > MaxRecordBytes {
		t.Errorf("%d kept of %d bytes, %d dropped, want 2 and 2", len(kept), size, dropped)
	}
}

// Requests whose ranks are equal still have an order.
func TestPlacesOfEqualRankDiffer(t *testing.T) {
	base := Place{Rank: 7, Phase: 1, Turn: 1, ID: ID{Number: 1, Slot: 1, Epoch: 1}}
	for name, change := range map[string]func(*Place){
		"failed": func(p *Place) { p.Failed = true },
		"rank":   func(p *Place) { p.Rank-- }, "phase": func(p *Place) { p.Phase-- }, "turn": func(p *Place) { p.Turn-- },
		"number": func(p *Place) { p.ID.Number-- }, "slot": func(p *Place) { p.ID.Slot-- }, "epoch": func(p *Place) { p.ID.Epoch-- },
	} {
		other := base
		change(&other)
		if other.Compare(&base) != -1 || base.Compare(&other) != 1 || base.Compare(&base) != 0 {
			t.Errorf("%s does not tell two requests apart", name)
		}
	}
}
