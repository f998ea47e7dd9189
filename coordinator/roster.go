package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/loadline/loadline/coordinator/fleet"
	"github.com/loadline/loadline/coordinator/run"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const (
	// lookAgain is how often the agents are looked at while a run waits for them, besides whenever one joins: one may have
	// become free.
	lookAgain = 200 * time.Millisecond
	// maxNamed bounds the agents that an error names.
	maxNamed = 10
)

// selection says which agents a run wants.
type selection struct {
	match    map[string]string
	min, max int // max 0: all
	wait     time.Duration
}

// selectionOf is what scenario and request say; a request for more than the scenario lets in is refused.
func selectionOf(q *pb.StartRunRequest) (selection, error) {
	a := q.GetScenario().GetAgents()
	s := selection{match: a.GetMatch(), min: max(1, int(a.GetMin())), max: int(a.GetMax()), wait: agentWait}
	if a.HasWait() {
		s.wait = a.GetWait().AsDuration()
	}
	if n := int(q.GetAgents()); n > 0 {
		s.min = n
	}
	if s.max > 0 && s.min > s.max {
		return s, fmt.Errorf("agents: the run is to wait for %d, and the scenario lets in %d at most (agents.max)", s.min, s.max)
	}
	return s, nil
}

// roster waits until the fewest agents that a run wants are there, and returns those that it gets, by name.
func (c *Coordinator) roster(ctx context.Context, want selection) ([]*fleet.Agent, error) {
	ctx, cancel := context.WithTimeout(ctx, max(want.wait, time.Millisecond))
	defer cancel()
	told := -1
	for {
		busy := c.busy()
		c.mu.Lock()
		fit, joined := slices.DeleteFunc(c.fleet.Select(want.match, 0), func(a *fleet.Agent) bool { return c.unfit(a, want, busy) != "" }), c.joined
		c.mu.Unlock()
		if len(fit) >= want.min {
			return want.strongest(fit), nil
		}
		if told != len(fit) {
			told = len(fit)
			c.log.Info("a run waits for agents", "wanted", want.min, "there", len(fit), "match", matchText(want.match), "wait", want.wait)
		}
		select {
		case <-joined:
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return nil, c.tooFew(len(fit), want, busy)
		}
	}
}

// strongest leaves the most agents that a run lets in, those of the greatest capacity, then by name.
func (want selection) strongest(agents []*fleet.Agent) []*fleet.Agent {
	if want.max == 0 || len(agents) <= want.max {
		return agents
	}
	byName := func(a, b *fleet.Agent) int { return strings.Compare(a.Info.GetName(), b.Info.GetName()) }
	slices.SortFunc(agents, func(a, b *fleet.Agent) int { return cmp.Or(cmp.Compare(b.Weight(), a.Weight()), byName(a, b)) })
	agents = agents[:want.max]
	slices.SortFunc(agents, byName)
	return agents
}

// unfit says why an agent cannot be planned with now; empty: it can. c.mu is held.
func (c *Coordinator) unfit(a *fleet.Agent, want selection, busy map[run.ID]string) string {
	_, _, known := c.fleet.Clock(a.Info.GetName(), c.now())
	switch id := (run.ID{Agent: a.Info.GetName(), Incarnation: a.Incarnation}); {
	case !a.Carries(want.match):
		return "does not carry " + matchText(want.match)
	case a.Leaving:
		return "leaves"
	case busy[id] != "":
		return "plays run " + busy[id]
	case !known || a.Denied():
		// Its first renewal shows that an agent knows of its lease, and brings the clock sample that a start needs.
		return "has not renewed its lease"
	}
	return ""
}

// busy is who has a part in a run that goes on, and in which.
func (c *Coordinator) busy() map[run.ID]string {
	busy := map[run.ID]string{}
	for id, in := range c.parts() {
		busy[id] = strings.Join(in.runs, ", ")
	}
	return busy
}

// preparing are those that get ready to join the run.
func (r *liveRun) preparing() []run.ID {
	r.brain.Lock()
	defer r.brain.Unlock()
	if r.machine == nil {
		return nil
	}
	return r.machine.Joining()
}

// tooFew is the error for a run that did not get the agents that it wants.
func (c *Coordinator) tooFew(fit int, want selection, busy map[run.ID]string) error {
	text := fmt.Sprintf("after %v of waiting %d of at least %d agents are there", want.wait, fit, want.min)
	if len(want.match) > 0 {
		text += " that carry " + matchText(want.match)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	agents := c.fleet.Agents()
	var others []string
	for _, a := range agents {
		if why := c.unfit(a, want, busy); why != "" {
			others = append(others, a.Info.GetName()+" "+why)
		}
	}
	if n := len(others) - maxNamed; n > 0 {
		others = append(others[:maxNamed], fmt.Sprintf("and %d more", n))
	}
	text += fmt.Sprintf("; %d registered", len(agents))
	if len(others) > 0 {
		text += ": " + strings.Join(others, ", ")
	}
	return fmt.Errorf("%s; start more agents, or lower agents.min or --agents", text)
}

// matchText is a selection by labels as people write it.
func matchText(match map[string]string) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(match)) {
		all = append(all, key+"="+match[key])
	}
	return strings.ToValidUTF8(strings.Join(all, ","), "?")
}
