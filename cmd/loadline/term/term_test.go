package term

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	got = trimLines(got) + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got); run with -update after reading it:\n%s", path, diff)
	}
}

// trimLines cuts the padding at the ends of lines, which no one sees and editors remove.
func trimLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func launchPlan() *pb.Plan {
	return pb.Plan_builder{
		Phases: []*pb.PlannedPhase{
			pb.PlannedPhase_builder{Name: "warm-up", Start: durationpb.New(0), Duration: durationpb.New(10 * time.Second), Arrivals: 50, Discard: true}.Build(),
			pb.PlannedPhase_builder{Name: "climb", Start: durationpb.New(10 * time.Second), Duration: durationpb.New(40 * time.Second), Arrivals: 1000}.Build(),
			pb.PlannedPhase_builder{Name: "hold", Start: durationpb.New(50 * time.Second), Duration: durationpb.New(60 * time.Second), Arrivals: 3000}.Build(),
			pb.PlannedPhase_builder{Name: "users", Start: durationpb.New(60 * time.Second), Duration: durationpb.New(20 * time.Second), Users: 64}.Build(),
		},
		Duration: durationpb.New(110 * time.Second),
	}.Build()
}

func second(n uint64) *pb.Snapshot {
	wave := func(mean, swing float64) uint64 { return uint64(mean + swing*math.Sin(float64(n)/6)) }
	phase := "warm-up"
	if n >= 10 {
		phase = "climb"
	}
	return pb.Snapshot_builder{
		Second: n, ElapsedUs: int64(n+1) * 1_000_000,
		Due: n + 5, Started: n + 4, Succeeded: n + 2, OutputTokens: (n + 2) * 128, InFlight: wave(20, 6),
		Series: []*pb.LiveSeries{
			pb.LiveSeries_builder{Name: "ttft", Count: 10, P50: wave(41_200, 8_000), P99: wave(188_000, 60_000)}.Build(),
			pb.LiveSeries_builder{Name: "itl", Count: 900, P50: wave(10_100, 300), P99: wave(12_900, 2_000)}.Build(),
			pb.LiveSeries_builder{Name: "e2e", Count: 10, P50: wave(1_320_000, 200_000), P99: wave(2_100_000, 300_000)}.Build(),
		},
		Phases:        []*pb.LivePhase{pb.LivePhase_builder{Name: phase, Started: n + 4, InFlight: wave(20, 6)}.Build()},
		LatenessP99Us: 140,
		Health: pb.Health_builder{CpuProcess: 0.12, CpuMachine: 0.34, SchedLatencyP99Us: 60, GcPauseMaxUs: 210,
			ClockErrorBoundUs: 3}.Build(),
		Slo: []*pb.ObjectiveResult{
			pb.ObjectiveResult_builder{Expression: "p99(ttft) < 150ms", Unit: "us", Observed: new(188_000.0), Verdict: pb.Verdict_VERDICT_FAIL}.Build(),
			pb.ObjectiveResult_builder{Expression: "error_rate < 0.1%", Unit: "share", Observed: new(0.0), Verdict: pb.Verdict_VERDICT_PASS}.Build(),
			pb.ObjectiveResult_builder{Expression: "p99.9(e2e) < 5s", Unit: "us", Verdict: pb.Verdict_VERDICT_INCONCLUSIVE}.Build(),
		},
		Arrivals: pb.ArrivalLedger_builder{Due: 1234, Started: 1230, Missed: 3, Shed: 1}.Build(),
		Errors: []*pb.ErrorSummary{
			pb.ErrorSummary_builder{Class: "http_503", Count: 12, Example: "503 Service Unavailable: \x1b[31mqueue full\x1b[0m"}.Build(),
			pb.ErrorSummary_builder{Class: "stall_timeout", Count: 3, Example: "no byte for 10s after 17 events"}.Build(),
		},
		AgentsReporting: 3,
	}.Build()
}

func launchState(seconds int) *State {
	s := NewState(Header{Scenario: "chat-launch", Seed: 42})
	status := pb.RunStatus_builder{RunId: "20261124-100501-k3f9", State: pb.RunState_RUN_STATE_RUNNING, Agents: []string{"a", "b", "c"}}.Build()
	s.Apply(pb.WatchRunResponse_builder{Status: status, Plan: launchPlan()}.Build())
	for n := range seconds {
		s.Apply(pb.WatchRunResponse_builder{Status: status, Snapshot: second(uint64(n))}.Build())
	}
	return s
}

func TestViewGolden(t *testing.T) {
	healthy := NewState(Header{Scenario: "quiet", Seed: 1})
	healthy.Apply(pb.WatchRunResponse_builder{Plan: launchPlan(), Snapshot: pb.Snapshot_builder{ElapsedUs: 1e6, Due: 5, Started: 5}.Build()}.Build())
	stopped := launchState(30)
	stopped.Stopping(1)
	tests := []struct {
		name          string
		state         *State
		width, height int
	}{
		{"nothing-80x24", NewState(Header{Scenario: "chat-launch", Seed: 42}), 80, 24},
		{"first-second-80x24", healthy, 80, 24},
		{"climb-80x24", launchState(35), 80, 24},
		{"climb-80x40", launchState(35), 80, 40},
		{"climb-80x10", launchState(35), 80, 10},
		{"climb-80x3", launchState(35), 80, 3},
		{"climb-160x40", launchState(35), 160, 40},
		{"climb-160x14", launchState(35), 160, 14},
		{"climb-52x24", launchState(35), 52, 24},
		{"stopping-80x24", stopped, 80, 24},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			golden(t, tt.name+".txt", tt.state.View(tt.width, tt.height, NewTheme(false, true)))
		})
	}
}

