package judge

import (
	"slices"
	"testing"
	"time"

	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/coordinator/merge/mergetest"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func TestTheSummaryTellsOfChanges(t *testing.T) {
	h := mergetest.Header(mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", 10, 20*time.Second)}), "a1", "a2")
	joins := pb.Change_builder{
		Epoch: 2, Revision: 1, AtNs: 5e9, Weights: []uint32{1, 1, 1}, Joined: []*pb.Member{pb.Member_builder{Agent: "a3", Incarnation: 7}.Build()},
	}.Build()
	lost := pb.Change_builder{Epoch: 3, Revision: 1, AtNs: 12_200e6, Weights: []uint32{1, 0, 1}}.Build()
	rated := pb.Change_builder{
		Epoch: 4, Revision: 2, AtNs: 15e9, Weights: []uint32{0, 0, 1},
		Revisions: []*pb.Revision{pb.Revision_builder{Rate: new(80.0)}.Build()}, Appended: []*pb.Phase{mergetest.Open("step", 5, time.Second)},
	}.Build()
	sent, err := mergetest.Play(h, 22*time.Second, func(mergetest.Arrival) mergetest.Answer { return mergetest.Answer{} }, joins, lost, rated)
	if err != nil {
		t.Fatal(err)
	}
	r, err := merge.New(h)
	if err != nil {
		t.Fatal(err)
	}
	gone := mergetest.Event(pb.RunEventKind_RUN_EVENT_KIND_AGENT_LOST, 12*time.Second)
	gone.SetAgent("a2")
	for _, e := range []*pb.RunEvent{
		mergetest.Event(pb.RunEventKind_RUN_EVENT_KIND_STARTED, 0), mergetest.Changed(joins), mergetest.Changed(lost), mergetest.Changed(rated), gone,
		mergetest.Ended(22*time.Second, pb.RunState_RUN_STATE_PARTIAL),
	} {
		if err := r.AddEvent(e); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range sent.All() {
		if w.GetAgent() == "a2" && w.GetSequence() > 8 {
			continue // it was lost after its eighth second
		}
		if err := r.AddWindow(w); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []int{0, 2} {
		if err := r.AddTotals(sent.Totals[m]); err != nil {
			t.Fatal(err)
		}
	}
	s := Summarize(r)
	var texts []string
	for _, ch := range s.GetChanges() {
		texts = append(texts, ch.GetText())
	}
	if want := []string{
		"agent a3 takes a share", "agent a2 lost, its share goes to a1, a3",
		"agent a1 leaves, its share goes to a3; phase hold goes on at 80 sessions per second; phase step begins",
	}; !slices.Equal(texts, want) {
		t.Errorf("changes %q, want %q", texts, want)
	}
	// a2 owned every third arrival from 5 s to 12.2 s; those from 8 s on are lost.
	a2 := s.GetAgents()[1]
	if len(a2.GetLost()) != 1 || a2.GetLost()[0].GetArrivals() != s.GetArrivals().GetLost() || a2.GetLost()[0].GetFirstWindow() != 9 {
		t.Errorf("a2 lost %v, the run %d", a2.GetLost(), s.GetArrivals().GetLost())
	}
	if a3 := s.GetAgents()[2]; a3.GetIncarnation() != 7 || s.GetState() != pb.SummaryState_SUMMARY_STATE_PARTIAL {
		t.Errorf("agent %v, state %v", a3, s.GetState())
	}
	hold := s.GetPhases()[0]
	if want := uint64(150 + 400); hold.GetArrivals().GetDue() != want || hold.GetOfferedRate() != 27.5 || len(s.GetPhases()) != 2 {
		t.Errorf("phase hold: %v due at %v a second, want %d", hold.GetArrivals(), hold.GetOfferedRate(), want)
	}
}
