package scenario

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func sortedNames(index map[string]int) []string { return slices.Sorted(maps.Keys(index)) }

// objectives checks slo, good and abort.
func (c *checker) objectives() {
	root := (*path)(nil)
	for i, o := range c.s.GetSlo() {
		c.objective(root.field("slo").index(i), o, ParseObjective)
	}
	for i, o := range c.s.GetGood() {
		c.objective(root.field("good").index(i), o, ParseGood)
	}
	for i, w := range c.s.GetWorkloads() {
		for j, o := range w.GetGood() {
			c.objective(root.field("workloads").index(i).field("good").index(j), o, ParseGood)
		}
	}
	for i, a := range c.s.GetAbort() {
		c.abort(root.field("abort").index(i), a)
	}
	c.allDiscarded()
}

// expression notes where an expression does not parse.
func (c *checker) expression(p *path, err error) {
	var e *ExprError
	if errors.As(err, &e) {
		c.offset(p, e.Pos, e.Message, e.Hint)
	}
}

func (c *checker) objective(p *path, o *pb.Objective, parse func(string) (*pb.Objective, error)) {
	parsed, err := parse(o.GetExpression())
	if err != nil {
		c.expression(p, err)
		return
	}
	if !sameObjective(parsed, o) {
		c.value(p, "the expression and the fields of the objective say different things", "send the expression alone")
		return
	}
	c.references(p, o)
}

// sameObjective compares what two objectives mean, whatever their text.
func sameObjective(a, b *pb.Objective) bool {
	a, b = proto.Clone(a).(*pb.Objective), proto.Clone(b).(*pb.Objective)
	a.ClearExpression()
	b.ClearExpression()
	return proto.Equal(a, b)
}

func (c *checker) abort(p *path, a *pb.AbortCondition) {
	parsed, err := ParseAbort(a.GetExpression())
	if err != nil {
		c.expression(p, err)
		return
	}
	if !sameObjective(parsed.GetCondition(), a.GetCondition()) || parsed.GetFor().AsDuration() != a.GetFor().AsDuration() {
		c.value(p, "the expression and the fields of the condition say different things", "send the expression alone")
		return
	}
	c.references(p, a.GetCondition())
}

// references checks the names in a filter, and that the objective can have data at all.
func (c *checker) references(p *path, o *pb.Objective) {
	ok := true
	for _, f := range []struct {
		name, what string
		index      map[string]int
	}{{o.GetPhase(), "phase", c.phases}, {o.GetWorkload(), "workload", c.workloads}, {o.GetTarget(), "target", c.targets}} {
		if f.name != "" {
			ok = c.knownInFilter(p, o, f.index, f.name, f.what) && ok
		}
	}
	if !ok || c.isBroken((*path)(nil).field("load"), (*path)(nil).field("workloads"), (*path)(nil).field("targets")) {
		return
	}
	reach := c.reach(o)
	s, isSeries := seriesByName(o.GetMetric())
	switch {
	case fromStamps(o.GetMetric()) && !c.s.GetCapture().GetWire():
		c.value(p, o.GetMetric()+" can never have data: it is kept only on request", "write capture: {wire: true}")
	case len(reach) == 0:
		c.value(p, "can never have data: no phase in the filter plays such a workload", "")
	case isSeries && s.streamed && !slices.ContainsFunc(reach, c.streams):
		c.value(p, o.GetMetric()+" can never have data: only streamed answers of the model protocols and grpc have it", "use e2e")
	case o.GetMetric() == "round_trip" && !slices.ContainsFunc(reach, (*pb.Workload).HasGrpc):
		c.value(p, "round_trip can never have data: only gRPC streams in both directions have it", "")
	case (s.tokens || o.GetMetric() == "input_tokens" || o.GetMetric() == "output_tokens") && !slices.ContainsFunc(reach, c.isModelWorkload):
		c.value(p, o.GetMetric()+" can never have data: only the model protocols have tokens", "")
	}
}

// knownInFilter refuses a name in a filter that does not exist, and points at it.
func (c *checker) knownInFilter(p *path, o *pb.Objective, index map[string]int, name, what string) bool {
	if _, ok := index[name]; ok || c.unsure[what] {
		return ok
	}
	expr := o.GetExpression()
	pos := max(0, strings.Index(expr, what))
	pos += max(0, strings.Index(expr[pos:], name))
	c.offset(p, pos, "no "+what+" is called "+quote(name), namesHint(index, name, what))
	return false
}

// reach lists the workloads that an objective's filter lets through.
func (c *checker) reach(o *pb.Objective) []*pb.Workload {
	var ws []*pb.Workload
	for _, w := range c.s.GetWorkloads() {
		if (o.GetWorkload() == "" || o.GetWorkload() == w.GetName()) &&
			(o.GetTarget() == "" || o.GetTarget() == w.GetTarget()) && c.played(o.GetPhase(), w.GetName()) {
			ws = append(ws, w)
		}
	}
	return ws
}

// played reports whether a phase (any, when empty) draws from a workload.
func (c *checker) played(phase, workload string) bool {
	return c.driven || slices.ContainsFunc(c.s.GetLoad(), func(p *pb.Phase) bool {
		return (phase == "" || p.GetName() == phase) &&
			(len(p.GetWorkloads()) == 0 || slices.Contains(p.GetWorkloads(), workload))
	})
}

func (c *checker) isModelWorkload(w *pb.Workload) bool {
	i, ok := c.targets[w.GetTarget()]
	return ok && isModel(c.s.GetTargets()[i].GetProtocol())
}

// streams reports whether answers to a workload may be streams: what kind of call a method of gRPC is,
// only its server knows.
func (c *checker) streams(w *pb.Workload) bool {
	return w.GetStream() && (c.isModelWorkload(w) || w.HasGrpc())
}

// allDiscarded refuses objectives over nothing.
func (c *checker) allDiscarded() {
	if c.driven || len(c.s.GetSlo()) == 0 || len(c.s.GetLoad()) == 0 {
		return
	}
	for _, p := range c.s.GetLoad() {
		if !p.GetDiscard() {
			return
		}
	}
	for i, o := range c.s.GetSlo() {
		if o.GetPhase() == "" {
			c.value((*path)(nil).field("slo").index(i), "can never have data: every phase is discarded", "take discard from a phase, or name a phase in a filter")
		}
	}
}
