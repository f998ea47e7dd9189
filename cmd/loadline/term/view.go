package term

import (
	"fmt"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/loadline/loadline/coordinator/judge"
	"github.com/loadline/loadline/coordinator/report"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Sizes of the view, in columns and lines.
const (
	// minWidth is the least width that is drawn for; a narrower terminal sees lines cut off.
	minWidth = 52
	// wideWidth is where the view becomes two columns.
	wideWidth = 120
	// maxWidth bounds the lines on a very wide terminal, so that the eye finds the next one.
	maxWidth = 200
	// columnGap separates the two columns of a wide view.
	columnGap = 3
	// labelWidth is that of the words at the left.
	labelWidth = 11
	// maxErrorLines and maxPhaseLines bound their blocks on a tall terminal.
	maxErrorLines = 5
	maxPhaseLines = 12
)

// block is a part of the view. When the terminal is low, the block with the lowest rank goes first, after every block
// has been cut to its least number of lines.
type block struct {
	lines []string
	least int
	rank  int
}

// View draws the run for a terminal of the given size: never more lines than height, none wider than width.
func (s *State) View(width, height int, th Theme) string {
	w := min(max(width, minWidth), maxWidth)
	head, foot := s.head(w, th), s.hint(w, th)
	room := max(height-len(head)-len(foot), 0)
	var body []string
	if w >= wideWidth {
		left := (w - columnGap) * 3 / 5
		body = beside(
			stack(room, s.phaseBlock(left, th), s.rateBlock(left, th), s.seriesBlock(left, th)),
			stack(room, s.sloBlock(w-left-columnGap, th), s.errorBlock(w-left-columnGap, th), s.healthBlock(w-left-columnGap, th)),
			left)
	} else {
		body = stack(room, s.phaseBlock(w, th), s.rateBlock(w, th), s.seriesBlock(w, th),
			s.sloBlock(w, th), s.errorBlock(w, th), s.healthBlock(w, th))
	}
	lines := append(append(head, body...), foot...)
	if len(lines) > height {
		lines = lines[:max(height, 0)]
	}
	for i, line := range lines {
		if lipgloss.Width(line) > width {
			lines[i] = lipgloss.NewStyle().MaxWidth(width).Render(line)
		}
	}
	return strings.Join(lines, "\n")
}

// head names the run and its state. The second line is left out until the run has an id.
func (s *State) head(w int, th Theme) []string {
	clock := s.stateWord()
	if s.last != nil {
		clock += "  " + Clock(s.last.GetElapsedUs())
		if total := s.plan.GetDuration().AsDuration().Microseconds(); total > 0 {
			clock += " / " + Clock(total)
		}
	}
	room := w - lipgloss.Width(clock) - 2
	lines := []string{" " + th.title.Render(fit("loadline  "+s.header.Scenario, max(room-1, 1))) + " " + th.value.Render(clock)}
	if id := s.status.GetRunId(); id != "" {
		agents := "1 agent"
		if n := len(s.status.GetAgents()); n != 1 {
			agents = fmt.Sprintf("%d agents", n)
		}
		about := fmt.Sprintf(" run %s · %s · seed %d", report.Clean(id), agents, s.header.Seed)
		if d := s.status.GetDetail(); d != "" {
			about += " · " + report.Clean(d)
		}
		lines = append(lines, th.label.Render(fit(about, w)))
	}
	return lines
}

func (s *State) hint(w int, th Theme) []string {
	switch {
	case s.stops > 1:
		return []string{th.warn.Render(fit(" stopping now; once more leaves at once, the journal stays valid", w))}
	case s.stops == 1:
		text := fmt.Sprintf(" stopping: no new arrivals, %s requests in flight may end · again: stop now", judge.Count(s.last.GetInFlight()))
		return []string{th.warn.Render(fit(text, w))}
	default:
		return []string{th.label.Render(fit(" q or ctrl-c: stop and drain · twice: stop now", w))}
	}
}

// phaseBlock has one line a phase. Of many phases it shows those around the one that runs.
func (s *State) phaseBlock(w int, th Theme) block {
	all := s.phases()
	if len(all) == 0 {
		return block{lines: []string{th.label.Render(fit(" waiting for the plan", w))}, least: 1, rank: 5}
	}
	first := 0
	for i, p := range all {
		if p.running || p.done {
			first = i
		}
	}
	from := max(0, min(first-1, len(all)-maxPhaseLines))
	shown := all[from:min(from+maxPhaseLines, len(all))]
	names := 0
	for _, p := range shown {
		names = max(names, lipgloss.Width(p.name))
	}
	names = min(max(names, labelWidth-2), w/4)
	b := block{least: 1, rank: 5}
	for _, p := range shown {
		b.lines = append(b.lines, phaseLine(p, names, w, th))
	}
	if n := from + len(shown); n < len(all) {
		b.lines = append(b.lines, th.label.Render(fit(fmt.Sprintf(" … and %d more", len(all)-n), w)))
	}
	// What runs matters most when lines are cut, so it comes first then.
	b.least = min(len(b.lines), max(1, first-from+1))
	return b
}

func phaseLine(p phaseState, names, w int, th Theme) string {
	const rateColumns, percentColumns = 14, 7
	style, word := th.label, "waiting"
	switch {
	case p.done:
		style, word = th.good, "done"
	case p.running:
		style, word = th.value, fmt.Sprintf("%.0f%%", p.share*100)
	}
	load := ""
	switch {
	case p.running && p.users > 0:
		load = fmt.Sprintf("%s users", judge.Count(uint64(p.users)))
	case p.running:
		load = rate(p.rate)
	case p.done && p.inFlight > 0:
		load = fmt.Sprintf("%s open", judge.Count(p.inFlight))
	case p.discard:
		load = "discarded"
	}
	full, rest := bar(p.share, max(w-names-rateColumns-percentColumns-4, 1))
	return " " + fit(p.name, names) + " " + th.bar.Render(full) + th.rest.Render(rest) +
		style.Render(right(word, percentColumns+1)) + th.label.Render(right(load, rateColumns))
}

// rateBlock shows what was offered, what was started, what is open and how many tokens came.
func (s *State) rateBlock(w int, th Theme) block {
	offered, achieved := s.chart(chartOffered), s.chart(chartAchieved)
	lines := []string{
		s.pair("rate", "offered", rate(float64(s.last.GetDue())), offered.values,
			"started", rate(float64(s.last.GetStarted())), achieved.values, w, th),
		s.pair("", "in flight", judge.Count(s.last.GetInFlight()), s.chart(chartInFlight).values,
			"tokens", rate(float64(s.last.GetOutputTokens())), s.chart(chartTokens).values, w, th),
	}
	if a := s.last.GetArrivals(); a.GetMissed()+a.GetShed()+a.GetLost() > 0 {
		text := fmt.Sprintf("%s missed · %s shed · %s lost, of %s due",
			judge.Count(a.GetMissed()), judge.Count(a.GetShed()), judge.Count(a.GetLost()), judge.Count(a.GetDue()))
		lines = append(lines, " "+th.label.Render(fit("", labelWidth))+th.warn.Render(fit(text, w-labelWidth-1)))
	}
	return block{lines: lines, least: 1, rank: 6}
}

// seriesBlock shows the middle and the tail of each series that has values.
func (s *State) seriesBlock(w int, th Theme) block {
	b := block{least: 1, rank: 4}
	for _, name := range shownSeries() {
		l := s.series(name)
		if l == nil {
			continue
		}
		b.lines = append(b.lines, s.pair(name, "p50", micros(l.GetP50()), s.chart(name+" p50").values,
			"p99", micros(l.GetP99()), s.chart(name+" p99").values, w, th))
	}
	if len(b.lines) == 0 {
		b.lines = []string{" " + th.label.Render(fit("latency", labelWidth)+fit("no answer in the last seconds", w-labelWidth-1))}
	}
	return b
}

// pair is a line of two values with their charts.
func (s *State) pair(label, n1, v1 string, c1 []float64, n2, v2 string, c2 []float64, w int, th Theme) string {
	const nameColumns, valueColumns, air = 9, 10, 3
	half := (w - labelWidth - 1) / 2
	cell := func(name, value string, values []float64) string {
		text := th.label.Render(fit(name, nameColumns)) + th.value.Render(right(value, valueColumns))
		if room := half - nameColumns - valueColumns - air; room > 0 {
			text += "  " + th.chart.Render(spark(values, room))
		}
		return text + " "
	}
	return " " + th.title.Render(fit(label, labelWidth)) + cell(n1, v1, c1) + cell(n2, v2, c2)
}

// errorBlock shows the failures since the start, by class.
func (s *State) errorBlock(w int, th Theme) block {
	total, classes := s.failures()
	label := " " + th.title.Render(fit("errors", labelWidth))
	if total == 0 {
		return block{lines: []string{label + th.good.Render(fit("none", w-labelWidth-1))}, least: 1, rank: 3}
	}
	b := block{least: 1, rank: 3}
	for i, e := range classes {
		if i == maxErrorLines {
			b.lines = append(b.lines, th.label.Render(fit(fmt.Sprintf(" … and %d more classes", len(classes)-i), w)))
			break
		}
		if i > 0 {
			label = " " + fit("", labelWidth)
		}
		name, count := report.Clean(e.GetClass()), right(judge.Count(e.GetCount()), 8)
		line := fit(name+" ", 20) + count + "  "
		b.lines = append(b.lines, label+th.bad.Render(line)+
			th.label.Render(fit(report.Clean(e.GetExample()), max(w-labelWidth-1-lipgloss.Width(line), 1))))
	}
	return b
}

// healthBlock shows the generator itself: whether the numbers above can be trusted.
func (s *State) healthBlock(w int, th Theme) block {
	label := " " + th.title.Render(fit("generator", labelWidth))
	h := s.last.GetHealth()
	if s.last == nil || h == nil {
		return block{lines: []string{label + th.label.Render(fit("no report yet", w-labelWidth-1))}, least: 1, rank: 2}
	}
	cpu := func(share float64) string {
		if share < 0 {
			return "unknown"
		}
		return judge.Quantity(share, judge.UnitShare)
	}
	first := fmt.Sprintf("lateness p99 %s · cpu %s, machine %s", micros(s.last.GetLatenessP99Us()), cpu(h.GetCpuProcess()), cpu(h.GetCpuMachine()))
	second := fmt.Sprintf("gc pause %s · run queue p99 %s · clock ±%s",
		micros(h.GetGcPauseMaxUs()), micros(h.GetSchedLatencyP99Us()), micros(h.GetClockErrorBoundUs()))
	style := th.value
	if h.GetCpuMachine() > busyMachine {
		style = th.warn
	}
	return block{lines: []string{
		label + style.Render(fit(first, w-labelWidth-1)),
		" " + fit("", labelWidth) + th.label.Render(fit(second, w-labelWidth-1)),
	}, least: 1, rank: 2}
}

// busyMachine is the busy share of the machine above which the numbers may become those of the generator (metrics.md, validity).
const busyMachine = 0.9

// sloBlock shows the objectives as they stand.
func (s *State) sloBlock(w int, th Theme) block {
	label := " " + th.title.Render(fit("objectives", labelWidth))
	b := block{least: 1, rank: 1}
	for i, o := range s.last.GetSlo() {
		if i > 0 {
			label = " " + fit("", labelWidth)
		}
		mark, style := "·", th.label
		switch o.GetVerdict() {
		case pb.Verdict_VERDICT_PASS:
			mark, style = "✓", th.good
		case pb.Verdict_VERDICT_FAIL:
			mark, style = "✗", th.bad
		case pb.Verdict_VERDICT_INCONCLUSIVE:
			mark, style = "?", th.warn
		}
		observed := "no value"
		if o.HasObserved() {
			observed = judge.Quantity(o.GetObserved(), o.GetUnit())
		}
		room := w - labelWidth - 1
		b.lines = append(b.lines, label+style.Render(mark+" "+fit(report.Clean(o.GetExpression()), max(room-16, 1)))+th.value.Render(right(observed, 14)))
	}
	if len(b.lines) == 0 {
		b.least = 0
	}
	return b
}
