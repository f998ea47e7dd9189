package scenario

import (
	"slices"
	"strconv"
	"strings"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// unit is what a bound is counted in.
type unit uint8

const (
	// unitDuration: microseconds in the message, written with a unit.
	unitDuration unit = iota + 1
	// unitShare: 0…1, written so or in percent.
	unitShare
	// unitNumber: a plain number of tokens, or of things a second.
	unitNumber
)

// series is what the parser must know of a series of docs/metrics.md.
type series struct {
	name string
	unit unit
	// perRequest says that a request has one value of it, so that "good" may bound it.
	perRequest bool
	// streamed says that only streamed answers have it, tokens that only the model protocols do.
	streamed, tokens bool
}

// seriesTable lists the series. Their names are those of the schema's enum, which a test checks.
func seriesTable() []series {
	const d, n = unitDuration, unitNumber
	return []series{
		{"lateness", d, false, false, false},
		{"connect", d, false, false, false},
		{"send", d, true, false, false},
		{"wait", d, true, false, false},
		{"ttft", d, true, true, false},
		{"ttft_service", d, true, true, false},
		{"ttfo", d, true, true, false},
		{"itl", d, false, true, false},
		{"max_itl", d, true, true, false},
		{"tpot", d, true, true, true},
		{"e2e", d, true, false, false},
		{"e2e_service", d, true, false, false},
		{"e2e_failed", d, false, false, false},
		{"session", d, false, false, false},
		{"input_tokens", n, true, false, true},
		{"output_tokens", n, true, false, true},
		{"tokens_per_event", n, true, true, true},
		{"dns", d, false, false, false},
		{"tls", d, false, false, false},
		{"receive", d, true, false, false},
		{"read_lag", d, false, false, false},
		{"ttft_wire", d, false, true, false},
		{"itl_wire", d, false, true, false},
		{"round_trip", d, false, true, false},
	}
}

// fromStamps reports whether a series is there only where capture.wire asks for it.
func fromStamps(name string) bool { return name == "ttft_wire" || name == "itl_wire" }

func seriesByName(name string) (series, bool) {
	for _, s := range seriesTable() {
		if s.name == name {
			return s, true
		}
	}
	return series{}, false
}

func seriesNames(ok func(series) bool) []string {
	var names []string
	for _, s := range seriesTable() {
		if ok(s) {
			names = append(names, s.name)
		}
	}
	return names
}

// counters lists what rate(…) counts a second.
func counters() []string { return []string{"requests", "output_tokens", "input_tokens", "goodput"} }

// functions lists what an objective may begin with.
func functions() []string {
	return []string{"p50", "p90", "p95", "p99", "p99.9", "mean", "max", "min", "rate", "error_rate", "goodput_share"}
}

func contains(words []string, w string) bool { return slices.Contains(words, w) }

// metric reads what is measured and says what its bound is counted in.
func (p *parser) metric(o *pb.Objective) (unit, *ExprError) {
	name, at := p.word()
	switch {
	case name == "error_rate" || name == "goodput_share":
		o.SetAggregate(pb.Aggregate_AGGREGATE_SHARE)
		o.SetMetric(name)
		return unitShare, nil
	case name == "rate":
		return p.rate(o)
	case name == "mean":
		o.SetAggregate(pb.Aggregate_AGGREGATE_MEAN)
	case name == "max":
		o.SetAggregate(pb.Aggregate_AGGREGATE_MAX)
	case name == "min":
		o.SetAggregate(pb.Aggregate_AGGREGATE_MIN)
	case isQuantile(name):
		if err := p.quantile(o, name, at); err != nil {
			return 0, err
		}
	default:
		return 0, p.unknownFunction(name, at)
	}
	return p.argument(o, name)
}

func isQuantile(name string) bool {
	return len(name) > 1 && name[0] == 'p' && strings.Trim(name[1:], "0123456789.") == ""
}

// quantile reads p99.9 as 0.999.
func (p *parser) quantile(o *pb.Objective, name string, at int) *ExprError {
	q, err := strconv.ParseFloat(name[1:]+"e-2", 64)
	if err != nil || q < 0.5 || q > 0.9999 {
		hint := "write p50, p99 or p99.9"
		if strings.HasPrefix(name, "p99") && len(name) > 3 && !strings.Contains(name, ".") {
			hint = "did you mean p99." + name[3:] + "?"
		}
		return p.fail(at, quote(name)+" is not a quantile between p50 and p99.99", hint)
	}
	o.SetAggregate(pb.Aggregate_AGGREGATE_QUANTILE)
	o.SetQuantile(q)
	return nil
}

// unknownFunction explains what an objective may begin with.
func (p *parser) unknownFunction(name string, at int) *ExprError {
	if _, ok := seriesByName(name); ok {
		return p.fail(at, name+" is a series; an objective sums it up", "write p99("+name+"), mean("+name+") or max("+name+")")
	}
	hint := ""
	switch strings.ToLower(name) {
	case "avg", "average":
		hint = "did you mean mean? "
	case "median":
		hint = "did you mean p50? "
	case "errors", "error", "failure_rate", "error_ratio":
		hint = "did you mean error_rate? "
	default:
		hint = DidYouMean(name, functions())
	}
	if name == "" {
		return p.fail(at, "expected what is measured, got "+quote(p.s[at:]), "begin with one of "+list(functions(), "and"))
	}
	return p.fail(at, "unknown "+quote(name), hint+"an objective begins with one of "+list(functions(), "and"))
}

// argument reads (series).
func (p *parser) argument(o *pb.Objective, function string) (unit, *ExprError) {
	if !p.take('(') {
		return 0, p.fail(p.pos, "expected ( after "+function, "write "+function+"(ttft)")
	}
	name, at := p.word()
	s, ok := seriesByName(name)
	if !ok {
		return 0, p.unknownSeries(name, at, func(series) bool { return true })
	}
	if !p.take(')') {
		return 0, p.fail(p.pos, "expected ) after "+name, "")
	}
	o.SetMetric(name)
	return s.unit, nil
}

func (p *parser) unknownSeries(name string, at int, ok func(series) bool) *ExprError {
	if name == "" {
		return p.fail(at, "expected the name of a series", "series are "+list(seriesNames(ok), "and"))
	}
	hint := DidYouMean(name, seriesNames(ok))
	if strings.Contains(name, "latency") || strings.Contains(name, "duration") {
		hint = "did you mean e2e? "
	}
	return p.fail(at, "unknown series "+quote(name), hint+"series are "+list(seriesNames(ok), "and"))
}

// rate reads (counter).
func (p *parser) rate(o *pb.Objective) (unit, *ExprError) {
	if !p.take('(') {
		return 0, p.fail(p.pos, "expected ( after rate", "write rate(requests)")
	}
	name, at := p.word()
	if !contains(counters(), name) {
		return 0, p.fail(at, "rate has no "+quote(name), DidYouMean(name, counters())+"it counts "+list(counters(), "or"))
	}
	if !p.take(')') {
		return 0, p.fail(p.pos, "expected ) after "+name, "")
	}
	o.SetAggregate(pb.Aggregate_AGGREGATE_RATE)
	o.SetMetric(name)
	return unitNumber, nil
}
