package scenario_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Short names for the tables.
const (
	quantile = pb.Aggregate_AGGREGATE_QUANTILE
	mean     = pb.Aggregate_AGGREGATE_MEAN
	most     = pb.Aggregate_AGGREGATE_MAX
	least    = pb.Aggregate_AGGREGATE_MIN
	share    = pb.Aggregate_AGGREGATE_SHARE
	perSec   = pb.Aggregate_AGGREGATE_RATE
	single   = pb.Aggregate_AGGREGATE_VALUE
	lt       = pb.Comparison_COMPARISON_LT
	le       = pb.Comparison_COMPARISON_LE
	gt       = pb.Comparison_COMPARISON_GT
	ge       = pb.Comparison_COMPARISON_GE
)

// objectiveCases give the fields of each expression, and its usual spelling.
var objectiveCases = []struct {
	expr      string
	aggregate pb.Aggregate
	quantile  float64
	metric    string
	sign      pb.Comparison
	bound     float64
	usual     string
}{
	{"p99(ttft) < 800ms", quantile, 0.99, "ttft", lt, 800_000, ""},
	{"p50(e2e)<1.5s", quantile, 0.5, "e2e", lt, 1_500_000, "p50(e2e) < 1.5s"},
	{"p99.99(itl) <= 250us", quantile, 0.9999, "itl", le, 250, ""},
	{"p99.9(itl) <= 250µs", quantile, 0.999, "itl", le, 250, "p99.9(itl) <= 250us"},
	{"  p95 ( tpot )  <  0.04s ", quantile, 0.95, "tpot", lt, 40_000, "p95(tpot) < 40ms"},
	{"mean(tpot) <= 40ms", mean, 0, "tpot", le, 40_000, ""},
	{"max(max_itl) < 5s", most, 0, "max_itl", lt, 5_000_000, ""},
	{"min(ttft) > 1ms", least, 0, "ttft", gt, 1000, ""},
	{"max(session) < 1m30s", most, 0, "session", lt, 90_000_000, "max(session) < 90s"},
	{"max(session) < 2h", most, 0, "session", lt, 7_200_000_000, "max(session) < 7200s"},
	{"mean(send) < 1500ns", mean, 0, "send", lt, 1.5, "mean(send) < 1.5us"},
	{"mean(output_tokens) >= 100", mean, 0, "output_tokens", ge, 100, ""},
	{"max(input_tokens) < 4k", most, 0, "input_tokens", lt, 4000, "max(input_tokens) < 4000"},
	{"mean(tokens_per_event) <= 1500", mean, 0, "tokens_per_event", le, 1500, ""},
	{"error_rate < 0.1%", share, 0, "error_rate", lt, 0.001, ""},
	{"error_rate < 0.001", share, 0, "error_rate", lt, 0.001, "error_rate < 0.1%"},
	{"goodput_share >= 95%", share, 0, "goodput_share", ge, 0.95, ""},
	{"goodput_share >= 1", share, 0, "goodput_share", ge, 1, "goodput_share >= 100%"},
	{"rate(output_tokens) > 1000", perSec, 0, "output_tokens", gt, 1000, ""},
	{"rate(goodput) > 2.5", perSec, 0, "goodput", gt, 2.5, ""},
}

func TestParseObjective(t *testing.T) {
	for _, c := range objectiveCases {
		o, err := scenario.ParseObjective(c.expr)
		if err != nil {
			t.Errorf("%s: %v", c.expr, err)
			continue
		}
		if o.GetAggregate() != c.aggregate || o.GetQuantile() != c.quantile || o.GetMetric() != c.metric ||
			o.GetComparison() != c.sign || o.GetBound() != c.bound || o.GetExpression() != c.expr {
			t.Errorf("%s: %v", c.expr, o)
		}
		usual := c.usual
		if usual == "" {
			usual = c.expr
		}
		if got := scenario.FormatObjective(o); got != usual {
			t.Errorf("%s: written as %s, want %s", c.expr, got, usual)
		}
	}
}

