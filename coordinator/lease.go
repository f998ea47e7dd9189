package coordinator

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/loadline/loadline/coordinator/fleet"
	"github.com/loadline/loadline/coordinator/run"
	"github.com/loadline/loadline/internal/bus"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// maxCommitted bounds the changes that one renewal brings; the next brings more.
const maxCommitted = 16

// standstill is how long nobody may look at the leases before the coordinator counts as having stood still.
const standstill = RenewEvery

// serveAgents answers registrations, renewals and reports.
func (c *Coordinator) serveAgents() error {
	return errors.Join(
		bus.Serve(c.config.Bus, bus.Register, c.register),
		bus.Serve(c.config.Bus, bus.Renew, c.renew),
		bus.Serve(c.config.Bus, bus.Report, c.report),
	)
}

func (c *Coordinator) register(q *pb.RegisterRequest) *pb.RegisterResponse {
	received := c.now()
	c.mu.Lock()
	c.look(received)
	incarnation, refusal := c.fleet.Register(q.GetAgent(), q.GetNonce(), q.GetIncarnation(), received)
	c.mu.Unlock()
	if refusal != "" {
		c.log.Warn("agent refused", "agent", q.GetAgent().GetName(), "reason", refusal)
		return pb.RegisterResponse_builder{Refusal: refusal}.Build()
	}
	c.log.Info("agent registered", "agent", q.GetAgent().GetName(), "incarnation", incarnation, "held", q.GetIncarnation())
	return pb.RegisterResponse_builder{
		Incarnation: incarnation,
		RenewEvery:  durationpb.New(RenewEvery),
		Lease:       durationpb.New(LeaseLength),
		Clock:       pb.ClockReply_builder{ReceivedNs: received, SentNs: c.now()}.Build(),
	}.Build()
}

// renew grants another lease, over whichever way it was asked for, with all that the agent may have missed.
func (c *Coordinator) renew(q *pb.RenewRequest) *pb.RenewResponse {
	received := c.now()
	agent, known, refusal := c.renewLease(q, received)
	answer := pb.RenewResponse_builder{Granted: refusal == "", Refusal: refusal, Epoch: 1, Revision: 1}
	switch {
	case refusal != "":
		c.log.Warn("lease refused", "agent", q.GetAgent(), "incarnation", q.GetIncarnation(), "reason", refusal)
	case q.GetRunId() == "":
		if known && !agent.Leaving {
			c.offer(agent)
		}
	default:
		if r, ok := c.run(q.GetRunId()); ok {
			r.renewed(q, &answer)
		}
	}
	answer.Introduce = refusal == "" && agent != nil && agent.Stranger()
	answer.Clock = pb.ClockReply_builder{ReceivedNs: received, SentNs: c.now()}.Build()
	return answer.Build()
}

// renewLease is the fleet's part of a renewal. known says that the agent's clock was known before.
func (c *Coordinator) renewLease(q *pb.RenewRequest, now int64) (agent *fleet.Agent, known bool, refusal string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look(now)
	_, _, known = c.fleet.Clock(q.GetAgent(), now)
	if refusal = c.fleet.Renew(q.GetAgent(), q.GetIncarnation(), q.GetClock(), now); refusal != "" {
		return nil, known, refusal
	}
	if q.HasInfo() {
		if why := c.fleet.Introduce(q.GetAgent(), q.GetIncarnation(), q.GetInfo()); why != "" {
			c.log.Warn("what an agent says of itself is not taken", "agent", q.GetAgent(), "reason", why)
		}
	}
	if q.GetLeaving() {
		c.fleet.Leave(q.GetAgent(), q.GetIncarnation(), false)
	}
	if !known {
		close(c.joined)
		c.joined = make(chan struct{})
	}
	snapshot := *c.fleet.Agent(q.GetAgent()) // it is there, for its lease was renewed
	return &snapshot, known, ""
}

