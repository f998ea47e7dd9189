package judge

import (
	"testing"
	"time"

	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/coordinator/merge/mergetest"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// What a program waits for is looked up in the very second, and counts since the start.
func TestLook(t *testing.T) {
	h := mergetest.Header(mergetest.Scenario([]*pb.Phase{mergetest.Discarded(mergetest.Open("warm", 10, 2*time.Second)), mergetest.Open("hold", 20, 3*time.Second)}, mergetest.Chat("chat")), "a1", "a2")
	h.SetDriven(true)
	sent, err := mergetest.Play(h, 6*time.Second, func(a arrival) answer {
		x := fast(a)
		if a.Phase == 1 && a.Number%2 == 0 {
			broken(&x)
		}
		return x
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := merge.New(h)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.AddEvent(mergetest.Event(pb.RunEventKind_RUN_EVENT_KIND_STARTED, 0)); err != nil {
		t.Fatal(err)
	}
	for _, w := range sent.All() {
		if err := r.AddWindow(w); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		expr        string
		second      uint64
		held, count bool
	}{
		{"error_rate > 40%", 3, true, true},
		{"error_rate > 60%", 3, false, true},
		{"error_rate > 40%", 0, false, true},
		{"error_rate{phase=hold} > 40%", 0, false, false},
		{"p99(session) > 0s", 3, true, true}, // kept because the run is driven
		{"p99(ttft) > 0s", 99, false, false},
		{"arrivals >= 80", 0, true, true},
		{"arrivals > 80", 5, false, true},
		{"arrivals{phase=hold} >= 60", 5, true, true},
		{"errors >= 30", 5, true, true},
		{"errors{phase=warm} >= 1", 5, false, true},
		{"succeeded >= 50", 5, true, true},
		{"requests >= 80", 5, true, true},
		{"sessions >= 80", 5, true, true},
		{"started >= 80", 5, true, true},
		{"missed > 0", 5, false, true},
		{"shed > 0", 5, false, true},
		{"output_tokens > 0", 5, true, true},
		{"input_tokens > 0", 5, false, true},
	} {
		c, err := scenario.CheckCondition(h.GetScenario(), test.expr)
		if err != nil {
			t.Fatal(err)
		}
		if held, counts := Look(r, test.second, c); held != test.held || counts != test.count {
			t.Errorf("%s in second %d: %v %v, want %v %v", test.expr, test.second, held, counts, test.held, test.count)
		}
	}
}
