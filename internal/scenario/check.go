package scenario

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// check runs every check on a scenario whose defaults are filled in: first what the schema says of
// single fields, then what fields must be together. A problem that only follows from one noted
// before is left out.
func check(r *report, s *pb.Scenario) {
	rules := ruleChecker{report: r, patterns: map[string]*regexp.Regexp{}}
	rules.message(nil, s.ProtoReflect())
	c := newChecker(r, s)
	c.name((*path)(nil).field("name"), s.GetName())
	c.eachTarget()
	c.eachWorkload()
	c.eachPhase()
	c.objectives()
	c.agents()
}

// agents checks which agents are to take part.
func (c *checker) agents() {
	a, p := c.s.GetAgents(), (*path)(nil).field("agents")
	if c.s.HasAgents() && !c.broken[p.text] && a.GetMax() < a.GetMin() {
		c.value(p.field("max"), fmt.Sprintf("is below min, %d", a.GetMin()), "let it be at least as many")
	}
	c.labels(p.field("match"), a.GetMatch())
}

// labels refuses labels without a name and long ones.
func (c *checker) labels(p *path, labels map[string]string) {
	for k, v := range labels {
		if k == "" || len(k) > maxLabel || len(v) > maxLabel {
			c.value(p, fmt.Sprintf("has a label without a name, or of more than %d characters", maxLabel), "")
			break
		}
	}
}

// maxLabel is the longest name or value of a label.
const maxLabel = 128

// checker knows the scenario's names.
type checker struct {
	*report
	s         *pb.Scenario
	targets   map[string]int
	workloads map[string]int
	phases    map[string]int
	// unsure holds the kinds of names of which some could not be read: references to them are not checked.
	unsure map[string]bool
}

func newChecker(r *report, s *pb.Scenario) *checker {
	c := &checker{
		report: r, s: s, targets: map[string]int{}, workloads: map[string]int{}, phases: map[string]int{},
		unsure: map[string]bool{},
	}
	c.unsureOf("target", len(s.GetTargets()))
	c.unsureOf("workload", len(s.GetWorkloads()))
	c.unsureOf("phase", len(s.GetLoad()))
	c.unsure["phase"] = c.unsure["phase"] || r.driven
	return c
}

func (c *checker) unsureOf(what string, n int) {
	p := (*path)(nil).field(listName(what))
	c.unsure[what] = n == 0 || c.broken[p.text]
	for i := range n {
		c.unsure[what] = c.unsure[what] || c.isBroken(p.index(i).field("name"))
	}
}

// unique notes a name in its index and refuses one that is missing or there already.
func (c *checker) unique(index map[string]int, p *path, i int, name, what string, several bool) {
	at := p.field("name")
	if name == "" {
		if several {
			c.value(at, "is missing", "only a single "+what+" may go without a name")
		}
		return
	}
	first, ok := index[name]
	if !ok {
		index[name] = i
		c.name(at, name)
		return
	}
	other := c.find((*path)(nil).field(listName(what)).index(first).field("name")).value
	message := fmt.Sprintf("two %ss are called %s", what, quote(name))
	if other.line > 0 {
		message += fmt.Sprintf(", the other on line %d", other.line)
	}
	c.value(at, message, "give each a name of its own")
}

func listName(what string) string {
	if what == "phase" {
		return "load"
	}
	return what + "s"
}

// name refuses what would garble a report, a filter or a terminal.
func (c *checker) name(p *path, name string) {
	switch {
	case strings.ContainsFunc(name, unicode.IsControl):
		c.value(p, "holds control characters", "")
	case strings.TrimSpace(name) != name:
		c.value(p, "begins or ends with a blank", "")
	case strings.Contains(name, `"`) && p.up != nil:
		c.value(p, "holds a double quote", "filters of objectives could not name it")
	}
}

// known refuses a reference to a name that does not exist.
func (c *checker) known(index map[string]int, p *path, name, what string) bool {
	if _, ok := index[name]; ok {
		return true
	}
	if c.unsure[what] {
		return false
	}
	c.value(p, "no "+what+" is called "+quote(name), namesHint(index, name, what))
	return false
}

func namesHint(index map[string]int, name, what string) string {
	names := sortedNames(index)
	if len(names) == 0 {
		return ""
	}
	const most = 10
	shown := names
	if len(shown) > most {
		shown = shown[:most:most]
		shown = append(shown, "…")
	}
	return DidYouMean(name, names) + what + "s are " + list(shown, "and")
}
