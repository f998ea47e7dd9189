package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/loadline/loadline/coordinator/ingest"
	"github.com/loadline/loadline/coordinator/journal"
	"github.com/loadline/loadline/coordinator/judge"
	"github.com/loadline/loadline/coordinator/run"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// openRun is a run whose coordinator is no more and which never ended: everything that its journal
// tells, with the journal open at its end.
type openRun struct {
	// run is ready to go on but for its loop and its machine.
	run *liveRun
	// events are all that happened, in the order of the journal; the machine is built from them.
	events []*pb.RunEvent
	// totals are the members whose totals are on record.
	totals []run.ID
	// torn is how many bytes of an interrupted commit were left out.
	torn int64
	// ended says that only the report was missing.
	ended bool
}

// proceeds continues an open run, or says that it cannot; it then has changed nothing.
type proceeds func(*openRun) bool

// TakeUp looks for runs below a folder, which need not be there. Those that have ended may be asked about from then on. One
// whose coordinator was stopped before it ended, and whose load may still be played, goes on: its agents are taken back as
// they renew their leases. Any other is ended with a report of everything that was acknowledged, which is complete only if
// nothing is missing. A folder that holds no run is left alone. The error lists the runs that could not be ended; the others
// are cared for.
func (c *Coordinator) TakeUp(ctx context.Context, runs string) error {
	return c.takeUpAll(ctx, runs, c.proceed)
}

// takeUpAll is TakeUp with a way to continue runs instead; nil: there is none.
func (c *Coordinator) takeUpAll(ctx context.Context, runs string, proceed proceeds) error {
	open, ended, err := runsBelow(runs)
	if err != nil {
		return fmt.Errorf("look for runs: %w", err)
	}
	c.lookBack(ended)
	var errs []error
	for _, folder := range open {
		if err := c.takeUp(ctx, folder, proceed); err != nil {
			errs = append(errs, fmt.Errorf("run in %s: %w", folder, err))
		}
	}
	return errors.Join(errs...)
}

