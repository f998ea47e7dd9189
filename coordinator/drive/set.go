package drive

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/loadline/loadline/internal/scenario"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// set ends the phases that there are and appends one.
func (m *Machine) set(q *pb.DriveRunRequest, v View) []Command {
	id, s := q.GetRequestId(), q.GetSet()
	if m.closed {
		return m.refuse(id, "the load has been ended: nothing can be appended")
	}
	phase, problems := m.phase(s, v.Course)
	weights, more := m.mix(s.GetWorkloadWeights())
	if problems = append(problems, more...); len(problems) > 0 {
		return m.invalid(id, problems...)
	}
	ended, err := m.ending(v)
	if err != nil {
		return m.refuse(id, err.Error())
	}
	m.current = q
	return []Command{Adjust{
		Request: id, Revisions: ended, Appended: []*pb.Phase{phase}, WorkloadWeights: weights, Reason: "the program sets " + said(phase),
	}}
}

// said is the load of a phase in plain words.
func said(p *pb.Phase) string {
	if p.HasClosed() {
		return fmt.Sprintf("%d users", p.GetClosed().GetUsers())
	}
	return fmt.Sprintf("a rate of %g", p.GetOpen().GetRate())
}

// close ends the load for good.
func (m *Machine) close(q *pb.DriveRunRequest, v View) []Command {
	id := q.GetRequestId()
	reason := q.GetStop().GetReason()
	switch {
	case len(reason) > 1024:
		return m.invalid(id, scenario.Problem{Path: "stop.reason", Message: "it is longer than 1,024 bytes"})
	case m.closed:
		return m.answer(pb.DriveAnswer_builder{RequestId: id, AtNs: m.lastNS}.Build())
	case reason == "":
		reason = "the program ends the load"
	}
	ended, err := m.ending(v)
	if err != nil {
		return m.refuse(id, err.Error())
	}
	m.current, m.closed = q, true
	return []Command{Adjust{Request: id, Revisions: ended, Closed: true, Reason: reason}}
}

// ending are the revisions that end every phase which is not over.
func (m *Machine) ending(v View) ([]*pb.Revision, error) {
	var out []*pb.Revision
	at := max(v.RunNS, m.lastNS) // the change that comes lies later than both
	for i, p := range v.Course.Phases() {
		if end, known := p.Lasts(); known && end <= at {
			continue
		}
		out = append(out, pb.Revision_builder{Phase: uint32(i), Ended: proto.Bool(true)}.Build())
	}
	if len(out) > maxEnded {
		return nil, fmt.Errorf("%d phases are not over, and one step ends at most %d", len(out), maxEnded)
	}
	return out, nil
}

// phase is the one that a step appends.
func (m *Machine) phase(s *pb.DriveSet, c *schedule.Course) (*pb.Phase, []scenario.Problem) {
	name := s.GetName()
	if name == "" {
		name = m.freeName(c)
	} else if named(c, name) {
		return nil, []scenario.Problem{{Path: "set.name", Message: "there is a phase " + name + " already", Hint: "give each a name of its own, or none"}}
	}
	p := pb.Phase_builder{Name: &name, Discard: proto.Bool(s.GetDiscard()), Labels: s.GetLabels()}.Build()
	switch {
	case s.HasRate():
		b := pb.OpenLoad_builder{Rate: proto.Float64(s.GetRate()), Arrivals: max(s.GetArrivals(), pb.Arrivals_ARRIVALS_CONSTANT).Enum()}
		if s.GetCv() != 0 {
			b.Cv = proto.Float64(s.GetCv())
		}
		p.SetOpen(b.Build())
	case s.HasUsers():
		p.SetClosed(pb.ClosedLoad_builder{Users: proto.Uint32(s.GetUsers()), RampUp: durationpb.New(0)}.Build())
		if s.GetArrivals() != 0 || s.GetCv() != 0 {
			return nil, []scenario.Problem{{Path: "set.arrivals", Message: "users start when their last session has ended: arrivals and cv belong to a rate"}}
		}
	case m.last == nil:
		return nil, []scenario.Problem{{Path: "set", Message: "it has no load, and no set came before", Hint: "give rate or users"}}
	case s.GetArrivals() != 0 || s.GetCv() != 0:
		return nil, []scenario.Problem{{Path: "set.arrivals", Message: "arrivals and cv belong to a rate", Hint: "give rate too"}}
	case m.last.HasOpen():
		p.SetOpen(m.last.GetOpen())
	default:
		p.SetClosed(m.last.GetClosed())
	}
	m.length(p, s)
	var problems []scenario.Problem
	for _, problem := range scenario.CheckPhase(m.config.Scenario, p) {
		problem.Path = fieldOf(problem.Path)
		problems = append(problems, problem)
	}
	return p, problems
}

// length gives a phase its length: what the step says, or as before, or as long as can be.
func (m *Machine) length(p *pb.Phase, s *pb.DriveSet) {
	switch {
	case s.HasDuration():
		p.SetDuration(s.GetDuration())
		return
	case !s.HasRate() && !s.HasUsers():
		p.SetDuration(m.last.GetDuration())
		return
	}
	longest := schedule.MaxPhase
	if o := p.GetOpen(); o.GetArrivals() > pb.Arrivals_ARRIVALS_CONSTANT && o.GetRate() > 0 {
		if seconds := MaxRandom / o.GetRate(); seconds < longest.Seconds() {
			longest = max(time.Second, time.Duration(seconds*float64(time.Second)).Truncate(time.Second))
		}
	}
	p.SetDuration(durationpb.New(longest))
}

// fieldOf is the field of a step that a field of its phase comes from.
func fieldOf(path string) string {
	switch path {
	case "open.rate", "open.arrivals", "open.cv", "closed.users":
		_, path, _ = strings.Cut(path, ".")
	case "open":
		path = "arrivals"
	case "":
		return "set"
	}
	return "set." + path
}

func named(c *schedule.Course, name string) bool {
	return slices.ContainsFunc(c.Phases(), func(p *schedule.Phase) bool { return p.Name == name })
}

// freeName is step-N, where N counts the phases that were appended, or the next N that no phase has.
func (m *Machine) freeName(c *schedule.Course) string {
	for n := m.appended + 1; ; n++ {
		if name := fmt.Sprintf("step-%d", n); !named(c, name) {
			return name
		}
	}
}

// mix are the weights of all workloads with those of a step; nil: the step changes none.
func (m *Machine) mix(given map[string]uint32) ([]uint32, []scenario.Problem) {
	if len(given) == 0 {
		return nil, nil
	}
	const most = 1_000_000
	weights, total := slices.Clone(m.weights), uint64(0)
	var problems []scenario.Problem
	for _, name := range slices.Sorted(maps.Keys(given)) {
		i := slices.IndexFunc(m.config.Scenario.GetWorkloads(), func(w *pb.Workload) bool { return w.GetName() == name })
		path := fmt.Sprintf("set.workload_weights[%q]", name)
		switch {
		case i < 0:
			problems = append(problems, scenario.Problem{Path: path, Message: "the scenario has no such workload"})
		case given[name] > most:
			problems = append(problems, scenario.Problem{Path: path, Message: "a weight is at most 1,000,000"})
		default:
			weights[i] = given[name]
		}
	}
	for _, w := range weights {
		total += uint64(w)
	}
	if len(problems) == 0 && total == 0 {
		problems = append(problems, scenario.Problem{Path: "set.workload_weights", Message: "no workload is left with a weight", Hint: "let one be above 0"})
	}
	return weights, problems
}
