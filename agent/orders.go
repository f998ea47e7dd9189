package agent

import (
	"errors"
	"time"

	"github.com/loadline/loadline/agent/guard"
	"github.com/loadline/loadline/agent/run"
	"github.com/loadline/loadline/internal/bus"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// serveOrders answers the coordinator's orders.
func (a *Agent) serveOrders() error {
	return errors.Join(
		bus.Serve(a.config.Bus, bus.Agent(a.config.Name, bus.Assign), a.assign),
		bus.Serve(a.config.Bus, bus.Agent(a.config.Name, bus.Start), a.start),
		bus.Serve(a.config.Bus, bus.Agent(a.config.Name, bus.Change), a.change),
		bus.Serve(a.config.Bus, bus.Agent(a.config.Name, bus.Stop), a.halt),
	)
}

func (a *Agent) assign(q *pb.AssignRequest) *pb.AssignResponse {
	if answer, ok := among[run.AnswerAssign](a.step(run.Assigned{Assignment: q.GetAssignment(), Time: time.Now()})); ok {
		return pb.AssignResponse_builder{Accepted: answer.Refusal == "", Refusal: answer.Refusal}.Build()
	}
	return pb.AssignResponse_builder{Refusal: "the agent gave no answer"}.Build()
}

func (a *Agent) start(q *pb.StartRequest) *pb.StartResponse {
	id := run.Part{Run: q.GetRunId(), Incarnation: q.GetIncarnation()}
	started := run.Started{Part: id, Epoch: q.GetEpoch(), At: q.GetStartNs(), ClockBound: q.GetClockErrorBoundNs()}
	if answer, ok := among[run.AnswerStart](a.step(started)); ok {
		return pb.StartResponse_builder{Accepted: answer.Refusal == "", Refusal: answer.Refusal}.Build()
	}
	return pb.StartResponse_builder{Refusal: "the agent gave no answer"}.Build()
}

func (a *Agent) halt(q *pb.StopRequest) *pb.StopResponse {
	a.step(run.Stopped{Run: q.GetRunId(), Mode: q.GetMode(), Reason: q.GetReason()})
	return pb.StopResponse_builder{Accepted: true}.Build()
}

// change answers a proposal or a commitment.
func (a *Agent) change(q *pb.ChangeRequest) *pb.ChangeResponse {
	id := run.Part{Run: q.GetRunId(), Incarnation: q.GetIncarnation()}
	if q.GetCommit() {
		return changed(a.step(run.Committed{Part: id, Change: q.GetChange()}))
	}
	return changed(a.propose(id, q.GetChange(), q.GetExpiresNs()))
}

// propose holds for a change and acknowledges it. expires is in coordinator time, 0: never.
func (a *Agent) propose(id run.Part, change *pb.Change, expires int64) []run.Command {
	commands := a.step(run.Proposed{Part: id, Change: change, Expires: a.fromCoordinator(expires)})
	if hold, ok := among[run.Hold](commands); ok {
		return a.step(a.hold(hold))
	}
	return commands
}

// hold carries out a hold and says what came of it.
func (a *Agent) hold(c run.Hold) run.Event {
	a.mu.Lock()
	part := a.parts[c.Part]
	a.mu.Unlock()
	held := run.Held{Part: c.Part, Change: c.Change}
	if part == nil {
		held.Refusal = "the run is over"
		return held
	}
	a.catchUp(part) // what the change follows
	runNS, err := part.hold(c.Change)
	if err != nil {
		held.Refusal = err.Error()
		held.Excess = errors.Is(err, guard.ErrExcess)
		if errors.Is(err, errLate) {
			held.RunNS = runNS
		}
	}
	return held
}

func changed(commands []run.Command) *pb.ChangeResponse {
	if answer, ok := among[run.AnswerChange](commands); ok {
		return pb.ChangeResponse_builder{
			Accepted: answer.Refusal == "", Refusal: answer.Refusal, RunNs: answer.RunNS, Over: answer.Over, Excess: answer.Excess,
		}.Build()
	}
	return pb.ChangeResponse_builder{Refusal: "the agent gave no answer"}.Build()
}

// among finds the first command of a kind.
func among[C run.Command](commands []run.Command) (found C, ok bool) {
	for _, command := range commands {
		if found, ok = command.(C); ok {
			return found, true
		}
	}
	return found, false
}

// fromCoordinator turns an instant of coordinator time into the agent's, by the last exchange; 0 stays 0.
func (a *Agent) fromCoordinator(at int64) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at == 0 || a.clock == nil {
		return 0
	}
	return at - (a.clock.GetRepliedNs() - a.clock.GetReturnedNs())
}
