package scenario

import (
	"math"
	"strconv"
	"strings"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// scale is a unit of durations: microseconds = number · 10^exponent · factor.
type scale struct {
	exponent string
	factor   float64
}

func scales() map[string]scale {
	return map[string]scale{
		"ns": {"e-3", 1}, "us": {"", 1}, "µs": {"", 1}, "μs": {"", 1}, "ms": {"e3", 1}, "s": {"e6", 1},
		"m": {"e6", 60}, "h": {"e6", 3600},
	}
}

// bound reads a number with the unit that the metric asks for.
func (p *parser) bound(u unit) (float64, *ExprError) {
	p.blanks()
	at := p.pos
	digits := leading(p.s[at:], func(c rune) bool { return c >= '0' && c <= '9' || c == '.' })
	if digits == "" {
		return 0, p.noNumber(at, u)
	}
	p.pos += len(digits)
	suffix := leading(p.s[p.pos:], func(c rune) bool { return c > ' ' && c != '{' && c != '}' && c != ')' })
	if _, err := strconv.ParseFloat(digits, 64); err != nil {
		return 0, p.fail(at, quote(digits)+" is not a number", "")
	}
	suffixAt := p.pos
	p.pos += len(suffix)
	p.last = p.pos
	switch u {
	case unitDuration:
		return p.durationBound(at, suffixAt, digits, suffix)
	case unitShare:
		return p.shareBound(at, suffixAt, digits, suffix)
	}
	return p.numberBound(suffixAt, digits, suffix)
}

func (p *parser) noNumber(at int, u unit) *ExprError {
	if strings.HasPrefix(p.s[at:], "-") {
		return p.fail(at, "a bound is not negative", "")
	}
	example := map[unit]string{unitDuration: "800ms", unitShare: "0.1%", unitNumber: "1000"}[u]
	return p.fail(at, "expected a bound", "write one such as "+example)
}

func (p *parser) durationBound(at, suffixAt int, digits, suffix string) (float64, *ExprError) {
	switch sc, ok := scales()[suffix]; {
	case ok:
		f, err := strconv.ParseFloat(digits+sc.exponent, 64)
		if f *= sc.factor; err == nil && f <= float64(math.MaxInt64/1000) {
			return f, nil
		}
		return 0, p.fail(at, "the bound is too long to count", "")
	case suffix == "":
		return 0, p.fail(suffixAt, "the bound of a duration needs a unit", "write "+digits+"ms or "+digits+"s")
	}
	// Several parts, as 1m30s.
	if d, err := parseDuration(digits + suffix); err == nil {
		return float64(d) / float64(time.Microsecond), nil
	}
	return 0, p.fail(suffixAt, "a duration has no unit "+quote(suffix), "units are us, ms, s, m and h")
}

func (p *parser) shareBound(at, suffixAt int, digits, suffix string) (float64, *ExprError) {
	exponent := ""
	switch suffix {
	case "%":
		exponent = "e-2"
	case "":
	default:
		return 0, p.fail(suffixAt, "a share has no unit "+quote(suffix), "write it as 0.1% or 0.001")
	}
	f, err := strconv.ParseFloat(digits+exponent, 64)
	if err != nil || f > 1 {
		hint := ""
		if suffix == "" {
			hint = "did you mean " + digits + "%?"
		}
		return 0, p.fail(at, "a share lies between 0 and 1 (100%)", hint)
	}
	return f, nil
}

func (p *parser) numberBound(suffixAt int, digits, suffix string) (float64, *ExprError) {
	exponent := ""
	switch suffix {
	case "k":
		exponent = "e3"
	case "":
	case "/s":
		return 0, p.fail(suffixAt, "the bound is a plain number", "a rate is per second already: leave out /s")
	default:
		return 0, p.fail(suffixAt, "the bound is a plain number, without "+quote(suffix), "tokens and rates have no unit")
	}
	f, err := strconv.ParseFloat(digits+exponent, 64)
	if err != nil || f > 1e15 {
		return 0, p.fail(suffixAt-len(digits), "the bound is too large", "")
	}
	return f, nil
}

// FormatObjective writes an objective in its usual spelling, so that ParseObjective (ParseGood for
// the value of one request) reads the same fields back. It uses the fields, not the text.
func FormatObjective(o *pb.Objective) string {
	var b strings.Builder
	u := unitNumber
	if s, ok := seriesByName(o.GetMetric()); ok {
		u = s.unit
	}
	switch o.GetAggregate() {
	case pb.Aggregate_AGGREGATE_QUANTILE:
		b.WriteString("p" + percentOf(o.GetQuantile()) + "(" + o.GetMetric() + ")")
	case pb.Aggregate_AGGREGATE_MEAN:
		b.WriteString("mean(" + o.GetMetric() + ")")
	case pb.Aggregate_AGGREGATE_MAX:
		b.WriteString("max(" + o.GetMetric() + ")")
	case pb.Aggregate_AGGREGATE_MIN:
		b.WriteString("min(" + o.GetMetric() + ")")
	case pb.Aggregate_AGGREGATE_RATE:
		u = unitNumber
		b.WriteString("rate(" + o.GetMetric() + ")")
	case pb.Aggregate_AGGREGATE_SHARE:
		u = unitShare
		b.WriteString(o.GetMetric())
	default:
		b.WriteString(o.GetMetric())
	}
	b.WriteString(formatFilter(o))
	for sign, c := range comparisons() {
		if c == o.GetComparison() {
			b.WriteString(" " + sign + " ")
		}
	}
	b.WriteString(formatBound(o.GetBound(), u))
	return b.String()
}

func formatFilter(o *pb.Objective) string {
	var parts []string
	for _, f := range [][2]string{{"phase", o.GetPhase()}, {"workload", o.GetWorkload()}, {"target", o.GetTarget()}} {
		name := f[1]
		if name == "" {
			continue
		}
		if strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || strings.ContainsRune("{},=", c) }) {
			name = `"` + name + `"`
		}
		parts = append(parts, f[0]+"="+name)
	}
	if len(parts) == 0 {
		return ""
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func formatBound(v float64, u unit) string {
	switch u {
	case unitShare:
		if p := percentOf(v); len(p) <= 8 {
			return p + "%"
		}
	case unitDuration:
		return formatMicros(v)
	}
	return decimal(v)
}

// formatMicros writes microseconds in the largest unit that keeps the value exactly.
func formatMicros(v float64) string {
	for _, name := range []string{"s", "ms", "us"} {
		sc := scales()[name]
		unit, _ := strconv.ParseFloat("1"+sc.exponent, 64)
		s := decimal(v / unit)
		if back, err := strconv.ParseFloat(s+sc.exponent, 64); err == nil && back == v && v >= unit {
			return s + name
		}
	}
	return decimal(v) + "us"
}

// percentOf writes 100·v exactly, by moving the point of the shortest decimal of v.
func percentOf(v float64) string {
	digits := decimal(v)
	whole, fraction, _ := strings.Cut(digits, ".")
	fraction += "00"
	whole, fraction = strings.TrimLeft(whole+fraction[:2], "0"), strings.TrimRight(fraction[2:], "0")
	if whole == "" {
		whole = "0"
	}
	if fraction != "" {
		whole += "." + fraction
	}
	return whole
}

// decimal is the shortest decimal of v, without an exponent.
func decimal(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func formatAbort(a *pb.AbortCondition) string {
	return a.GetCondition().GetExpression() + " for " + formatDuration(a.GetFor().AsDuration())
}
