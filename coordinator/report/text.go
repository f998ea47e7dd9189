package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/loadline/loadline/coordinator/judge"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Limits on the block of text; the summary holds everything.
const (
	maxTextErrors  = 8
	maxTextGroups  = 12
	maxTextPhases  = 20
	maxTextReasons = 12
	maxTextNotes   = 8
)

// TextOptions say how a text is to look.
type TextOptions struct {
	// Width of the terminal in columns; 60 to 160 are used, 0 is 80.
	Width int
	// Color sets off with ANSI codes.
	Color bool
	// Folder is where the run left its files; empty: it is not told.
	Folder string
	// ASCII keeps to ASCII characters.
	ASCII bool
}

// WriteText writes the block at the end of a run: objectives, latency, throughput, errors, the
// ledger, the generator, and the verdict.
func WriteText(w io.Writer, s *pb.Summary, o TextOptions) error {
	p := newPage(o.Width, o.Color, o.ASCII)
	for _, section := range []func(*page, *pb.Summary){
		heading, objectives, latency, groups, phases, rates, failures, ledger, generator, roofline, changes, marks, notes,
	} {
		before := p.b.Len()
		section(p, s)
		if p.b.Len() > before {
			p.gap()
		}
	}
	verdict(p, s)
	if o.Folder != "" {
		p.item("files", plain, Clean(o.Folder))
	}
	if err := p.flush(w); err != nil {
		return fmt.Errorf("write the summary as text: %w", err)
	}
	return nil
}

func heading(p *page, s *pb.Summary) {
	name := clip(Clean(s.GetScenarioName()), p.width-1)
	facts := "run " + Clean(s.GetRunId())
	if state := word(s.GetState()); state != "unspecified" {
		facts += " · " + state
	}
	if d, ok := lasted(s); ok {
		facts += " · " + d
	}
	p.line(p.styled(bold, name))
	p.line(p.styled(faint, clip(facts, p.width-1)))
}

// lasted is the time from start to end in words.
func lasted(s *pb.Summary) (string, bool) {
	from, err := time.Parse(time.RFC3339Nano, s.GetStartedTime())
	if err != nil {
		return "", false
	}
	to, err := time.Parse(time.RFC3339Nano, s.GetEndedTime())
	if err != nil {
		return "", false
	}
	return judge.Quantity(float64(to.Sub(from).Microseconds()), judge.UnitMicros), true
}

// word is the short lower-case name of a choice.
func word(e interface {
	fmt.Stringer
}) string {
	text := strings.ToLower(e.String())
	return text[strings.LastIndexByte(text, '_')+1:]
}

// mark is the sign and colour of a verdict.
func mark(v pb.Verdict) (string, style) {
	switch v {
	case pb.Verdict_VERDICT_PASS:
		return "✓", green
	case pb.Verdict_VERDICT_FAIL:
		return "✗", red
	default:
		return "?", yellow
	}
}

func objectives(p *page, s *pb.Summary) {
	if len(s.GetSlo()) == 0 {
		return
	}
	widest := 0
	for _, o := range s.GetSlo() {
		widest = max(widest, columns(Clean(o.GetExpression())))
	}
	widest = min(widest, p.width-30)
	p.line(p.styled(bold, "objectives"))
	for _, o := range s.GetSlo() {
		sign, color := mark(o.GetVerdict())
		value := "nothing measured"
		if o.HasObserved() {
			value = judge.Quantity(o.GetObserved(), o.GetUnit())
		}
		p.line(p.styled(color, sign) + " " + pad(clip(Clean(o.GetExpression()), widest), widest) + "  " + p.styled(color, value))
		for _, l := range wrap(Clean(o.GetReason()), p.width-3) {
			p.line("  " + p.styled(faint, l))
		}
	}
}

func latency(p *page, s *pb.Summary) {
	t := table{head: []string{"latency", "p50", "p90", "p99", "p99.9", "max", "count"}}
	if p.wide() {
		t.head = []string{"latency", "min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max", "count"}
	}
	for _, name := range []string{
		"ttft", "ttft_service", "ttft_wire", "itl", "itl_wire", "max_itl", "round_trip", "tpot", "wait", "e2e", "e2e_service", "e2e_failed",
		"connect", "lateness", "read_lag",
	} {
		series := Whole(s, name)
		if series == nil || name == "wait" && Whole(s, "ttft") != nil || !p.wide() && strings.HasSuffix(name, "_service") {
			continue
		}
		t.add(p.quantiles(name, series)...)
	}
	if len(t.rows) > 0 {
		t.write(p)
	}
}

