package scenario

import (
	"errors"
	"strings"
	"testing"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func TestConditions(t *testing.T) {
	for _, test := range []struct {
		expr, count, metric, phase string
		bound                      float64
		hold                       time.Duration
	}{
		{"p99(ttft) > 800ms for 10s", "", "ttft", "", 800_000, 10 * time.Second},
		{"error_rate >= 1%", "", "error_rate", "", 0.01, time.Second},
		{"rate(requests){workload=w} < 5 for 1m30s", "", "requests", "", 5, 90 * time.Second},
		{"arrivals >= 5000", "arrivals", "arrivals", "", 5000, 0},
		{" errors{phase=step-3}>0 ", "errors", "errors", "step-3", 0, 0},
		{"max(output_tokens) > 7", "", "output_tokens", "", 7, time.Second},
		{"output_tokens > 7", "output_tokens", "output_tokens", "", 7, 0},
	} {
		t.Run(test.expr, func(t *testing.T) {
			c, err := ParseCondition(test.expr)
			if err != nil {
				t.Fatal(err)
			}
			o := c.Objective
			if c.Count != test.count || c.For != test.hold || o.GetMetric() != test.metric || o.GetPhase() != test.phase || o.GetBound() != test.bound || o.GetExpression() != test.expr {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestConditionsThatCannotBe(t *testing.T) {
	for expr, want := range map[string]string{
		"":                          "empty",
		"arrivals < 5":              "only grows",
		"arrivals >= 5 for 3s":      "leave for out",
		"arrivals >= 5s":            "",
		"arivals >= 5":              "did you mean arrivals",
		"p99(ttft) > 800":           "needs a unit",
		"p99(ttft) > 800ms for 1ms": "1s to 1h",
		"p99(ttft) > 800ms and":     "unexpected",
		strings.Repeat("a", 300):    "longer than",
	} {
		_, err := ParseCondition(expr)
		var e *ExprError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", expr, err, want)
		}
	}
}

func driven(t *testing.T, more string) *pb.Scenario {
	t.Helper()
	s, err := ParseDriven(Source{Data: []byte("name: n\ntargets: [{url: 'http://h', protocol: http}]\nworkloads: [{name: w, http: {path: /}}]\n" + more)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestADrivenScenarioNeedsNoLoad(t *testing.T) {
	s := driven(t, "slo: ['p99(e2e){phase=step-1} < 1s', 'error_rate < 1%']\n")
	if len(Check(s)) == 0 {
		t.Error("a scenario without load passes Check: only a program that drives it could play it")
	}
	if ps := CheckDriven(s); len(ps) > 0 {
		t.Error(ps)
	}
	if ps := CheckDriven(nil); len(ps) == 0 {
		t.Error("no scenario passes")
	}
	if _, err := ParseDriven(Source{Data: []byte("name: n\n")}); err == nil || !strings.Contains(err.Error(), "targets") {
		t.Errorf("without targets: %v", err)
	}
	for expr, want := range map[string]string{
		"arrivals{workload=x} > 1": "no workload", "p99(ttft) > 1s": "can never have data", "p99(e2e){target=u} > 1s": "no target",
	} {
		if _, err := CheckCondition(s, expr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", expr, err, want)
		}
	}
	if _, err := CheckCondition(s, "p99(e2e){phase=later,workload=w} > 1s"); err != nil {
		t.Error(err)
	}
}

func TestAppendedPhasesAreChecked(t *testing.T) {
	s := driven(t, "")
	name, rate := "a b", -1.0
	p := pb.Phase_builder{Name: &name, Open: pb.OpenLoad_builder{Rate: &rate}.Build(), Labels: map[string]string{"": "x"}}.Build()
	var paths []string
	for _, problem := range CheckPhase(s, p) {
		paths = append(paths, problem.Path)
	}
	for _, want := range []string{"name", "open.rate", "labels"} {
		found := false
		for _, path := range paths {
			found = found || path == want
		}
		if !found {
			t.Errorf("problems at %q, want one at %q", paths, want)
		}
	}
}

// FuzzCondition: whatever a program sends is parsed or refused with a place within it.
func FuzzCondition(f *testing.F) {
	for _, seed := range []string{"p99(ttft) > 800ms for 10s", "arrivals{phase=\"a b\"} >= 5000", "errors > 1e9", "goodput_share<1% for 1h", "mean(itl"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		c, err := ParseCondition(expr)
		if err != nil {
			var e *ExprError
			if !errors.As(err, &e) || e.Pos < 0 || e.Pos > len(expr) || e.Message == "" {
				t.Fatalf("%q: %v", expr, err)
			}
			return
		}
		if c.Objective.GetComparison() == 0 || c.Objective.GetMetric() == "" || (c.Count == "") != (c.For >= time.Second) {
			t.Fatalf("%q: %+v", expr, c)
		}
	})
}
