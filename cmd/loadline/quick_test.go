package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func TestQuickRun(t *testing.T) {
	t.Chdir(t.TempDir())
	fake := newFake()
	close(fake.messages)
	a := newTestApp(t, fake, map[string]string{"KEY": "k", "LOADLINE_DURATION": "5s", "LOADLINE_RATE": "99"})
	args := []string{"run", "--url", "http://127.0.0.1:8000/v1", "--model", "m: x", "--rate", "30", "--arrivals", "poisson",
		"--input-tokens", "100-300", "--header", "x-api-key: env:KEY", "--header", "x-team: a: b", "--slo", "p99(ttft) < 800ms",
		"--seed", "9", "--save", "kept.yaml"}
	if got := a.run(context.Background(), args); got != 0 {
		t.Fatalf("exit status %d: %s", got, a.err)
	}
	s := fake.started[0].GetScenario()
	target, phase := s.GetTargets()[0], s.GetLoad()[0]
	if target.GetModel() != "m: x" || target.GetProtocol() != pb.Protocol_PROTOCOL_OPENAI_CHAT || s.GetSeed() != 9 {
		t.Errorf("target %v, seed %d", target, s.GetSeed())
	}
	if target.GetHeaders()["x-api-key"].GetEnv() != "KEY" || target.GetHeaders()["x-team"].GetValue() != "a: b" {
		t.Errorf("headers %v", target.GetHeaders())
	}
	// Flags go before the environment, the environment before the defaults.
	if phase.GetOpen().GetRate() != 30 || phase.GetDuration().AsDuration().String() != "5s" {
		t.Errorf("rate %v for %s", phase.GetOpen().GetRate(), phase.GetDuration().AsDuration())
	}
	if u := s.GetWorkloads()[0].GetSynthetic().GetInputTokens().GetUniform(); u.GetMin() != 100 || u.GetMax() != 300 {
		t.Errorf("input tokens %v", u)
	}
	kept, err := os.ReadFile("kept.yaml")
	if err != nil || !slices.Equal(kept, fake.started[0].GetSource()) {
		t.Errorf("--save kept %q, %v", kept, err)
	}
	if got := a.run(context.Background(), []string{"validate", "kept.yaml"}); got != 0 {
		t.Errorf("the scenario kept is not good: %s", a.out)
	}
	if got := a.run(context.Background(), args); got != statusBadInput || !strings.Contains(a.err.String(), "kept.yaml") {
		t.Errorf("--save replaced a file: %d %s", got, a.err)
	}
}

// TestQuickCalls: a gRPC method from flags alone, with one message and with a stream of them.
func TestQuickCalls(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct {
		messages []string
		one      string
		many     int
	}{{nil, "", 0}, {[]string{`{"text": "n {{arrival}}",
 "count": 2}`}, "n {{arrival}}", 0}, {[]string{`{"text": "a"}`, `{"text": "b"}`}, "", 2}} {
		fake := newFake()
		close(fake.messages)
		a := newTestApp(t, fake, nil)
		args := []string{"run", "--url", "grpc://127.0.0.1:9000", "--method", "pkg.Service/Method", "--users", "2", "--header", "x-team: a"}
		for _, m := range c.messages {
			args = append(args, "--message", m)
		}
		if got := a.run(context.Background(), args); got != 0 {
			t.Fatalf("exit status %d: %s", got, a.err)
		}
		s := fake.started[0].GetScenario()
		g := s.GetWorkloads()[0].GetGrpc()
		if s.GetTargets()[0].GetProtocol() != pb.Protocol_PROTOCOL_GRPC || g.GetMethod() != "pkg.Service/Method" ||
			g.GetMessage().GetFields()["text"].GetStringValue() != c.one || len(g.GetMessages()) != c.many {
			t.Errorf("%v makes %v", c.messages, s)
		}
	}
}