// Whole finds a series of the whole run; nil: it has no values.
func Whole(s *pb.Summary, name string) *pb.SeriesSummary {
	for _, e := range s.GetSeries() {
		if e.GetName() == name && e.GetPhase() == "" {
			return e
		}
	}
	return nil
}

func (p *page) quantiles(name string, e *pb.SeriesSummary) []cell {
	value := func(has bool, v uint64) cell {
		if !has {
			return cell{"–", faint}
		}
		return cell{judge.Figure(float64(v), e.GetUnit()), plain}
	}
	count := cell{judge.Count(e.GetCount()), faint}
	most := value(true, e.GetMax())
	p50, p90, p99 := value(e.HasP50(), e.GetP50()), value(e.HasP90(), e.GetP90()), value(e.HasP99(), e.GetP99())
	p999 := value(e.HasP999(), e.GetP999())
	if !p.wide() {
		return []cell{{name, plain}, p50, p90, p99, p999, most, count}
	}
	mean := cell{judge.Figure(e.GetMean(), e.GetUnit()), plain}
	return []cell{{name, plain}, value(true, e.GetMin()), mean, p50, p90, value(e.HasP95(), e.GetP95()), p99, p999, most, count}
}

// groups shows the headline by phase and workload, where there are several.
func groups(p *page, s *pb.Summary) {
	title, label := labels(s)
	t := table{head: []string{title, "series", "p50", "p99", "max", "count"}}
	left := 0
	seen := make(map[string]bool)
	for _, e := range s.GetSeries() {
		name := label(e)
		if e.GetPhase() == "" || e.GetName() != "ttft" && (e.GetName() != "e2e" || seen[name]) {
			continue
		}
		seen[name] = true
		if len(t.rows) >= maxTextGroups {
			left++
			continue
		}
		q := newPage(defaultWidth, false, false).quantiles(name, e)
		t.add(q[0], cell{e.GetName(), faint}, q[1], q[3], q[5], q[6])
	}
	if len(t.rows) < 2 {
		return
	}
	t.write(p)
	p.more(left, "in summary.json")
}

// labels names groups by what tells them apart: phase, workload or both.
func labels(s *pb.Summary) (title string, label func(*pb.SeriesSummary) string) {
	phases, workloads := make(map[string]bool), make(map[string]bool)
	for _, e := range s.GetSeries() {
		if e.GetPhase() != "" {
			phases[e.GetPhase()], workloads[e.GetWorkload()] = true, true
		}
	}
	switch {
	case len(workloads) == 1:
		return "by phase", func(e *pb.SeriesSummary) string { return Clean(e.GetPhase()) }
	case len(phases) == 1:
		return "by workload", func(e *pb.SeriesSummary) string { return Clean(e.GetWorkload()) }
	default:
		return "by workload", func(e *pb.SeriesSummary) string { return Clean(e.GetPhase() + "/" + e.GetWorkload()) }
	}
}

// more says how many rows are left out.
func (p *page) more(n int, where string) {
	if n > 0 {
		p.line(p.styled(faint, fmt.Sprintf("… and %d more %s", n, where)))
	}
}

func phases(p *page, s *pb.Summary) {
	if len(s.GetPhases()) < 2 {
		return
	}
	t := table{head: []string{"phases", "offered", "achieved", "requests", "tokens out", "in flight"}}
	for _, ph := range s.GetPhases()[:min(len(s.GetPhases()), maxTextPhases)] {
		name, color := Clean(ph.GetName()), plain
		if ph.GetDiscard() {
			name, color = name+" (discarded)", faint
		}
		offered := "closed"
		if ph.HasOfferedRate() {
			offered = perSecond(ph.GetOfferedRate())
		} else if ph.GetStartedTime() == "" {
			offered = "–"
		}
		t.add(cell{name, color}, cell{offered, color}, cell{perSecond(ph.GetAchievedRate()), color},
			cell{perSecond(ph.GetThroughput().GetRequestsPerSecond()), color},
			cell{perSecond(ph.GetThroughput().GetOutputTokensPerSecond()), color},
			cell{judge.Quantity(ph.GetInFlightMean(), judge.UnitTokens) + " / " + judge.Count(ph.GetInFlightMax()), color})
	}
	t.write(p)
	p.more(len(s.GetPhases())-maxTextPhases, "in summary.json")
}

