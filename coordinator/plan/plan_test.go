package plan_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/loadline/loadline/coordinator/plan"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func text(s string) *string { return &s }
func number[T any](v T) *T  { return &v }
func seconds(n float64) *durationpb.Duration {
	return durationpb.New(time.Duration(n * float64(time.Second)))
}

// scenario has an open and a closed phase over two workloads of weights 3 and 1.
func scenario(ceiling uint32) *pb.Scenario {
	workload := func(name string, weight uint32) *pb.Workload {
		return pb.Workload_builder{Name: text(name), Target: text("t"), Weight: number(weight), Http: pb.HttpRequest_builder{}.Build()}.Build()
	}
	return pb.Scenario_builder{
		Name: text("s"), Seed: number(uint64(7)),
		Targets:   []*pb.Target{pb.Target_builder{Name: text("t"), Url: text("http://127.0.0.1:1")}.Build()},
		Workloads: []*pb.Workload{workload("a", 3), workload("b", 1)},
		Load: []*pb.Phase{
			pb.Phase_builder{Name: text("open"), Open: pb.OpenLoad_builder{Rate: number(100.0)}.Build(), Duration: seconds(10)}.Build(),
			pb.Phase_builder{Name: text("users"), Closed: pb.ClosedLoad_builder{Users: number(uint32(8))}.Build(), Duration: seconds(5)}.Build(),
		},
		Limits: pb.Limits_builder{MaxInFlight: number(ceiling)}.Build(),
	}.Build()
}

// planned compiles the schedule and makes a plan.
func planned(s *pb.Scenario, digest string, agents []plan.Agent) (*pb.Plan, error) {
	load, err := schedule.Compile(s)
	if err != nil {
		return nil, err
	}
	return plan.Make(s, load, digest, agents)
}

func TestPlan(t *testing.T) {
	p, err := planned(scenario(1000), "digest", []plan.Agent{{Name: "b", Weight: 1}, {Name: "a", Weight: 3}})
	if err != nil {
		t.Fatal(err)
	}
	if p.GetDuration().AsDuration() != 15*time.Second || p.GetSeed() != 7 || p.GetScenarioDigest() != "digest" {
		t.Errorf("plan = %v", p)
	}
	open, users := p.GetPhases()[0], p.GetPhases()[1]
	if got := fmt.Sprint(open.GetArrivals(), open.GetMemberArrivals(), open.GetWorkloadArrivals()); got != "1000 [750 250] [750 250]" {
		t.Errorf("open phase: %s", got)
	}
	if got := fmt.Sprint(users.GetStart().AsDuration(), users.GetUsers(), users.GetMemberArrivals(), users.GetWorkloadArrivals()); got != "10s 8 [6 2] []" {
		t.Errorf("closed phase: %s", got)
	}
	plan.ExpectTokens(p, scenario(1000), func(w *pb.Workload) (float64, float64) { return float64(w.GetWeight()), 10 })
	if open.GetExpectedInputTokens() != 750*3+250 || open.GetExpectedOutputTokens() != 10_000 || users.GetExpectedInputTokens() != 0 {
		t.Errorf("expected tokens: %v", p)
	}
}

func TestRefusals(t *testing.T) {
	one := []plan.Agent{{Name: "a", Weight: 1}}
	for name, test := range map[string]struct {
		scenario *pb.Scenario
		agents   []plan.Agent
		want     string
	}{
		"no agents":           {scenario(10), nil, "1 to 4000"},
		"two of one name":     {scenario(10), append(one, one...), "two agents"},
		"no weight":           {scenario(10), []plan.Agent{{Name: "a"}}, "weight 0"},
		"a ceiling below one": {scenario(1), []plan.Agent{{Name: "a", Weight: 1}, {Name: "b", Weight: 1}}, "limits.max_in_flight"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := planned(test.scenario, "", test.agents); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want one with %q", err, test.want)
			}
		})
	}
}

// The parts sum to the whole, everyone has a part, and the roster's order does not matter.
func TestPartsSumToTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var agents []plan.Agent
		for i := range rapid.IntRange(1, 50).Draw(t, "agents") {
			agents = append(agents, plan.Agent{Name: fmt.Sprint("a", i), Weight: rapid.Uint32Range(1, 1<<31).Draw(t, "weight")})
		}
		ceiling := rapid.Uint32Range(uint32(len(agents)), 10_000_000).Draw(t, "ceiling")
		p, err := planned(scenario(ceiling), "", agents)
		if err != nil {
			t.Fatal(err)
		}
		var inFlight, arrivals, slots uint64
		for i, m := range p.GetMembers() {
			if m.GetMaxInFlight() == 0 {
				t.Fatalf("%s may have nothing in flight", m.GetAgent())
			}
			inFlight += uint64(m.GetMaxInFlight())
			arrivals += p.GetPhases()[0].GetMemberArrivals()[i]
			slots += p.GetPhases()[1].GetMemberArrivals()[i]
		}
		if inFlight != uint64(ceiling) || arrivals != p.GetPhases()[0].GetArrivals() || slots != 8 {
			t.Fatalf("in flight %d of %d, arrivals %d, slots %d", inFlight, ceiling, arrivals, slots)
		}
		shuffled := rapid.Permutation(agents).Draw(t, "order")
		again, err := planned(scenario(ceiling), "", shuffled)
		if err != nil || !proto.Equal(p, again) {
			t.Fatalf("another order, another plan (%v)", err)
		}
	})
}

func TestAssignmentsDifferInTheMemberAlone(t *testing.T) {
	s := scenario(100)
	p, err := planned(s, "", []plan.Agent{{Name: "a", Weight: 1}, {Name: "b", Weight: 2}})
	if err != nil {
		t.Fatal(err)
	}
	all, err := plan.Assignments(p, plan.Request{RunID: "r", Digest: []byte{1}, Scenario: s, BaseDir: "/x", Expires: time.Unix(9, 0)})
	if err != nil || len(all) != 2 {
		t.Fatal(len(all), err)
	}
	for i := range all {
		alone, err := plan.Assignment(p, plan.Request{RunID: "r", Digest: []byte{1}, Scenario: s, BaseDir: "/x", Expires: time.Unix(9, 0)}, i)
		if err != nil || !proto.Equal(alone, all[i]) {
			t.Errorf("that of member %d made alone is %v, %v; want %v", i, alone, err, all[i])
		}
	}
	if fmt.Sprint(all[0].GetPhaseArrivals(), all[0].GetShares()[1].GetWeights()) != "[1000 0] [1 2]" {
		t.Errorf("assignment = %v", all[0])
	}
	for i, a := range all {
		if a.GetMember() != uint32(i) {
			t.Errorf("assignment %d names member %d", i, a.GetMember())
		}
		a.SetMember(0)
	}
	if !proto.Equal(all[0], all[1]) {
		t.Error("assignments differ in more than the member")
	}
	s.SetLoad(nil) // phases are appended later
	if p, err = planned(s, "", []plan.Agent{{Name: "a", Weight: 1}, {Name: "b", Weight: 2}}); err != nil {
		t.Fatal(err)
	}
	if all, err = plan.Assignments(p, plan.Request{Digest: []byte{1}, Scenario: s}); err != nil || len(all[0].GetShares()) != 1 || fmt.Sprint(all[1].GetShares()[0].GetWeights()) != "[1 2]" {
		t.Errorf("assignments without a phase: %v, %v", all, err)
	}
	if _, err := plan.Assignments(p, plan.Request{RunID: "r"}); err == nil {
		t.Error("an assignment without a digest was made")
	}
}
