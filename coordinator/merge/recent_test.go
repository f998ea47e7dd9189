package merge

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/loadline/loadline/coordinator/merge/mergetest"
	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// TestCheckedWindowsAddUpTheSame adds windows up as they come and as they were checked, some long before, and wants the same run;
// and a run that has become full in between refuses what was checked before.
func TestCheckedWindowsAddUpTheSame(t *testing.T) {
	a := play(t, mergetest.Scenario(twoPhases()), 5*time.Second, mixed)
	b := newRun(t, a.Header())
	var checked []*CheckedWindow
	for _, w := range a.sent.All() {
		c, err := b.CheckWindow(w)
		if err != nil {
			t.Fatal(err)
		}
		checked = append(checked, c)
	}
	for _, c := range checked {
		if err := errors.Join(b.AddChecked(c), b.AddChecked(c)); err != nil {
			t.Fatal(err)
		}
	}
	c := newRun(t, a.Header())
	for _, w := range a.sent.All() {
		if err := errors.Join(c.AddWindow(w), c.AddWindow(w)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(canonical(b), canonical(c)) {
		t.Error("they differ")
	}
	full := newRun(t, a.Header())
	first, err := full.CheckWindow(a.sent.All()[0])
	if err != nil {
		t.Fatal(err)
	}
	full.liveSeries = MaxSeries
	if err := full.AddChecked(first); err == nil || !strings.Contains(err.Error(), "distributions") {
		t.Errorf("a full run says %v", err)
	}
}

// TestSumsOfTheTimeline holds open, closed and reopened sums to the same bytes: windows of many agents in a second, some late.
func TestSumsOfTheTimeline(t *testing.T) {
	const agents = 5
	names := make([]string, agents)
	for i := range names {
		names[i] = fmt.Sprintf("a%d", i)
	}
	h := mergetest.Header(mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", 1, time.Hour)}), names...)
	want := map[uint64]*hist.Histogram{}
	r := newRun(t, h)
	for step := range 40 {
		for i, name := range names {
			second := uint64(step)
			if i == 0 && step%7 > 0 { // this one is behind by more than sums stay open
				second = uint64(max(0, step-2*openSeconds))
			}
			var values hist.Histogram
			values.Record(uint64(1000*i + step))
			if want[second] == nil {
				want[second] = &hist.Histogram{}
			}
			want[second].Merge(&values)
			w := pb.Window_builder{
				RunId: mergetest.RunID, Agent: name, Incarnation: r.Header().GetPlan().GetMembers()[i].GetIncarnation(), Sequence: uint64(step + 1),
				StartUs: int64(second) * 1e6, EndUs: int64(second+1) * 1e6,
				Groups: []*pb.Group{pb.Group_builder{Series: []*pb.SeriesData{seriesMessage(measure.TTFT, values.AppendBinary(nil))}}.Build()},
			}.Build()
			if err := r.AddWindow(w); err != nil {
				t.Fatal(err)
			}
		}
		if open := len(r.timeline.recent.sums); open > 2*openSeconds {
			t.Fatalf("%d sums are open", open)
		}
	}
	for e := range r.Timeline() {
		var got hist.Histogram
		e.AddSeries(Key{}, measure.TTFT, &got)
		sparse := e.groups[Key{}].series[measure.TTFT].sparse()
		if all := want[e.Second].AppendBinary(nil); !bytes.Equal(got.AppendBinary(nil), all) || !bytes.Equal(sparse, all) {
			t.Errorf("second %d holds other values", e.Second)
		}
	}
}
