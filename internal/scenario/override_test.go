package scenario_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const base = `
name: base
targets:
  - {name: api, url: "sim://small", protocol: http}
workloads:
  - &w {name: one, http: {path: /one, headers: {x-a.b: c}}}
  - {<<: *w, name: two}
load:
  - &p {name: a, open: {rate: 5}, duration: 1m}
  - {name: b, open: {ramp: {from: 1, to: 2}}, duration: 1m}
slo: [error_rate < 1%]
`

func parse(t *testing.T, text string, set ...string) *pb.Scenario {
	t.Helper()
	s, err := scenario.Parse(scenario.Source{Name: "base.yaml", Data: []byte(text)}, set...)
	if err != nil {
		t.Fatalf("%v: %v", set, err)
	}
	return s
}

func TestOverride(t *testing.T) {
	s := parse(t, base,
		"load[0].open.rate=80", "load[1].open={rate: 3, arrivals: poisson}", "slo[0]=p99(e2e) < 1s", "slo[+]=error_rate < 2%", "good[+]=e2e < 1s",
		"targets[0].url=http://127.0.0.1:8000", "targets[0].timeouts.connect=1s", `workloads[0].http.headers["x-a.b"]=d`, "seed=7", "capture.bodies=5%")
	open := s.GetLoad()[0].GetOpen()
	if open.GetRate() != 80 || s.GetLoad()[1].GetOpen().GetRate() != 3 || s.GetSeed() != 7 || s.GetCapture().GetBodies() != 0.05 {
		t.Errorf("numbers: %v", s)
	}
	var exprs []string
	for _, o := range s.GetSlo() {
		exprs = append(exprs, o.GetExpression())
	}
	if !slices.Equal(exprs, []string{"p99(e2e) < 1s", "error_rate < 2%"}) || s.GetGood()[0].GetMetric() != "e2e" {
		t.Errorf("objectives: %v", exprs)
	}
	if s.GetTargets()[0].GetUrl() != "http://127.0.0.1:8000" || s.GetTargets()[0].GetTimeouts().GetConnect().GetSeconds() != 1 {
		t.Errorf("target: %v", s.GetTargets()[0])
	}
}

// An override changes the one place it names, though anchors share it.
func TestOverrideLeavesAnchorsAlone(t *testing.T) {
	s := parse(t, base, "workloads[0].http.path=/changed", `workloads[1].http.headers["x-a.b"]=d`)
	one, two := s.GetWorkloads()[0].GetHttp(), s.GetWorkloads()[1].GetHttp()
	if one.GetPath() != "/changed" || two.GetPath() != "/one" || one.GetHeaders()["x-a.b"].GetValue() != "c" || two.GetHeaders()["x-a.b"].GetValue() != "d" {
		t.Errorf("%v\n%v", one, two)
	}
}

// The order of overrides counts, and one may mend what the file has wrong.
func TestOverrideMends(t *testing.T) {
	broken := strings.Replace(base, "rate: 5", "rate: 0", 1)
	if got := parse(t, broken, "load[0].open.rate=1", "load[0].open.rate=2").GetLoad()[0].GetOpen().GetRate(); got != 2 {
		t.Errorf("rate %v", got)
	}
}

// Each row: an override, and what its problem says. The place is always the override.
func TestOverrideProblems(t *testing.T) {
	for set, want := range map[string]string{
		"load[0].open.rate=0":                 "load[0].open.rate: must be greater than 0",
		"load[0].open.rate":                   "an equals sign",
		"load[0].open.rat=5":                  "did you mean rate",
		"load[0].open.rate=":                  "has no value",
		"load[0].open.rate=[5":                "not YAML",
		"load[2].open.rate=5":                 "the phase has no length",
		"load[9].open.rate=5":                 "there is no element 9: the list has 2",
		"load.open.rate=5":                    `is a list, so "open" cannot be set in it`,
		"name[0]=5":                           "must be text, got a list",
		"load[x]=5":                           "not the number of an element",
		"load[0=5":                            "not closed",
		"load[0]open=5":                       "needs a dot",
		"load..open=5":                        "empty part",
		"=5":                                  "1 to 32 parts",
		`targets[0].headers["a=5`:             "not closed",
		"slo[+]=p99(ttfs) < 1s":               "slo[1]: unknown series",
		"slo[0]=p99(ttft){phase=zz} < 1s":     `no phase is called "zz"`,
		"workloads[0].target=other":           `no target is called "other"`,
		"targets[0].url=http://u:secret@h/":   "holds credentials",
		"targets[0].headers.x-api-key=secret": "a secret must not stand",
		strings.Repeat("a.", 40) + "b=5":      "1 to 32 parts",
		"workloads[0].http.body_file=" + "{a: " + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}": "nested deeper",
	} {
		_, err := scenario.Parse(scenario.Source{Name: "base.yaml", Data: []byte(base)}, "seed=1", set)
		var ps scenario.Problems
		if !errors.As(err, &ps) {
			t.Errorf("%s: error %v", set, err)
			continue
		}
		p := ps[0]
		if !strings.HasPrefix(p.File, "--set ") || p.Line != 0 || !strings.Contains(p.String(), want) {
			t.Errorf("%s: %v", set, err)
		}
		if strings.Contains(err.Error(), "secret@") || strings.Contains(err.Error(), "=secret") {
			t.Errorf("%s: shows the secret: %v", set, err)
		}
	}
	if _, err := scenario.Parse(scenario.Source{Data: []byte(base)}, make([]string, scenario.MaxOverrides+1)...); err == nil || !strings.Contains(err.Error(), "overrides") {
		t.Errorf("too many overrides: %v", err)
	}
}
