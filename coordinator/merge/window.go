package merge

import (
	"errors"
	"fmt"
	"math"

	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// parsed is a window whose every part has been checked; adding it up cannot fail.
type parsed struct {
	sequence       uint64
	startUS, endUS int64
	second         uint64
	groups         []parsedGroup
	inFlight       []parsedInFlight
	lastEnd        []phaseEnd
	health         Health
	recordsLeftOut uint64
	seriesLeftOut  uint64
	cursors        []cursor
}

// jitterUS: a window that begins so little before a second, by the agent's timer, belongs to it. So a
// second does not hold two windows of an agent and the next one none.
const jitterUS = 50_000

type parsedGroup struct {
	key      Key
	counters Counters
	errors   []ErrorCount
	series   []parsedSeries
}

// parsedSeries holds a histogram in the one form that AppendBinary writes.
type parsedSeries struct {
	series measure.Series
	data   []byte
	count  uint64
}

type parsedInFlight struct {
	phase  int
	values InFlight
}

// phaseEnd is the last end of a request of a phase, in µs since the run's start.
type phaseEnd struct {
	phase int
	endUS int64
}

func (r *Run) parseWindow(w *pb.Window) (*parsed, error) {
	p := &parsed{
		sequence: w.GetSequence(), startUS: w.GetStartUs(), endUS: w.GetEndUs(),
		recordsLeftOut: w.GetRecordsLeftOut(), seriesLeftOut: w.GetSeriesLeftOut(),
	}
	switch {
	case p.sequence == 0:
		return nil, errors.New("its number is 0; windows count from 1")
	case p.sequence > MaxCount:
		return nil, fmt.Errorf("its number %d is too large", p.sequence)
	case p.endUS <= p.startUS || p.endUS < 0 || p.endUS > MaxRunUS || p.startUS < -MaxRunUS:
		return nil, fmt.Errorf("it lasts from %d µs to %d µs of the run", p.startUS, p.endUS)
	case p.recordsLeftOut > MaxCount || p.seriesLeftOut > MaxCount:
		return nil, errCount
	}
	p.second = uint64(max(p.startUS+jitterUS, 0)) / 1_000_000
	var err error
	if p.groups, err = r.parseGroups(w.GetGroups(), MaxCount); err != nil {
		return nil, err
	}
	if p.inFlight, err = r.parseInFlight(w.GetInFlight()); err != nil {
		return nil, err
	}
	if p.cursors, err = r.parseCursors(w.GetCursors()); err != nil {
		return nil, err
	}
	if p.health, err = parseHealth(w.GetHealth()); err != nil {
		return nil, err
	}
	if p.lastEnd, err = r.lastEnds(w, p); err != nil {
		return nil, err
	}
	return p, nil
}

// parseGroups checks groups whose counts are at most `most`: those of a window, or sums.
func (r *Run) parseGroups(groups []*pb.Group, most uint64) ([]parsedGroup, error) {
	out := make([]parsedGroup, 0, len(groups))
	seen := make(map[Key]bool, len(groups))
	for _, g := range groups {
		p, err := r.parseGroup(g, most)
		if err != nil {
			return nil, err
		}
		if seen[p.key] {
			return nil, fmt.Errorf("phase %d, workload %d stands in it twice", p.key.Phase, p.key.Workload)
		}
		seen[p.key] = true
		out = append(out, p)
	}
	return out, r.room(out)
}

// room says why the run has none for what groups bring that is new.
func (r *Run) room(groups []parsedGroup) error {
	fresh, classes := 0, 0
	for i := range groups {
		fresh += r.newSeries(groups[i])
		classes += r.newClasses(groups[i])
	}
	if r.liveSeries+fresh > MaxSeries {
		return fmt.Errorf("it would take the run above %d distributions", MaxSeries)
	}
	if len(r.classes)+classes > MaxClasses {
		return fmt.Errorf("it would take the run above %d classes of failure", MaxClasses)
	}
	return nil
}

// newSeries counts the distributions of p that the run does not hold yet.
func (r *Run) newSeries(p parsedGroup) int {
	n := 0
	for _, s := range p.series {
		if g := r.groups[p.key]; g == nil || g.series[s.series] == nil {
			n++
		}
	}
	return n
}

// newClasses counts the classes of p that the run has not seen yet.
func (r *Run) newClasses(p parsedGroup) int {
	n := 0
	for _, e := range p.errors {
		if !r.classes[e.Class] {
			n++
		}
	}
	return n
}

func (r *Run) parseKey(phase, workload uint32) (Key, error) {
	if uint64(phase) >= uint64(len(r.scenario.GetLoad())) {
		return Key{}, fmt.Errorf("it speaks of phase %d; the scenario has %d", phase, len(r.scenario.GetLoad()))
	}
	if uint64(workload) >= uint64(len(r.scenario.GetWorkloads())) {
		return Key{}, fmt.Errorf("it speaks of workload %d; the scenario has %d", workload, len(r.scenario.GetWorkloads()))
	}
	return Key{int(phase), int(workload)}, nil
}

func (r *Run) parseGroup(g *pb.Group, most uint64) (parsedGroup, error) {
	var p parsedGroup
	var err error
	if p.key, err = r.parseKey(g.GetPhase(), g.GetWorkload()); err != nil {
		return p, err
	}
	if p.counters, err = countersOf(g.GetCounters(), most); err != nil {
		return p, err
	}
	if p.errors, err = parseErrors(g.GetErrors(), most); err != nil {
		return p, err
	}
	p.series, err = parseSeries(g.GetSeries(), most)
	return p, err
}

func parseErrors(in []*pb.ClassCount, most uint64) ([]ErrorCount, error) {
	out := make([]ErrorCount, 0, len(in))
	seen := make(map[string]bool, len(in))
	for _, e := range in {
		c := ErrorCount{Class: e.GetClass(), Count: e.GetCount(), Example: e.GetExample(), Hash: e.GetExampleHash()}
		switch {
		case c.Class == "" || len(c.Class) > MaxClassLength:
			return nil, fmt.Errorf("a class of failure has %d bytes; 1 to %d are allowed", len(c.Class), MaxClassLength)
		case seen[c.Class]:
			return nil, fmt.Errorf("the class %q stands twice in one group", c.Class)
		case len(c.Example) > measure.MaxErr:
			return nil, fmt.Errorf("the example of %q has %d bytes; %d are allowed", c.Class, len(c.Example), measure.MaxErr)
		case c.Count == 0 || c.Count > most:
			return nil, fmt.Errorf("the class %q has the count %d", c.Class, c.Count)
		}
		seen[c.Class] = true
		out = append(out, c)
	}
	return out, nil
}

func parseSeries(in []*pb.SeriesData, most uint64) ([]parsedSeries, error) {
	out := make([]parsedSeries, 0, len(in))
	var seen [measure.NumSeries]bool
	for _, s := range in {
		n := s.GetSeries()
		if n <= 0 || int(n) >= int(measure.NumSeries) {
			return nil, fmt.Errorf("it holds a series of the unknown number %d", n)
		}
		if seen[n] {
			return nil, fmt.Errorf("the series %s stands twice in one group", n)
		}
		seen[n] = true
		p, err := checkSeries(s.GetHistogram(), most)
		if err != nil {
			return nil, fmt.Errorf("the series %s: %w", n, err)
		}
		if p.series = measure.Series(n); p.count > 0 {
			out = append(out, p)
		}
	}
	return out, nil
}

// checkSeries checks a histogram, of which there is only one form.
func checkSeries(data []byte, most uint64) (parsedSeries, error) {
	count, err := hist.CheckBinary(data)
	if err != nil {
		return parsedSeries{}, err
	}
	if count > most {
		return parsedSeries{}, errCount
	}
	return parsedSeries{data: data, count: count}, nil
}

func (r *Run) parseInFlight(in []*pb.InFlight) ([]parsedInFlight, error) {
	out := make([]parsedInFlight, 0, len(in))
	seen := make(map[uint32]bool, len(in))
	for _, f := range in {
		if _, err := r.parseKey(f.GetPhase(), 0); err != nil {
			return nil, err
		}
		if seen[f.GetPhase()] {
			return nil, fmt.Errorf("phase %d stands twice among what was in flight", f.GetPhase())
		}
		seen[f.GetPhase()] = true
		v := InFlight{Max: f.GetMax(), Now: f.GetNow(), OpenUS: f.GetOpenUs()}
		if max(v.Max, v.Now, v.OpenUS) > MaxCount {
			return nil, errCount
		}
		out = append(out, parsedInFlight{int(f.GetPhase()), v})
	}
	return out, nil
}

// lastEnds finds for each phase when its last request within the window ended: from the records
// where there are any of that phase, else the end of the window.
func (r *Run) lastEnds(w *pb.Window, p *parsed) ([]phaseEnd, error) {
	ends := map[int]int64{}
	for _, rec := range w.GetRecords() {
		key, err := r.parseKey(rec.GetPhase(), rec.GetWorkload())
		if err != nil {
			return nil, err
		}
		if rec.GetEndUs() < 0 || rec.GetDueUs() > MaxRunUS || rec.GetEndUs() > MaxRunUS {
			continue
		}
		ends[key.Phase] = max(ends[key.Phase], min(rec.GetDueUs()+rec.GetEndUs(), p.endUS))
	}
	for _, g := range p.groups {
		if _, ok := ends[g.key.Phase]; !ok && g.counters.RequestsEnded() > 0 {
			ends[g.key.Phase] = p.endUS
		}
	}
	out := make([]phaseEnd, 0, len(ends))
	for phase, end := range ends {
		out = append(out, phaseEnd{phase, end})
	}
	return out, nil
}

// Health is the generator's state, each figure the worst of what was added up.
type Health struct {
	// Known says that any was reported.
	Known bool
	// CPUProcess and CPUMachine are shares from 0 to 1; negative: unknown.
	CPUProcess, CPUMachine float64
	// SchedLatencyP99US, GCPauseMaxUS and ClockErrorUS are in microseconds.
	SchedLatencyP99US, GCPauseMaxUS, ClockErrorUS uint64
	Goroutines, OpenSockets, WindowsWaiting       uint64
}

func parseHealth(m *pb.Health) (Health, error) {
	if m == nil {
		return Health{CPUProcess: -1, CPUMachine: -1}, nil
	}
	h := Health{
		Known: true, CPUProcess: share(m.GetCpuProcess()), CPUMachine: share(m.GetCpuMachine()),
		SchedLatencyP99US: m.GetSchedLatencyP99Us(), GCPauseMaxUS: m.GetGcPauseMaxUs(),
		ClockErrorUS: m.GetClockErrorBoundUs(), Goroutines: m.GetGoroutines(),
		OpenSockets: m.GetOpenSockets(), WindowsWaiting: m.GetWindowsWaiting(),
	}
	if max(h.SchedLatencyP99US, h.GCPauseMaxUS, h.ClockErrorUS, h.Goroutines, h.OpenSockets, h.WindowsWaiting) > MaxCount {
		return Health{}, errCount
	}
	return h, nil
}

// share moves a share into 0 to 1; what is negative or not a number is unknown, -1.
func share(v float64) float64 {
	if math.IsNaN(v) || v < 0 {
		return -1
	}
	return min(v, 1)
}

// Worst takes over whatever is worse in o.
func (h *Health) Worst(o Health) {
	h.Known = h.Known || o.Known
	h.CPUProcess = max(h.CPUProcess, o.CPUProcess)
	h.CPUMachine = max(h.CPUMachine, o.CPUMachine)
	h.SchedLatencyP99US = max(h.SchedLatencyP99US, o.SchedLatencyP99US)
	h.GCPauseMaxUS = max(h.GCPauseMaxUS, o.GCPauseMaxUS)
	h.ClockErrorUS = max(h.ClockErrorUS, o.ClockErrorUS)
	h.Goroutines = max(h.Goroutines, o.Goroutines)
	h.OpenSockets = max(h.OpenSockets, o.OpenSockets)
	h.WindowsWaiting = max(h.WindowsWaiting, o.WindowsWaiting)
}

// noHealth is the health of which nothing is known yet.
func noHealth() Health { return Health{CPUProcess: -1, CPUMachine: -1} }
