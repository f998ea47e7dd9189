package term

import (
	"fmt"
	"strings"

	"github.com/loadline/loadline/coordinator/judge"
	"github.com/loadline/loadline/coordinator/report"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Line is the run in one line of plain text, for logs and pipes; rates are means over the last 5 seconds.
func (s *State) Line() string {
	if s.last == nil {
		line := s.stateWord()
		if d := s.status.GetDetail(); d != "" {
			line += ": " + report.Clean(d)
		}
		return line
	}
	p := s.Progress()
	parts := []string{Clock(s.last.GetElapsedUs())}
	if s.status.GetState() == pb.RunState_RUN_STATE_RUNNING && len(p.Phases) > 0 {
		parts[0] += " " + strings.Join(p.Phases, "+")
	} else {
		parts[0] += " " + p.State
	}
	parts = append(parts, fmt.Sprintf("offered %s", rate(p.OfferedRate)), fmt.Sprintf("started %s", rate(p.AchievedRate)),
		fmt.Sprintf("in flight %s", judge.Count(p.InFlight)))
	for _, name := range shownSeries() {
		if l := s.series(name); l != nil {
			parts = append(parts, fmt.Sprintf("%s p50 %s p99 %s", name, micros(l.GetP50()), micros(l.GetP99())))
		}
	}
	if p.OutputTokensPerSecond > 0 {
		parts = append(parts, fmt.Sprintf("tokens %s", rate(p.OutputTokensPerSecond)))
	}
	parts = append(parts, fmt.Sprintf("failed %s", judge.Count(p.Failed)))
	if n := p.Missed + p.Shed; n > 0 {
		parts = append(parts, fmt.Sprintf("missed %s shed %s", judge.Count(p.Missed), judge.Count(p.Shed)))
	}
	if d := s.status.GetDetail(); d != "" && s.status.GetState() == pb.RunState_RUN_STATE_DRAINING {
		parts = append(parts, report.Clean(d)) // what is waited for
	}
	return strings.Join(parts, " · ")
}

// Progress is the run at one moment, for programs. Rates are means over the last 5 seconds, counts are since the start.
type Progress struct {
	RunID                 string         `json:"run_id"`
	State                 string         `json:"state"`
	ElapsedSeconds        float64        `json:"elapsed_seconds"`
	Phases                []string       `json:"phases"`
	OfferedRate           float64        `json:"offered_rate"`
	AchievedRate          float64        `json:"achieved_rate"`
	OutputTokensPerSecond float64        `json:"output_tokens_per_second"`
	InFlight              uint64         `json:"in_flight"`
	Due                   uint64         `json:"due"`
	Started               uint64         `json:"started"`
	Missed                uint64         `json:"missed"`
	Shed                  uint64         `json:"shed"`
	Failed                uint64         `json:"failed"`
	LatenessP99           uint64         `json:"lateness_p99_us"`
	Series                []LiveQuantile `json:"series"`
}

// LiveQuantile is one distribution of the last seconds, in its own unit.
type LiveQuantile struct {
	Name  string `json:"name"`
	Count uint64 `json:"count"`
	P50   uint64 `json:"p50"`
	P99   uint64 `json:"p99"`
}

// Progress returns the state for a program that watches.
func (s *State) Progress() Progress {
	failed, _ := s.failures()
	a := s.last.GetArrivals()
	p := Progress{
		RunID: s.status.GetRunId(), State: s.stateWord(),
		ElapsedSeconds: float64(s.last.GetElapsedUs()) / 1e6, Phases: []string{},
		OfferedRate: s.chart(chartOffered).mean(lineSeconds), AchievedRate: s.chart(chartAchieved).mean(lineSeconds),
		OutputTokensPerSecond: s.chart(chartTokens).mean(lineSeconds),
		InFlight:              s.last.GetInFlight(),
		Due:                   a.GetDue(), Started: a.GetStarted(), Missed: a.GetMissed(), Shed: a.GetShed(), Failed: failed,
		LatenessP99: s.last.GetLatenessP99Us(), Series: []LiveQuantile{},
	}
	for _, l := range s.last.GetPhases() {
		p.Phases = append(p.Phases, report.Clean(l.GetName()))
	}
	for _, l := range s.last.GetSeries() {
		p.Series = append(p.Series, LiveQuantile{Name: l.GetName(), Count: l.GetCount(), P50: l.GetP50(), P99: l.GetP99()})
	}
	return p
}
