package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/loadline/loadline/coordinator/ingest"
	"github.com/loadline/loadline/coordinator/journal"
	"github.com/loadline/loadline/coordinator/judge"
	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/coordinator/run"
	"github.com/loadline/loadline/internal/bus"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// closeWait bounds the wait for the journal at the end of a run.
const closeWait = 10 * time.Second

// liveRun is one run: the loop that carries out what its state machine commands. Everything that
// happens reaches the loop through the mailbox.
type liveRun struct {
	coordinator *Coordinator
	log         *slog.Logger
	header      *pb.RunHeader
	folder      string
	assignments map[string]*pb.Assignment
	inboxes     map[string]*ingest.Inbox
	journal     *journal.Journal
	mail        *mailbox
	notes       chan run.Note
	ended       chan struct{}

	mu       sync.Mutex
	merged   *merge.Run
	durable  []*pb.RunEvent   // events in the journal, in its order
	windows  map[string]int64 // agent → end of its last merged window, µs since the run's start; absent: it is lost or done
	status   *pb.RunStatus
	summary  *pb.Summary
	writeErr error // what kept the run folder from being whole
	watchers watchers

	// The loop's own.
	machine   *run.Machine
	monitor   *judge.Monitor
	start     int64
	happened  []*pb.RunEvent
	published uint64 // seconds published
	calls     sync.WaitGroup
	ctx       context.Context // of calls to agents; ended with the run
	cancel    context.CancelFunc
}

// loop runs until the run has ended and its folder is written.
func (r *liveRun) loop(config run.Config, agents []string) {
	defer close(r.ended)
	noted := make(chan struct{})
	go func() {
		defer close(noted)
		r.appendNotes()
	}()
	machine, commands := run.New(config, agents, r.coordinator.now())
	r.machine = machine
	r.carryOut(commands)
	for machine.State() != run.Ended {
		r.wait()
		for _, event := range r.mail.take() {
			r.step(event)
		}
		r.publish()
		r.step(run.Tick{})
	}
	r.cancel()
	r.calls.Wait()
	close(r.notes)
	r.finish(noted)
}

// wait sleeps until something was posted or the machine's deadline has come.
func (r *liveRun) wait() {
	deadline := r.machine.Deadline()
	if deadline == 0 {
		<-r.mail.wake
		return
	}
	timer := time.NewTimer(time.Duration(deadline - r.coordinator.now()))
	defer timer.Stop()
	select {
	case <-r.mail.wake:
	case <-timer.C:
	}
}

func (r *liveRun) step(event run.Event) {
	before := r.machine.State()
	r.carryOut(r.machine.Step(event, r.coordinator.now()))
	if r.machine.State() != before {
		r.log.Info("run state changed", "state", stateOf(r.machine.State()), "detail", r.machine.Detail())
	}
	r.setStatus()
}

func (r *liveRun) carryOut(commands []run.Command) {
	for _, command := range commands {
		switch c := command.(type) {
		case run.Assign:
			r.calls.Go(func() { r.assign(c.Agent) })
		case run.Start:
			r.start = c.At
			r.calls.Go(func() { r.begin(c) })
		case run.StopAgent:
			r.calls.Go(func() { r.stopAgent(c) })
		case run.Note:
			r.note(c)
		case run.Reconcile:
			r.mu.Lock()
			missing := r.merged.Missing()
			r.mu.Unlock()
			r.carryOut(r.machine.Step(run.Reconciled{Complete: len(missing) == 0, Missing: missing}, r.coordinator.now()))
		case run.Finish:
			// The loop ends with the machine; finish does the rest.
		}
	}
}

// assign sends one agent its assignment, repeated until it answers or the machine gives up.
func (r *liveRun) assign(agent string) {
	request := pb.AssignRequest_builder{Assignment: r.assignments[agent]}.Build()
	var reply pb.AssignResponse
	if err := r.coordinator.config.Bus.Call(r.ctx, bus.Agent(agent, bus.Assign), request, &reply); err != nil {
		if r.ctx.Err() == nil {
			r.mail.post(run.Assigned{Agent: agent, Refusal: err.Error()})
		}
		return
	}
	r.mail.post(run.Assigned{Agent: agent, Refusal: refusal(reply.GetAccepted(), reply.GetRefusal())})
}

