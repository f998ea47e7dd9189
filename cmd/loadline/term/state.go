package term

import (
	"cmp"
	"slices"

	"github.com/loadline/loadline/coordinator/report"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Header names a run before its first message comes.
type Header struct {
	// Scenario is the scenario's name.
	Scenario string
	// Seed of everything random.
	Seed uint64
}

// State is what the view knows of a run. It is changed by Apply and Stopping alone and draws itself in View, Line and
// Progress; it reads no clock and does no I/O. The zero value is not ready: use NewState.
type State struct {
	header  Header
	status  *pb.RunStatus
	plan    *pb.Plan
	last    *pb.Snapshot
	stops   int
	started map[string]uint64
	charts  map[string]*history
}

// lineSeconds is how many seconds the rates of Line and Progress are averaged over.
const lineSeconds = 5

// Names of the charts that are not those of a series.
const (
	chartOffered  = "offered"
	chartAchieved = "achieved"
	chartInFlight = "in_flight"
	chartTokens   = "tokens"
	chartFailed   = "failed"
)

// shownSeries are the series that the view has room for, in order; those without values are left out.
func shownSeries() []string { return []string{"ttft", "itl", "e2e"} }

// NewState returns the state of a run of which nothing is known but its name.
func NewState(h Header) *State {
	h.Scenario = report.Clean(h.Scenario)
	return &State{
		header: h, status: &pb.RunStatus{},
		started: map[string]uint64{}, charts: map[string]*history{},
	}
}

// Apply takes in one message of WatchRun. A second that was seen already changes nothing, so a stream that was opened
// again does not count twice.
func (s *State) Apply(m *pb.WatchRunResponse) {
	if m.HasStatus() {
		s.status = m.GetStatus()
	}
	if m.HasPlan() {
		s.plan = m.GetPlan()
	}
	if !m.HasSnapshot() {
		return
	}
	snap := m.GetSnapshot()
	if s.last != nil && snap.GetSecond() <= s.last.GetSecond() {
		return
	}
	s.last = snap
	s.chart(chartOffered).add(float64(snap.GetDue()))
	s.chart(chartAchieved).add(float64(snap.GetStarted()))
	s.chart(chartInFlight).add(float64(snap.GetInFlight()))
	s.chart(chartTokens).add(float64(snap.GetOutputTokens()))
	s.chart(chartFailed).add(float64(snap.GetFailed()))
	for _, p := range snap.GetPhases() {
		s.started[p.GetName()] += p.GetStarted()
	}
	for _, name := range shownSeries() {
		p50, p99 := -1.0, -1.0
		if l := s.series(name); l != nil {
			p50, p99 = float64(l.GetP50()), float64(l.GetP99())
		}
		s.chart(name + " p50").add(p50)
		s.chart(name + " p99").add(p99)
	}
}

// Stopping notes how often a stop was asked for.
func (s *State) Stopping(times int) { s.stops = times }

func (s *State) chart(name string) *history {
	h := s.charts[name]
	if h == nil {
		h = &history{}
		s.charts[name] = h
	}
	return h
}

// series is the live distribution of that name, or nil when it has no values.
func (s *State) series(name string) *pb.LiveSeries {
	for _, l := range s.last.GetSeries() {
		if l.GetName() == name && l.GetCount() > 0 {
			return l
		}
	}
	return nil
}

// failures counts failed requests since the start, by class, largest first.
func (s *State) failures() (total uint64, classes []*pb.ErrorSummary) {
	classes = slices.Clone(s.last.GetErrors())
	slices.SortStableFunc(classes, func(a, b *pb.ErrorSummary) int { return cmp.Compare(b.GetCount(), a.GetCount()) })
	for _, e := range classes {
		total += e.GetCount()
	}
	return total, classes
}

// phaseState is how far one phase is.
type phaseState struct {
	name     string
	share    float64 // of its length or sessions; 0 to 1
	running  bool
	done     bool
	discard  bool
	users    uint32
	rate     float64 // sessions started in the last second
	inFlight uint64
}

// phases says how far each phase of the plan is. A phase without a length is measured by its sessions.
func (s *State) phases() []phaseState {
	live := map[string]*pb.LivePhase{}
	for _, p := range s.last.GetPhases() {
		live[p.GetName()] = p
	}
	elapsed := float64(s.last.GetElapsedUs())
	states := make([]phaseState, 0, len(s.plan.GetPhases()))
	for _, p := range s.plan.GetPhases() {
		st := phaseState{name: report.Clean(p.GetName()), discard: p.GetDiscard(), users: p.GetUsers()}
		start, length := float64(p.GetStart().AsDuration().Microseconds()), float64(p.GetDuration().AsDuration().Microseconds())
		switch {
		case length > 0:
			st.share = min(max((elapsed-start)/length, 0), 1)
		case p.GetArrivals() > 0:
			st.share = min(float64(s.started[p.GetName()])/float64(p.GetArrivals()), 1)
		}
		l := live[p.GetName()]
		st.rate, st.inFlight = float64(l.GetStarted()), l.GetInFlight()
		st.done = st.share >= 1
		st.running = !st.done && s.last != nil && (st.share > 0 || l != nil)
		states = append(states, st)
	}
	return states
}

// stateWord is the run's state in one word, and what it is doing when that is not plain.
func (s *State) stateWord() string {
	switch s.status.GetState() {
	case pb.RunState_RUN_STATE_PREPARING:
		return "preparing"
	case pb.RunState_RUN_STATE_RUNNING:
		if s.stops > 0 {
			return "stopping"
		}
		return "running"
	case pb.RunState_RUN_STATE_DRAINING:
		return "draining"
	case pb.RunState_RUN_STATE_COMPLETE:
		return "complete"
	case pb.RunState_RUN_STATE_PARTIAL:
		return "partial"
	case pb.RunState_RUN_STATE_ABORTED:
		return "aborted"
	default:
		return "starting"
	}
}
