package scenario

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// The grammar of objectives; docs/scenario.md has it for users:
//
//	objective = metric [ filter ] sign bound
//	metric    = quantile "(" series ")" | ("mean" | "max" | "min") "(" series ")"
//	          | "error_rate" | "goodput_share" | "rate" "(" counter ")"
//	quantile  = "p" 50…99.99
//	filter    = "{" key "=" name { "," key "=" name } "}"     key = phase | workload | target
//	sign      = "<" | "<=" | ">" | ">="
//	good      = series sign bound
//	abort     = objective [ "for" duration ]

// ExprError says where and why an expression, a JSON path or a text with placeholders does not parse.
type ExprError struct {
	// Pos is the offending byte, counted from 0; the length of the expression: its end.
	Pos int
	// Message says what is wrong, Hint how to mend it.
	Message, Hint string
}

func (e *ExprError) Error() string {
	s := fmt.Sprintf("at byte %d: %s", e.Pos, e.Message)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// ParseObjective parses a bound on something measured, such as "p99(ttft){phase=hold} < 800ms".
// Bounds of durations become microseconds, shares 0…1; other numbers stay as written. The error is
// of type *ExprError.
func ParseObjective(expr string) (*pb.Objective, error) {
	p := parser{s: expr}
	o, err := p.whole(p.objective)
	if err != nil {
		return nil, err
	}
	o.SetExpression(expr)
	return o, nil
}

// ParseGood parses a bound that one request must meet, such as "ttft < 500ms".
// The error is of type *ExprError.
func ParseGood(expr string) (*pb.Objective, error) {
	p := parser{s: expr}
	o, err := p.whole(p.good)
	if err != nil {
		return nil, err
	}
	o.SetExpression(expr)
	return o, nil
}

// ParseAbort parses a condition that ends a run, such as "error_rate > 20% for 10s"; without "for"
// it must hold for DefaultAbortFor. The error is of type *ExprError.
func ParseAbort(expr string) (*pb.AbortCondition, error) {
	p := parser{s: expr}
	hold := DefaultAbortFor
	var condition string
	o, err := p.whole(func() (*pb.Objective, *ExprError) {
		o, err := p.objective()
		if err != nil {
			return nil, err
		}
		condition = strings.TrimSpace(expr[:p.last])
		p.blanks()
		hold, err = p.hold()
		return o, err
	})
	if err != nil {
		return nil, err
	}
	o.SetExpression(condition)
	return pb.AbortCondition_builder{Expression: &expr, Condition: o, For: durationpb.New(hold)}.Build(), nil
}

// parser walks an expression. last is the end of the last thing read, before blanks.
type parser struct {
	s         string
	pos, last int
}

func (p *parser) fail(pos int, message, hint string) *ExprError {
	return &ExprError{Pos: pos, Message: message, Hint: hint}
}

// whole runs a rule on the whole expression and refuses what is left over.
func (p *parser) whole(rule func() (*pb.Objective, *ExprError)) (*pb.Objective, error) {
	if len(p.s) > MaxExpression {
		return nil, p.fail(MaxExpression, fmt.Sprintf("longer than %d bytes", MaxExpression), "")
	}
	if p.blanks(); p.pos == len(p.s) {
		return nil, p.fail(0, "the expression is empty", `write one such as "p99(ttft) < 800ms"`)
	}
	o, err := rule()
	if err != nil {
		return nil, err
	}
	if p.blanks(); p.pos < len(p.s) {
		return nil, p.fail(p.pos, "unexpected "+quote(p.s[p.pos:]), leftoverHint(p.s[p.pos:]))
	}
	return o, nil
}

func leftoverHint(rest string) string {
	word := strings.ToLower(leading(rest, isWordChar))
	switch {
	case word == "for":
		return `"for" belongs to abort conditions`
	case word == "and" || word == "or" || strings.HasPrefix(rest, "&&") || strings.HasPrefix(rest, "||"):
		return "write each bound as an element of its own"
	case strings.HasPrefix(rest, "{"):
		return "a filter stands before the sign: p99(ttft){phase=hold} < 800ms"
	}
	return ""
}

func isWordChar(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.'
}

// blanks skips blanks and tabs.
func (p *parser) blanks() {
	rest := strings.TrimLeft(p.s[p.pos:], " \t")
	p.pos = len(p.s) - len(rest)
}

// word reads letters, digits, dots and underscores; it may be empty.
func (p *parser) word() (string, int) {
	p.blanks()
	at := p.pos
	w := leading(p.s[at:], isWordChar)
	p.pos += len(w)
	p.last = p.pos
	return w, at
}

// take reads one character if it comes next.
func (p *parser) take(c byte) bool {
	p.blanks()
	if p.pos < len(p.s) && p.s[p.pos] == c {
		p.pos++
		p.last = p.pos
		return true
	}
	return false
}

// objective reads metric, filter, sign and bound.
func (p *parser) objective() (*pb.Objective, *ExprError) {
	o := &pb.Objective{}
	unit, err := p.metric(o)
	if err != nil {
		return nil, err
	}
	if err := p.filter(o); err != nil {
		return nil, err
	}
	return o, p.comparison(o, unit)
}

// good reads a series, a sign and a bound.
func (p *parser) good() (*pb.Objective, *ExprError) {
	name, at := p.word()
	s, ok := seriesByName(name)
	switch {
	case !ok && (name == "error_rate" || name == "goodput_share" || name == "rate" || p.peek('(')):
		return nil, p.fail(at, "good bounds one request, so it takes a series alone", `write it as "ttft < 500ms"`)
	case !ok:
		return nil, p.unknownSeries(name, at, func(s series) bool { return s.perRequest })
	case !s.perRequest:
		return nil, p.fail(at, name+" is not a value of one request", goodHint(name))
	}
	o := &pb.Objective{}
	o.SetAggregate(pb.Aggregate_AGGREGATE_VALUE)
	o.SetMetric(name)
	return o, p.comparison(o, s.unit)
}

func goodHint(name string) string {
	if name == "itl" {
		return "max_itl is the longest gap of a request, tpot the mean one"
	}
	return "values of one request: " + list(seriesNames(func(s series) bool { return s.perRequest }), "and")
}

func (p *parser) peek(c byte) bool {
	p.blanks()
	return p.pos < len(p.s) && p.s[p.pos] == c
}

// filter reads {phase=hold,workload="a b"}.
func (p *parser) filter(o *pb.Objective) *ExprError {
	if !p.take('{') {
		return nil
	}
	set := map[string]func(string){"phase": o.SetPhase, "workload": o.SetWorkload, "target": o.SetTarget}
	keys := []string{"phase", "workload", "target"}
	for {
		key, at := p.word()
		f, ok := set[key]
		switch {
		case !ok && contains(keys, key):
			return p.fail(at, key+" stands in the filter twice", "keep one of the two")
		case !ok:
			return p.fail(at, "a filter has no "+quote(key), DidYouMean(key, keys)+"filters are "+list(keys, "and"))
		case !p.take('='):
			return p.fail(p.pos, "expected = after "+key, "write "+key+"=NAME")
		}
		name, err := p.name(key)
		if err != nil {
			return err
		}
		f(name)
		delete(set, key)
		switch {
		case p.take('}'):
			return nil
		case !p.take(','):
			return p.fail(p.pos, "expected , or } in the filter", "")
		}
	}
}

// name reads the name in a filter, bare or in double quotes.
func (p *parser) name(key string) (string, *ExprError) {
	p.blanks()
	at := p.pos
	if p.take('"') {
		end := strings.IndexByte(p.s[p.pos:], '"')
		if end < 0 {
			return "", p.fail(at, "the quotes are not closed", "")
		}
		name := p.s[p.pos : p.pos+end]
		p.pos += end + 1
		p.last = p.pos
		if name == "" {
			return "", p.fail(at, "the name after "+key+"= is empty", "")
		}
		return name, nil
	}
	name := leading(p.s[at:], func(c rune) bool { return c > ' ' && !strings.ContainsRune(`{},"=`, c) })
	p.pos += len(name)
	p.last = p.pos
	if name == "" {
		return "", p.fail(at, "expected a name after "+key+"=", `a name with blanks or commas stands in double quotes`)
	}
	return name, nil
}

// comparison reads sign and bound.
func (p *parser) comparison(o *pb.Objective, u unit) *ExprError {
	p.blanks()
	at := p.pos
	sign := leading(p.s[at:], func(c rune) bool { return strings.ContainsRune("<>=!≤≥", c) })
	c, ok := comparisons()[sign]
	if !ok {
		message := "expected one of < <= > >="
		if sign != "" {
			message = "unknown sign " + quote(sign) + "; it is one of < <= > >="
		}
		return p.fail(at, message, "")
	}
	p.pos += len(sign)
	o.SetComparison(c)
	bound, err := p.bound(u)
	if err != nil {
		return err
	}
	o.SetBound(bound)
	return nil
}

func comparisons() map[string]pb.Comparison {
	return map[string]pb.Comparison{
		"<": pb.Comparison_COMPARISON_LT, "<=": pb.Comparison_COMPARISON_LE,
		">": pb.Comparison_COMPARISON_GT, ">=": pb.Comparison_COMPARISON_GE,
	}
}

// hold reads "for 10s"; without it the default holds.
func (p *parser) hold() (time.Duration, *ExprError) {
	start := p.pos
	word, at := p.word()
	if word == "" {
		return DefaultAbortFor, nil
	}
	if word != "for" {
		p.pos = start
		return 0, p.fail(at, "unexpected "+quote(p.s[at:]), `write "for 10s", or nothing`)
	}
	p.blanks()
	at = p.pos
	text := leading(p.s[at:], func(c rune) bool { return c > ' ' })
	p.pos += len(text)
	d, err := parseDuration(text)
	switch {
	case text == "":
		return 0, p.fail(at, `expected a duration after "for"`, "write for 10s")
	case err != nil:
		return 0, p.fail(at, err.Error()+": "+quote(text), "write for 10s or for 1m30s")
	case d < time.Second || d > time.Hour:
		return 0, p.fail(at, "the time must be 1s to 1h, got "+formatDuration(d), "windows last one second")
	}
	return d, nil
}