func TestQuickRunNamesTheFlagAtFault(t *testing.T) {
	base := []string{"run", "--url", "http://127.0.0.1:8000/v1", "--model", "m"}
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"--rate", "1", "--method", "a.B/C"}, "--method and --message are for --protocol grpc"},
		{[]string{"--rate", "1", "--protocol", "grpc"}, "--method is needed by grpc"},
		{[]string{"--rate", "1", "--protocol", "grpc", "--method", "a.B/C", "--message", "[1]"}, "--message \"[1]\": write the message as a JSON object"},
		{[]string{"--rate", "-3"}, "--rate"},
		{[]string{"--rate", "fast"}, "--rate"},
		{[]string{"--rate", "5", "--protocol", "smtp"}, "--protocol"},
		{[]string{"--rate", "5", "--arrivals", "weekly"}, "--arrivals"},
		{[]string{"--rate", "5", "--slo", "p99(ttft) <"}, "--slo"},
		{[]string{"--rate", "5", "--input-tokens", "lots"}, "--input-tokens"},
		{[]string{"--rate", "5", "--output-tokens", "-1"}, "--output-tokens"},
		{[]string{"--rate", "5", "--header", "nocolon"}, "--header"},
		{[]string{"--rate", "5", "--users", "5"}, "exclude"},
		{[]string{"--users", "5", "--arrivals", "poisson"}, "--arrivals"},
		{[]string{}, "how much load"},
		{[]string{"--rate", "5", "--url", "ftp://x"}, "--url"},
		{[]string{"--rate", "5", "--set", "load[0].rats=3"}, "rats"},
	}
	for _, tt := range tests {
		a := newTestApp(t, newFake(), nil)
		if got := a.run(context.Background(), append(slices.Clone(base), tt.args...)); got != statusBadInput {
			t.Errorf("%v: exit status %d, want 104", tt.args, got)
		}
		if !strings.Contains(a.err.String(), tt.want) {
			t.Errorf("%v: %q is not in the message:\n%s", tt.args, tt.want, a.err)
		}
	}
}

func TestQuickRunOverPlainHTTP(t *testing.T) {
	fake := newFake()
	close(fake.messages)
	a := newTestApp(t, fake, nil)
	if got := a.run(context.Background(), []string{"run", "--url", "http://127.0.0.1:8080/a/b?c=d", "--protocol", "http", "--users", "2", "--sessions", "10"}); got != 0 {
		t.Fatalf("exit status %d: %s", got, a.err)
	}
	s := fake.started[0].GetScenario()
	if s.GetTargets()[0].GetUrl() != "http://127.0.0.1:8080" || s.GetWorkloads()[0].GetHttp().GetPath() != "/a/b?c=d" {
		t.Errorf("target %q, path %q", s.GetTargets()[0].GetUrl(), s.GetWorkloads()[0].GetHttp().GetPath())
	}
	if p := s.GetLoad()[0]; p.GetClosed().GetUsers() != 2 || p.GetSessions() != 10 || p.HasDuration() {
		t.Errorf("load %v", p)
	}
}

// Whatever stands in a flag stays the value of its field: no text of it becomes structure.
func TestQuickDocumentHoldsWhatWasGiven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom(nil, unicode.L, unicode.P, unicode.S, unicode.Zs), 1, 60, -1)
		q := quickOptions{
			url: "http://127.0.0.1:8000/v1", rate: "5", model: text.Draw(t, "model"),
			headers: []string{"x-note: v" + text.Draw(t, "header") + "."},
		}
		data, err := q.document(nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := scenario.Parse(scenario.Source{Name: "quick", Data: data})
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		target := s.GetTargets()[0]
		if got := target.GetModel(); got != q.model {
			t.Errorf("model %q became %q:\n%s", q.model, got, data)
		}
		_, want, _ := strings.Cut(q.headers[0], ": ")
		if got := target.GetHeaders()["x-note"].GetValue(); got != want {
			t.Errorf("header %q became %q:\n%s", want, got, data)
		}
	})
}

func TestNearest(t *testing.T) {
	names := []string{"json", "rate", "arrivals", "output-tokens"}
	tests := []struct{ in, want string }{
		{"jsn", "json"}, {"rates", "rate"}, {"arival", "arrivals"}, {"out-tokens", "output-tokens"}, {"zzz", ""}, {"", ""},
	}
	for _, tt := range tests {
		if got := nearest(tt.in, names); got != tt.want {
			t.Errorf("nearest(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestFlagOf(t *testing.T) {
	tests := []struct{ path, want string }{
		{"targets[0].url", "--url"}, {"targets[0].headers[\"x y\"]", "--header"}, {"targets[0].model", "--model"},
		{"workloads[0].http.path", "--url"}, {"workloads[0].synthetic.output_tokens.fixed", "--output-tokens"},
		{"load[0].open.rate", "--rate"}, {"load[0].open.arrivals", "--arrivals"}, {"load[0].duration", "--duration"},
		{"load[0].closed.users", "--users"}, {"slo[3]", "--slo"}, {"slower", ""}, {"name", ""},
	}
	for _, tt := range tests {
		if got := flagOf(tt.path); got != tt.want {
			t.Errorf("flagOf(%q) = %q, want %q", tt.path, got, tt.want)
		}
	}
}
