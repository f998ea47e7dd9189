package coordinator

import (
	"context"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/loadline/loadline/coordinator/run"
	"github.com/loadline/loadline/internal/bus"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// order carries out a command that an agent has to answer. It is repeated until it is answered, or the run has ended.
func (r *liveRun) order(command run.Command) {
	switch c := command.(type) {
	case run.Assign:
		r.coordinator.setHold(c.ID, r.hold())
		changes := r.machine.Committed()
		r.calls.Go(func() { r.assign(c.ID, changes) })
	case run.Start:
		epoch := r.startEpoch(c.ID)
		r.calls.Go(func() { r.begin(c, epoch) })
	case run.Propose:
		ctx := r.attempt(c.Change)
		r.calls.Go(func() { r.propose(ctx, c) })
	case run.Commit:
		r.calls.Go(func() { r.commit(c) })
	case run.StopAgent:
		r.notifyStream(c.ID)
		r.calls.Go(func() { r.stopAgent(c) })
	case run.Deny:
		r.log.Warn("agent's lease is not renewed any more", "agent", c.Agent, "incarnation", c.Incarnation, "reason", c.Why)
		r.coordinator.deny(c.ID, c.Why)
	}
}

// startEpoch is the epoch that must be in force on an agent before it starts: the one that let it join, or the one that
// left others out at the start. r.brain is held.
func (r *liveRun) startEpoch(id run.ID) uint32 {
	epoch := uint32(1)
	for _, change := range r.machine.Committed() {
		for _, joined := range change.GetJoined() {
			if idOf(joined) == id {
				return change.GetEpoch()
			}
		}
		if change.GetAtNs() == 0 {
			epoch = change.GetEpoch()
		}
	}
	return epoch
}

const (
	// assignTurns bounds the assignments that are under way at the same time: all at once they would wait for each other, in memory
	// and on the bus, until they are sent anew for want of an answer.
	assignTurns = 128
	// assignTurn is how long one that is not answered keeps another waiting.
	assignTurn = 2 * time.Second
)

// turn waits for a turn to send an assignment. What it returns ends the turn, as assignTurn does.
func (r *liveRun) turn() (end func()) {
	select {
	case r.assigning <- struct{}{}:
	case <-r.ctx.Done():
		return func() {}
	}
	end = sync.OnceFunc(func() { <-r.assigning })
	time.AfterFunc(assignTurn, end)
	return end
}

// assign sends one agent its assignment.
func (r *liveRun) assign(id run.ID, changes []*pb.Change) {
	defer r.turn()()
	assignment, err := r.assignment(id, changes)
	if err != nil {
		r.mail.post(run.Assigned{ID: id, Refusal: err.Error()})
		return
	}
	var reply pb.AssignResponse
	request := pb.AssignRequest_builder{Assignment: assignment}.Build()
	if err := r.coordinator.config.Bus.Call(r.ctx, bus.Agent(id.Agent, bus.Assign), request, &reply); err != nil {
		if r.ctx.Err() == nil {
			r.mail.post(run.Assigned{ID: id, Refusal: err.Error()})
		}
		return
	}
	r.mail.post(run.Assigned{ID: id, Refusal: refusal(reply.GetAccepted(), reply.GetRefusal())})
}

func refusal(accepted bool, why string) string {
	if !accepted && why == "" {
		return "refused without a reason"
	}
	return why
}

// begin tells one agent the common instant on its own clock.
func (r *liveRun) begin(c run.Start, epoch uint32) {
	offset, bound, ok := r.coordinator.waitClock(r.ctx, c.Agent)
	if !ok {
		if r.ctx.Err() == nil {
			r.mail.post(run.Started{ID: c.ID, Refusal: "the offset of its clock is not known"})
		}
		return
	}
	request := pb.StartRequest_builder{
		RunId: r.header.GetRunId(), Epoch: epoch, StartNs: c.At - offset, ClockErrorBoundNs: bound, Incarnation: c.Incarnation,
		StartedTime: timestamppb.New(r.coordinator.wall(c.At)),
	}.Build()
	var reply pb.StartResponse
	if err := r.coordinator.config.Bus.Call(r.ctx, bus.Agent(c.Agent, bus.Start), request, &reply); err != nil {
		if r.ctx.Err() == nil {
			r.mail.post(run.Started{ID: c.ID, Refusal: err.Error()})
		}
		return
	}
	r.mail.post(run.Started{ID: c.ID, Refusal: refusal(reply.GetAccepted(), reply.GetRefusal())})
}

// proposing is the attempt at a change that is being sent; the loop's own.
type proposing struct {
	epoch   uint32
	attempt uint32
	ctx     context.Context
	cancel  context.CancelFunc
}

// attempt is the context of the orders of one attempt. Those of the attempt before end with its first: it is in their place,
// and where many agents are slow to answer the orders of all attempts together would keep them so.
func (r *liveRun) attempt(change *pb.Change) context.Context {
	p := &r.proposing
	if p.ctx == nil || p.epoch != change.GetEpoch() || p.attempt != change.GetAttempt() {
		if p.cancel != nil {
			p.cancel()
		}
		p.epoch, p.attempt = change.GetEpoch(), change.GetAttempt()
		p.ctx, p.cancel = context.WithTimeout(r.ctx, r.lifeOf(change))
	}
	return p.ctx
}

// lifeOf bounds the sending of one proposal. A change that takes its agents long to compute has its instant further ahead.
func (r *liveRun) lifeOf(change *pb.Change) time.Duration {
	return max(proposalLife, time.Duration(change.GetAtNs()+r.start.Load()-r.coordinator.now()))
}

// propose asks one agent to acknowledge a change. Renewals repeat it, so a refusal that says nothing final is left at that.
func (r *liveRun) propose(ctx context.Context, c run.Propose) {
	reply, ok := r.tell(ctx, c.ID, c.Change, false)
	epoch, attempt := c.Change.GetEpoch(), c.Change.GetAttempt()
	switch {
	case !ok:
	case reply.GetAccepted():
		r.mail.post(run.Acknowledged{ID: c.ID, Epoch: epoch, Attempt: attempt})
	default:
		r.refusedBy(c.ID, epoch, attempt, reply)
	}
}

// refusedBy takes down that an agent does not acknowledge a proposal, over whichever way it said so.
func (r *liveRun) refusedBy(id run.ID, epoch, attempt uint32, answer *pb.ChangeResponse) {
	r.log.Info("change not acknowledged", "agent", id.Agent, "epoch", epoch, "attempt", attempt, "reason", strings.ToValidUTF8(answer.GetRefusal(), "?"))
	r.mail.post(run.Refused{
		ID: id, Epoch: epoch, Attempt: attempt, RunNS: answer.GetRunNs(), Over: answer.GetOver(), Excess: answer.GetExcess(), Why: answer.GetRefusal(),
	})
}

// commit tells one agent of a change that is on record. One that it cannot take on yet comes again with its renewals.
func (r *liveRun) commit(c run.Commit) {
	if reply, ok := r.tell(r.ctx, c.ID, c.Change, true); ok && reply.GetAccepted() {
		r.mail.post(run.Applied{ID: c.ID, Epoch: c.Change.GetEpoch()})
	}
}

// tell sends a change until the agent has answered or ctx ends.
func (r *liveRun) tell(ctx context.Context, id run.ID, change *pb.Change, commit bool) (*pb.ChangeResponse, bool) {
	request := pb.ChangeRequest_builder{RunId: r.header.GetRunId(), Incarnation: id.Incarnation, Change: change, Commit: commit}
	if !commit {
		// Another attempt follows long before; what is late must not be acknowledged for nothing.
		request.ExpiresNs = r.coordinator.now() + int64(r.lifeOf(change))
	}
	reply := &pb.ChangeResponse{}
	err := r.coordinator.config.Bus.Call(ctx, bus.Agent(id.Agent, bus.Change), request.Build(), reply)
	return reply, err == nil
}

// stopAgent tells one agent to stop.
func (r *liveRun) stopAgent(c run.StopAgent) {
	request := pb.StopRequest_builder{RunId: r.header.GetRunId(), Mode: c.Mode, Reason: c.Reason}.Build()
	var reply pb.StopResponse
	if err := r.coordinator.config.Bus.Call(r.ctx, bus.Agent(c.Agent, bus.Stop), request, &reply); err != nil && r.ctx.Err() == nil {
		r.log.Warn("agent does not answer the stop", "agent", c.Agent, "error", err)
	}
}

// Stop implements ingest.Run: the order that an agent has to obey travels on its results stream too.
func (r *liveRun) Stop(name string, incarnation uint64) *pb.StopRequest {
	r.brain.Lock()
	defer r.brain.Unlock()
	if r.machine == nil {
		return nil
	}
	mode := r.machine.Told(run.ID{Agent: name, Incarnation: incarnation})
	if mode == pb.StopMode_STOP_MODE_UNSPECIFIED {
		return nil
	}
	return pb.StopRequest_builder{RunId: r.header.GetRunId(), Mode: mode, Reason: r.machine.Detail()}.Build()
}

// notifyStream wakes the agent's results stream, which then carries the order to stop.
func (r *liveRun) notifyStream(id run.ID) {
	r.mu.Lock()
	inbox := r.inboxes[id]
	r.mu.Unlock()
	if inbox != nil {
		inbox.Notify()
	}
}

// reported takes an agent's change of state.
func (r *liveRun) reported(q *pb.ReportRequest) {
	id := run.ID{Agent: q.GetAgent(), Incarnation: q.GetIncarnation()}
	switch q.GetState() {
	case pb.AgentState_AGENT_STATE_READY:
		r.mail.post(run.Ready{ID: id})
	case pb.AgentState_AGENT_STATE_FAILED:
		r.mail.post(run.Failed{ID: id, Why: problems(q.GetProblems())})
	case pb.AgentState_AGENT_STATE_DONE:
		r.mail.post(run.Done{ID: id})
	case pb.AgentState_AGENT_STATE_LEAVING:
		r.mail.post(run.Leaving{ID: id})
	}
}
