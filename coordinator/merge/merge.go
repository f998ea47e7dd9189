package merge

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Run is everything that the windows, totals and events of one run add up to.
type Run struct {
	header   *pb.RunHeader
	scenario *pb.Scenario
	course   *schedule.Course // with the changes so far
	pending  map[uint32]*pb.Change
	members  map[string][]int // indexes into agents, by name: one a registration that changes brought
	roster   int              // members of the plan
	changes  []*pb.Change     // in force, in order

	groups     map[Key]*Group
	whole      *Group   // what Whole returned last; nil: something was added since
	agents     []*Agent // in the order of the roster
	timeline   *timeline
	seconds    map[uint64]*secondSum
	inFlight   map[phaseSecond]InFlight
	lastEnd    []int64 // by phase, µs; 0: none
	classes    map[string]bool
	liveSeries int
	events     events

	cut      int64 // of cutNS, while cutKnown: until something is added
	cutKnown bool

	restoring      uint64 // parts of a checkpoint so far, while its end has not come
	duplicates     uint64
	lastEndUS      int64
	lastSecond     uint64
	recordsLeftOut uint64
	seriesLeftOut  uint64
}

// New returns a run without any window. The header must hold a scenario with its defaults filled
// in and a plan with at least one member; its members own the arrivals by their weights.
func New(h *pb.RunHeader) (*Run, error) {
	load, err := schedule.Compile(h.GetScenario())
	if err != nil {
		return nil, fmt.Errorf("merge: compute the schedule: %w", err)
	}
	return NewScheduled(h, load)
}

// NewScheduled is New for a caller that has compiled the scenario's schedule already, which takes
// long where there are many millions of Poisson arrivals.
func NewScheduled(h *pb.RunHeader, load *schedule.Schedule) (*Run, error) {
	s, members := h.GetScenario(), h.GetPlan().GetMembers()
	if s == nil || len(members) == 0 {
		return nil, errors.New("merge: the run's header holds no scenario or no plan with agents")
	}
	r := &Run{
		header: h, scenario: s, members: make(map[string][]int, len(members)), roster: len(members),
		pending: make(map[uint32]*pb.Change),
		groups:  make(map[Key]*Group), timeline: newTimeline(keptSeries(h)), seconds: make(map[uint64]*secondSum),
		inFlight: make(map[phaseSecond]InFlight), lastEnd: make([]int64, len(s.GetLoad())),
		classes: make(map[string]bool), events: newEvents(),
	}
	weights := make([]uint32, len(members))
	for i, m := range members {
		if _, twice := r.members[m.GetAgent()]; twice || m.GetAgent() == "" {
			return nil, fmt.Errorf("merge: the plan's agent %q has no name or stands in it twice", m.GetAgent())
		}
		weights[i] = m.GetWeight()
		r.addMember(m)
	}
	r.course = schedule.NewCourse(load, weights)
	return r, nil
}

// keptSeries are the series that the timeline keeps: those that people look at over time, and
// those that an abort condition needs; all where a program may wait for any.
func keptSeries(h *pb.RunHeader) [measure.NumSeries]bool {
	kept := [measure.NumSeries]bool{
		measure.Lateness: true, measure.TTFT: true, measure.TTFTService: true, measure.ITL: true,
		measure.TPOT: true, measure.E2E: true, measure.E2EFailed: true,
	}
	for s := range kept {
		kept[s] = kept[s] || h.GetDriven()
	}
	for _, a := range h.GetScenario().GetAbort() {
		if n, ok := SeriesNamed(a.GetCondition().GetMetric()); ok {
			kept[n] = true
		}
	}
	return kept
}

// AddWindow adds a window up. One that was added before, by agent, incarnation and sequence, is
// ignored and counted. On an error nothing has changed; the error says what is wrong with it.
func (r *Run) AddWindow(w *pb.Window) error {
	return r.addWindow(w, func() (*parsed, error) { return r.parseWindow(w) })
}

func (r *Run) addWindow(w *pb.Window, parse func() (*parsed, error)) error {
	if r.restoring > 0 {
		return errNotWhole
	}
	agent, s, err := r.sender(w.GetRunId(), w.GetAgent(), w.GetIncarnation())
	if err != nil {
		return fmt.Errorf("window %d of agent %q: %w", w.GetSequence(), w.GetAgent(), err)
	}
	if s != nil && s.received.has(w.GetSequence()) {
		r.duplicates++
		return nil
	}
	p, err := parse()
	if err != nil {
		return fmt.Errorf("window %d of agent %q: %w", w.GetSequence(), w.GetAgent(), err)
	}
	r.add(agent, agent.stream(w.GetIncarnation()), p)
	return nil
}

// sender finds the agent and, where it has sent before, its stream.
func (r *Run) sender(runID, name string, incarnation uint64) (*Agent, *stream, error) {
	if runID != r.header.GetRunId() {
		return nil, nil, fmt.Errorf("it belongs to run %q, not to %q", runID, r.header.GetRunId())
	}
	agent := r.memberOf(name, incarnation)
	if agent == nil {
		return nil, nil, errors.New("the agent is not in the run's plan")
	}
	s := agent.streams[incarnation]
	if s == nil && len(agent.streams) >= MaxIncarnations {
		return nil, nil, fmt.Errorf("the agent has registered more than %d times", MaxIncarnations)
	}
	return agent, s, nil
}

