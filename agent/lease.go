package agent

import (
	"context"
	"time"

	"github.com/loadline/loadline/agent/guard"
	"github.com/loadline/loadline/agent/run"
	"github.com/loadline/loadline/internal/bus"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// grant prolongs the lease of the present incarnation; 0 takes it away until it is granted again. What was started under an
// older incarnation never starts anything again. a.mu is held.
func (a *Agent) grant(until int64) {
	if until == 0 {
		a.lease.Suspend()
		return
	}
	if incarnation := a.machine.Incarnation(); incarnation != a.leased {
		a.lease.Revoke()
		a.lease, a.leased = &guard.Lease{}, incarnation
	}
	a.lease.Grant(until)
}

// register asks for an incarnation until the coordinator admits the agent.
func (a *Agent) register(held uint64) {
	request := pb.RegisterRequest_builder{Nonce: a.nonce, Incarnation: held, Agent: a.info()}.Build()
	for a.ctx.Err() == nil {
		var reply pb.RegisterResponse
		ctx, cancel := context.WithTimeout(a.ctx, callTimeout)
		asked := a.leaseNow() // anew with every try: an answer may be that to the last one
		err := a.config.Bus.Call(ctx, bus.Register, request, &reply)
		cancel()
		switch {
		case err != nil:
			continue
		case reply.GetIncarnation() != 0:
			a.registered(&reply, asked)
			return
		}
		a.log.Error("registration refused; trying again", "reason", reply.GetRefusal())
		select {
		case <-a.ctx.Done():
		case <-time.After(refusedPause):
		}
	}
}

// info is what the agent says of itself.
func (a *Agent) info() *pb.AgentInfo {
	return pb.AgentInfo_builder{
		Name: a.config.Name, Version: a.config.Version, Protocol: protocolVersion,
		Cores: uint32(a.config.Cores), Capacity: a.config.Capacity, Labels: a.config.Labels, TakesRosterInShort: true,
	}.Build()
}

func (a *Agent) registered(reply *pb.RegisterResponse, asked int64) {
	a.mu.Lock()
	a.renew = max(10*time.Millisecond, reply.GetRenewEvery().AsDuration())
	a.mu.Unlock()
	a.remember(asked, reply.GetClock())
	a.step(run.Registered{Incarnation: reply.GetIncarnation(), Lease: reply.GetLease().AsDuration(), Asked: asked})
	for range firstExchanges {
		a.renewOnce() // hands the clock sample over, which the first start needs
	}
}

// remember keeps the last exchange for the coordinator's estimate of the clock (M17).
func (a *Agent) remember(asked int64, reply *pb.ClockReply) {
	if reply == nil {
		return
	}
	sample := pb.ClockSample_builder{
		SentNs: asked, ReceivedNs: reply.GetReceivedNs(), RepliedNs: reply.GetSentNs(), ReturnedNs: a.now(),
	}.Build()
	a.mu.Lock()
	a.clock = sample
	a.mu.Unlock()
}

// renewals renews the lease over the bus for as long as the agent lives: at every turn, but at one of spareTurns while the results
// stream brings answers. That one measures the clock, and shows that the bus is there.
func (a *Agent) renewals() {
	for spared := 1; ; spared++ {
		a.mu.Lock()
		pause := a.renew
		a.mu.Unlock()
		select {
		case <-a.ctx.Done():
			return
		case <-time.After(pause):
		}
		if spared < spareTurns && a.spares() {
			continue
		}
		spared = 0
		a.renewOnce()
	}
}

// spares reports whether the bus may be left out at this turn: the results stream has renewed the lease of late, which was asked for not
// longer ago than it takes to ask twice, and the clock is known.
func (a *Agent) spares() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.owed > 0 {
		a.owed--
		return false
	}
	return a.streamed != 0 && a.leaseNow()-a.streamed < int64(streamFresh)
}

// renewal makes the next request for a lease; nil: there is nothing to renew. asked is when it was made.
func (a *Agent) renewal() (request *pb.RenewRequest, asked int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked = a.leaseNow()
	if a.machine.Incarnation() == 0 {
		return nil, asked
	}
	epoch, attempt, applied, runNS := a.machine.Progress(asked)
	b := pb.RenewRequest_builder{
		Agent: a.config.Name, Incarnation: a.machine.Incarnation(), RunId: a.machine.Part().Run, RunNs: runNS,
		AcknowledgedEpoch: epoch, AcknowledgedAttempt: attempt, AppliedEpoch: applied, Leaving: a.machine.Leaving(),
	}
	if a.clock != a.told {
		b.Clock = a.clock // once: the coordinator keeps the last few
	}
	if a.introduce {
		b.Info = a.info()
	}
	if r := a.refusal; r.change != nil && r.part == a.machine.Part() && r.change.GetEpoch() > applied {
		b.Refused = r.change
	}
	return b.Build(), asked
}

