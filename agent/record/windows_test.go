package record

import (
	"fmt"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// sum adds windows up, as the coordinator does.
type sum struct {
	groups map[pair]*sumGroup
	open   map[uint32]uint64 // µs, by phase
	left   uint64
	kept   int
}

type sumGroup struct {
	counters map[string]uint64
	errors   map[string]uint64
	examples map[string]string
	series   map[pb.Series][]byte
	values   uint64
}

func add(windows ...*pb.Window) *sum {
	s := &sum{groups: map[pair]*sumGroup{}, open: map[uint32]uint64{}}
	series := map[pair]map[pb.Series]*hist.Histogram{}
	smallest := map[string]uint64{}
	for _, w := range windows {
		for _, g := range w.GetGroups() {
			p := pair{g.GetPhase(), g.GetWorkload()}
			if s.groups[p] == nil {
				s.groups[p] = &sumGroup{map[string]uint64{}, map[string]uint64{}, map[string]string{}, map[pb.Series][]byte{}, 0}
				series[p] = map[pb.Series]*hist.Histogram{}
			}
			maps.Copy(s.groups[p].counters, plus(s.groups[p].counters, g.GetCounters()))
			for _, e := range g.GetErrors() {
				key := fmt.Sprint(p, e.GetClass())
				s.groups[p].errors[e.GetClass()] += e.GetCount()
				if h, ok := smallest[key]; !ok || e.GetExampleHash() < h {
					smallest[key] = e.GetExampleHash()
					s.groups[p].examples[e.GetClass()] = e.GetExample()
				}
			}
			for _, d := range g.GetSeries() {
				h := series[p][d.GetSeries()]
				if h == nil {
					h = new(hist.Histogram)
					series[p][d.GetSeries()] = h
				}
				if err := h.MergeBinary(d.GetHistogram()); err != nil {
					panic(err)
				}
			}
		}
		for _, f := range w.GetInFlight() {
			s.open[f.GetPhase()] += f.GetOpenUs()
		}
		s.left += w.GetRecordsLeftOut()
		s.kept += len(w.GetRecords())
	}
	for p, all := range series {
		for n, h := range all {
			s.groups[p].series[n] = h.AppendBinary(nil)
			s.groups[p].values += h.Count()
		}
	}
	return s
}

// plus adds the schema's counters, by name.
func plus(to map[string]uint64, c *pb.Counters) map[string]uint64 {
	m := c.ProtoReflect()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		if v := m.Get(fields.Get(i)).Uint(); v > 0 {
			to[string(fields.Get(i).Name())] += v
		}
	}
	return to
}

// What the windows of any number of shards add up to is what one shard and one window hold, for
// random events, swaps and shards.
func TestWindowsAddUpToOneReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, many := recorder(1, -1), recorder(rapid.SampledFrom([]int{1, 2, 8}).Draw(t, "shards"), -1)
		var windows []*pb.Window
		steps := rapid.SliceOfN(rapid.Custom(drawStep), 1, 60).Draw(t, "steps")
		now := measure.Instant(0)
		open := map[pair]int{}
		for _, s := range steps {
			now += s.after
			switch p := (pair{uint32(s.phase), uint32(s.workload)}); {
			case s.kind == starts:
				open[p]++
			case s.kind == ends && open[p] == 0:
				continue
			case s.kind == ends:
				open[p]--
			}
			busy := hold(many, s.busy)
			s.apply(one, now)
			s.apply(many, now)
			free(busy)
			if s.swap {
				windows = append(windows, many.Swap(now))
			}
		}
		windows = append(windows, many.Swap(now+1*ms))
		want := add(one.Swap(now + 1*ms))
		got := add(windows...)
		if d := cmp.Diff(want, got, cmp.AllowUnexported(sum{}, sumGroup{}, pair{})); d != "" {
			t.Fatalf("one window -, many +:\n%s", d)
		}
		if d := cmp.Diff(one.Totals(), many.Totals(), protocmp.Transform()); d != "" {
			t.Fatalf("totals of one shard -, of many +:\n%s", d)
		}
		checkTotals(t, many.Totals(), got)
	})
}

// checkTotals compares the agent's own totals with what its windows add up to.
func checkTotals(t rapid.TB, totals *pb.Totals, windows *sum) {
	t.Helper()
	own := map[pair]map[string]uint64{}
	for _, g := range totals.GetGroups() {
		own[pair{g.GetPhase(), g.GetWorkload()}] = plus(map[string]uint64{}, g.GetCounters())
	}
	fromWindows := map[pair]map[string]uint64{}
	var values uint64
	for p, g := range windows.groups {
		fromWindows[p] = g.counters
		values += g.values
	}
	if d := cmp.Diff(own, fromWindows); d != "" {
		t.Errorf("totals -, windows +:\n%s", d)
	}
	if totals.GetValues() != values {
		t.Errorf("totals know of %d values, the windows hold %d", totals.GetValues(), values)
	}
}