// renewed tells the run what a renewal says, and the agent what it may have missed.
func (r *liveRun) renewed(q *pb.RenewRequest, answer *pb.RenewResponse_builder) {
	id := run.ID{Agent: q.GetAgent(), Incarnation: q.GetIncarnation()}
	r.brain.Lock()
	defer r.brain.Unlock()
	if r.machine == nil {
		return
	}
	for _, change := range r.machine.Committed() {
		answer.Epoch, answer.Revision = change.GetEpoch(), change.GetRevision()
		if change.GetEpoch() > q.GetAppliedEpoch() && len(answer.Committed) < maxCommitted {
			answer.Committed = append(answer.Committed, change)
		}
	}
	answer.Proposed, answer.Stop = r.machine.Proposed(id), r.machine.Told(id)
	r.mail.post(run.Applied{ID: id, Epoch: q.GetAppliedEpoch()})
	if q.GetAcknowledgedAttempt() > 0 {
		r.mail.post(run.Acknowledged{ID: id, Epoch: q.GetAcknowledgedEpoch(), Attempt: q.GetAcknowledgedAttempt()})
	}
	if refused := q.GetRefused(); refused != nil {
		r.refusedBy(id, refused.GetEpoch(), refused.GetAttempt(), refused.GetAnswer())
	}
	if q.GetLeaving() {
		r.mail.post(run.Leaving{ID: id})
	}
}

func (c *Coordinator) report(q *pb.ReportRequest) *pb.ReportResponse {
	if q.GetState() == pb.AgentState_AGENT_STATE_LEAVING {
		c.mu.Lock()
		c.fleet.Leave(q.GetAgent(), q.GetIncarnation(), q.GetRunId() == "")
		c.mu.Unlock()
		c.log.Info("agent leaves", "agent", q.GetAgent(), "incarnation", q.GetIncarnation(), "gone", q.GetRunId() == "")
	}
	if run, ok := c.run(q.GetRunId()); ok {
		run.reported(q)
	}
	return pb.ReportResponse_builder{Accepted: true}.Build()
}

// look notices that this process stood still: leases are looked at four times a second. c.mu is held.
func (c *Coordinator) look(now int64) {
	if still := time.Duration(now - c.looked); c.looked != 0 && still > standstill {
		c.log.Warn("this coordinator stood still; leases count as so much younger", "still", still)
		c.fleet.Stood(still, now)
	}
	c.looked = max(c.looked, now)
}

// watchLeases tells the runs of agents whose lease has lapsed.
func (c *Coordinator) watchLeases() {
	tick := time.NewTicker(RenewEvery / 4)
	defer tick.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-tick.C:
		}
		c.mu.Lock()
		now := c.now()
		c.look(now)
		lost := c.fleet.Expire(now)
		c.mu.Unlock()
		for _, agent := range lost {
			c.log.Warn("agent lost: its lease has lapsed", "agent", agent.Info.GetName(), "incarnation", agent.Incarnation)
			for _, run := range c.known() {
				run.lost(agent.Info.GetName(), agent.Incarnation)
			}
		}
	}
}

// setHold says how much longer than its lease an agent may go on. It is set before the agent learns of it.
func (c *Coordinator) setHold(id run.ID, hold time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fleet.Hold(id.Agent, id.Incarnation, hold)
}

// deny lets an agent's lease lapse.
func (c *Coordinator) deny(id run.ID, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fleet.Deny(id.Agent, id.Incarnation, why)
}

// clock is the offset of an agent's clock with its bound, in nanoseconds.
func (c *Coordinator) clock(agent string) (offset, bound int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fleet.Clock(agent, c.now())
}

// waitClock is clock, once it is known: after a restart of the coordinator it is with the agent's second renewal.
func (c *Coordinator) waitClock(ctx context.Context, agent string) (offset, bound int64, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, clockWait)
	defer cancel()
	for {
		if offset, bound, ok = c.clock(agent); ok {
			return offset, bound, true
		}
		select {
		case <-ctx.Done():
			return 0, 0, false
		case <-time.After(clockWait / 100):
		}
	}
}
