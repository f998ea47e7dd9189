package workload

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// whole completes a scenario, so that nothing but its workloads and targets can be wrong.
func whole(s *pb.Scenario) *pb.Scenario {
	s.SetName("accept")
	s.SetLoad([]*pb.Phase{pb.Phase_builder{
		Open: pb.OpenLoad_builder{Rate: new(1.0)}.Build(), Duration: durationpb.New(1e9),
	}.Build()})
	scenario.Normalize(s)
	return s
}

// agree fails unless the checks of a scenario and Compile are of one mind about it; an agent must
// make a request of whatever they accept. It returns whether they do.
func agree(t testing.TB, s *pb.Scenario) bool {
	t.Helper()
	problems := scenario.Check(s)
	set, err := Compile(proto.CloneOf(s), memory{"rows.jsonl": `{"x":"a","n":1,"prompt":"p"}`}.open, vault{"KEY": "sk-1"}.secret)
	if (len(problems) == 0) != (err == nil) {
		t.Errorf("scenario.Check: %v\nCompile: %v", problems, err)
		return false
	}
	if err != nil {
		return false
	}
	if err := set.Fill(0, key(3), &Request{}); err != nil {
		t.Errorf("Fill: %v", err)
	}
	return true
}

// What loadline validate accepts, an agent compiles, and what it refuses an agent refuses too.
func TestCompileAcceptsWhatTheChecksAccept(t *testing.T) {
	header := func(name, text string) pb.HttpRequest_builder {
		return pb.HttpRequest_builder{Headers: map[string]*pb.HeaderValue{name: value(text)}}
	}
	path := func(text string) pb.HttpRequest_builder {
		return pb.HttpRequest_builder{Path: &text, Dataset: rowsOf()}
	}
	body := func(text string) pb.HttpRequest_builder { return pb.HttpRequest_builder{Body: &text} }
	for name, c := range map[string]struct {
		request pb.HttpRequest_builder
		ok      bool
	}{
		"a plain one":                {pb.HttpRequest_builder{}, true},
		"a header":                   {header("X-A", "{{uuid}}\tü"), true},
		"compression":                {header("Accept-Encoding", "gzip"), false},
		"expect":                     {header("Expect", "100-continue"), false},
		"keep-alive":                 {header("keep-alive", "timeout=5"), false},
		"proxy-connection":           {header("Proxy-Connection", "close"), false},
		"framing":                    {header("content-length", "1"), false},
		"our own header":             {header("x-loadline-anything", "1"), false},
		"no name":                    {header("", "1"), false},
		"a name that is none":        {header("a:b", "1"), false},
		"a line end":                 {header("X-A", "a\r\nb"), false},
		"a value of 8192 characters": {header("X-A", strings.Repeat("漢", 8192)), true},
		"a value of 64 KiB":          {header("X-A", strings.Repeat("a", 64<<10+1)), false},
		"a row without a data set":   {header("X-A", "{{row.x}}"), false},
		"10,000 placeholders":        {body(strings.Repeat("{{turn}}", 10_000)), true},
		"10,001 placeholders":        {body(strings.Repeat("{{turn}}", 10_001)), false},
		"10,001 placeholders apart":  {body(strings.Repeat("{{turn}} ", 10_001)), false},
		"a path":                     {path("/é/{{row.x}}?a={{row.n}}"), true},
		"a space in the path":        {path("/a b"), false},
		"a # in the path":            {path("/a#b"), false},
		"a long path of letters":     {path("/" + strings.Repeat("漢", 7000)), true},
		"a path too long encoded":    {path("/" + strings.Repeat("漢", 8000)), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := agree(t, whole(plain(echo(c.request)))); got != c.ok {
				t.Errorf("accepted: %v, want %v", got, c.ok)
			}
		})
	}
}

// The same for texts at random, drawn from what the grammars are made of.
func TestCompileAndChecksAgree(t *testing.T) {
	pieces := []string{
		"{{", "}}", "arrival", "turn", "row.", "row.x", "row.n", "random", " ", "1", "-9223372036854775808", "9", "{{uuid}}", "{{row.x}}", "{{random 1 9}}",
		"{", "}", "#", "%20", "é", "\x7f", "\n", `"`, `\`, "a", ":", "Accept-Encoding", "x-loadline-", "TE", "expect",
	}
	text := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 6).Draw(t, "pieces"), "")
	})
	rapid.Check(t, func(t *rapid.T) {
		r := pb.HttpRequest_builder{
			Path: new("/" + text.Draw(t, "path")), Body: new(text.Draw(t, "body")),
			Headers: map[string]*pb.HeaderValue{text.Draw(t, "name"): value(text.Draw(t, "value")), "X-B": value("{{turn}}")},
		}
		if rapid.Bool().Draw(t, "rows") {
			r.Dataset = rowsOf()
		}
		s := whole(plain(echo(r)))
		problems := scenario.Check(s)
		_, err := Compile(s, memory{"rows.jsonl": `{"x":"a","n":1}`}.open, nil)
		if err != nil && strings.Contains("\n"+err.Error(), "\nrows.jsonl:") {
			return // a field that the row does not have is found in the file, not in the scenario
		}
		if (len(problems) == 0) != (err == nil) {
			t.Fatalf("scenario.Check: %v\nCompile: %v\n%v", problems, err, s)
		}
	})
}