// Kinds of steps.
const (
	dues = iota
	starts
	ends
	requests
)

// step is one event of the property test.
type step struct {
	kind, phase, workload int
	number                uint64
	failed                bool
	after                 measure.Instant
	busy                  uint64 // shards that someone else holds meanwhile
	swap                  bool
}

func drawStep(t *rapid.T) step {
	return step{
		kind: rapid.IntRange(dues, requests).Draw(t, "kind"), phase: rapid.IntRange(0, 1).Draw(t, "phase"), workload: rapid.IntRange(0, 1).Draw(t, "workload"),
		number: rapid.Uint64Range(0, 2500).Draw(t, "number"), failed: rapid.Bool().Draw(t, "failed"),
		after: measure.Instant(rapid.Int64Range(0, 3_000_000).Draw(t, "after")),
		busy:  rapid.Uint64().Draw(t, "busy"), swap: rapid.IntRange(0, 5).Draw(t, "swap") == 0,
	}
}

func (s step) apply(r *Recorder, now measure.Instant) {
	switch s.kind {
	case dues:
		r.Due(s.phase, s.workload, s.number)
	case starts:
		r.Started(s.phase, s.workload, now)
	case ends:
		r.SessionEnded(s.phase, s.workload, now-1*ms, now, "")
	default:
		r.Record(answered(s.number, func(o *measure.Outcome) {
			o.Phase, o.Workload = s.phase, s.workload
			if s.failed {
				failed(o)
			}
		}))
	}
}

// hold makes some shards busy, but never all.
func hold(r *Recorder, busy uint64) []*shard {
	var held []*shard
	for i := range r.mask + 1 {
		if busy&(1<<i) != 0 && len(held) < int(r.mask) {
			r.shards[i].takeThis()
			held = append(held, &r.shards[i])
		}
	}
	return held
}

func free(held []*shard) {
	for _, s := range held {
		s.give()
	}
}

// Workers, arrivals and swaps at the same time: nothing is lost.
func TestNothingIsLostWhileSwapping(t *testing.T) {
	const workers, each = 8, 2000
	r := recorder(2*runtime.GOMAXPROCS(0), 10)
	var clock, open atomic.Int64 // each reading is a microsecond after the one before
	tick := func() measure.Instant { return measure.Instant(clock.Add(int64(us))) }
	session := func(o *measure.Outcome) {
		r.Due(o.Phase, o.Workload, 1)
		start := tick()
		r.Started(o.Phase, o.Workload, start)
		r.Record(o)
		end := tick()
		r.SessionEnded(o.Phase, o.Workload, start, end, o.Class)
		open.Add(int64(end - start))
	}
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for n := range uint64(each) {
				o := answered(n, func(o *measure.Outcome) { o.Workload, o.ID.Slot = w%2, uint32(w+1) })
				if n%5 == 0 {
					failed(o)
				}
				session(o)
			}
		})
	}
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	var windows []*pb.Window
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		windows = append(windows, r.Swap(tick()))
	}
	// A swap cannot know of an end that is being recorded, and counts the session as open till
	// then; the next windows make good for it, if anything is open in them. The swaps above ran this
	// clock on while a worker was held up, so what is owed may be many seconds of it.
	const last = 1000 * 1000 * ms
	r.Started(0, 0, tick())
	open.Add(int64(last))
	windows = append(windows, r.Swap(measure.Instant(clock.Add(int64(last)))))
	checkNothingLost(t, r, windows, workers, each, uint64(open.Load())/1000)
}

func checkNothingLost(t *testing.T, r *Recorder, windows []*pb.Window, workers, each, open uint64) {
	t.Helper()
	got := add(windows...)
	checkTotals(t, r.Totals(), got)
	half := workers / 2 * each
	for w := range uint32(2) {
		c := got.groups[pair{0, w}].counters
		if c["due"] != half || c["requests_succeeded"] != half*4/5 || c["sessions_failed"] != half/5 {
			t.Errorf("workload %d: %v", w, c)
		}
	}
	if got.left+uint64(got.kept) != workers*each {
		t.Errorf("%d records kept and %d left out of %d", got.kept, got.left, workers*each)
	}
	if got.open[0] != open {
		t.Errorf("open for %d µs, want %d", got.open[0], open)
	}
	last := windows[len(windows)-1].GetInFlight()
	if len(last) != 1 || last[0].GetNow() != 1 {
		t.Errorf("in flight at the end: %v, want one", last)
	}
}