func TestViewFitsEveryTerminal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width, height := rapid.IntRange(1, 220).Draw(t, "width"), rapid.IntRange(1, 60).Draw(t, "height")
		s := launchState(rapid.IntRange(0, 90).Draw(t, "seconds"))
		s.Stopping(rapid.IntRange(0, 2).Draw(t, "stops"))
		view := s.View(width, height, NewTheme(rapid.Bool().Draw(t, "color"), rapid.Bool().Draw(t, "dark")))
		lines := strings.Split(view, "\n")
		if len(lines) > height {
			t.Fatalf("%d lines on a terminal of %d:\n%s", len(lines), height, view)
		}
		for i, line := range lines {
			if w := lipgloss.Width(line); w > width {
				t.Fatalf("line %d is %d columns wide on a terminal of %d: %q", i, w, width, line)
			}
		}
	})
}

func TestViewWithoutColorHasNoEscapes(t *testing.T) {
	for _, width := range []int{80, 160} {
		if view := launchState(35).View(width, 40, NewTheme(false, false)); strings.ContainsRune(view, 0x1b) {
			t.Errorf("escape in the plain view of width %d: %q", width, view)
		}
	}
	if view := launchState(35).View(80, 40, NewTheme(true, true)); !strings.ContainsRune(view, 0x1b) {
		t.Error("no colour in the coloured view")
	}
}

func TestManyPhasesShowTheRunningOnes(t *testing.T) {
	b := pb.Plan_builder{Duration: durationpb.New(time.Hour)}
	for i := range 100 {
		b.Phases = append(b.Phases, pb.PlannedPhase_builder{Name: fmt.Sprintf("step-%d", i), Start: durationpb.New(time.Duration(i) * time.Second),
			Duration: durationpb.New(time.Second), Arrivals: 1}.Build())
	}
	s := NewState(Header{Scenario: "staircase"})
	s.Apply(pb.WatchRunResponse_builder{Plan: b.Build(), Snapshot: pb.Snapshot_builder{ElapsedUs: 50_500_000}.Build()}.Build())
	view := s.View(80, 24, Theme{})
	for _, want := range []string{"step-50", "step-49", "more"} {
		if !strings.Contains(view, want) {
			t.Errorf("%q is not shown:\n%s", want, view)
		}
	}
	if strings.Contains(view, "step-3 ") {
		t.Errorf("a phase long gone is shown:\n%s", view)
	}
}

func TestApplyCountsASecondOnce(t *testing.T) {
	s := launchState(12)
	before := s.Progress()
	s.Apply(pb.WatchRunResponse_builder{Snapshot: second(11)}.Build())
	s.Apply(pb.WatchRunResponse_builder{Snapshot: second(3)}.Build())
	if diff := cmp.Diff(before, s.Progress()); diff != "" {
		t.Errorf("a repeated second changed the state:\n%s", diff)
	}
	if got, want := s.started["climb"], uint64(14+15); got != want {
		t.Errorf("started in climb = %d, want %d", got, want)
	}
}

func TestLine(t *testing.T) {
	waiting := NewState(Header{})
	waiting.Apply(pb.WatchRunResponse_builder{Status: pb.RunStatus_builder{State: pb.RunState_RUN_STATE_PREPARING, Detail: "waiting for\x1b[1m 1 agent"}.Build()}.Build())
	tests := []struct {
		name  string
		state *State
		want  string
	}{
		{"nothing", NewState(Header{}), "starting"},
		{"waiting", waiting, "preparing: waiting for 1 agent"},
		{"climb", launchState(35), "00:35 climb · offered 37/s · started 36/s · in flight 16 · ttft p50 36.6 ms p99 153 ms · " +
			"itl p50 9.93 ms p99 11.7 ms · e2e p50 1.2 s p99 1.93 s · tokens 4,352/s · failed 15 · missed 3 shed 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.state.Line(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestCleanLines(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "déjà vu\n    日本", "déjà vu\n    日本"},
		{"escape", "a\x1b[2Jb\n  \x1b[31mc", "ab\n  c"},
		{"line ends and tabs", "a\r\n\tb\rc", "a\n    b c"},
		{"reading direction", "a\u202eb", "a b"},
		{"not UTF-8", "a\xffb", "a b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := CleanLines(tt.in); got != tt.want {
				t.Errorf("CleanLines(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestFormats(t *testing.T) {
	tests := []struct{ got, want string }{
		{Clock(-5), "00:00"}, {Clock(3_723_000_000), "1:02:03"}, {Clock(90_061_000_000), "1d 01:01:01"},
		{spark([]float64{-1, 0, 1, 4, 8}, 6), "  ▁▂▅█"}, {spark([]float64{0, 0}, 2), "▁▁"}, {spark([]float64{1, 2, 3}, 2), "▆█"},
		{fit("abcdef", 4), "abc…"}, {fit("ab", 4), "ab  "}, {fit("日本語", 4), "日… "}, {right("ab", 4), "  ab"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}
