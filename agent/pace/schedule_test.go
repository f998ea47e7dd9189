package pace_test

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/loadline/loadline/agent/pace"
	"github.com/loadline/loadline/internal/scenario"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// tenants is a scenario of two phases that overlap: 20/s Poisson for 3 s, 10/s constant from 1 s on for 3 s.
func tenants() *pb.Scenario {
	s := pb.Scenario_builder{
		Name:      new("tenants"),
		Targets:   []*pb.Target{pb.Target_builder{Url: new("http://127.0.0.1:1"), Protocol: new(pb.Protocol_PROTOCOL_HTTP)}.Build()},
		Workloads: []*pb.Workload{pb.Workload_builder{Http: &pb.HttpRequest{}}.Build()},
		Load: []*pb.Phase{
			pb.Phase_builder{
				Name: new("a"), Duration: durationpb.New(3 * time.Second),
				Open: pb.OpenLoad_builder{Rate: new(20.0), Arrivals: new(pb.Arrivals_ARRIVALS_POISSON)}.Build(),
			}.Build(),
			pb.Phase_builder{
				Name: new("b"), Duration: durationpb.New(3 * time.Second), At: durationpb.New(time.Second),
				Open: pb.OpenLoad_builder{Rate: new(10.0)}.Build(),
			}.Build(),
		},
	}.Build()
	scenario.Normalize(s)
	return s
}

// What the agents play together is what one agent would play alone.
func TestAgentsTogetherPlayTheOneSchedule(t *testing.T) {
	plan, err := schedule.Compile(tenants())
	if err != nil {
		t.Fatal(err)
	}
	play := func(weights ...uint32) []event {
		var all []event
		for member := range weights {
			var lanes []pace.Lane
			for _, phase := range plan.Phases {
				walker := phase.WalkOwned(schedule.NewOwnership(weights), member, 0)
				lanes = append(lanes, pace.Lane{Phase: phase.Index, Walker: &walker})
			}
			f, sink := &fake{}, &log{}
			pace.New(pace.Config{Now: f.Now, Sleeper: f}, pace.NewMerge(lanes...), sink).Run(t.Context())
			if !slices.IsSortedFunc(sink.events, func(a, b event) int { return cmp.Compare(a.at, b.at) }) {
				t.Errorf("member %d of %v plays out of order", member, weights)
			}
			all = append(all, sink.events...)
		}
		slices.SortFunc(all, func(a, b event) int {
			return cmp.Or(cmp.Compare(a.a.Phase, b.a.Phase), cmp.Compare(a.a.Number, b.a.Number))
		})
		return all
	}
	alone := play(1)
	if total := plan.Phases[0].Arrivals + plan.Phases[1].Arrivals; uint64(len(alone)) != total || total < 60 {
		t.Fatalf("one agent plays %d arrivals, want %d", len(alone), total)
	}
	for _, weights := range [][]uint32{{1, 1, 1}, {1, 5}, {3, 1, 1, 2, 2, 1, 7}} {
		if got := play(weights...); !slices.Equal(got, alone) {
			t.Errorf("agents of weights %v play %d arrivals, one alone %d, or other ones", weights, len(got), len(alone))
		}
	}
}