func refusal(accepted bool, why string) string {
	if !accepted && why == "" {
		return "refused without a reason"
	}
	return why
}

// begin tells one agent the common instant on its own clock.
func (r *liveRun) begin(c run.Start) {
	offset, bound, ok := r.coordinator.clock(c.Agent)
	if !ok {
		r.mail.post(run.Started{Agent: c.Agent, Refusal: "the offset of its clock is not known"})
		return
	}
	request := pb.StartRequest_builder{
		RunId: r.header.GetRunId(), Epoch: 1, StartNs: c.At - offset, ClockErrorBoundNs: bound,
		StartedTime: timestamppb.New(r.coordinator.wall(c.At)),
	}.Build()
	var reply pb.StartResponse
	if err := r.coordinator.config.Bus.Call(r.ctx, bus.Agent(c.Agent, bus.Start), request, &reply); err != nil {
		if r.ctx.Err() == nil {
			r.mail.post(run.Started{Agent: c.Agent, Refusal: err.Error()})
		}
		return
	}
	r.mail.post(run.Started{Agent: c.Agent, Refusal: refusal(reply.GetAccepted(), reply.GetRefusal())})
}

// stopAgent tells one agent to stop, repeated until it answers or the run has ended.
func (r *liveRun) stopAgent(c run.StopAgent) {
	request := pb.StopRequest_builder{RunId: r.header.GetRunId(), Mode: c.Mode, Reason: c.Reason}.Build()
	var reply pb.StopResponse
	if err := r.coordinator.config.Bus.Call(r.ctx, bus.Agent(c.Agent, bus.Stop), request, &reply); err != nil && r.ctx.Err() == nil {
		r.log.Warn("agent does not answer the stop", "agent", c.Agent, "error", err)
	}
}

// reported takes an agent's change of state.
func (r *liveRun) reported(q *pb.ReportRequest) {
	if r.incarnation(q.GetAgent()) != q.GetIncarnation() {
		return
	}
	switch q.GetState() {
	case pb.AgentState_AGENT_STATE_READY:
		r.mail.post(run.Ready{Agent: q.GetAgent()})
	case pb.AgentState_AGENT_STATE_FAILED:
		r.mail.post(run.Failed{Agent: q.GetAgent(), Why: problems(q.GetProblems())})
	case pb.AgentState_AGENT_STATE_DONE:
		r.mail.post(run.Done{Agent: q.GetAgent()})
	}
}

// maxProblems bounds the problems of an agent that are told.
const maxProblems = 20

func problems(all []string) string {
	if len(all) == 0 {
		return "no reason given"
	}
	var text string
	for i, problem := range all {
		if i == maxProblems {
			return fmt.Sprintf("%s\nand %d more", text, len(all)-i)
		}
		if i > 0 {
			text += "\n"
		}
		text += problem
	}
	return text
}

// incarnation is that of a member at planning; 0: no member.
func (r *liveRun) incarnation(agent string) uint64 {
	for _, m := range r.header.GetPlan().GetMembers() {
		if m.GetAgent() == agent {
			return m.GetIncarnation()
		}
	}
	return 0
}

func (r *liveRun) lost(agent string, incarnation uint64) {
	if r.incarnation(agent) == incarnation {
		r.forget(agent)
		r.mail.post(run.Lost{Agent: agent, Why: "its lease has lapsed: it does not answer any more"})
	}
}

// forget stops waiting for an agent's windows in the live view.
func (r *liveRun) forget(agent string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.windows, agent)
}

func (r *liveRun) stop(mode pb.StopMode, reason string) {
	r.mail.post(run.Stop{Mode: mode, Reason: reason})
}

// Agent implements ingest.Run.
func (r *liveRun) Agent(name string, incarnation uint64) (*ingest.Inbox, error) {
	inbox, ok := r.inboxes[name]
	if !ok || r.incarnation(name) != incarnation {
		return nil, fmt.Errorf("agent %q of incarnation %d has no part in run %s", name, incarnation, r.header.GetRunId())
	}
	return inbox, nil
}

