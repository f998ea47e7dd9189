package coordinator

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/loadline/loadline/coordinator/run"
)

// TestWholeSecondsAreThoseOfTheSlowest holds the answer that looks at few agents to one that looks at all, while windows come in any order,
// agents are done and others join.
func TestWholeSecondsAreThoseOfTheSlowest(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	r := &liveRun{members: members{windows: map[run.ID]int64{}}}
	id := func(i int) run.ID { return run.ID{Agent: fmt.Sprintf("a%d", i), Incarnation: 1} }
	for i := range 20 {
		r.windows[id(i)] = 0
	}
	for step := range 20_000 {
		at := id(random.IntN(20))
		switch _, there := r.windows[at]; {
		case there && random.IntN(200) == 0:
			delete(r.windows, at)
		case there:
			r.windows[at] += 1_000_000
		case random.IntN(10) == 0:
			r.windows[at] = int64(r.published) * 1_000_000
		}
		least := int64(-1)
		for _, end := range r.windows {
			if least < 0 || end < least {
				least = end
			}
		}
		want := r.published
		if len(r.windows) > 0 {
			want = max(want, uint64(least)/1_000_000)
		}
		if got := max(r.whole(), r.published); got != want {
			t.Fatalf("step %d: %d seconds are whole, want %d", step, got, want)
		}
		r.published = want
	}
	if r.published < 100 {
		t.Errorf("only %d seconds were published", r.published)
	}
}
