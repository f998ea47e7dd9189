package coordinator

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/loadline/loadline/coordinator/run"
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
		return nil, invalid("request_id", "it has 1 to 128 characters")
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
	phase := ""
	if q.GetPhase() != "" {
		phase = " of phase " + q.GetPhase()
	}
	switch {
	case q.HasRate():
		return fmt.Sprintf("rate%s set to %g", phase, q.GetRate())
	case q.HasUsers():
		return fmt.Sprintf("users%s set to %d", phase, q.GetUsers())
	case q.GetPaused():
		return "paused" + phase
	default:
		return "resumed" + phase
	}
}

// revisions are those of the phases that a request means; r.mu is held.
func (r *liveRun) revisions(q *pb.AdjustRunRequest) ([]*pb.Revision, error) {
	if err := checkAdjust(q); err != nil {
		return nil, err
	}
	if r.course == nil {
		return nil, status.Error(codes.FailedPrecondition, "the run has ended")
	}
	now := r.coordinator.now() - r.start.Load()
	var out []*pb.Revision
	for i, p := range r.course.Phases() {
		if q.GetPhase() != "" && p.Name != q.GetPhase() || q.GetPhase() == "" && !running(p, now) {
			continue
		}
		switch {
		case q.HasRate() && p.Users > 0 && q.GetPhase() != "":
			return nil, invalid("rate", "phase %s has users; set their number", p.Name)
		case q.HasUsers() && p.Users == 0 && q.GetPhase() != "":
			return nil, invalid("users", "phase %s has a rate; set that", p.Name)
		case q.HasRate() && p.Users > 0, q.HasUsers() && p.Users == 0:
			continue
		}
		out = append(out, revision(uint32(i), q))
	}
	switch {
	case len(out) > 0:
		return out, nil
	case q.GetPhase() == "":
		return nil, status.Error(codes.FailedPrecondition, "no phase is running that this could change")
	}
	var names []string
	for _, p := range r.course.Phases() {
		names = append(names, p.Name)
	}
	return nil, invalid("phase", "there is none named %q; there are %s", q.GetPhase(), strings.Join(names, ", "))
}

// running reports whether a phase has load at an instant of the run.
func running(p *schedule.Phase, now int64) bool {
	end, known := p.Lasts()
	return now >= p.Start && (!known || now < end)
}

func checkAdjust(q *pb.AdjustRunRequest) error {
	switch {
	case q.HasRate() && (!(q.GetRate() > 0) || q.GetRate() > maxRate || math.IsInf(q.GetRate(), 0)):
		return invalid("rate", "it is greater than 0 and at most %g", maxRate)
	case q.HasUsers() && (q.GetUsers() == 0 || q.GetUsers() > schedule.MaxUsers):
		return invalid("users", "they are 1 to %d", schedule.MaxUsers)
	case !q.HasRate() && !q.HasUsers() && !q.GetPaused() && !q.GetResumed():
		return invalid("change", "set one of rate, users, paused and resumed")
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
	for _, a := range c.fleet.Agents() {
		if a.Info.GetName() == q.GetAgent() {
			id = run.ID{Agent: q.GetAgent(), Incarnation: a.Incarnation}
			c.fleet.Leave(id.Agent, id.Incarnation, false)
			answer = agentStatus(c.fleet, a, playing[id], now)
		}
	}
	c.mu.Unlock()
	if answer == nil {
		return nil, status.Errorf(codes.NotFound, "no agent is named %q", strings.ToValidUTF8(q.GetAgent(), "?"))
	}
	for _, r := range c.live() {
		r.mail.post(run.Leaving{ID: id})
	}
	c.log.Info("agent is drained", "agent", id.Agent, "incarnation", id.Incarnation)
	return pb.DrainAgentResponse_builder{Agent: answer}.Build(), nil
}
