package merge

import (
	"fmt"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// CheckWindow says what AddWindow would find wrong with a window, and changes nothing: it is asked
// before the window is written to the journal.
func (r *Run) CheckWindow(w *pb.Window) error {
	_, _, err := r.sender(w.GetRunId(), w.GetAgent(), w.GetIncarnation())
	if err == nil {
		_, err = r.parseWindow(w)
	}
	if err != nil {
		return fmt.Errorf("window %d of agent %q: %w", w.GetSequence(), w.GetAgent(), err)
	}
	return nil
}

// CheckTotals says what AddTotals would find wrong with totals, and changes nothing.
func (r *Run) CheckTotals(t *pb.Totals) error {
	_, _, err := r.checkTotals(t)
	return err
}
