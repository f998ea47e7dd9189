// Package mergetest plays runs for tests: it walks the schedule of a scenario as agents would, asks
// the test what became of each arrival, and gives back the windows, totals and events that the
// coordinator would have got. It is used by tests alone.
package mergetest

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// RunID of every run.
const RunID = "run-1"

// Start of every run.
func Start() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// Open is a phase of constant open load.
func Open(name string, rate float64, length time.Duration) *pb.Phase {
	return pb.Phase_builder{
		Name: new(name), Open: pb.OpenLoad_builder{Rate: new(rate), Arrivals: new(pb.Arrivals_ARRIVALS_CONSTANT)}.Build(),
		Duration: durationpb.New(length),
	}.Build()
}

// Discarded marks a phase as one to leave out.
func Discarded(p *pb.Phase) *pb.Phase {
	p.SetDiscard(true)
	return p
}

// Chat is a streamed model workload of weight 1 on the target "chat".
func Chat(name string) *pb.Workload {
	return pb.Workload_builder{Name: new(name), Target: new("chat"), Weight: new(uint32(1)), Stream: new(true), Synthetic: &pb.Synthetic{}}.Build()
}

// Scenario has the phases given, one target "chat" and, unless there are others, one workload "short".
func Scenario(phases []*pb.Phase, workloads ...*pb.Workload) *pb.Scenario {
	if len(workloads) == 0 {
		workloads = []*pb.Workload{Chat("short")}
	}
	return pb.Scenario_builder{
		Name: new("test"), Seed: new(uint64(42)),
		Targets: []*pb.Target{
			pb.Target_builder{Name: new("chat"), Url: new("http://127.0.0.1:1/v1"), Protocol: new(pb.Protocol_PROTOCOL_OPENAI_CHAT), Model: new("m")}.Build(),
		},
		Workloads: workloads, Load: phases, Drain: durationpb.New(30 * time.Second),
	}.Build()
}

// Objective is p(metric) < bound, the bound in microseconds.
func Objective(expression string, quantile float64, metric string, bound float64) *pb.Objective {
	return pb.Objective_builder{
		Expression: new(expression), Aggregate: new(pb.Aggregate_AGGREGATE_QUANTILE), Quantile: new(quantile), Metric: new(metric),
		Comparison: new(pb.Comparison_COMPARISON_LT), Bound: new(bound),
	}.Build()
}

// Share is error_rate or goodput_share against a bound from 0 to 1.
func Share(expression, metric string, sign pb.Comparison, bound float64) *pb.Objective {
	return pb.Objective_builder{
		Expression: new(expression), Aggregate: new(pb.Aggregate_AGGREGATE_SHARE), Metric: new(metric), Comparison: new(sign), Bound: new(bound),
	}.Build()
}

// Header is the header of a run of a scenario by agents of weight 1.
func Header(s *pb.Scenario, agents ...string) *pb.RunHeader {
	members := make([]*pb.Member, 0, len(agents))
	for _, a := range agents {
		members = append(members, pb.Member_builder{Agent: a, Incarnation: 1, Weight: 1, MaxInFlight: 1000}.Build())
	}
	return pb.RunHeader_builder{
		Format: 1, Version: "test", RunId: RunID, Scenario: s, ScenarioDigest: "d16e57",
		Plan:        pb.Plan_builder{RunId: RunID, Seed: s.GetSeed(), Members: members}.Build(),
		CreatedTime: timestamppb.New(Start().Add(-time.Second)),
	}.Build()
}

// Event is an event so long after the start.
func Event(kind pb.RunEventKind, after time.Duration) *pb.RunEvent {
	return pb.RunEvent_builder{Kind: kind, Time: timestamppb.New(Start().Add(after)), AtUs: after.Microseconds()}.Build()
}

// Ended is the event of a run's end.
func Ended(after time.Duration, state pb.RunState) *pb.RunEvent {
	e := Event(pb.RunEventKind_RUN_EVENT_KIND_ENDED, after)
	e.SetState(state)
	return e
}

// Arrival is one arrival of a phase.
type Arrival struct {
	Phase, Workload int
	Number          uint64
	// Due in nanoseconds since the run's start.
	Due   int64
	Agent int
}

