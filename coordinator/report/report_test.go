package report

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/loadline/loadline/coordinator/judge"
	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/coordinator/merge/mergetest"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file under testdata; -update writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it anew):\n%s", path, got)
	}
}

// played is a run as the coordinator would hold it at its end.
func played(t testing.TB, s *pb.Scenario, answer func(mergetest.Arrival) mergetest.Answer, agents ...string) (*merge.Run, mergetest.Sent) {
	t.Helper()
	h := mergetest.Header(s, agents...)
	sent, err := mergetest.Play(h, 20*time.Second, answer)
	if err != nil {
		t.Fatal(err)
	}
	r, err := merge.New(h)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range sent.All() {
		err = first(err, r.AddWindow(w))
	}
	for _, m := range sent.Totals {
		err = first(err, r.AddTotals(m))
	}
	for _, e := range []*pb.RunEvent{
		mergetest.Event(pb.RunEventKind_RUN_EVENT_KIND_STARTED, 0),
		mergetest.Ended(22*time.Second, pb.RunState_RUN_STATE_COMPLETE),
	} {
		err = first(err, r.AddEvent(e))
	}
	if err != nil {
		t.Fatal(err)
	}
	return r, sent
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// chat is a scenario with a warm-up, a hold, two workloads and three objectives.
func chat() *pb.Scenario {
	s := mergetest.Scenario([]*pb.Phase{
		mergetest.Discarded(mergetest.Open("warm-up", 10, 5*time.Second)), mergetest.Open("hold", 80, 15*time.Second),
	}, mergetest.Chat("short-questions"), mergetest.Chat("golden"))
	s.SetName("chat-launch")
	s.SetDrain(durationpb.New(5 * time.Second))
	s.SetSlo([]*pb.Objective{
		mergetest.Objective("p99(ttft) < 800ms", 0.99, "ttft", 800_000),
		mergetest.Objective("p95(e2e) < 2s", 0.95, "e2e", 2_000_000),
		mergetest.Share("error_rate < 0.1%", "error_rate", pb.Comparison_COMPARISON_LT, 0.001),
	})
	return s
}

func healthy(a mergetest.Arrival) mergetest.Answer {
	n := time.Duration(a.Number)
	return mergetest.Answer{
		Lateness: (40 + n*7%90) * time.Microsecond, TTFT: (90 + n*37%200) * time.Millisecond,
		ITL: (8 + n%5) * time.Millisecond, E2E: (700 + n*91%600) * time.Millisecond, OutputTokens: 64 + a.Number%17,
	}
}

// drowned gives two in three arrivals no answer, or a bad one.
func drowned(a mergetest.Arrival) mergetest.Answer {
	x := healthy(a)
	x.TTFT, x.E2E = x.TTFT*40, x.E2E*8
	switch {
	case a.Number%3 == 1 && a.Number > 300:
		x.Shed = true
	case a.Number%9 == 2:
		x.Class = "http_503"
	case a.Number%31 == 3:
		x.Class = "first_token_timeout"
	case a.Number%40 == 7:
		x.Class = "canceled"
	}
	return x
}

func late(a mergetest.Arrival) mergetest.Answer {
	x := healthy(a)
	x.Lateness = time.Duration(a.Number%50) * time.Millisecond
	x.Missed = a.Number%17 == 0
	return x
}

// summaries are runs that differ in what a reader must be told.
func summaries(t testing.TB) map[string]*pb.Summary {
	t.Helper()
	out := map[string]*pb.Summary{}
	for name, answer := range map[string]func(mergetest.Arrival) mergetest.Answer{"pass": healthy, "drowned": drowned, "late": late} {
		r, _ := played(t, chat(), answer, "a1", "a2")
		out[name] = judge.Summarize(r)
	}
	calibrated, _ := played(t, chat(), healthy, "a1", "a2")
	calibrated.Header().SetRoofline(pb.Roofline_builder{
		RequestsPerSecond: 24_000, EventsPerSecond: 7_000, MeasuredTime: timestamppb.New(mergetest.Start()), TtftServiceP50Us: 140,
	}.Build())
	out["roofline"] = judge.Summarize(calibrated)
	out["hostile"] = hostile()
	out["empty"] = &pb.Summary{}
	return out
}

// hostile holds what a target or an agent might send to a terminal.
func hostile() *pb.Summary {
	evil := "\x1b[31mred\x1b[0m \x1b]0;title\x07 a\r\nb \u202etxet \u009b2J \xff end"
	return pb.Summary_builder{
		RunId: evil, ScenarioName: evil, Reasons: []string{evil}, Notes: []string{evil},
		Errors: []*pb.ErrorSummary{pb.ErrorSummary_builder{Class: evil, Count: 3, Example: evil}.Build()},
		Slo:    []*pb.ObjectiveResult{pb.ObjectiveResult_builder{Expression: evil, Reason: evil}.Build()},
		Phases: []*pb.PhaseSummary{pb.PhaseSummary_builder{Name: evil}.Build(), pb.PhaseSummary_builder{Name: "=1+1"}.Build()},
		Agents: []*pb.AgentSummary{pb.AgentSummary_builder{Name: evil, CpuMax: -1}.Build()},
		Series: []*pb.SeriesSummary{
			pb.SeriesSummary_builder{Name: "ttft", Unit: "us", Phase: evil, Workload: evil, Count: 1, Max: 3}.Build(),
			pb.SeriesSummary_builder{Name: "ttft", Unit: "us", Phase: "b", Workload: evil, Count: 1, Max: 3}.Build(),
		},
		Validity: pb.Validity_builder{Reasons: []string{evil}}.Build(),
	}.Build()
}

func names(m map[string]*pb.Summary) []string {
	var out []string
	for n := range m {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}