func (r *Run) add(agent *Agent, s *stream, p *parsed) {
	r.cutKnown = false
	s.receive(p)
	r.lastEndUS = max(r.lastEndUS, p.endUS)
	r.lastSecond = max(r.lastSecond, p.second)
	r.recordsLeftOut += p.recordsLeftOut
	r.seriesLeftOut += p.seriesLeftOut
	judged := false
	for i := range p.groups {
		g := &p.groups[i]
		s.add(g)
		r.addGroup(g)
		if !r.Discarded(g.key.Phase) {
			agent.addLateness(g)
			judged = true
		}
	}
	for _, f := range p.inFlight {
		r.addInFlight(phaseSecond{p.second, f.phase}, f.values)
		judged = judged || !r.Discarded(f.phase)
	}
	for _, e := range p.lastEnd {
		r.lastEnd[e.phase] = max(r.lastEnd[e.phase], e.endUS)
	}
	agent.addHealth(s, p, judged)
	r.timeline.add(p)
	r.addSecond(p)
}

func (r *Run) addGroup(p *parsedGroup) {
	g := r.groups[p.key]
	if g == nil {
		g = new(Group)
		r.groups[p.key] = g
	}
	r.liveSeries += r.newSeries(*p)
	for _, e := range p.errors {
		r.classes[e.Class] = true
	}
	g.add(p)
	r.whole = nil
}

func (r *Run) addInFlight(k phaseSecond, f InFlight) {
	sum := r.inFlight[k]
	sum.add(f)
	r.inFlight[k] = sum
}

// Header is what was fixed before the run began.
func (r *Run) Header() *pb.RunHeader { return r.header }

// Scenario is the scenario with its defaults filled in.
func (r *Run) Scenario() *pb.Scenario { return r.scenario }

// Discarded reports whether the phase of that index is left out of objectives and totals.
func (r *Run) Discarded(phase int) bool { return r.scenario.GetLoad()[phase].GetDiscard() }

// Groups yields what was counted by (phase, workload), in order.
func (r *Run) Groups() iter.Seq2[Key, *Group] {
	return func(yield func(Key, *Group) bool) {
		for _, k := range slices.SortedFunc(maps.Keys(r.groups), Key.compare) {
			if !yield(k, r.groups[k]) {
				return
			}
		}
	}
}

// Whole is the sum of all groups without discarded phases. It must not be changed. It is added up when it is asked for, which
// is done at the end of a run and not for each window.
func (r *Run) Whole() *Group {
	if r.whole == nil {
		r.whole = &Group{}
		for k, g := range r.groups {
			if !r.Discarded(k.Phase) {
				r.whole.merge(g)
			}
		}
	}
	return r.whole
}

// Agents are the agents in the order of the roster.
func (r *Run) Agents() []*Agent { return r.agents }

// Duplicates is the number of windows that came more than once.
func (r *Run) Duplicates() uint64 { return r.duplicates }

// RecordsLeftOut is the number of requests of which no record was kept.
func (r *Run) RecordsLeftOut() uint64 { return r.recordsLeftOut }

// SeriesLeftOut is the number of values that agents did not record for want of room.
func (r *Run) SeriesLeftOut() uint64 { return r.seriesLeftOut }

// LastSecond is the second in which the latest window began.
func (r *Run) LastSecond() uint64 { return r.lastSecond }

// LastEndUS is the end of the latest window, in microseconds since the run's start.
func (r *Run) LastEndUS() int64 { return r.lastEndUS }

// Timeline yields the run over time, in order; seconds without a window have no entry.
func (r *Run) Timeline() iter.Seq[*Entry] { return r.timeline.all() }

// At returns the entry of a single second, or nil. Only those of the last hour stand singly.
func (r *Run) At(second uint64) *Entry {
	if e := r.timeline.entries[second]; e != nil && e.Seconds == 1 {
		return e
	}
	return nil
}

// InFlight returns what was open of a phase in one second.
func (r *Run) InFlight(second uint64, phase int) InFlight {
	return r.inFlight[phaseSecond{second, phase}]
}

// SeriesNamed finds a series by its name in metrics.md.
func SeriesNamed(name string) (measure.Series, bool) {
	for s := measure.Series(1); s < measure.NumSeries; s++ {
		if name != "" && SeriesName(s) == name {
			return s, true
		}
	}
	return 0, false
}

// SeriesName is the name of a series in metrics.md.
func SeriesName(s measure.Series) string {
	names := [measure.NumSeries]string{
		measure.Lateness: "lateness", measure.Connect: "connect", measure.Send: "send", measure.Wait: "wait",
		measure.TTFT: "ttft", measure.TTFTService: "ttft_service", measure.TTFO: "ttfo", measure.ITL: "itl",
		measure.MaxITL: "max_itl", measure.TPOT: "tpot", measure.E2E: "e2e", measure.E2EService: "e2e_service",
		measure.E2EFailed: "e2e_failed", measure.Session: "session", measure.InputTokens: "input_tokens",
		measure.OutputTokens: "output_tokens", measure.TokensPerEvent: "tokens_per_event",
		measure.DNS: "dns", measure.TLS: "tls", measure.Receive: "receive",
		measure.ReadLag: "read_lag", measure.TTFTWire: "ttft_wire", measure.ITLWire: "itl_wire",
		measure.RoundTrip: "round_trip",
	}
	if s >= measure.NumSeries {
		return ""
	}
	return names[s]
}

// SeriesUnit is the unit of a series' values: "us", "tokens" or "tokens_per_1000_events".
func SeriesUnit(s measure.Series) string {
	switch s {
	case measure.InputTokens, measure.OutputTokens:
		return "tokens"
	case measure.TokensPerEvent:
		return "tokens_per_1000_events"
	default:
		return "us"
	}
}
