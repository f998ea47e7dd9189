package pace_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/loadline/loadline/agent/pace"
	"github.com/loadline/loadline/internal/measure"
)

// list is a walker over given due times.
type list struct {
	due []int64
	n   uint64
}

func (l *list) Next() (uint64, int64, bool) {
	if l.n == uint64(len(l.due)) {
		return 0, 0, false
	}
	l.n++
	return l.n - 1, l.due[l.n-1], true
}

func TestAMergeIsTheSortedUnionOfItsLanes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var lanes []pace.Lane
		var want []pace.Arrival
		for phase := range rapid.IntRange(0, 40).Draw(t, "lanes") {
			due := rapid.SliceOfN(rapid.Int64Range(-5, 50), 0, 30).Draw(t, "due")
			slices.Sort(due)
			lanes = append(lanes, pace.Lane{Phase: phase, Walker: &list{due: due}})
			for n, d := range due {
				want = append(want, pace.Arrival{Phase: phase, Number: uint64(n), Due: measure.Instant(d)})
			}
		}
		slices.SortStableFunc(want, func(a, b pace.Arrival) int { return int(a.Due - b.Due) })
		m := pace.NewMerge(lanes...)
		for i, w := range want {
			if got, ok := m.Next(); !ok || got != w {
				t.Fatalf("arrival %d = %+v %v, want %+v", i, got, ok, w)
			}
		}
		if got, ok := m.Next(); ok {
			t.Fatalf("after the end: %+v", got)
		}
	})
}

func BenchmarkMerge(b *testing.B) {
	lanes := make([]pace.Lane, 100)
	for i := range lanes {
		lanes[i] = pace.Lane{Phase: i, Walker: &every{gap: int64(100 + i), count: 1 << 62}}
	}
	m := pace.NewMerge(lanes...)
	b.ReportAllocs()
	for b.Loop() {
		m.Next()
	}
}