func TestParseFilter(t *testing.T) {
	for expr, want := range map[string][3]string{
		"p99(ttft){phase=hold} < 1s":                                   {"hold", "", ""},
		"p99(ttft){workload=golden,phase=hold} < 500ms":                {"hold", "golden", ""},
		`error_rate { target = "a, {b}" , phase = tenant-b.2 } < 1%`:   {"tenant-b.2", "", "a, {b}"},
		"rate(requests){phase=a,workload=b,target=c} > 1":              {"a", "b", "c"},
		"goodput_share{workload=κόσμος} > 1%":                          {"", "κόσμος", ""},
		`p99(ttft){workload="for 10s",phase=phase,target=target} < 1s`: {"phase", "for 10s", "target"},
	} {
		o, err := scenario.ParseObjective(expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
		} else if got := [3]string{o.GetPhase(), o.GetWorkload(), o.GetTarget()}; got != want {
			t.Errorf("%s: %q", expr, got)
		}
	}
}

// Each row: the expression, with ^ before the byte that the error points at, and a word of the message or hint.
func TestObjectiveErrors(t *testing.T) {
	for _, c := range []struct{ marked, word string }{
		{"^", "empty"},
		{"^   ", "empty"},
		{"^p99.999(ttft) < 1s", "between p50 and p99.99"},
		{"^p49(ttft) < 1s", "between p50 and p99.99"},
		{"^p999(ttft) < 1s", "p99.9"},
		{"^p9.9.9(ttft) < 1s", "quantile"},
		{"^median(ttft) < 1s", "p50"},
		{"^errors < 1%", "error_rate"},
		{"^eror_rate < 1%", "error_rate"},
		{"^ttft < 1s", "p99(ttft)"},
		{"^<1s", "begin with one of"},
		{"p99 ^< 1s", "expected ("},
		{"p99(^) < 1s", "expected the name"},
		{"p99(^ttf) < 1s", "did you mean ttft"},
		{"p99(^latency) < 1s", "e2e"},
		{"p99(ttft ^< 1s", "expected )"},
		{"rate(^token) > 1", "output_tokens"},
		{"rate ^> 1", "rate(requests)"},
		{"rate(requests ^> 1", "expected )"},
		{"p99(ttft){^} < 1s", "filters are"},
		{"p99(ttft){^phas=a} < 1s", "did you mean phase"},
		{"p99(ttft){phase^:a} < 1s", "expected ="},
		{"p99(ttft){phase=^} < 1s", "expected a name"},
		{`p99(ttft){phase=^"a} < 1s`, "not closed"},
		{`p99(ttft){phase=^""} < 1s`, "empty"},
		{"p99(ttft){phase=a,^phase=b} < 1s", "twice"},
		{"p99(ttft){phase=a ^< 1s", "expected , or }"},
		{"p99(ttft) ^1s", "expected one of"},
		{"p99(ttft) ^== 1s", "unknown sign"},
		{"p99(ttft) ^=> 1s", "unknown sign"},
		{"p99(ttft) < ^", "expected a bound"},
		{"p99(ttft) < ^-1s", "not negative"},
		{"p99(ttft) < ^1.2.3s", "not a number"},
		{"p99(ttft) < 800^", "needs a unit"},
		{"p99(ttft) < 8^%", "no unit"},
		{"p99(ttft) < 8^parsecs", "no unit"},
		{"p99(ttft) < ^99999999999999999999h", "too long"},
		{"p99(ttft) < 1s ^{phase=a}", "before the sign"},
		{"p99(ttft) < 1s ^and error_rate < 1%", "element of its own"},
		{"p99(ttft) < 1s ^for 10s", "abort"},
		{"error_rate < ^5", "5%"},
		{"error_rate < ^101%", "between 0 and 1"},
		{"error_rate < 1^ms", "no unit"},
		{"rate(requests) > 5^/s", "per second already"},
		{"mean(output_tokens) > 5^ms", "plain number"},
		{"mean(tokens_per_event) > 5^%", "plain number"},
		{"p99(ttft) < 1s" + strings.Repeat(" ", 242) + "^ ", "longer than 256"},
	} {
		pos := strings.Index(c.marked, "^")
		expr := strings.Replace(c.marked, "^", "", 1)
		_, err := scenario.ParseObjective(expr)
		checkExprError(t, expr, err, pos, c.word)
	}
}

