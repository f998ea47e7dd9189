package report

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/loadline/loadline/coordinator/judge"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Limits of a plan in text.
const (
	chartRows      = 6
	maxChartWidth  = 100
	samplesPerBar  = 8
	maxPlanPhases  = 50
	maxPlanMembers = 50
)

// WritePlanText writes a plan for people: phases with their arrivals and expected tokens, the
// rate of the open phases together over time, and each agent's share. Nothing is sent for it. s is the plan's
// scenario with its defaults filled in.
func WritePlanText(w io.Writer, plan *pb.Plan, s *pb.Scenario, o TextOptions) error {
	compiled, err := schedule.Compile(s)
	if err != nil {
		return fmt.Errorf("write the plan as text: %w", err)
	}
	p := newPage(o.Width, o.Color, o.ASCII)
	planHeading(p, plan, s)
	p.gap()
	planPhases(p, plan)
	p.gap()
	rate := func(at int64) float64 {
		sum := 0.0
		for _, phase := range compiled.Phases {
			sum += phase.RateAt(at)
		}
		return sum
	}
	if chart(p, rate, int64(plan.GetDuration().AsDuration())) {
		p.gap()
	}
	planMembers(p, plan)
	if err := p.flush(w); err != nil {
		return fmt.Errorf("write the plan as text: %w", err)
	}
	return nil
}

func planHeading(p *page, plan *pb.Plan, s *pb.Scenario) {
	var arrivals uint64
	for _, ph := range plan.GetPhases() {
		arrivals += ph.GetArrivals()
	}
	facts := []string{plural(len(plan.GetPhases()), "phase"), length(plan.GetDuration().AsDuration()),
		judge.Count(arrivals) + " arrivals", fmt.Sprintf("seed %d", plan.GetSeed())}
	p.line(p.styled(bold, clip(Clean(s.GetName()), p.width-1)))
	p.line(p.styled(faint, clip(strings.Join(facts, " · "), p.width-1)))
}

// length writes a length of time, to the millisecond and without zeros at its end: 2m, 1h30m.
func length(d time.Duration) string {
	text := d.Round(time.Millisecond).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func planPhases(p *page, plan *pb.Plan) {
	t := table{head: []string{"phases", "start", "length", "sessions", "tokens in", "tokens out"}}
	for _, ph := range plan.GetPhases()[:min(len(plan.GetPhases()), maxPlanPhases)] {
		name, color := Clean(ph.GetName()), plain
		if ph.GetDiscard() {
			name, color = name+" (discarded)", faint
		}
		long := "until done"
		if d := ph.GetDuration().AsDuration(); d > 0 {
			long = length(d)
		}
		t.add(cell{name, color}, cell{length(ph.GetStart().AsDuration()), color}, cell{long, color},
			planned(ph), known(ph.GetExpectedInputTokens()), known(ph.GetExpectedOutputTokens()))
	}
	t.write(p)
	p.more(len(plan.GetPhases())-maxPlanPhases, "in plan.json")
}

// planned says how many sessions a phase has, or how many users play as many as they can.
func planned(ph *pb.PlannedPhase) cell {
	switch {
	case ph.GetUsers() == 0:
		return known(float64(ph.GetArrivals()))
	case ph.GetArrivals() == 0:
		return cell{plural(int(ph.GetUsers()), "user"), plain}
	default:
		return cell{judge.Count(ph.GetArrivals()) + " by " + plural(int(ph.GetUsers()), "user"), plain}
	}
}

// known writes a figure of which 0 means that there is none.
func known(v float64) cell {
	if v == 0 {
		return cell{"–", faint}
	}
	if v < 1e15 && v == math.Trunc(v) {
		return cell{judge.Count(uint64(v)), plain}
	}
	return cell{judge.Quantity(v, judge.UnitTokens), plain}
}

func planMembers(p *page, plan *pb.Plan) {
	if len(plan.GetMembers()) == 0 {
		return
	}
	t := table{head: []string{"agents", "weight", "share", "arrivals", "in flight at most"}}
	var weights uint64
	for _, m := range plan.GetMembers() {
		weights += uint64(m.GetWeight())
	}
	for i, m := range plan.GetMembers()[:min(len(plan.GetMembers()), maxPlanMembers)] {
		var arrivals uint64
		for _, ph := range plan.GetPhases() {
			if ph.GetUsers() == 0 && i < len(ph.GetMemberArrivals()) {
				arrivals += ph.GetMemberArrivals()[i]
			}
		}
		share := 0.0
		if weights > 0 {
			share = float64(m.GetWeight()) / float64(weights)
		}
		t.add(cell{Clean(m.GetAgent()), plain}, known(float64(m.GetWeight())), cell{judge.Quantity(share, judge.UnitShare), plain},
			known(float64(arrivals)), known(float64(m.GetMaxInFlight())))
	}
	t.write(p)
	p.more(len(plan.GetMembers())-maxPlanMembers, "in plan.json")
}

// chart draws a rate over time in bars of eighths of a row; false: there is none to draw.
func chart(p *page, rate func(ns int64) float64, lengthNS int64) bool {
	if lengthNS <= 0 {
		return false
	}
	bars := make([]float64, min(p.width-titleColumns-2, maxChartWidth))
	most := 0.0
	for i := range bars {
		bars[i] = highest(rate, lengthNS, i, len(bars))
		most = max(most, bars[i])
	}
	if most == 0 {
		return false
	}
	p.line(p.styled(bold, "rate") + p.styled(faint, "  sessions per second"))
	for row := chartRows - 1; row >= 0; row-- {
		label := ""
		switch row {
		case chartRows - 1:
			label = judge.Quantity(most, judge.UnitTokens)
		case 0:
			label = "0"
		}
		var b strings.Builder
		for _, v := range bars {
			b.WriteString(p.block(v/most*chartRows - float64(row)))
		}
		p.line(p.styled(faint, padLeft(label, titleColumns-2)) + "  " + p.styled(green, strings.TrimRight(b.String(), " ")))
	}
	end := length(time.Duration(lengthNS))
	p.line(strings.Repeat(" ", titleColumns) + p.styled(faint, "0s"+padLeft(end, len(bars)-2)))
	return true
}

// highest is the largest of a few samples within one bar, so that a peak narrower than a bar shows.
func highest(rate func(int64) float64, lengthNS int64, bar, bars int) float64 {
	most := 0.0
	steps := int64(bars * samplesPerBar)
	for i := range int64(samplesPerBar) {
		// (2k+1)/2 of a step, without the overflow of lengthNS·k: lengths are below 2⁵⁵, steps below 2¹⁰.
		k := int64(bar*samplesPerBar) + i
		at := lengthNS/steps*k + lengthNS%steps*k/steps + lengthNS/steps/2
		most = max(most, rate(at))
	}
	return most
}

// block is a character filled to a share of its height.
func (p *page) block(share float64) string {
	eighths := int(share*8 + 0.5)
	switch {
	case eighths <= 0:
		return " "
	case p.ascii && eighths < 4:
		return "."
	case p.ascii:
		return "#"
	default:
		return string([]rune("▁▂▃▄▅▆▇█")[min(eighths, 8)-1])
	}
}
