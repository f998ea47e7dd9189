package merge

import (
	"fmt"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// CheckedWindow is a window in which nothing is wrong.
type CheckedWindow struct {
	window *pb.Window
	parsed *parsed
}

// CheckWindow says what AddWindow would find wrong with a window, and changes nothing: it is asked
// before the window is written to the journal. AddChecked adds it up after that, without reading it again.
func (r *Run) CheckWindow(w *pb.Window) (*CheckedWindow, error) {
	_, _, err := r.sender(w.GetRunId(), w.GetAgent(), w.GetIncarnation())
	var p *parsed
	if err == nil {
		p, err = r.parseWindow(w)
	}
	if err != nil {
		return nil, fmt.Errorf("window %d of agent %q: %w", w.GetSequence(), w.GetAgent(), err)
	}
	return &CheckedWindow{w, p}, nil
}

// AddChecked is AddWindow for a window that this run has checked. Others may have been added since, so it can find the
// run full.
func (r *Run) AddChecked(c *CheckedWindow) error {
	return r.addWindow(c.window, func() (*parsed, error) { return c.parsed, r.room(c.parsed.groups) })
}

// CheckTotals says what AddTotals would find wrong with totals, and changes nothing.
func (r *Run) CheckTotals(t *pb.Totals) error {
	_, _, err := r.checkTotals(t)
	return err
}