// Answer says what became of an arrival. The zero value is a success at once.
type Answer struct {
	// E2E of a canceled request is how long it had waited.
	Lateness, TTFT, ITL, E2E time.Duration
	// ReadLag of its first byte; 0: the kernel gave no stamp.
	ReadLag time.Duration
	// StampsDropped counts its reads whose stamp was of no use.
	StampsDropped uint64
	// Class of failure, "canceled", or empty for success.
	Class string
	// Missed, Shed: no session was started. Unfinished: it was, and its end is not reported.
	Missed, Shed, Unfinished bool
	// OutputTokens of a canceled request are those that had come; 0: no content had.
	OutputTokens uint64
}

// Sent is what the agents of a run sent.
type Sent struct {
	// Windows by agent, each in the order of the sequence.
	Windows [][]*pb.Window
	// Totals by agent.
	Totals []*pb.Totals
}

// All are the windows of all agents, second by second.
func (s Sent) All() []*pb.Window {
	all := slices.Concat(s.Windows...)
	slices.SortStableFunc(all, func(a, b *pb.Window) int { return int(a.GetStartUs() - b.GetStartUs()) })
	return all
}

// Changed is the event of a change.
func Changed(ch *pb.Change) *pb.RunEvent {
	e := Event(pb.RunEventKind_RUN_EVENT_KIND_CHANGED, time.Duration(ch.GetAtNs()))
	e.SetChange(ch)
	return e
}

// Play walks the open phases of a run until the instant `until` and asks for each arrival. The changes given are committed in time:
// their members join, and each arrival is asked for with who owns it then.
func Play(h *pb.RunHeader, until time.Duration, answer func(Arrival) Answer, changes ...*pb.Change) (Sent, error) {
	compiled, err := schedule.Compile(h.GetScenario())
	if err != nil {
		return Sent{}, err
	}
	weights := make([]uint32, len(h.GetPlan().GetMembers()))
	for i, m := range h.GetPlan().GetMembers() {
		weights[i] = m.GetWeight()
	}
	course, err := schedule.NewCourse(compiled, weights).ApplyAll(changes)
	if err != nil {
		return Sent{}, err
	}
	members := h.GetPlan().GetMembers()
	for _, ch := range changes {
		members = append(members, ch.GetJoined()...)
	}
	players := make([]*player, len(members))
	for i, m := range members {
		players[i] = &player{
			name: m.GetAgent(), incarnation: m.GetIncarnation(), drain: h.GetScenario().GetDrain().AsDuration(),
			phases: course.Phases(), seconds: map[int64]*second{},
		}
	}
	for _, p := range course.Phases() {
		if p.Users > 0 {
			continue
		}
		for w := p.Walk(0); ; {
			n, due, ok := w.Next()
			if !ok || due > int64(until) {
				break
			}
			workload, _ := p.Pick(n)
			owner, _ := course.Owner(p.Index, n)
			a := Arrival{Phase: p.Index, Workload: workload, Number: n, Due: due, Agent: owner}
			players[owner].play(a, answer(a), p.End())
		}
	}
	var sent Sent
	for _, p := range players {
		windows, totals := p.finish(until)
		sent.Windows, sent.Totals = append(sent.Windows, windows), append(sent.Totals, totals)
	}
	return sent, nil
}

type key struct{ phase, workload int }

// tally is what one group of one window holds.
type tally struct {
	counters pb.Counters_builder
	series   map[measure.Series]*hist.Histogram
	errors   map[string]*pb.ClassCount
}

// second is a window in the making.
type second struct {
	groups map[key]*tally
	open   map[int]uint64 // by phase: µs
	most   map[int]uint64
	next   map[int]uint64 // by phase: the number after the last arrival
}

type player struct {
	name        string
	incarnation uint64
	drain       time.Duration
	phases      []*schedule.Phase
	seconds     map[int64]*second
}

func (p *player) at(ns int64, k key) *tally {
	s := p.second(ns)
	if s.groups[k] == nil {
		s.groups[k] = &tally{series: map[measure.Series]*hist.Histogram{}, errors: map[string]*pb.ClassCount{}}
	}
	return s.groups[k]
}

