package coordinator

import (
	"iter"
	"slices"
	"time"

	"github.com/loadline/loadline/coordinator/journal"
	"github.com/loadline/loadline/coordinator/run"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// journalOptions tell the run's machine of the journal's troubles, and give the journal what stands
// for everything that is in it.
func (r *liveRun) journalOptions() journal.Options {
	return journal.Options{
		Failed:          func(err error) { r.mail.post(run.JournalFailed{Why: err.Error()}) },
		Recovered:       func() { r.mail.post(run.JournalRecovered{}) },
		Checkpoint:      r.checkpoint,
		CheckpointAfter: r.coordinator.config.CheckpointAfter,
		NotCompacted:    func(err error) { r.log.Warn("the journal stays larger than it need be", "error", err) },
	}
}

// checkpoint is what a journal must hold instead of everything that was called durable so far. It is
// gathered at once and written later, so that nobody waits for the disk.
func (r *liveRun) checkpoint() iter.Seq[*pb.JournalRecord] {
	r.mu.Lock()
	defer r.mu.Unlock()
	records := slices.Collect(r.merged.Records())
	for _, e := range r.durable {
		records = append(records, pb.JournalRecord_builder{Event: e}.Build())
	}
	return slices.Values(records)
}

// eventDurable merges an event that is in the journal, and tells the machine where it waits for that.
func (r *liveRun) eventDurable(e *pb.RunEvent) {
	r.mergeEvent(e)
	r.mu.Lock()
	r.durable = append(r.durable, e)
	var changed error
	if change := e.GetChange(); change != nil && r.course != nil {
		changed = r.change(change)
	}
	var length time.Duration
	if r.course != nil {
		length = r.length()
	}
	r.mu.Unlock()
	if changed != nil {
		r.log.Error("a change on record does not fit", "error", changed)
	}
	switch e.GetKind() {
	case pb.RunEventKind_RUN_EVENT_KIND_STARTED:
		r.mail.post(run.StartDurable{})
		r.driver.begun()
	case pb.RunEventKind_RUN_EVENT_KIND_MARKED:
		r.driver.marked(e)
	case pb.RunEventKind_RUN_EVENT_KIND_CHANGED:
		r.log.Info("change on record", "epoch", e.GetChange().GetEpoch(), "at", time.Duration(e.GetChange().GetAtNs()), "reason", e.GetDetail())
		r.mail.post(run.ChangeDurable{Epoch: e.GetChange().GetEpoch(), Load: length})
	}
}
