package merge

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// AddTotals notes an agent's own sum. The same totals may come again; others for the same
// incarnation are an error, and nothing has changed then.
func (r *Run) AddTotals(m *pb.Totals) error {
	if r.restoring > 0 {
		return errNotWhole
	}
	agent, t, err := r.checkTotals(m)
	if err != nil {
		return err
	}
	r.cutKnown = false
	agent.stream(m.GetIncarnation()).totals = t
	return nil
}

func (r *Run) checkTotals(m *pb.Totals) (*Agent, *totals, error) {
	agent, s, err := r.sender(m.GetRunId(), m.GetAgent(), m.GetIncarnation())
	if err != nil {
		return nil, nil, fmt.Errorf("totals of agent %q: %w", m.GetAgent(), err)
	}
	t, err := r.parseTotals(m)
	if err != nil {
		return nil, nil, fmt.Errorf("totals of agent %q: %w", m.GetAgent(), err)
	}
	if s != nil && s.totals != nil && !s.totals.equal(t) {
		return nil, nil, fmt.Errorf("totals of agent %q: they differ from those that came before", m.GetAgent())
	}
	return agent, t, nil
}

func (r *Run) parseTotals(m *pb.Totals) (*totals, error) {
	t := &totals{lastSequence: m.GetLastSequence(), values: m.GetValues(), message: m, groups: make(map[Key]Counters)}
	if t.lastSequence > MaxCount {
		return nil, errors.New("the number of the last window is too large")
	}
	t.over = Over{Rate: m.GetOverRate(), InFlight: m.GetOverInFlight()}
	if max(t.over.Rate, t.over.InFlight) > MaxCount {
		return nil, errors.New("the number of what met a ceiling of the agent's owner is too large")
	}
	var err error
	if t.cursors, err = r.parseCursors(m.GetCursors()); err != nil {
		return nil, err
	}
	for _, g := range m.GetGroups() {
		key, err := r.parseKey(g.GetPhase(), g.GetWorkload())
		if err != nil {
			return nil, err
		}
		if _, twice := t.groups[key]; twice {
			return nil, fmt.Errorf("phase %d, workload %d stands in them twice", key.Phase, key.Workload)
		}
		if t.groups[key], err = countersOf(g.GetCounters(), MaxSum); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *totals) equal(o *totals) bool {
	return t.lastSequence == o.lastSequence && t.values == o.values && t.over == o.over && slices.Equal(t.cursors, o.cursors) && maps.Equal(t.groups, o.groups)
}
