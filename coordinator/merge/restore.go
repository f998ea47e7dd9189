package merge

import (
	"errors"
	"fmt"

	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

var errNotWhole = errors.New("merge: the end of the checkpoint is missing")

// AddRecord adds whatever a journal's record holds. A second header is an error.
func (r *Run) AddRecord(m *pb.JournalRecord) error {
	switch {
	case m.HasWindow():
		return r.AddWindow(m.GetWindow())
	case m.HasTotals():
		return r.AddTotals(m.GetTotals())
	case m.HasEvent():
		return r.AddEvent(m.GetEvent())
	case m.HasCheckpoint():
		return r.AddCheckpoint(m.GetCheckpoint())
	default:
		return errors.New("a record that is neither window, totals, event nor part of a checkpoint")
	}
}

// AddCheckpoint takes one part of a checkpoint, in the order in which Records yields them, into a run
// to which no window was added. Until the last part has come, no window and no totals are taken. A run
// after an error must not be used any more.
func (r *Run) AddCheckpoint(m *pb.Checkpoint) (err error) {
	if m.HasBegin() == (r.restoring > 0) || m.HasBegin() && r.touched() {
		return errors.New("merge: a part of a checkpoint stands where none may be")
	}
	r.restoring++
	r.cutKnown = false
	switch {
	case m.HasBegin():
		err = r.restoreBegin(m.GetBegin())
	case m.HasGroup():
		err = r.restoreGroup(m.GetGroup())
	case m.HasAgent():
		err = r.restoreAgent(m.GetAgent())
	case m.HasStretch():
		err = r.restoreStretch(m.GetStretch())
	case m.HasSeconds():
		err = r.restoreSeconds(m.GetSeconds())
	case m.HasInFlight():
		err = r.restoreInFlight(m.GetInFlight())
	case m.HasEnd():
		if n := m.GetEnd().GetParts(); n != r.restoring {
			return fmt.Errorf("merge: %d parts of a checkpoint came, of %d", r.restoring, n)
		}
		r.restoring = 0
	default:
		err = errors.New("an unknown part")
	}
	if err != nil {
		return fmt.Errorf("merge: part %d of a checkpoint: %w", r.restoring, err)
	}
	return nil
}

// touched says that windows or totals were added before.
func (r *Run) touched() bool {
	for _, a := range r.agents {
		if len(a.streams) > 0 {
			return true
		}
	}
	return false
}

func (r *Run) restoreBegin(m *pb.CheckpointBegin) error {
	for _, ch := range m.GetChanges() {
		if err := r.addChange(ch); err != nil {
			return err
		}
	}
	switch {
	case len(m.GetPhaseEndUs()) != len(r.lastEnd):
		return fmt.Errorf("it speaks of %d phases; the scenario has %d", len(m.GetPhaseEndUs()), len(r.lastEnd))
	case m.GetLastEndUs() < 0 || m.GetLastEndUs() > MaxRunUS || m.GetLastSecond() > MaxRunUS/1_000_000:
		return errors.New("the end of the latest window is beyond any run")
	case max(m.GetRecordsLeftOut(), m.GetSeriesLeftOut(), m.GetDuplicates()) > MaxSum:
		return errCount
	}
	for phase, end := range m.GetPhaseEndUs() {
		if end < 0 || end > MaxRunUS {
			return fmt.Errorf("the last end of phase %d is beyond any run", phase)
		}
		r.lastEnd[phase] = end
	}
	r.lastEndUS, r.lastSecond = m.GetLastEndUs(), m.GetLastSecond()
	r.recordsLeftOut, r.seriesLeftOut, r.duplicates = m.GetRecordsLeftOut(), m.GetSeriesLeftOut(), m.GetDuplicates()
	r.timeline.advance(r.lastSecond)
	return nil
}

func (r *Run) restoreGroup(m *pb.Group) error {
	groups, err := r.parseGroups([]*pb.Group{m}, MaxSum)
	if err != nil {
		return err
	}
	if r.groups[groups[0].key] != nil {
		return fmt.Errorf("phase %d, workload %d comes twice", m.GetPhase(), m.GetWorkload())
	}
	r.addGroup(&groups[0])
	return nil
}

func (r *Run) restoreAgent(m *pb.AgentSum) error {
	a := r.memberOf(m.GetAgent(), m.GetIncarnation())
	if a == nil || len(a.streams) > 0 || len(m.GetStreams()) > MaxIncarnations {
		return fmt.Errorf("agent %q is not in the run's plan, comes twice, or has too many streams", m.GetAgent())
	}
	var err error
	if a.Health, err = parseHealth(m.GetHealth()); err != nil {
		return err
	}
	if err := a.Lateness.MergeBinary(m.GetLateness()); err != nil {
		return fmt.Errorf("lateness of agent %s: %w", a.Name, err)
	}
	for _, sum := range m.GetStreams() {
		if a.streams[sum.GetIncarnation()] != nil {
			return fmt.Errorf("incarnation %d of agent %s comes twice", sum.GetIncarnation(), a.Name)
		}
		if err := r.restoreStream(a.stream(sum.GetIncarnation()), sum); err != nil {
			return fmt.Errorf("agent %s: %w", a.Name, err)
		}
	}
	return nil
}

func (r *Run) restoreStream(s *stream, m *pb.StreamSum) (err error) {
	if s.received, err = spansOf(m.GetReceived()); err != nil {
		return err
	}
	if s.busy, err = spansOf(m.GetBusy()); err != nil {
		return err
	}
	if err := r.restoreEdges(s, m.GetEdges()); err != nil {
		return err
	}
	for _, g := range m.GetGroups() {
		p, err := r.parseGroup(g, MaxSum)
		if err != nil {
			return err
		}
		if s.groups[p.key] != nil {
			return fmt.Errorf("phase %d, workload %d comes twice", g.GetPhase(), g.GetWorkload())
		}
		s.groups[p.key] = &p.counters
	}
	s.values = m.GetValues()
	return nil
}

// spansOf reads what numbers wrote: spans that ascend and do not touch.
func spansOf(numbers []uint64) (sequences, error) {
	if len(numbers)%2 != 0 {
		return nil, errors.New("a span of window numbers has no end")
	}
	var out sequences
	for i := 0; i < len(numbers); i += 2 {
		e := span{numbers[i], numbers[i+1]}
		if e.first == 0 || e.last < e.first || e.last > MaxCount || i > 0 && e.first <= out.last()+1 {
			return nil, errors.New("the spans of window numbers do not ascend")
		}
		out = append(out, e)
	}
	return out, nil
}

func (r *Run) restoreStretch(m *pb.StretchSum) error {
	first, seconds := r.timeline.stretch(m.GetSecond())
	if first != m.GetSecond() || seconds != m.GetSeconds() || first > r.lastSecond || r.timeline.entries[first] != nil {
		return fmt.Errorf("a stretch of %d seconds at second %d is not one of this run's", m.GetSeconds(), m.GetSecond())
	}
	health, err := parseHealth(m.GetHealth())
	if err != nil {
		return err
	}
	e := r.timeline.at(first)
	e.Windows, e.Health = m.GetWindows(), health
	for _, g := range m.GetGroups() {
		p, err := r.parseGroup(g, MaxSum)
		if err != nil {
			return err
		}
		if e.groups[p.key] != nil {
			return fmt.Errorf("phase %d, workload %d comes twice", g.GetPhase(), g.GetWorkload())
		}
		sum := &entryGroup{counters: p.counters, series: make(map[measure.Series]*seriesSum, len(p.series))}
		for _, s := range p.series {
			sum.series[s.series] = &seriesSum{data: s.data}
		}
		e.groups[p.key] = sum
	}
	return nil
}

func (r *Run) restoreSeconds(m *pb.SecondSums) error {
	n := len(m.GetSecond())
	if n > maxRows || len(m.GetRequests()) != n || len(m.GetEvents()) != n || len(m.GetJudged()) != n {
		return errors.New("columns of seconds differ in length, or are too long")
	}
	for i, at := range m.GetSecond() {
		s := &secondSum{requests: m.GetRequests()[i], events: m.GetEvents()[i], judged: m.GetJudged()[i]}
		if at > r.lastSecond || r.seconds[at] != nil || max(s.requests, s.events) > MaxSum {
			return fmt.Errorf("second %d comes twice or is beyond the run", at)
		}
		r.seconds[at] = s
	}
	return nil
}

func (r *Run) restoreInFlight(m *pb.InFlightSums) error {
	n := len(m.GetSecond())
	if n > maxRows || len(m.GetPhase()) != n || len(m.GetMax()) != n || len(m.GetNow()) != n || len(m.GetOpenUs()) != n {
		return errors.New("columns of requests in flight differ in length, or are too long")
	}
	for i, at := range m.GetSecond() {
		key, err := r.parseKey(m.GetPhase()[i], 0)
		if err != nil {
			return err
		}
		k, f := phaseSecond{at, key.Phase}, InFlight{Max: m.GetMax()[i], Now: m.GetNow()[i], OpenUS: m.GetOpenUs()[i]}
		if _, twice := r.inFlight[k]; twice || at > r.lastSecond || max(f.Max, f.Now, f.OpenUS) > MaxSum {
			return fmt.Errorf("second %d of phase %d comes twice or is beyond the run", at, key.Phase)
		}
		r.inFlight[k] = f
	}
	return nil
}
