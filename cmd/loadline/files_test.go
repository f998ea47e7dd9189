package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func parse(t *testing.T, text string) *pb.Scenario {
	t.Helper()
	s, err := scenario.Parse(scenario.Source{Name: "test", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const manyReferences = `name: refs
targets:
  - {name: a, url: http://127.0.0.1:9/v1, protocol: openai-chat, model: m, auth: {bearer: {env: KEY_A}}, headers: {x-one: {env: KEY_B}, x-plain: env}}
  - {name: b, url: http://127.0.0.1:9, protocol: http, auth: {basic: {user: u, password: {env: KEY_C}}}}
  - {name: c, url: http://127.0.0.1:9, protocol: http, auth: {header: {name: x-api-key, value: {env: KEY_D}}}}
workloads:
  - {name: w, target: a, dataset: {file: rows.jsonl}, headers: {x-two: {env: KEY_E}}}
  - {name: v, target: b, http: {path: /, headers: {x-three: {env: KEY_F}}, dataset: {file: rows.jsonl}}}
  - {name: u, target: c, http: {method: POST, body_file: body.bin}}
load:
  - {open: {rate: 1}, duration: 1s}
`

func TestCheckSecretsNamesEveryMissingVariable(t *testing.T) {
	s := parse(t, manyReferences)
	set := map[string]string{}
	env := func(name string) (string, bool) { v, ok := set[name]; return v, ok }
	err := checkSecrets(s, env)
	if err == nil || !strings.Contains(err.Error(), "KEY_A, KEY_B, KEY_C, KEY_D, KEY_E, KEY_F") {
		t.Errorf("nothing set: %v", err)
	}
	for _, name := range []string{"KEY_A", "KEY_C", "KEY_D", "KEY_E", "KEY_F"} {
		set[name] = "top-" + name
	}
	set["KEY_B"] = ""
	err = checkSecrets(s, env)
	if err == nil || !strings.Contains(err.Error(), ": KEY_B\n") || strings.Contains(err.Error(), "top-") {
		t.Errorf("KEY_B empty: %v", err)
	}
	set["KEY_B"] = "x"
	if err := checkSecrets(s, env); err != nil {
		t.Errorf("all set: %v", err)
	}
}

func TestDigestFiles(t *testing.T) {
	s, dir := parse(t, manyReferences), t.TempDir()
	_, err := digestFiles(context.Background(), s, dir)
	for _, want := range []string{"rows.jsonl", "body.bin", dir} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named: %v", want, err)
		}
	}
	for name, data := range map[string]string{"rows.jsonl": "{}", "body.bin": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	digests, err := digestFiles(context.Background(), s, dir)
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int64{}
	for _, d := range digests {
		sizes[d.GetPath()] = d.GetSize()
	}
	if diff := cmp.Diff(map[string]int64{"rows.jsonl": 2, "body.bin": 0}, sizes); diff != "" || len(digests) != 2 {
		t.Errorf("one entry a path wanted:\n%s", diff)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := digestFiles(ctx, s, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled read ends with %v", err)
	}
}

func TestHeldWriterKeepsUpToItsBound(t *testing.T) {
	var out bytes.Buffer
	w := &heldWriter{out: &out}
	write := func(s string) {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
	}
	write("before\n")
	w.hold()
	write("held\n")
	write(strings.Repeat("x", maxHeld))
	if got := out.String(); got != "before\n" {
		t.Errorf("while holding: %q", got)
	}
	w.release()
	write("after\n")
	if got, want := out.String(), "before\nheld\n1 more lines of the log were left out\nafter\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
