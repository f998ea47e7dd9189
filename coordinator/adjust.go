package coordinator

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/loadline/loadline/coordinator/run"
	"github.com/loadline/loadline/internal/badrequest"
	"github.com/loadline/loadline/internal/scenario"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Limits of adjusting.
const (
	// maxRate bounds a new rate, in sessions per second.
	maxRate = 1e7
	// maxRequests bounds the requests of one run that are remembered.
	maxRequests = 10_000
)

// wish is one AdjustRun, remembered so that repeating it changes nothing more.
type wish struct {
	done   chan struct{} // closed once it is answered
	answer run.Adjusted
}

// AdjustRun implements ControlService.
func (s *control) AdjustRun(ctx context.Context, q *pb.AdjustRunRequest) (*pb.AdjustRunResponse, error) {
	if id := q.GetRequestId(); id == "" || len(id) > maxRequestID {
		return nil, badrequest.Field("request_id", "it has 1 to 128 characters")
	}
	r, err := s.find(q.GetRunId())
	if err != nil {
		return nil, err
	}
	w, revisions, err := r.wish(q)
	if err != nil {
		return nil, err
	}
	if revisions != nil {
		r.mail.post(run.Adjust{Request: q.GetRequestId(), Revisions: revisions, Reason: said(q), Cost: r.tryOut(revisions)})
	}
	select {
	case <-w.done:
	case <-r.ended:
		return nil, status.Error(codes.FailedPrecondition, "the run has ended")
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if w.answer.Refusal != "" {
		return nil, status.Error(codes.FailedPrecondition, w.answer.Refusal)
	}
	return pb.AdjustRunResponse_builder{
		Status: r.currentStatus(), Epoch: w.answer.Change.GetEpoch(), AtNs: w.answer.Change.GetAtNs(),
	}.Build(), nil
}

// tryOut is how long it takes to compute a change with these revisions. Whether it fits is found out later.
func (r *liveRun) tryOut(revisions []*pb.Revision) time.Duration {
	r.mu.Lock()
	course := r.course
	r.mu.Unlock()
	begun := time.Now()
	_, _ = course.Apply(pb.Change_builder{
		Epoch: course.Epoch() + 1, Revision: course.Revision() + 1, Weights: course.Weights(), Revisions: revisions,
		AtNs: max(course.At(course.Epoch()), r.coordinator.now()-r.start.Load()) + int64(changeHorizon),
	}.Build())
	return time.Since(begun)
}

// wish takes a request down, once; the first time it gives the revisions to be made.
func (r *liveRun) wish(q *pb.AdjustRunRequest) (*wish, []*pb.Revision, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.wishes[q.GetRequestId()]; w != nil {
		return w, nil, nil
	}
	if len(r.wishes) >= maxRequests {
		return nil, nil, status.Errorf(codes.ResourceExhausted, "the run was adjusted %d times, the limit", maxRequests)
	}
	revisions, err := r.revisions(q)
	if err != nil {
		return nil, nil, err
	}
	w := &wish{done: make(chan struct{})}
	r.wishes[q.GetRequestId()] = w
	return w, revisions, nil
}

// adjusted answers a wish.
func (r *liveRun) adjusted(answer run.Adjusted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.wishes[answer.Request]; w != nil {
		w.answer = answer
		close(w.done)
	}
}

// said is a request in plain words.
func said(q *pb.AdjustRunRequest) string {
	of, phase := "", ""
	if q.GetPhase() != "" {
		of, phase = " of phase "+q.GetPhase(), "phase "+q.GetPhase()+" is "
	}
	switch {
	case q.HasRate():
		return fmt.Sprintf("rate%s set to %g", of, q.GetRate())
	case q.HasUsers():
		return fmt.Sprintf("users%s set to %d", of, q.GetUsers())
	case q.GetPaused():
		return phase + "paused"
	default:
		return phase + "resumed"
	}
}

// revisions are those of the phases that a request means; r.mu is held.
func (r *liveRun) revisions(q *pb.AdjustRunRequest) ([]*pb.Revision, error) {
	if err := checkAdjust(q); err != nil {
		return nil, err
	}
	if r.course == nil || r.over() {
		return nil, status.Errorf(codes.FailedPrecondition, "run %s has ended", r.header.GetRunId())
	}
	now := r.coordinator.now() - r.start.Load()
	if q.GetPhase() != "" {
		return r.revisionOf(q, now)
	}
	var out []*pb.Revision
	for i, p := range r.course.Phases() {
		if running(p, now) && misfit(p, q) == nil {
			out = append(out, revision(uint32(i), q))
		}
	}
	if len(out) == 0 {
		return nil, status.Error(codes.FailedPrecondition, "no phase is running that this could change")
	}
	return out, nil
}

// revisionOf is that of the phase which a request names; r.mu is held.
func (r *liveRun) revisionOf(q *pb.AdjustRunRequest, now int64) ([]*pb.Revision, error) {
	var names, on []string
	named := -1
	for i, p := range r.course.Phases() {
		names = append(names, p.Name)
		if p.Name == q.GetPhase() {
			named = i
		} else if running(p, now) {
			on = append(on, p.Name)
		}
	}
	if named < 0 {
		return nil, badrequest.Field("phase", "there is none named %q; %sthere are %s", q.GetPhase(), scenario.DidYouMean(q.GetPhase(), names), strings.Join(names, ", "))
	}
	p := r.course.Phases()[named]
	if err := misfit(p, q); err != nil {
		return nil, err
	}
	if end, known := p.Lasts(); known && now >= end {
		text := fmt.Sprintf("phase %s is over: it ended at %v of the run", p.Name, time.Duration(end).Round(time.Millisecond))
		if len(on) > 0 {
			text += "; going on: " + strings.Join(on, ", ")
		}
		return nil, status.Error(codes.FailedPrecondition, text)
	}
	return []*pb.Revision{revision(uint32(named), q)}, nil
}

// misfit is the error for a request that speaks of rates to a phase with users, or the other way round.
func misfit(p *schedule.Phase, q *pb.AdjustRunRequest) error {
	switch {
	case q.HasRate() && p.Users > 0:
		return badrequest.Field("rate", "phase %s has users; set their number", p.Name)
	case q.HasUsers() && p.Users == 0:
		return badrequest.Field("users", "phase %s has a rate; set that", p.Name)
	}
	return nil
}

// running reports whether a phase has load at an instant of the run.
func running(p *schedule.Phase, now int64) bool {
	end, known := p.Lasts()
	return now >= p.Start && (!known || now < end)
}

func checkAdjust(q *pb.AdjustRunRequest) error {
	switch {
	case q.HasRate() && (!(q.GetRate() > 0) || q.GetRate() > maxRate || math.IsInf(q.GetRate(), 0)):
		return badrequest.Field("rate", "it is greater than 0 and at most %g", maxRate)
	case q.HasUsers() && (q.GetUsers() == 0 || q.GetUsers() > schedule.MaxUsers):
		return badrequest.Field("users", "they are 1 to %d", schedule.MaxUsers)
	case !q.HasRate() && !q.HasUsers() && !q.GetPaused() && !q.GetResumed():
		return badrequest.Field("change", "set one of rate, users, paused and resumed")
	}
	return nil
}

func revision(phase uint32, q *pb.AdjustRunRequest) *pb.Revision {
	b := pb.Revision_builder{Phase: phase}
	switch {
	case q.HasRate():
		b.Rate = new(q.GetRate())
	case q.HasUsers():
		b.Users = new(q.GetUsers())
	case q.GetPaused():
		b.Paused = new(true)
	default:
		b.Resumed = new(true)
	}
	return b.Build()
}

// DrainAgent implements ControlService: the agent's share goes to the others, and it gets no new work.
func (s *control) DrainAgent(_ context.Context, q *pb.DrainAgentRequest) (*pb.DrainAgentResponse, error) {
	c := s.coordinator
	now, playing := c.now(), c.parts()
	c.mu.Lock()
	var answer *pb.AgentStatus
	var id run.ID
	var names []string
	for _, a := range c.fleet.Agents() {
		names = append(names, a.Info.GetName())
		if a.Info.GetName() == q.GetAgent() {
			id = run.ID{Agent: q.GetAgent(), Incarnation: a.Incarnation}
			c.fleet.Leave(id.Agent, id.Incarnation, false)
			answer = agentStatus(c.fleet, a, playing[id], now)
		}
	}
	c.mu.Unlock()
	if answer == nil {
		return nil, unknownAgent(q.GetAgent(), names)
	}
	for _, r := range c.live() {
		r.mail.post(run.Leaving{ID: id})
	}
	c.log.Info("agent is drained", "agent", id.Agent, "incarnation", id.Incarnation)
	return pb.DrainAgentResponse_builder{Agent: answer}.Build(), nil
}

// unknownAgent is the error for a name that no agent has, with the one that was likely meant, or some that there are.
func unknownAgent(name string, names []string) error {
	text := fmt.Sprintf("no agent is named %q; ", strings.ToValidUTF8(name, "?"))
	if hint := scenario.DidYouMean(name, names); hint != "" {
		return status.Error(codes.NotFound, text+strings.TrimSpace(hint))
	}
	slices.Sort(names)
	if more := len(names) - maxNamed; more > 0 {
		names = append(names[:maxNamed], fmt.Sprintf("and %d more", more))
	}
	if len(names) == 0 {
		return status.Error(codes.NotFound, text+"none is there")
	}
	return status.Error(codes.NotFound, text+"there are "+strings.Join(names, ", "))
}