// Window implements ingest.Run: checked, appended, synced, merged, and only then called durable.
func (r *liveRun) Window(ctx context.Context, w *pb.Window, durable func()) error {
	if err := r.check(func(m *merge.Run) error { return m.CheckWindow(w) }); err != nil {
		return err
	}
	return r.journal.Append(ctx, pb.JournalRecord_builder{Window: w}.Build(), func() {
		r.mu.Lock()
		err := r.merged.AddWindow(w)
		if _, waiting := r.windows[w.GetAgent()]; waiting {
			r.windows[w.GetAgent()] = max(r.windows[w.GetAgent()], w.GetEndUs())
		}
		r.mu.Unlock()
		if err != nil {
			r.log.Error("a checked window could not be merged", "agent", w.GetAgent(), "sequence", w.GetSequence(), "error", err)
		}
		durable()
		r.mail.kick()
	})
}

// check asks the merged run about a message, while there is one.
func (r *liveRun) check(ask func(*merge.Run) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.merged == nil {
		return fmt.Errorf("run %s has ended", r.header.GetRunId())
	}
	return ask(r.merged)
}

// Totals implements ingest.Run.
func (r *liveRun) Totals(ctx context.Context, t *pb.Totals, durable func()) error {
	if err := r.check(func(m *merge.Run) error { return m.CheckTotals(t) }); err != nil {
		return err
	}
	return r.journal.Append(ctx, pb.JournalRecord_builder{Totals: t}.Build(), func() {
		r.mu.Lock()
		err := r.merged.AddTotals(t)
		delete(r.windows, t.GetAgent())
		r.mu.Unlock()
		if err != nil {
			r.log.Error("checked totals could not be merged", "agent", t.GetAgent(), "error", err)
		}
		durable()
		r.mail.post(run.Totals{Agent: t.GetAgent()})
	})
}

// note fills in an event's times and hands it on to be appended.
func (r *liveRun) note(n run.Note) {
	n.Event.SetTime(timestamppb.New(r.coordinator.wall(n.At)))
	if r.start != 0 || n.Event.GetKind() == pb.RunEventKind_RUN_EVENT_KIND_STARTED {
		start := r.start
		if start == 0 {
			start = n.At
		}
		n.Event.SetAtUs((n.At - start) / int64(time.Microsecond))
	}
	r.happened = append(r.happened, n.Event)
	r.notes <- n
}

// maxNotes is more than a run can have: a few per agent and a few of its own.
const maxNotes = 4096

// appendNotes moves notes to the journal and, once durable, to the merged run. It is apart from the
// loop because the journal may be full for a while, and the loop must still hear a stop.
func (r *liveRun) appendNotes() {
	for n := range r.notes {
		record := pb.JournalRecord_builder{Event: n.Event}.Build()
		err := r.journal.Append(r.coordinator.ctx, record, func() { r.eventDurable(n.Event) })
		if err != nil {
			r.log.Error("event not in the journal", "event", n.Event.GetKind(), "error", err)
		}
	}
}

func (r *liveRun) mergeEvent(e *pb.RunEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.merged.AddEvent(e); err != nil {
		r.log.Error("event could not be merged", "event", e.GetKind(), "error", err)
	}
}

// incomplete says in the summary that the folder does not hold what it should: nobody may take the
// run for one that can be looked at again.
func (r *liveRun) incomplete(err error) {
	r.log.Error("the run folder is not whole", "folder", r.folder, "error", err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writeErr = err
	r.summary.SetExitStatus(judge.ExitUnforeseen)
	r.summary.SetReasons(append(r.summary.GetReasons(), "the run folder is not whole: "+err.Error()))
}

// finish closes the journal, judges, and writes what the run leaves behind.
func (r *liveRun) finish(noted <-chan struct{}) {
	ctx, cancel := context.WithTimeout(r.coordinator.ctx, closeWait)
	defer cancel()
	select {
	case <-noted:
	case <-ctx.Done(): // the journal takes nothing any more; Close makes appendNotes return
	}
	closed := r.journal.Close(ctx)
	<-noted
	// What the journal could not take still happened. Adding an event again changes nothing.
	for _, event := range r.happened {
		r.mergeEvent(event)
	}
	r.mu.Lock()
	r.summary = judge.Summarize(r.merged)
	r.mu.Unlock()
	if err := errors.Join(closed, writeResults(r.folder, r.merged, r.summary)); err != nil {
		r.incomplete(err)
	}
	r.setStatus()
	r.mu.Lock()
	r.watchers.close()
	r.merged = nil // the summary stays; what it was computed from is in the journal
	r.mu.Unlock()
}