func (p *player) second(ns int64) *second {
	i := ns / int64(time.Second)
	if p.seconds[i] == nil {
		p.seconds[i] = &second{groups: map[key]*tally{}, open: map[int]uint64{}, most: map[int]uint64{}, next: map[int]uint64{}}
	}
	return p.seconds[i]
}

func (t *tally) record(s measure.Series, d time.Duration) { t.count(s, uint64(d.Microseconds())) }

func (t *tally) count(s measure.Series, v uint64) {
	if t.series[s] == nil {
		t.series[s] = &hist.Histogram{}
	}
	t.series[s].Record(v)
}

func (p *player) play(a Arrival, x Answer, phaseEnd int64) {
	k := key{a.Phase, a.Workload}
	t := p.at(a.Due, k)
	t.counters.Due++
	p.second(a.Due).next[a.Phase] = a.Number + 1
	switch {
	case x.Missed:
		t.counters.Missed++
		return
	case x.Shed:
		t.counters.Shed++
		return
	}
	t.counters.Started++
	t.counters.RequestsSent++
	t.record(measure.Lateness, x.Lateness)
	s := p.second(a.Due)
	s.open[a.Phase] += uint64(x.E2E.Microseconds())
	s.most[a.Phase]++
	if !x.Unfinished {
		end := a.Due + int64(x.E2E)
		t := p.at(end, k)
		t.end(a, x, end < phaseEnd)
		if x.Class == measure.ClassCanceled && x.E2E >= p.drain {
			t.outlasted(x)
		}
	}
}

func (t *tally) end(a Arrival, x Answer, within bool) {
	c := &t.counters
	c.StampsDropped += x.StampsDropped
	if x.ReadLag > 0 {
		t.record(measure.ReadLag, x.ReadLag)
	}
	switch x.Class {
	case "":
		t.succeed(x, within)
	case measure.ClassCanceled:
		c.SessionsCanceled++
		c.RequestsCanceled++
	default:
		c.SessionsFailed++
		c.RequestsFailed++
		if within {
			c.SpanFailed++
		}
		t.record(measure.E2EFailed, x.E2E)
		e := t.errors[x.Class]
		if e == nil {
			e = pb.ClassCount_builder{Class: x.Class, Example: "example of " + x.Class, ExampleHash: ^uint64(0)}.Build()
			t.errors[x.Class] = e
		}
		e.SetCount(e.GetCount() + 1)
		if h := a.Number*0x9e3779b97f4a7c15 + 1; h < e.GetExampleHash() {
			e.SetExampleHash(h)
		}
	}
}

// outlasted counts a canceled request that had waited as long as the drain. The workloads of tests
// stream where any of their requests is canceled.
func (t *tally) outlasted(x Answer) {
	t.counters.RequestsCanceledLate++
	if x.OutputTokens == 0 {
		t.counters.RequestsCanceledSilent++
	}
}

func (t *tally) succeed(x Answer, within bool) {
	c := &t.counters
	c.SessionsSucceeded++
	c.RequestsSucceeded++
	c.Good++
	c.OutputTokens += x.OutputTokens
	c.TokensFromServer++
	c.ContentEvents += x.OutputTokens
	if within {
		c.SpanSucceeded++
		c.SpanGood++
		c.SpanOutputTokens += x.OutputTokens
	}
	t.record(measure.TTFT, x.TTFT)
	t.record(measure.E2E, x.E2E)
	t.record(measure.Session, x.E2E)
	if x.ITL > 0 {
		t.record(measure.ITL, x.ITL)
	}
	t.count(measure.OutputTokens, x.OutputTokens)
}

