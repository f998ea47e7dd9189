package uplink

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/loadline/loadline/internal/hist"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// far is a coordinator on paper: what it takes, it takes once and in order.
type far struct {
	taken   []*pb.Window
	durable uint64
}

// take takes a window as ingest does; it reports a gap, or a repeated window that has changed.
func (f *far) take(w *pb.Window) string {
	n := w.GetSequence()
	switch {
	case n == uint64(len(f.taken))+1:
		f.taken = append(f.taken, proto.CloneOf(w))
	case n == 0 || n > uint64(len(f.taken)):
		return "a gap in the numbers"
	case !proto.Equal(f.taken[n-1], w):
		return "a window was sent again and has changed"
	}
	return ""
}

// drawSecond draws the window of second i.
func drawSecond(t *rapid.T, i int) *pb.Window {
	var h hist.Histogram
	for _, v := range rapid.SliceOfN(rapid.Uint64Range(0, 1e6), 0, 4).Draw(t, "values") {
		h.Record(v)
	}
	due := rapid.Uint64Range(0, 9).Draw(t, "due")
	return pb.Window_builder{
		StartUs: int64(i) * 1e6, EndUs: int64(i+1) * 1e6,
		Groups: []*pb.Group{pb.Group_builder{
			Counters: pb.Counters_builder{Due: due, Started: due}.Build(),
			Series:   []*pb.SeriesData{pb.SeriesData_builder{Series: pb.Series_SERIES_TTFT, Histogram: h.AppendBinary(nil)}.Build()},
		}.Build()},
		InFlight: []*pb.InFlight{pb.InFlight_builder{Max: due, OpenUs: due * 1000}.Build()},
		Records:  []*pb.RequestRecord{pb.RequestRecord_builder{Arrival: uint64(i)}.Build()},
	}.Build()
}

// sum merges windows in their order; nil: there are none.
func sum(t *rapid.T, windows []*pb.Window) *pb.Window {
	var all *pb.Window
	for _, w := range windows {
		w = proto.CloneOf(w)
		w.SetSequence(0)
		if all == nil {
			all = w
			continue
		}
		var err error
		if all, err = merge(all, w); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Whatever is pushed, sent, acknowledged and broken off in whatever order: the coordinator takes
// numbers without a gap, what has a number never changes, the bounds hold, and everything together
// is byte for byte what it would be without any merging.
func TestSpoolLosesNothingAndChangesNothingThatWasSent(t *testing.T) {
	merges := 0
	rapid.Check(t, func(t *rapid.T) {
		s := &spool{maxWindows: rapid.IntRange(1, 8).Draw(t, "bound"), maxBytes: 1 << 20, merge: func(a, b *pb.Window) (*pb.Window, error) {
			merges++
			if a.GetSequence() != 0 || b.GetSequence() != 0 {
				t.Fatal("a window with a number was merged")
			}
			return merge(a, b)
		}}
		var f far
		var pushed []*pb.Window
		push := func(t *rapid.T) {
			w := drawSecond(t, len(pushed))
			pushed = append(pushed, proto.CloneOf(w))
			if err := s.push(w); err != nil {
				t.Fatal(err)
			}
		}
		send := func(t *rapid.T) bool {
			w := s.next()
			if w == nil {
				return false
			}
			if rapid.Bool().Draw(t, "lost on the way") {
				s.rewind() // the stream is broken with it
			} else if problem := f.take(w); problem != "" {
				t.Fatal(problem)
			}
			return true
		}
		t.Repeat(map[string]func(*rapid.T){
			"push":        push,
			"send":        func(t *rapid.T) { send(t) },
			"break":       func(*rapid.T) { s.rewind() },
			"sync":        func(*rapid.T) { f.durable = uint64(len(f.taken)) },
			"acknowledge": func(*rapid.T) { s.acknowledged(f.durable) },
			"": func(t *rapid.T) {
				if len(s.numbered) > maxOutstanding || s.len() > max(s.maxWindows, len(s.numbered)+1) {
					t.Fatalf("%d sent and %d not, bound %d", len(s.numbered), len(s.fresh), s.maxWindows)
				}
			},
		})
		for s.rewind(); s.len() > 0; s.acknowledged(f.durable) {
			for w := s.next(); w != nil; w = s.next() {
				if problem := f.take(w); problem != "" {
					t.Fatal(problem)
				}
			}
			f.durable = uint64(len(f.taken))
		}
		got, want := sum(t, f.taken), sum(t, pushed)
		if !proto.Equal(got, want) {
			t.Fatalf("merged on the way:\n%v\nwithout:\n%v", got, want)
		}
		if s.bytes != 0 || !s.allSent() {
			t.Fatalf("%d bytes remain", s.bytes)
		}
	})
	if merges == 0 {
		t.Error("nothing was ever merged: the test has shown nothing")
	}
}

func fullSpool(n int) *spool {
	s := &spool{merge: merge, maxWindows: n, maxBytes: MaxBytes}
	for i := range 4 * n {
		_ = s.push(pb.Window_builder{StartUs: int64(i) * 1e6, EndUs: int64(i+1) * 1e6}.Build())
	}
	return s
}

// Resolution is lost evenly: no window is made of more than twice as many as another, but for the
// newest ones, which are still to be merged.
func TestSpoolLosesResolutionEvenly(t *testing.T) {
	s := fullSpool(64)
	var sizes []uint32
	for _, h := range s.fresh {
		sizes = append(sizes, max(1, h.window.GetMerged()))
	}
	if len(sizes) != 64 || slices.Max(sizes) > 8 || slices.Max(sizes) < 4 {
		t.Errorf("256 windows became %d of %v", len(sizes), sizes)
	}
}

func TestSpoolIsBoundedInBytesToo(t *testing.T) {
	s := &spool{merge: merge, maxWindows: MaxWaiting, maxBytes: 1 << 20}
	body := strings.Repeat("x", 100<<10)
	for i := range 40 {
		if err := s.push(pb.Window_builder{
			StartUs: int64(i) * 1e6, EndUs: int64(i+1) * 1e6,
			Records: []*pb.RequestRecord{pb.RequestRecord_builder{Arrival: uint64(i), Body: body}.Build()},
		}.Build()); err != nil {
			t.Fatal(err)
		}
		if s.bytes > 1<<20+200<<10 {
			t.Fatalf("%d bytes after %d windows", s.bytes, i+1)
		}
	}
}

// A spool whose windows are too large to be merged says so: the recorder then holds on to its window.
func TestWhatIsTooLargeToMergeLeavesNoRoom(t *testing.T) {
	u := New(nil, hello(), merge, quiet())
	big := strings.Repeat("x", maxMerged)
	for range MaxBytes/maxMerged + 1 {
		if !u.Room() {
			return
		}
		u.Push(pb.Window_builder{Records: []*pb.RequestRecord{pb.RequestRecord_builder{Body: big}.Build()}}.Build())
	}
	if u.Room() {
		t.Error("there is still room after more than the limit")
	}
}