// runsBelow finds the folders of runs below a folder, those that are open and those that have ended, each by name. It looks once
// into each, for that may read a megabyte of its journal.
func runsBelow(runs string) (open, ended []string, err error) {
	entries, err := os.ReadDir(runs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	for _, e := range entries {
		folder := filepath.Join(runs, e.Name())
		switch {
		case !e.IsDir() || !holdsRun(folder):
		case unfinished(folder):
			open = append(open, folder)
		default:
			ended = append(ended, folder)
		}
	}
	return open, ended, nil
}

// unfinished says of the folder of a run that it does not hold everything that a run leaves behind.
func unfinished(folder string) bool {
	if _, err := os.Stat(filepath.Join(folder, summaryFile)); errors.Is(err, fs.ErrNotExist) {
		return true
	}
	// There is a summary, but a person may have asked for it while the run was open.
	ended := false
	err := journal.Last(journalFolder(folder), func(record *pb.JournalRecord) error {
		ended = ended || record.GetEvent().GetKind() == pb.RunEventKind_RUN_EVENT_KIND_ENDED
		return nil
	})
	return err == nil && !ended
}

func (c *Coordinator) takeUp(ctx context.Context, folder string, proceed proceeds) error {
	o, err := c.reopen(folder)
	if err != nil {
		return err
	}
	if o == nil {
		c.log.Warn("folder without the beginning of a run left alone", "folder", folder)
		return nil
	}
	o.run.log.Info("open run found", "events", len(o.events), "torn_bytes", o.torn, "ended", o.ended)
	if !o.ended && proceed != nil && proceed(o) {
		o.run.log.Info("run taken up again")
		return nil
	}
	return c.finishOpen(ctx, o)
}

// reopen replays the journal of a run and opens it at its end. It returns nil for a journal in which
// nothing stands: such a run never began.
func (c *Coordinator) reopen(folder string) (*openRun, error) {
	r := c.newLiveRun(folder, c.log.With("folder", folder))
	replayed := &replayed{}
	j, torn, err := journal.Open(journalFolder(folder), r.journalOptions(), replayed.add)
	if err != nil {
		return nil, err
	}
	if replayed.merged == nil {
		return nil, j.Close(c.ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.journal, r.merged, r.durable, r.header = j, replayed.merged, replayed.events, replayed.merged.Header()
	r.log, r.monitor, r.status = c.log.With("run", r.header.GetRunId()), judge.NewMonitor(r.header), r.firstStatus()
	r.ctx, r.cancel = context.WithCancel(c.ctx)
	r.driver = newDriver(r)
	o := &openRun{run: r, events: replayed.events, torn: torn}
	if err := r.restoreMembers(o); err != nil {
		return nil, errors.Join(err, j.Close(c.ctx))
	}
	_, o.ended = r.merged.Event(pb.RunEventKind_RUN_EVENT_KIND_ENDED)
	return o, nil
}

// restoreMembers finds who takes part, with all changes on record, and takes their results up where they ended. r.mu is held.
func (r *liveRun) restoreMembers(o *openRun) error {
	load, err := schedule.Compile(r.header.GetScenario())
	if err != nil {
		return fmt.Errorf("schedule: %w", err)
	}
	r.members = newMembers(r.header.GetPlan(), load)
	for _, e := range o.events {
		if change := e.GetChange(); change != nil {
			if err := r.change(change); err != nil {
				return err
			}
		}
	}
	for _, m := range r.roster {
		r.newest = max(r.newest, m.GetIncarnation())
	}
	for _, s := range r.merged.Sent() {
		id := run.ID{Agent: s.Agent, Incarnation: s.Incarnation}
		r.inboxes[id] = ingest.Resumed(s.Last, s.Totals)
		if s.Totals {
			o.totals = append(o.totals, id)
			delete(r.windows, id)
		}
	}
	return nil
}

// finishOpen ends a run that is not continued, and writes its report.
func (c *Coordinator) finishOpen(ctx context.Context, o *openRun) error {
	r := o.run
	defer r.cancel()
	defer close(r.ended)
	ctx, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	var appended error
	if !o.ended {
		end := r.endOfOpen(time.Now())
		appended = r.journal.Append(ctx, pb.JournalRecord_builder{Event: end}.Build(), func() { r.eventDurable(end) })
	}
	if err := errors.Join(appended, r.journal.Close(ctx)); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.summary = judge.Summarize(r.merged)
	r.status.SetState(endState(r.summary.GetState()))
	r.status.SetDetail("the coordinator was restarted")
	r.watchers.close()
	err := writeResults(r.folder, r.merged, r.summary)
	r.merged = nil
	c.remember(r)
	r.log.Info("open run ended", "state", r.status.GetState())
	return err
}

// endOfOpen is the event that ends a run which nobody looked after for a time: complete only where
// every agent's totals came and nothing is missing.
func (r *liveRun) endOfOpen(now time.Time) *pb.RunEvent {
	b := pb.RunEvent_builder{
		Kind: pb.RunEventKind_RUN_EVENT_KIND_ENDED, Time: timestamppb.New(now), State: pb.RunState_RUN_STATE_PARTIAL,
		Detail: "the coordinator was restarted and did not take the run up again",
	}
	started, ok := r.merged.Started()
	switch {
	case !ok:
		b.State = pb.RunState_RUN_STATE_ABORTED
	case len(r.merged.Missing()) == 0:
		b.State, b.Detail = pb.RunState_RUN_STATE_COMPLETE, "the coordinator was restarted after everything had arrived"
	}
	if ok {
		b.AtUs = max(now.Sub(started).Microseconds(), r.merged.LastEndUS())
	}
	return b.Build()
}

// remember lets a run be asked about.
func (c *Coordinator) remember(r *liveRun) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(r)
}

// put has a run among those that are known. c.mu is held.
func (c *Coordinator) put(r *liveRun) {
	c.forgetOldest()
	id := r.header.GetRunId()
	if c.runs[id] == nil {
		c.order = append(c.order, id)
	}
	c.runs[id] = r
	if request := r.header.GetRequestId(); request != "" {
		c.requests[request] = id
	}
}