// finish turns the seconds into windows, without gaps, and sums them up.
func (p *player) finish(until time.Duration) ([]*pb.Window, *pb.Totals) {
	last := int64(until) / int64(time.Second)
	for i := range p.seconds {
		last = max(last, i)
	}
	var windows []*pb.Window
	sums := map[key]*pb.Counters_builder{}
	var values uint64
	var cursors []*pb.Cursor
	next := map[int]uint64{}
	for i := int64(0); i <= last; i++ {
		cursors = p.cursors(i, next)
		w := pb.Window_builder{
			RunId: RunID, Agent: p.name, Incarnation: p.incarnation, Cursors: cursors, Sequence: uint64(i + 1),
			StartUs: i * 1_000_000, EndUs: (i + 1) * 1_000_000,
			Health: pb.Health_builder{CpuProcess: 0.1, CpuMachine: 0.4, Goroutines: 10, ClockErrorBoundUs: 20}.Build(),
		}
		if s := p.seconds[i]; s != nil {
			values += s.fill(&w, sums)
		}
		windows = append(windows, w.Build())
	}
	totals := pb.Totals_builder{RunId: RunID, Agent: p.name, Incarnation: p.incarnation, Cursors: cursors, LastSequence: uint64(last + 1), Values: values}
	for _, k := range sortedKeys(sums) {
		totals.Groups = append(totals.Groups, pb.Group_builder{
			Phase: uint32(k.phase), Workload: uint32(k.workload), Counters: sums[k].Build(),
		}.Build())
	}
	return windows, totals.Build()
}

// cursors are those at the end of a second, of the phases that have begun; next is carried on from the second before.
func (p *player) cursors(i int64, next map[int]uint64) []*pb.Cursor {
	var out []*pb.Cursor
	for _, phase := range p.phases {
		if s := p.seconds[i]; s != nil && s.next[phase.Index] > 0 {
			next[phase.Index] = s.next[phase.Index]
		}
		if phase.Start < (i+1)*int64(time.Second) {
			out = append(out, pb.Cursor_builder{Phase: uint32(phase.Index), NextArrival: next[phase.Index]}.Build())
		}
	}
	return out
}

func sortedKeys[V any](m map[key]V) []key {
	var keys []key
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int { return (a.phase-b.phase)*1000 + a.workload - b.workload })
	return keys
}

// fill puts a second into its window, adds it to the sums, and returns its number of values.
func (s *second) fill(w *pb.Window_builder, sums map[key]*pb.Counters_builder) uint64 {
	var values uint64
	for _, k := range sortedKeys(s.groups) {
		t := s.groups[k]
		g := pb.Group_builder{Phase: uint32(k.phase), Workload: uint32(k.workload), Counters: t.counters.Build()}
		for n := measure.Series(1); n < measure.NumSeries; n++ {
			if h := t.series[n]; h != nil {
				values += h.Count()
				g.Series = append(g.Series, pb.SeriesData_builder{Series: pb.Series(n), Histogram: h.AppendBinary(nil)}.Build())
			}
		}
		for _, class := range sortedNames(t.errors) {
			g.Errors = append(g.Errors, t.errors[class])
		}
		w.Groups = append(w.Groups, g.Build())
		if sums[k] == nil {
			sums[k] = &pb.Counters_builder{}
		}
		add(sums[k], &t.counters)
	}
	for phase := range 1000 {
		if s.most[phase] > 0 {
			w.InFlight = append(w.InFlight, pb.InFlight_builder{
				Phase: uint32(phase), Max: s.most[phase], Now: s.most[phase] / 2, OpenUs: s.open[phase],
			}.Build())
		}
	}
	return values
}

func sortedNames(m map[string]*pb.ClassCount) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func add(to, c *pb.Counters_builder) {
	to.Due += c.Due
	to.Started += c.Started
	to.Missed += c.Missed
	to.Shed += c.Shed
	to.SessionsSucceeded += c.SessionsSucceeded
	to.SessionsFailed += c.SessionsFailed
	to.SessionsCanceled += c.SessionsCanceled
	to.RequestsSent += c.RequestsSent
	to.RequestsSucceeded += c.RequestsSucceeded
	to.RequestsFailed += c.RequestsFailed
	to.RequestsCanceled += c.RequestsCanceled
	to.Good += c.Good
	to.OutputTokens += c.OutputTokens
	to.SpanSucceeded += c.SpanSucceeded
	to.SpanFailed += c.SpanFailed
	to.SpanGood += c.SpanGood
	to.SpanOutputTokens += c.SpanOutputTokens
	to.ContentEvents += c.ContentEvents
	to.TokensFromServer += c.TokensFromServer
	to.RequestsCanceledLate += c.RequestsCanceledLate
	to.RequestsCanceledSilent += c.RequestsCanceledSilent
	to.StampsDropped += c.StampsDropped
}
