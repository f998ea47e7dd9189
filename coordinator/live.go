package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/loadline/loadline/coordinator/ingest"
	"github.com/loadline/loadline/coordinator/journal"
	"github.com/loadline/loadline/coordinator/judge"
	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/coordinator/run"
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
	journal     *journal.Journal
	mail        *mailbox
	notes       chan run.Note
	ended       chan struct{}

	mu       sync.Mutex
	merged   *merge.Run
	durable  []*pb.RunEvent // events in the journal, in its order
	status   *pb.RunStatus
	standing standing // what status was made of
	summary  *pb.Summary
	writeErr error // what kept the run folder from being whole
	watchers watchers
	wishes   map[string]*wish // by request
	members
	driver *driver // nil: no program drives the run

	brain   sync.Mutex   // held by the loop while it steps the machine
	machine *run.Machine // nil: the loop has not begun
	start   atomic.Int64 // coordinator time; 0: not fixed yet

	// The loop's own.
	monitor   *judge.Monitor
	happened  []*pb.RunEvent
	published uint64 // seconds published
	proposing proposing
	assigning chan struct{} // the assignments under way
	slowest   run.ID        // the agent that was behind all others when whole looked last
	calls     sync.WaitGroup
	ctx       context.Context // of calls to agents; ended with the run
	cancel    context.CancelFunc
}

// newLiveRun is a run that is begun or taken up again, with all that has to be there for both.
func (c *Coordinator) newLiveRun(folder string, log *slog.Logger) *liveRun {
	return &liveRun{
		coordinator: c, log: log, folder: folder, mail: newMailbox(), wishes: map[string]*wish{},
		assigning: make(chan struct{}, assignTurns), notes: make(chan run.Note, maxNotes), ended: make(chan struct{}),
	}
}

// beginning makes a run's machine and the commands that begin it.
type beginning func() (*run.Machine, []run.Command)

// loop runs until the run has ended and its folder is written.
func (r *liveRun) loop(begin beginning) {
	defer close(r.ended)
	noted := make(chan struct{})
	go func() {
		defer close(noted)
		r.appendNotes()
	}()
	r.brain.Lock()
	machine, commands := begin()
	r.machine = machine
	r.carryOut(commands)
	r.brain.Unlock()
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
	r.brain.Lock()
	r.carryOut(r.machine.Step(event, r.coordinator.now()))
	r.brain.Unlock()
	if r.machine.State() != before {
		r.log.Info("run state changed", "state", stateOf(r.machine.State()), "detail", r.machine.Detail())
	}
	r.setStatus()
}

// carryOut does what the machine commands; nothing in it waits for an agent. r.brain is held.
func (r *liveRun) carryOut(commands []run.Command) {
	for _, command := range commands {
		switch c := command.(type) {
		case run.Note:
			r.note(c)
		case run.Adjusted:
			r.adjusted(c)
			r.driver.adjusted(c)
		case run.Reconcile:
			r.mu.Lock()
			missing := r.merged.Missing()
			r.mu.Unlock()
			r.carryOut(r.machine.Step(run.Reconciled{Complete: len(missing) == 0, Missing: missing}, r.coordinator.now()))
		case run.Finish:
			// The loop ends with the machine; finish does the rest.
		default:
			r.order(command)
		}
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

// lost tells the machine that an incarnation's lease has lapsed.
func (r *liveRun) lost(agent string, incarnation uint64) {
	id := run.ID{Agent: agent, Incarnation: incarnation}
	r.mu.Lock()
	delete(r.windows, id) // the live view does not wait for it any more
	r.mu.Unlock()
	r.mail.post(run.Lost{ID: id, Why: "its lease has lapsed: it does not answer any more"})
}

func (r *liveRun) stop(mode pb.StopMode, reason string) {
	r.mail.post(run.Stop{Mode: mode, Reason: reason})
}

// Agent implements ingest.Run. Also one that is lost may hand over what it has: it is true.
func (r *liveRun) Agent(name string, incarnation uint64) (*ingest.Inbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	inbox, ok := r.inboxes[run.ID{Agent: name, Incarnation: incarnation}]
	switch {
	case !ok && r.merged == nil: // such as one that ended under an earlier coordinator, of whose agents nothing is in memory
		return nil, fmt.Errorf("run %s: %w", r.header.GetRunId(), ingest.ErrEnded)
	case !ok:
		return nil, fmt.Errorf("agent %q of incarnation %d has no part in run %s", name, incarnation, r.header.GetRunId())
	}
	return inbox, nil
}

// Window implements ingest.Run: checked, appended, synced, merged, and only then called durable.
func (r *liveRun) Window(ctx context.Context, w *pb.Window, durable func()) error {
	var checked *merge.CheckedWindow
	err := r.check(func(m *merge.Run) (err error) {
		checked, err = m.CheckWindow(w)
		return err
	})
	if err != nil {
		return err
	}
	return r.appendResult(ctx, pb.JournalRecord_builder{Window: w}.Build(), func() {
		r.mu.Lock()
		err := r.merged.AddChecked(checked)
		id := run.ID{Agent: w.GetAgent(), Incarnation: w.GetIncarnation()}
		if _, waiting := r.windows[id]; waiting {
			r.windows[id] = max(r.windows[id], w.GetEndUs())
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
		return fmt.Errorf("run %s: %w", r.header.GetRunId(), ingest.ErrEnded)
	}
	return ask(r.merged)
}

// appendResult appends what an agent has sent; a closed journal is no fault of the agent's.
func (r *liveRun) appendResult(ctx context.Context, record *pb.JournalRecord, durable func()) error {
	err := r.journal.Append(ctx, record, durable)
	if errors.Is(err, journal.ErrClosed) {
		return fmt.Errorf("run %s: %w", r.header.GetRunId(), ingest.ErrClosing)
	}
	return err
}

// Totals implements ingest.Run.
func (r *liveRun) Totals(ctx context.Context, t *pb.Totals, durable func()) error {
	if err := r.check(func(m *merge.Run) error { return m.CheckTotals(t) }); err != nil {
		return err
	}
	return r.appendResult(ctx, pb.JournalRecord_builder{Totals: t}.Build(), func() {
		r.mu.Lock()
		err := r.merged.AddTotals(t)
		id := run.ID{Agent: t.GetAgent(), Incarnation: t.GetIncarnation()}
		delete(r.windows, id)
		r.mu.Unlock()
		if err != nil {
			r.log.Error("checked totals could not be merged", "agent", t.GetAgent(), "error", err)
		}
		durable()
		r.mail.post(run.Totals{ID: id})
	})
}

// note fills in an event's times and hands it on to be appended.
func (r *liveRun) note(n run.Note) {
	n.Event.SetTime(timestamppb.New(r.coordinator.wall(n.At)))
	if n.Event.GetKind() == pb.RunEventKind_RUN_EVENT_KIND_STARTED {
		r.start.Store(n.At)
	}
	if start := r.start.Load(); start != 0 {
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
	r.driver.end()
	r.mu.Lock()
	r.watchers.close()
	r.merged = nil // the summary stays; what it was computed from is in the journal
	r.mu.Unlock()
}