func checkExprError(t *testing.T, expr string, err error, pos int, word string) {
	t.Helper()
	var e *scenario.ExprError
	if !errors.As(err, &e) {
		t.Errorf("%q: error %v", expr, err)
		return
	}
	if e.Pos != pos || !strings.Contains(e.Message+" "+e.Hint, word) {
		t.Errorf("%q: at %d, want %d with %q: %v", expr, e.Pos, pos, word, err)
	}
}

func TestParseGood(t *testing.T) {
	for expr, bound := range map[string]float64{
		"ttft < 500ms": 500_000, "tpot<=40ms": 40_000, "max_itl < 1s": 1_000_000, "output_tokens >= 10": 10, "tokens_per_event < 2k": 2000,
	} {
		o, err := scenario.ParseGood(expr)
		if err != nil || o.GetAggregate() != single || o.GetBound() != bound {
			t.Errorf("%s: %v, %v", expr, o, err)
		}
	}
	for marked, word := range map[string]string{
		"^itl < 5ms": "max_itl", "^session < 1s": "one request", "^lateness < 1s": "one request", "^p99(ttft) < 1s": "series alone",
		"^error_rate < 1%": "series alone", "^tftt < 1s": "did you mean ttft", "ttft < 5^": "needs a unit", "ttft^{phase=a} < 5ms": "expected one of",
		"ttft < 5ms ^for 10s": "abort",
	} {
		expr := strings.Replace(marked, "^", "", 1)
		_, err := scenario.ParseGood(expr)
		checkExprError(t, expr, err, strings.Index(marked, "^"), word)
	}
}

func TestParseAbort(t *testing.T) {
	for expr, want := range map[string]struct {
		condition string
		hold      time.Duration
	}{
		"error_rate > 20% for 10s":            {"error_rate > 20%", 10 * time.Second},
		" error_rate > 20%  ":                 {"error_rate > 20%", scenario.DefaultAbortFor},
		"p99(ttft){phase=for} > 5s for 1m30s": {"p99(ttft){phase=for} > 5s", 90 * time.Second},
		"rate(requests) < 1 for 1h":           {"rate(requests) < 1", time.Hour},
	} {
		a, err := scenario.ParseAbort(expr)
		if err != nil || a.GetCondition().GetExpression() != want.condition || a.GetFor().AsDuration() != want.hold || a.GetExpression() != expr {
			t.Errorf("%s: %v, %v", expr, a, err)
		}
	}
	for marked, word := range map[string]string{
		"error_rate > 20% for ^10": "not a duration", "error_rate > 20% for^": "expected a duration", "error_rate > 20% for ^999ms": "1s to 1h",
		"error_rate > 20% for ^61m": "1s to 1h", "error_rate > 20% ^during 10s": "for 10s", "error_rate > 20% for 10s ^or so": "unexpected",
		"^eror_rate > 20% for 10s": "error_rate",
	} {
		expr := strings.Replace(marked, "^", "", 1)
		_, err := scenario.ParseAbort(expr)
		checkExprError(t, expr, err, strings.Index(marked, "^"), word)
	}
}

