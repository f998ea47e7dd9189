package scenario_test

import (
	"strings"
	"testing"
	"time"

	"github.com/loadline/loadline/internal/scenario"
)

func TestWhichAgentsTakePart(t *testing.T) {
	s, err := scenario.Parse(scenario.Source{Data: []byte(smallest + "\nagents: {match: {zone: a}, min: 3}\norphan: {hold: 15s}\n")})
	if err != nil {
		t.Fatal(err)
	}
	a := s.GetAgents()
	if a.GetMin() != 3 || a.GetMax() != 1000 || a.GetWait().AsDuration() != 30*time.Second || a.GetMatch()["zone"] != "a" {
		t.Errorf("agents %v", a)
	}
	if got := s.GetOrphan().GetHold().AsDuration(); got != 15*time.Second {
		t.Errorf("orphan.hold %v", got)
	}
	for _, text := range []string{"orphan: stop", "orphan: {hold: 0s}", `orphan: "stop"`} {
		s, err := scenario.Parse(scenario.Source{Data: []byte(smallest + "\n" + text + "\n")})
		if err != nil || !s.GetOrphan().HasHold() || s.GetOrphan().GetHold().AsDuration() != 0 {
			t.Errorf("%s: %v, %v", text, s.GetOrphan(), err)
		}
	}
	for _, x := range []struct{ text, want string }{
		{"orphan: pause", `orphan: must be "stop" or a mapping with hold, got the text "pause"`},
		{"orphan: 15s", `orphan: must be "stop" or a mapping with hold`},
		{"agents: {min: 5, max: 4}", "agents.max: is below min, 5"},
		{"agents: {wait: 2h}", "agents.wait: must be from 0s to 1h"},
		{"agents: {match: {'': a}}", "has a label without a name"},
		{"orphan: {hold: 11m}", "orphan.hold: must be from 0s to 10m"},
		{"orphan: {}", "orphan.hold: is missing"},
	} {
		if _, err := scenario.Parse(scenario.Source{Data: []byte(smallest + "\n" + x.text + "\n")}); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", x.text, err, x.want)
		}
	}
}
