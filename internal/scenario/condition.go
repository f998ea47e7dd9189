package scenario

import (
	"errors"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// The grammar of what a program waits for; docs/api.md has it for users:
//
//	condition = objective [ "for" duration ]
//	          | count [ filter ] ( ">" | ">=" ) number
//	count     = "arrivals" | "started" | "missed" | "shed" | "sessions" | "requests" | "succeeded" | "errors"
//	          | "input_tokens" | "output_tokens"

// DefaultWaitFor is how long a condition must hold where it does not say.
const DefaultWaitFor = time.Second

// Condition is something about a run while it goes on, for which a program waits.
type Condition struct {
	// Objective is what must hold of single seconds. Where Count is set it has filter, comparison and bound alone.
	Objective *pb.Objective
	// Count is what is counted since the run's start; empty: nothing is.
	Count string
	// For is how long Objective must hold, in whole seconds; 0 with Count.
	For time.Duration
}

// Counts lists what a condition may count since the run's start.
func Counts() []string {
	return []string{
		"arrivals", "started", "missed", "shed", "sessions", "requests", "succeeded", "errors", "input_tokens", "output_tokens",
	}
}

// ParseCondition parses what a program waits for, such as "p99(ttft) > 800ms for 10s" or "arrivals{phase=step-3} >= 5000". The error
// is of type *ExprError.
func ParseCondition(expr string) (*Condition, error) {
	p := parser{s: expr}
	c := &Condition{For: DefaultWaitFor}
	o, err := p.whole(func() (*pb.Objective, *ExprError) {
		word, at := p.word()
		if contains(Counts(), word) {
			c.Count, c.For = word, 0
			return p.counted(word)
		}
		p.pos, p.last = at, at
		o, err := p.objective()
		if err != nil {
			if near := nearest(word, Counts()); near != "" && !p.peek('(') {
				err.Hint = "did you mean " + near + "? " + err.Hint
			}
			return nil, err
		}
		p.blanks()
		if p.pos < len(p.s) {
			c.For, err = p.hold()
		}
		return o, err
	})
	if err != nil {
		return nil, err
	}
	o.SetExpression(expr)
	c.Objective = o
	return c, nil
}

// counted reads the rest of a condition on a count.
func (p *parser) counted(word string) (*pb.Objective, *ExprError) {
	o := &pb.Objective{}
	o.SetMetric(word)
	if err := p.filter(o); err != nil {
		return nil, err
	}
	p.blanks()
	at := p.pos
	if err := p.comparison(o, unitNumber); err != nil {
		return nil, err
	}
	if s := o.GetComparison(); s != pb.Comparison_COMPARISON_GT && s != pb.Comparison_COMPARISON_GE {
		return nil, p.fail(at, word+" only grows, so it is waited for with > or >=", "write "+word+" >= 5000")
	}
	if p.blanks(); p.pos < len(p.s) {
		return nil, p.fail(p.pos, "unexpected "+quote(p.s[p.pos:]), "a count that is reached stays reached: leave for out")
	}
	return o, nil
}

// CheckCondition is ParseCondition that also refuses names which the scenario does not have and series that cannot have data. Phases may
// be appended later, so their names are not looked at.
func CheckCondition(s *pb.Scenario, expr string) (*Condition, error) {
	c, err := ParseCondition(expr)
	if err != nil {
		return nil, err
	}
	r := newReport(Source{})
	r.driven = true
	check := newChecker(r, s)
	for i, t := range s.GetTargets() {
		check.targets[t.GetName()] = i
	}
	for i, w := range s.GetWorkloads() {
		check.workloads[w.GetName()] = i
	}
	check.references((*path)(nil).field("until"), c.Objective)
	if ps := r.problems(); len(ps) > 0 {
		return nil, &ExprError{Message: ps[0].Message, Hint: ps[0].Hint}
	}
	return c, nil
}

// ParseDriven is Parse for a run that a program drives: its load may be empty, and objectives may name phases that it appends.
func ParseDriven(src Source) (*pb.Scenario, error) {
	r := newReport(src)
	r.driven = true
	s := read(r, nil)
	if s != nil {
		judge(r, s)
	}
	if ps := r.problems(); len(ps) > 0 {
		return nil, ps
	}
	return s, nil
}

// CheckDriven is Check for a run that a program drives.
func CheckDriven(s *pb.Scenario) Problems {
	r := newReport(Source{})
	r.driven = true
	if s == nil {
		s = &pb.Scenario{}
	}
	judge(r, clone(s))
	return r.problems()
}

// CheckPhase checks a phase that is to be appended to a scenario that has been checked. Paths begin with the phase's own fields.
func CheckPhase(s *pb.Scenario, p *pb.Phase) Problems {
	s = clone(s)
	s.SetLoad([]*pb.Phase{p})
	var own Problems
	for _, problem := range CheckDriven(s) {
		steps, err := parsePath(problem.Path)
		if err != nil || len(steps) == 0 || steps[0].name != "load" {
			continue
		}
		problem.Path = trimPhase(problem.Path)
		own = append(own, problem)
	}
	return own
}

func trimPhase(path string) string {
	const first = "load[0]"
	switch {
	case path == first:
		return ""
	case len(path) > len(first) && path[:len(first)] == first:
		return path[len(first)+1:]
	}
	return path
}

// AsProblems are the problems that an error of Parse, ParseDriven or ParseCondition holds, at the path of the field it was parsed for.
func AsProblems(err error, path string) Problems {
	var ps Problems
	var e *ExprError
	switch {
	case errors.As(err, &ps):
		return ps
	case errors.As(err, &e):
		return Problems{{Path: path, Message: e.Message, Hint: e.Hint}}
	}
	return Problems{{Path: path, Message: err.Error()}}
}
