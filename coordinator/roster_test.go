package coordinator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/loadline/loadline/coordinator/fleet"
	"github.com/loadline/loadline/coordinator/run"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// admit registers agents "name zone capacity", all of which have renewed their leases.
func (c *Coordinator) admitAll(t *testing.T, agents ...string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, text := range agents {
		var name, zone string
		var capacity uint32
		if _, err := fmt.Sscan(text, &name, &zone, &capacity); err != nil {
			t.Fatal(err)
		}
		info := pb.AgentInfo_builder{Name: name, Protocol: fleet.Protocol, Cores: 1, Capacity: capacity, Labels: map[string]string{"zone": zone}}.Build()
		incarnation, refusal := c.fleet.Register(info, 1, 0, c.now())
		sample := pb.ClockSample_builder{SentNs: 1, ReceivedNs: 2, RepliedNs: 3, ReturnedNs: 4}.Build()
		if refusal == "" {
			refusal = c.fleet.Renew(name, incarnation, sample, c.now())
		}
		if refusal != "" {
			t.Fatal(refusal)
		}
	}
}

// TestTheFirstRosterIsThatOfTheScenario chooses by labels, by number and by capacity, and says what is missing.
func TestTheFirstRosterIsThatOfTheScenario(t *testing.T) {
	c, _ := begin(t)
	c.admitAll(t, "a1 a 1", "a2 a 3", "a3 b 9", "a4 a 2", "a5 a 2", "a6 a 9")
	c.mu.Lock()
	c.fleet.Leave("a6", 6, false)
	c.mu.Unlock()
	zone := map[string]string{"zone": "a"}
	for _, try := range []struct {
		want  selection
		names string
		err   string
	}{
		{selection{min: 1}, "a1 a2 a3 a4 a5", ""},
		{selection{min: 1, match: zone}, "a1 a2 a4 a5", ""},
		{selection{min: 2, max: 2, match: zone}, "a2 a4", ""},
		{selection{min: 1, max: 3}, "a2 a3 a4", ""},
		{selection{min: 5, match: zone}, "", "4 of at least 5 agents are there that carry zone=a; 6 registered: a3 does not carry zone=a, a6 leaves"},
	} {
		agents, err := c.roster(t.Context(), try.want)
		var names []string
		for _, a := range agents {
			names = append(names, a.Info.GetName())
		}
		if got := strings.Join(names, " "); got != try.names || (err == nil) != (try.err == "") || err != nil && !strings.Contains(err.Error(), try.err) {
			t.Errorf("%+v: %q, %v; want %q, %q", try.want, got, err, try.names, try.err)
		}
	}
}

// TestARunWaitsForItsAgents begins once the fewest are there, and not with one that plays something else.
func TestARunWaitsForItsAgents(t *testing.T) {
	c, _ := begin(t)
	c.admitAll(t, "a1 a 1", "a2 a 1")
	other := &liveRun{ended: make(chan struct{}), mail: newMailbox(), header: pb.RunHeader_builder{RunId: "other"}.Build(), status: &pb.RunStatus{}, members: members{windows: map[run.ID]int64{{Agent: "a1", Incarnation: 1}: 0}}}
	c.mu.Lock()
	c.runs["other"], c.order = other, append(c.order, "other")
	c.mu.Unlock()
	if _, err := c.roster(t.Context(), selection{min: 2}); err == nil || !strings.Contains(err.Error(), "a1 plays run other") {
		t.Errorf("an agent that plays is planned with: %v", err)
	}
	got := make(chan []*fleet.Agent, 1)
	go func() {
		agents, err := c.roster(t.Context(), selection{min: 2, wait: time.Minute})
		if err != nil {
			t.Error(err)
		}
		got <- agents
	}()
	close(other.ended)
	if agents := <-got; len(agents) != 2 {
		t.Errorf("%d agents once the other run is over, want 2", len(agents))
	}
}

func TestWhichAgentsARunWants(t *testing.T) {
	ask := func(n uint32, a pb.AgentSelection_builder) (selection, error) {
		return selectionOf(pb.StartRunRequest_builder{Agents: n, Scenario: pb.Scenario_builder{Agents: a.Build()}.Build()}.Build())
	}
	if s, err := ask(0, pb.AgentSelection_builder{}); err != nil || s.min != 1 || s.wait != agentWait {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := ask(4, pb.AgentSelection_builder{Min: new(uint32(2)), Wait: durationpb.New(time.Second)}); err != nil || s.min != 4 || s.wait != time.Second {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := ask(4, pb.AgentSelection_builder{Max: new(uint32(3))}); err == nil {
		t.Error("a run that wants more than its scenario lets in is not refused")
	}
}

// TestAnAgentIsKnownAgainAfterARestart: labels and capacity count for the next run too.
func TestAnAgentIsKnownAgainAfterARestart(t *testing.T) {
	c, _ := begin(t)
	c.mu.Lock()
	c.fleet.Restore("a1", 7, 0, c.now())
	c.mu.Unlock()
	ask := pb.RenewRequest_builder{Agent: "a1", Incarnation: 7}
	if answer := c.renew(ask.Build()); !answer.GetGranted() || !answer.GetIntroduce() {
		t.Errorf("it is not asked who it is: %v", answer)
	}
	ask.Info = pb.AgentInfo_builder{Name: "a1", Protocol: fleet.Protocol, Cores: 2, Capacity: 5, Labels: map[string]string{"zone": "a"}}.Build()
	if answer := c.renew(ask.Build()); answer.GetIntroduce() {
		t.Error("it is asked again")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	agents := c.fleet.Select(map[string]string{"zone": "a"}, 0)
	if !slices.ContainsFunc(agents, func(a *fleet.Agent) bool { return a.Weight() == 5 }) {
		t.Errorf("agents %v", agents)
	}
}
