// Package plan turns a scenario and a roster into one assignment per agent: who owns which share
// of which phase. The shares are disjoint and their union is the schedule of one agent, whatever
// the number of agents; internal/schedule proves it.
package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// MaxAgents bounds the agents of one run.
const MaxAgents = 4000

// Agent is one agent of the roster.
type Agent struct {
	// Name of the agent.
	Name string
	// Incarnation of its registration; 0 when only planned.
	Incarnation uint64
	// Weight is its share of the load relative to the others; at least 1.
	Weight uint32
}

// Make plans a run. The scenario has been validated and its defaults are filled in; load is its
// compiled schedule. The roster's order does not matter: members stand sorted by name.
func Make(s *pb.Scenario, load *schedule.Schedule, digest string, agents []Agent) (*pb.Plan, error) {
	if len(agents) == 0 || len(agents) > MaxAgents {
		return nil, fmt.Errorf("a run has 1 to %d agents, there are %d", MaxAgents, len(agents))
	}
	members, err := roster(agents, s.GetLimits().GetMaxInFlight())
	if err != nil {
		return nil, err
	}
	ownership := schedule.NewOwnership(weights(members))
	plan := pb.Plan_builder{
		ScenarioDigest: digest, Seed: s.GetSeed(), Members: members,
		Duration: durationpb.New(time.Duration(load.End)),
	}.Build()
	for _, phase := range load.Phases {
		plan.SetPhases(append(plan.GetPhases(), planned(phase, ownership, len(members), len(s.GetWorkloads()))))
	}
	return plan, nil
}

// roster sorts the agents and divides the ceiling of requests in flight by weight.
func roster(agents []Agent, ceiling uint32) ([]*pb.Member, error) {
	agents = slices.Clone(agents)
	slices.SortFunc(agents, func(a, b Agent) int { return strings.Compare(a.Name, b.Name) })
	given := make([]uint32, len(agents))
	for i, a := range agents {
		if i > 0 && agents[i-1].Name == a.Name {
			return nil, fmt.Errorf("two agents are named %s", a.Name)
		}
		if a.Weight == 0 {
			return nil, fmt.Errorf("agent %s has weight 0", a.Name)
		}
		given[i] = a.Weight
	}
	if int(ceiling) < len(agents) {
		return nil, fmt.Errorf("max_in_flight of %d is less than one for each of %d agents: raise limits.max_in_flight", ceiling, len(agents))
	}
	members := make([]*pb.Member, len(agents))
	shares := schedule.Ceilings(ceiling, given)
	for i, a := range agents {
		members[i] = pb.Member_builder{Agent: a.Name, Incarnation: a.Incarnation, Weight: a.Weight, MaxInFlight: shares[i]}.Build()
	}
	return members, nil
}

func weights(members []*pb.Member) []uint32 {
	w := make([]uint32, len(members))
	for i, m := range members {
		w[i] = m.GetWeight()
	}
	return w
}

// planned describes one phase.
func planned(p *schedule.Phase, o *schedule.Ownership, members, workloads int) *pb.PlannedPhase {
	owned := p.Arrivals
	if p.Users > 0 {
		owned = uint64(p.Users) // slots are owned, not sessions
	}
	b := pb.PlannedPhase_builder{
		Name: p.Name, Start: durationpb.New(time.Duration(p.Start)), Duration: durationpb.New(time.Duration(p.Duration)),
		Arrivals: p.Arrivals, Users: p.Users, Discard: p.Discard,
	}
	for m := range members {
		b.MemberArrivals = append(b.MemberArrivals, o.Count(m, owned))
	}
	if p.Arrivals > 0 {
		for w := range workloads {
			b.WorkloadArrivals = append(b.WorkloadArrivals, p.WorkloadCount(w, p.Arrivals))
		}
	}
	return b.Build()
}

// ExpectTokens fills in the expected tokens of every phase whose arrivals are known. mean gives the
// expected input and output tokens of one request of a workload; 0: unknown.
func ExpectTokens(p *pb.Plan, s *pb.Scenario, mean func(*pb.Workload) (input, output float64)) {
	for _, phase := range p.GetPhases() {
		var input, output float64
		for w, n := range phase.GetWorkloadArrivals() {
			in, out := mean(s.GetWorkloads()[w])
			input += float64(n) * in
			output += float64(n) * out
		}
		phase.SetExpectedInputTokens(input)
		phase.SetExpectedOutputTokens(output)
	}
}

// Request is what an assignment holds beside the plan.
type Request struct {
	RunID     string
	Digest    []byte
	Scenario  *pb.Scenario
	BaseDir   string
	Files     []*pb.FileDigest
	Addresses map[string]string
	// Expires is when an agent must not accept the assignment any more.
	Expires time.Time
}

// Assignment makes that of one member of the plan.
func Assignment(p *pb.Plan, r Request, member int) (*pb.Assignment, error) {
	if len(r.Digest) == 0 {
		return nil, errors.New("an assignment needs the scenario's digest")
	}
	shares, arrivals := common(p)
	return assignment(p, r, shares, arrivals, member), nil
}

// Assignments makes one assignment per member of the plan, in its order.
func Assignments(p *pb.Plan, r Request) ([]*pb.Assignment, error) {
	if len(r.Digest) == 0 {
		return nil, errors.New("an assignment needs the scenario's digest")
	}
	shares, arrivals := common(p)
	assignments := make([]*pb.Assignment, len(p.GetMembers()))
	for i := range assignments {
		assignments[i] = assignment(p, r, shares, arrivals, i)
	}
	return assignments, nil
}

// common is what the assignments of all members have in common.
func common(p *pb.Plan) ([]*pb.EpochShare, []uint64) {
	shares := make([]*pb.EpochShare, 0, len(p.GetPhases()))
	arrivals := make([]uint64, 0, len(p.GetPhases()))
	owned := weights(p.GetMembers())
	for i, phase := range p.GetPhases() {
		shares = append(shares, pb.EpochShare_builder{Epoch: 1, Phase: uint32(i), Weights: owned}.Build())
		arrivals = append(arrivals, phase.GetArrivals())
	}
	if len(shares) == 0 { // phases are appended later, and owned by the same weights
		shares = append(shares, pb.EpochShare_builder{Epoch: 1, Weights: owned}.Build())
	}
	return shares, arrivals
}

func assignment(p *pb.Plan, r Request, shares []*pb.EpochShare, arrivals []uint64, member int) *pb.Assignment {
	return pb.Assignment_builder{
		RunId: r.RunID, Digest: r.Digest, Scenario: r.Scenario, BaseDir: r.BaseDir, Files: r.Files, Addresses: r.Addresses,
		Members: p.GetMembers(), Member: uint32(member), Shares: shares, Revision: 1, PhaseArrivals: arrivals,
		ExpiresTime: timestamppb.New(r.Expires),
	}.Build()
}
