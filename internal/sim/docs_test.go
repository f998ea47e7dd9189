package sim

import (
	"fmt"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestPresetCapacities holds the capacities of the presets, and the page that prints them.
func TestPresetCapacities(t *testing.T) {
	var text strings.Builder
	for _, name := range Presets() {
		cfg, err := Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := cfg.validate(); err != nil {
			t.Errorf("preset %s: %v", name, err)
		}
		fmt.Fprintf(&text, "%s\n%s\n", name, cfg.Capacity(cfg.MeanInput, cfg.MeanOutput))
		for _, f := range cfg.Faults {
			fmt.Fprintf(&text, "fault %s\n", f)
		}
		text.WriteByte('\n')
	}
	got := strings.TrimSuffix(text.String(), "\n")
	golden(t, "capacities.txt", []byte(got))
	if !strings.Contains(page(t), "```text\n"+got+"```\n") {
		t.Error("docs/simulator.md does not hold testdata/capacities.txt as it is")
	}
}

func page(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPageIsComplete: every fault, parameter and field of the truth stands on the page, and every
// example of a fault or distribution there is read.
func TestPageIsComplete(t *testing.T) {
	text := page(t)
	for _, k := range Kinds() {
		if !strings.Contains(text, "\n| `"+string(k)+"` |") {
			t.Errorf("no row for fault %s", k)
		}
		own, _ := keysOf(k)
		for _, key := range append(momentKeys(k), own...) {
			if !strings.Contains(text, "`"+key+"`") {
				t.Errorf("parameter %s of %s is not explained", key, k)
			}
		}
	}
	for _, v := range []any{Truth{}, RouteTruth{}, RunTruth{}, Quantiles{}, Timeline{}, BatchingTruth{}, Arrival{}, RequestTruth{}} {
		for f := range reflect.TypeOf(v).Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !strings.Contains(text, "`"+name+"`") {
				t.Errorf("field %s of %T is not explained", name, v)
			}
		}
	}
	examples := 0
	for word := range strings.FieldsSeq(text) {
		word = strings.Trim(word, "`,.;()|")
		kind, rest, found := strings.Cut(word, ":")
		if _, known := keysOf(Kind(kind)); known && found && rest != "" {
			examples++
			if _, err := ParseFault(word); err != nil {
				t.Error(err)
			}
		}
	}
	if examples < 5 {
		t.Errorf("%d examples of faults", examples)
	}
}

// TestConfigurationRefused: all problems at once, each with its place.
func TestConfigurationRefused(t *testing.T) {
	cfg := Default()
	cfg.Law, cfg.Role, cfg.OutputTokens, cfg.TokensPerEvent, cfg.Context, cfg.Requests = "random", "last", 0, 0, -1, -1
	cfg.Echo = Distribution{Shape: ShapeUniform, A: 2, B: 1}
	cfg.APIKey = strings.Repeat("k", MaxName+1)
	cfg.Faults = []Fault{
		{Kind: "crash"}, {Kind: KindFreeze, P: 1, For: 1}, {Kind: KindFreeze, P: 1, For: 1},
		{Kind: KindStatus, P: -1, Code: http.StatusOK},
	}
	_, err := New(cfg)
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{
		`law: "random"`, `role: "last"`, "output tokens: 0", "tokens per event", "context: -1", "requests: -1", "echo: upper end", "at most 256 bytes",
		`fault 1 (crash)`, "more than one freeze", "fault 4 (status): p: -1", "fault 4 (status): code: 200",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
	cfg = Default()
	cfg.Law, cfg.Batching = LawBatching, Batching{Batch: -1, PerPrompt: -1}
	if _, err = New(cfg); err == nil || !strings.Contains(err.Error(), "batching: batch: -1") || !strings.Contains(err.Error(), "batching: step: 0s") {
		t.Errorf("%v", err)
	}
	if _, err := Preset("medium"); err == nil || !strings.Contains(err.Error(), "none of small, large, fragile") {
		t.Errorf("%v", err)
	}
	if _, err := ParseBatching(Batching{}, "stepp=1ms,batch=x,prefix=7"); err == nil ||
		!strings.Contains(err.Error(), "stepp: no such parameter") || !strings.Contains(err.Error(), `batch: "x" is not a whole number`) {
		t.Errorf("%v", err)
	}
}
