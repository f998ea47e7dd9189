package coordinator

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/loadline/loadline/coordinator/run"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// proceed goes on with a run that was going on when its coordinator ended; false: it had not started, so there is nothing
// to go on with. Coordinator time begins anew with each process: the wall clock tells where the run's start lies in it.
func (c *Coordinator) proceed(o *openRun) bool {
	r := o.run
	started, ok := r.merged.Started()
	if !ok {
		return false
	}
	r.start.Store(int64(started.Sub(c.wall(0))))
	resumed := pb.RunEvent_builder{
		Kind: pb.RunEventKind_RUN_EVENT_KIND_RESUMED, Time: timestamppb.Now(), AtUs: (c.now() - r.start.Load()) / int64(time.Microsecond),
	}.Build()
	if err := r.onRecord(resumed); err != nil {
		r.log.Error("run not taken up again: its journal takes nothing", "error", err)
		return false
	}
	history := run.History{Start: r.start.Load(), Events: o.events, Totals: o.totals, Generation: 1}
	gone := map[run.ID]bool{}
	for _, id := range o.totals {
		gone[id] = true
	}
	for _, e := range o.events {
		switch e.GetKind() {
		case pb.RunEventKind_RUN_EVENT_KIND_RESUMED:
			history.Generation++
		case pb.RunEventKind_RUN_EVENT_KIND_AGENT_LOST, pb.RunEventKind_RUN_EVENT_KIND_AGENT_FAILED:
			gone[run.ID{Agent: e.GetAgent(), Incarnation: e.GetIncarnation()}] = true
		}
	}
	c.takeBack(r, gone)
	r.happened = append(r.happened, resumed)
	config := waits(r.header.GetScenario(), c.config.StartAhead)
	config.Load, config.Check = r.length(), r.checkChange
	r.restoreRequests(o.events)
	roster := machineRoster(r.header.GetPlan())
	c.remember(r)
	c.keepFilesOf(r)
	c.running.Go(func() {
		r.loop(func() (*run.Machine, []run.Command) { return run.Restore(config, roster, history, c.now()) })
	})
	return true
}

// onRecord appends an event and waits until it is synced.
func (r *liveRun) onRecord(e *pb.RunEvent) error {
	return r.synced(pb.JournalRecord_builder{Event: e}.Build(), func() { r.eventDurable(e) })
}

// synced appends a record and waits until it is durable.
func (r *liveRun) synced(record *pb.JournalRecord, durable func()) error {
	ctx, cancel := context.WithTimeout(r.ctx, closeWait)
	defer cancel()
	synced := make(chan struct{})
	err := r.journal.Append(ctx, record, func() {
		durable()
		close(synced)
	})
	if err != nil {
		return err
	}
	select {
	case <-synced:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// takeBack lets the fleet hold every member for alive that may be: until its lease would have lapsed.
func (c *Coordinator) takeBack(r *liveRun, gone map[run.ID]bool) {
	r.mu.Lock()
	roster := append([]*pb.Member{}, r.roster...)
	for id := range gone {
		delete(r.windows, id)
	}
	r.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range roster {
		if !gone[idOf(m)] {
			c.fleet.Restore(m.GetAgent(), m.GetIncarnation(), r.hold(), c.now())
		}
	}
}
