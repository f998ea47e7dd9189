package run

import (
	"fmt"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// part is what the machine knows of one part of a run.
type part struct {
	Part
	state  State // from Preparing on
	digest string
	hold   time.Duration // how much longer than its lease it goes on
	start  int64         // of the run, on the agent's clock; valid from Playing on
	stop   pb.StopMode
	paused bool // the lease has lapsed

	endless  bool  // its load has no end in time
	flushing int64 // since when it hands its results over; valid from Flushing on

	applied uint32 // epoch in force
	acked   acknowledgement
}

// acknowledgement is a promise: nothing due at or after the instant starts until the change, or a later attempt of it, is known.
type acknowledgement struct {
	epoch, attempt uint32
	at             int64
}

func newPart(id Part, a *pb.Assignment) *part {
	p := &part{Part: id, state: Preparing, digest: string(a.GetDigest()), hold: a.GetHold().AsDuration(), applied: 1}
	for _, change := range a.GetChanges() {
		p.applied = max(p.applied, change.GetEpoch())
	}
	return p
}

// proposed holds for a change if nothing due at or after its instant can have been started: the clock has not come
// there, or an earlier promise covers it.
func (m *Machine) proposed(e Proposed, now int64) []Command {
	p, c := m.find(e.Part), e.Change
	switch {
	case p == nil || p.Incarnation != m.incarnation:
		return []Command{AnswerChange{Refusal: fmt.Sprintf("this agent has no part in run %s", e.Run)}}
	case p.state == Flushing || p.stop != pb.StopMode_STOP_MODE_UNSPECIFIED:
		return []Command{AnswerChange{Refusal: "its load is over", Over: true}}
	case p.state == Preparing:
		return []Command{AnswerChange{Refusal: "it is not ready"}}
	case c.GetEpoch() != p.applied+1:
		return []Command{AnswerChange{Refusal: fmt.Sprintf("epoch %d is in force, so %d cannot follow", p.applied, c.GetEpoch())}}
	case c.GetEpoch() == p.acked.epoch && c.GetAttempt() < p.acked.attempt:
		return []Command{AnswerChange{Refusal: "a later attempt is known"}}
	case c.GetEpoch() == p.acked.epoch && c.GetAttempt() == p.acked.attempt:
		return []Command{AnswerChange{}}
	case e.Expires != 0 && now >= e.Expires:
		return []Command{AnswerChange{Refusal: "the proposal has expired"}}
	}
	covered := p.acked.epoch == c.GetEpoch() && p.acked.at <= c.GetAtNs()
	if runNS := now - p.start; p.state == Playing && runNS >= c.GetAtNs() && !covered {
		return []Command{AnswerChange{Refusal: "its instant has passed here", RunNS: runNS}}
	}
	return []Command{Hold{Part: p.Part, Change: c}}
}

// held acknowledges what is held.
func (m *Machine) held(e Held) []Command {
	p, c := m.find(e.Part), e.Change
	switch {
	case e.Refusal != "":
		return []Command{AnswerChange{Refusal: e.Refusal, RunNS: e.RunNS, Excess: e.Excess}}
	case p == nil || c.GetEpoch() != p.applied+1:
		return []Command{AnswerChange{Refusal: "it has been overtaken"}}
	case c.GetEpoch() == p.acked.epoch && c.GetAttempt() < p.acked.attempt:
		return []Command{AnswerChange{Refusal: "a later attempt is known"}}
	}
	p.acked = acknowledgement{epoch: c.GetEpoch(), attempt: c.GetAttempt(), at: c.GetAtNs()}
	return []Command{AnswerChange{}}
}

// committed puts a change in force. One that does not follow the last waits: renewals bring what is missing, in order.
func (m *Machine) committed(e Committed) []Command {
	p := m.find(e.Part)
	switch {
	case p == nil:
		return []Command{AnswerChange{Refusal: fmt.Sprintf("this agent has no part in run %s", e.Run)}}
	case e.Change.GetEpoch() <= p.applied:
		return []Command{AnswerChange{}}
	case e.Change.GetEpoch() > p.applied+1:
		return []Command{AnswerChange{Refusal: fmt.Sprintf("epoch %d is in force, so %d cannot follow", p.applied, e.Change.GetEpoch())}}
	}
	p.applied = e.Change.GetEpoch()
	return []Command{Apply{Part: p.Part, Change: e.Change}, AnswerChange{}}
}

// pause stops what is played until the lease is granted again.
func (p *part) pause(why string) []Command {
	if p.state != Playing || p.paused || p.stop != pb.StopMode_STOP_MODE_UNSPECIFIED {
		return nil
	}
	p.paused = true
	return []Command{Pause{Part: p.Part, Why: why}}
}

// stopLoad ends the load for good.
func (p *part) stopLoad(mode pb.StopMode, reason string) []Command {
	if p.state != Playing || mode <= p.stop {
		return nil
	}
	p.stop = mode
	return []Command{StopLoad{Part: p.Part, Mode: mode, Reason: reason}}
}

// supersede ends a part whose incarnation is another member's now.
func (p *part) supersede() []Command {
	if p.state < Playing {
		return []Command{Forget{p.Part}}
	}
	return p.stopLoad(pb.StopMode_STOP_MODE_DRAIN, "the coordinator has given this agent's share to others")
}