func perSecond(v float64) string { return judge.Quantity(v, judge.UnitPerSecond) }

func rates(p *page, s *pb.Summary) {
	t := s.GetThroughput()
	parts := []string{perSecond(t.GetRequestsPerSecond()) + " requests"}
	if t.GetOutputTokensPerSecond() > 0 {
		parts = append(parts, perSecond(t.GetOutputTokensPerSecond())+" tokens out")
	}
	if t.GetInputTokensPerSecond() > 0 {
		parts = append(parts, perSecond(t.GetInputTokensPerSecond())+" tokens in")
	}
	parts = append(parts, perSecond(t.GetGoodputPerSecond())+" good ("+judge.Quantity(s.GetGoodputShare(), judge.UnitShare)+" of what was due)")
	p.item("throughput", plain, strings.Join(parts, " · "))
}

func failures(p *page, s *pb.Summary) {
	if len(s.GetErrors()) == 0 {
		return
	}
	p.line(p.styled(bold, pad("errors", titleColumns)) + p.styled(red, judge.Quantity(s.GetErrorRate(), judge.UnitShare)+" of the answers"))
	for _, e := range s.GetErrors()[:min(len(s.GetErrors()), maxTextErrors)] {
		head := "  " + pad(clip(Clean(e.GetClass()), 24), 20) + " " + padLeft(judge.Count(e.GetCount()), 8)
		example := clip(Clean(e.GetExample()), max(10, p.width-3-columns(head)))
		p.line(head + "  " + p.styled(faint, example))
	}
	p.more(len(s.GetErrors())-maxTextErrors, "classes in summary.json")
}

func ledger(p *page, s *pb.Summary) {
	a, e, r := s.GetArrivals(), s.GetSessions(), s.GetRequests()
	p.item("arrivals", plain, fmt.Sprintf("%s due = %s", judge.Count(a.GetDue()), sum(
		part{a.GetStarted(), "started"}, part{a.GetMissed(), "missed"}, part{a.GetShed(), "shed"}, part{a.GetLost(), "lost"})))
	p.item("sessions", plain, fmt.Sprintf("%s started = %s", judge.Count(a.GetStarted()), sum(
		part{e.GetSucceeded(), "succeeded"}, part{e.GetFailed(), "failed"}, part{e.GetCanceled(), "canceled"}, part{e.GetUnfinished(), "unfinished"})))
	p.item("requests", plain, fmt.Sprintf("%s sent = %s", judge.Count(r.GetSent()), sum(
		part{r.GetSucceeded(), "succeeded"}, part{r.GetFailed(), "failed"}, part{r.GetCanceled(), "canceled"}, part{r.GetUnfinished(), "unfinished"})))
}

// part is one term of a ledger's sum.
type part struct {
	n    uint64
	word string
}

// sum writes the terms that are not zero; the first one always.
func sum(parts ...part) string {
	var out []string
	for i, p := range parts {
		if i == 0 || p.n > 0 {
			out = append(out, judge.Count(p.n)+" "+p.word)
		}
	}
	return strings.Join(out, " + ")
}