// renewOnce asks for one renewal. No answer means no renewal: the lease then lapses by itself.
func (a *Agent) renewOnce() {
	request, asked := a.renewal()
	if request == nil {
		return
	}
	ctx, cancel := context.WithTimeout(a.ctx, callTimeout)
	defer cancel()
	var reply pb.RenewResponse
	if err := a.config.Bus.Call(ctx, bus.Renew, request, &reply); err != nil {
		if a.ctx.Err() == nil {
			a.mu.Lock()
			valid := a.lease.Valid(a.leaseNow()) // renewed over the results stream, or not lapsed yet
			a.mu.Unlock()
			a.log.Warn("lease not renewed over the bus", "valid", valid, "error", err)
		}
		return
	}
	a.remember(asked, reply.GetClock())
	a.renewed(request, &reply, asked)
}

// renewed takes what came with a renewal, over whichever way: first the changes, so that what is played goes on as it is owned by now.
func (a *Agent) renewed(q *pb.RenewRequest, r *pb.RenewResponse, asked int64) {
	id := run.Part{Run: q.GetRunId(), Incarnation: q.GetIncarnation()}
	if !r.GetGranted() {
		a.log.Warn("lease refused", "reason", r.GetRefusal())
		a.step(run.LeaseRefused{Incarnation: q.GetIncarnation(), Why: r.GetRefusal()})
		return
	}
	a.mu.Lock()
	if a.introduce = r.GetIntroduce(); a.introduce {
		a.owed = firstExchanges // a coordinator that was started anew does not know the clock either
	}
	if q.HasClock() {
		a.told = q.GetClock()
	}
	a.mu.Unlock()
	if mode := r.GetStop(); mode != pb.StopMode_STOP_MODE_UNSPECIFIED {
		a.step(run.Stopped{Run: q.GetRunId(), Mode: mode, Reason: "the coordinator says so with the lease"})
	}
	for _, change := range r.GetCommitted() {
		a.step(run.Committed{Part: id, Change: change})
	}
	a.step(run.Renewed{Incarnation: q.GetIncarnation(), Asked: asked})
	if change := r.GetProposed(); change != nil {
		a.refuse(id, change, changed(a.propose(id, change, 0))) // the next renewal carries the acknowledgement
	}
}

// refusal is the answer to the last proposal that came with a renewal, unless that was acknowledged: the coordinator may not be
// reached over the bus, so renewals carry it.
type refusal struct {
	part   run.Part
	change *pb.RefusedChange // nil: there is none
}

// refuse keeps an answer for the next renewal.
func (a *Agent) refuse(id run.Part, change *pb.Change, answer *pb.ChangeResponse) {
	kept := refusal{part: id}
	if !answer.GetAccepted() {
		kept.change = pb.RefusedChange_builder{Epoch: change.GetEpoch(), Attempt: change.GetAttempt(), Answer: answer}.Build()
	}
	a.mu.Lock()
	a.refusal = kept
	a.mu.Unlock()
}

// stream is how the results stream renews the lease, and hears of stops.
type stream struct {
	agent       *Agent
	incarnation uint64
}

// Renewal implements uplink.Lease. A stream of an older incarnation renews nothing.
func (s stream) Renewal() (*pb.RenewRequest, func(*pb.RenewResponse)) {
	request, asked := s.agent.renewal()
	if request.GetIncarnation() != s.incarnation {
		return nil, nil
	}
	return request, func(r *pb.RenewResponse) {
		s.agent.heardOverStream(r, asked)
		s.agent.renewed(request, r, asked)
	}
}

// heardOverStream notes that the results stream renews the lease; one that is refused is not renewed.
func (a *Agent) heardOverStream(r *pb.RenewResponse, asked int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.streamed = 0; r.GetGranted() {
		a.streamed = asked
	}
	if r.GetIntroduce() {
		a.told = a.clock // measured against the coordinator before this one
	}
}

// Stopped implements uplink.Lease.
func (s stream) Stopped(q *pb.StopRequest) { s.agent.halt(q) }
