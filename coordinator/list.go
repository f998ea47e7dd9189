package coordinator

import (
	"context"
	"slices"
	"strings"

	"github.com/loadline/loadline/coordinator/fleet"
	"github.com/loadline/loadline/coordinator/run"
	"github.com/loadline/loadline/internal/badrequest"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// known lists the runs, oldest first.
func (c *Coordinator) known() []*liveRun {
	c.mu.Lock()
	defer c.mu.Unlock()
	runs := make([]*liveRun, 0, len(c.order))
	for _, id := range c.order {
		runs = append(runs, c.runs[id])
	}
	return runs
}

// live lists the runs that go on, oldest first.
func (c *Coordinator) live() []*liveRun { return slices.DeleteFunc(c.known(), (*liveRun).over) }

// ListRuns implements ControlService.
func (s *control) ListRuns(context.Context, *pb.ListRunsRequest) (*pb.ListRunsResponse, error) {
	answer := &pb.ListRunsResponse{}
	for _, run := range s.coordinator.known() {
		answer.SetRuns(append(answer.GetRuns(), run.currentStatus()))
	}
	return answer, nil
}

// ListAgents implements ControlService.
func (s *control) ListAgents(context.Context, *pb.ListAgentsRequest) (*pb.ListAgentsResponse, error) {
	c := s.coordinator
	parts := c.parts()
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := &pb.ListAgentsResponse{}
	for _, a := range c.fleet.Agents() {
		answer.SetAgents(append(answer.GetAgents(), agentStatus(c.fleet, a, parts[run.ID{Agent: a.Info.GetName(), Incarnation: a.Incarnation}], now)))
	}
	return answer, nil
}

// parts are an agent's in runs that go on.
type parts struct {
	runs    []string
	playing bool // at least one of them
}

// parts lists who has a part in which runs.
func (c *Coordinator) parts() map[run.ID]parts {
	all := map[run.ID]parts{}
	add := func(id run.ID, in string, playing bool) {
		p := all[id]
		all[id] = parts{append(p.runs, in), p.playing || playing}
	}
	for _, r := range c.live() {
		for _, id := range r.preparing() {
			add(id, r.header.GetRunId(), false)
		}
		r.mu.Lock()
		playing := r.status.GetState() != pb.RunState_RUN_STATE_PREPARING
		for id := range r.windows {
			add(id, r.header.GetRunId(), playing)
		}
		r.mu.Unlock()
	}
	return all
}

func agentStatus(f *fleet.Fleet, a *fleet.Agent, in parts, now int64) *pb.AgentStatus {
	left := f.Remaining(a, now)
	status := pb.AgentStatus_builder{
		Info: a.Info, Incarnation: a.Incarnation, Weight: a.Weight(), RunIds: in.runs, Leaving: a.Leaving, LeaseNs: int64(left),
	}
	switch {
	case left < 0 && in.playing:
		status.Activity = pb.AgentActivity_AGENT_ACTIVITY_PAUSED
	case a.Leaving:
		status.Activity = pb.AgentActivity_AGENT_ACTIVITY_LEAVING
	case in.playing:
		status.Activity = pb.AgentActivity_AGENT_ACTIVITY_PLAYING
	case len(in.runs) > 0:
		status.Activity = pb.AgentActivity_AGENT_ACTIVITY_PREPARING
	default:
		status.Activity = pb.AgentActivity_AGENT_ACTIVITY_IDLE
	}
	if _, bound, ok := f.Clock(a.Info.GetName(), now); ok {
		status.ClockErrorBoundNs = bound
	}
	return status.Build()
}

// StopAll implements ControlService.
func (s *control) StopAll(_ context.Context, q *pb.StopAllRequest) (*pb.StopAllResponse, error) {
	if len(q.GetReason()) > maxReason {
		return nil, badrequest.Field("reason", "it is longer than 1,024 characters")
	}
	reason := q.GetReason()
	if reason == "" {
		reason = "all runs were stopped through the API"
	}
	answer := &pb.StopAllResponse{}
	for _, run := range s.coordinator.live() {
		run.stop(q.GetMode(), reason)
		answer.SetRuns(append(answer.GetRuns(), run.currentStatus()))
	}
	s.coordinator.log.Warn("all runs are to stop", "runs", len(answer.GetRuns()), "mode", q.GetMode(), "reason", strings.ToValidUTF8(reason, "?"))
	return answer, nil
}

// Counts is what a coordinator has to do.
type Counts struct {
	// Agents hold a lease.
	Agents int
	// Runs are those that are known, by state.
	Runs map[pb.RunState]int
}

// Counts tells how many agents and runs there are.
func (c *Coordinator) Counts() Counts {
	counts := Counts{Runs: map[pb.RunState]int{}}
	for _, run := range c.known() {
		counts.Runs[run.currentStatus().GetState()]++
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	counts.Agents = len(c.fleet.Agents())
	return counts
}