// generator shows how good the generator was.
func generator(p *page, s *pb.Summary) {
	if len(s.GetAgents()) == 0 {
		return
	}
	if !s.GetValidity().GetValid() {
		for i, reason := range s.GetValidity().GetReasons() {
			title := ""
			if i == 0 {
				title = "not valid"
			}
			p.item(title, red, Clean(reason))
		}
		return
	}
	var lateness, clock, missing uint64
	cpu := -1.0
	for _, a := range s.GetAgents() {
		lateness, clock = max(lateness, a.GetLatenessP99()), max(clock, a.GetClockErrorBound())
		cpu, missing = max(cpu, a.GetCpuMax()), missing+a.GetMissingWindows()
	}
	text := fmt.Sprintf("good: %s, lateness p99 %s", plural(len(s.GetAgents()), "agent"), judge.Quantity(float64(lateness), judge.UnitMicros))
	if cpu >= 0 {
		text += ", machine at most " + judge.Quantity(cpu, judge.UnitShare) + " busy"
	}
	if clock > 0 {
		text += ", clocks within " + judge.Quantity(float64(clock), judge.UnitMicros)
	}
	if missing > 0 {
		text += ", " + plural(int(missing), "window") + " missing"
	}
	p.item("generator", plain, text)
}

// roofline shows how near the run came to what the generator's machine can do, where that is known.
func roofline(p *page, s *pb.Summary) {
	use := s.GetRoofline()
	var parts []string
	for _, part := range []struct {
		*pb.RooflinePart
		unit string
	}{{use.GetRequests(), "requests/s"}, {use.GetEvents(), "events/s"}, {use.GetStreams(), "streams"}} {
		if part.HasShare() && part.GetMost() > 0 {
			parts = append(parts, fmt.Sprintf("%s of %s %s", judge.Quantity(part.GetShare(), judge.UnitShare),
				judge.Quantity(part.GetLimit(), judge.UnitTokens), part.unit))
		}
	}
	if len(parts) > 0 {
		p.item("roofline", plain, strings.Join(parts, " · "))
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return judge.Count(uint64(n)) + " " + noun + "s"
}

func notes(p *page, s *pb.Summary) {
	for i, n := range s.GetNotes()[:min(len(s.GetNotes()), maxTextNotes)] {
		title := ""
		if i == 0 {
			title = "notes"
		}
		p.item(title, plain, Clean(n))
	}
	p.more(len(s.GetNotes())-maxTextNotes, "in summary.json")
}

// verdict writes the last word: the verdict, and the reasons that have not been told above.
func verdict(p *page, s *pb.Summary) {
	told := make(map[string]bool)
	for _, o := range s.GetSlo() {
		told[o.GetReason()] = true
	}
	for _, r := range s.GetValidity().GetReasons() {
		told[r] = true
	}
	_, color := mark(s.GetVerdict())
	p.item("verdict", color, verdictWords(s))
	shown := 0
	for _, r := range s.GetReasons() {
		if told[r] {
			continue
		}
		if shown++; shown > maxTextReasons {
			p.more(len(s.GetReasons())-maxTextReasons, "reasons in summary.json")
			break
		}
		p.item("", plain, Clean(r))
	}
}

func verdictWords(s *pb.Summary) string {
	exit := fmt.Sprintf(" (exit status %d)", s.GetExitStatus())
	switch s.GetVerdict() {
	case pb.Verdict_VERDICT_PASS:
		if len(s.GetSlo()) == 0 {
			return "PASS: the run is valid, and the scenario has no objectives" + exit
		}
		return "PASS" + exit
	case pb.Verdict_VERDICT_FAIL:
		return "FAIL" + cause(s) + exit
	case pb.Verdict_VERDICT_INCONCLUSIVE:
		return "INCONCLUSIVE" + cause(s) + exit
	}
	return "none" + exit
}

// cause says in a few words what the exit status stands for.
func cause(s *pb.Summary) string {
	switch s.GetExitStatus() {
	case judge.ExitStopped:
		return ": the run was stopped"
	case judge.ExitMissing:
		return ": data are missing"
	case judge.ExitUnforeseen:
		return ": the run did not go to its end"
	case judge.ExitFail:
		if failed := failedObjectives(s); failed > 0 {
			return ": " + plural(failed, "objective") + " not met"
		}
		return ": an abort condition fired"
	case judge.ExitInvalid:
		if !s.GetValidity().GetValid() {
			return ": the generator was not good enough"
		}
		return ": too few samples"
	default:
		return ""
	}
}

func failedObjectives(s *pb.Summary) int {
	n := 0
	for _, o := range s.GetSlo() {
		if o.GetVerdict() == pb.Verdict_VERDICT_FAIL {
			n++
		}
	}
	return n
}
