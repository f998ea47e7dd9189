package coordinator

import (
	"iter"
	"slices"

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

// eventDurable merges an event that is in the journal.
func (r *liveRun) eventDurable(e *pb.RunEvent) {
	r.mergeEvent(e)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.durable = append(r.durable, e)
}
