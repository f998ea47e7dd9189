package plan_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/loadline/loadline/coordinator/plan"
	"github.com/loadline/loadline/internal/schedule"
)

// BenchmarkPlan is the plan of a run for 1,000 agents with the assignment of each.
func BenchmarkPlan(b *testing.B) {
	s := scenario(1000)
	load, err := schedule.Compile(s)
	if err != nil {
		b.Fatal(err)
	}
	agents := make([]plan.Agent, 1000)
	for i := range agents {
		agents[i] = plan.Agent{Name: fmt.Sprintf("a%04d", i), Incarnation: uint64(i + 1), Weight: 1 + uint32(i%7)}
	}
	b.ReportAllocs()
	for b.Loop() {
		p, err := plan.Make(s, load, "", agents)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := plan.Assignments(p, plan.Request{RunID: "r", Digest: []byte{1}, Scenario: s, Expires: time.Unix(9, 0)}); err != nil {
			b.Fatal(err)
		}
	}
}