// Every series of the schema can be bounded, and no other name.
func TestSeriesAreThoseOfTheSchema(t *testing.T) {
	values := pb.Series_SERIES_TTFT.Descriptor().Values()
	for i := range values.Len() {
		name := strings.ToLower(strings.TrimPrefix(string(values.Get(i).Name()), "SERIES_"))
		_, err1 := scenario.ParseObjective("mean(" + name + ") < 1s")
		_, err2 := scenario.ParseObjective("mean(" + name + ") < 1")
		if known := err1 == nil || err2 == nil; known != (values.Get(i).Number() != 0) {
			t.Errorf("%s: known %v", name, known)
		}
	}
}

// FormatObjective and the parsers are inverse to each other, to the last bit of bound and quantile.
func TestFormatObjectiveRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, parse := randomObjective(t)
		text := scenario.FormatObjective(o)
		back, err := parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		o.SetExpression(text)
		if !proto.Equal(o, back) {
			t.Fatalf("%s:\n%v\n%v", text, o, back)
		}
	})
}

func randomObjective(t *rapid.T) (*pb.Objective, func(string) (*pb.Objective, error)) {
	o := &pb.Objective{}
	o.SetComparison(rapid.SampledFrom([]pb.Comparison{lt, le, gt, ge}).Draw(t, "sign"))
	o.SetAggregate(rapid.SampledFrom([]pb.Aggregate{quantile, mean, most, least, share, perSec, single}).Draw(t, "aggregate"))
	parse := scenario.ParseObjective
	duration := []string{"ttft", "e2e", "max_itl", "tpot"}
	switch o.GetAggregate() {
	case share:
		o.SetMetric(rapid.SampledFrom([]string{"error_rate", "goodput_share"}).Draw(t, "share"))
		o.SetBound(rapid.Float64Range(1e-9, 1).Draw(t, "bound"))
	case perSec:
		o.SetMetric(rapid.SampledFrom([]string{"requests", "output_tokens", "input_tokens", "goodput"}).Draw(t, "counter"))
		o.SetBound(rapid.Float64Range(1e-9, 1e15).Draw(t, "bound"))
	case single:
		o.SetMetric(rapid.SampledFrom(duration).Draw(t, "series"))
		o.SetBound(rapid.Float64Range(1e-9, 1e12).Draw(t, "bound"))
		return o, scenario.ParseGood
	default:
		if o.GetAggregate() == quantile {
			o.SetQuantile(rapid.Float64Range(0.5, 0.9999).Draw(t, "quantile"))
		}
		o.SetMetric(rapid.SampledFrom(append(duration, "output_tokens", "tokens_per_event")).Draw(t, "series"))
		o.SetBound(float64(rapid.Uint32().Draw(t, "bound")))
	}
	name := rapid.StringMatching(`[a-zA-Z0-9 {},=µ._-]{1,8}`).Filter(func(s string) bool { return strings.TrimSpace(s) == s })
	for _, set := range []func(string){o.SetPhase, o.SetWorkload, o.SetTarget} {
		if rapid.Bool().Draw(t, "filter") {
			set(name.Draw(t, "name"))
		}
	}
	return o, parse
}

func FuzzParseObjective(f *testing.F) {
	for _, c := range objectiveCases {
		f.Add(c.expr)
	}
	f.Add(`p99(ttft){phase=hold,workload="a b"} < 1m30s for 10s`)
	f.Fuzz(func(t *testing.T, expr string) {
		o, err := scenario.ParseObjective(expr)
		var e *scenario.ExprError
		if err != nil && (!errors.As(err, &e) || e.Pos < 0 || e.Pos > len(expr) || e.Message == "") {
			t.Fatalf("%q: %#v", expr, err)
		}
		if err == nil {
			if _, err := scenario.ParseObjective(scenario.FormatObjective(o)); err != nil && len(scenario.FormatObjective(o)) <= scenario.MaxExpression {
				t.Fatalf("%q is written as %q: %v", expr, scenario.FormatObjective(o), err)
			}
		}
		_, _ = scenario.ParseGood(expr)
		if a, err := scenario.ParseAbort(expr); err == nil && a.GetFor().AsDuration() < time.Second {
			t.Fatal(fmt.Sprint(a))
		}
	})
}
