package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// TestFilesReachAgentsThatDoNotSeeThem plays a data set and .proto files, one of which imports another, on agents that have
// never seen their folder: it is gone before they are told of the run.
func TestFilesReachAgentsThatDoNotSeeThem(t *testing.T) {
	t.Parallel()
	web := serveSim(t, nil)
	service, address := serveGRPC(t, nil)
	text := strings.NewReplacer("WEB", web.root, "GRPC", address).Replace(`name: cluster
targets:
  - {name: web, url: WEB, protocol: http}
  - {name: service, url: GRPC, protocol: grpc, proto_files: [protos/all.proto], import_paths: [elsewhere, protos]}
workloads:
  - {name: page, target: web, http: {method: POST, path: /echo, body: "{{row.q}}", dataset: {file: rows.jsonl}}}
  - {name: tokens, target: service, grpc: {method: loadline.sim.v1.GeneratorService/Generate, message: {prompt: a, count: 5}}}
load: [{name: p, open: {rate: 40}, sessions: 40}]
slo: [max(ttft) < 1m]
` + everyArrival)
	c := startCluster(t, nil, 1, true)
	scene := filepath.Join(c.dir, "scene")
	rows := []byte(strings.Repeat("{\"q\": \"one two\"}\n", 5000))
	for name, data := range map[string][]byte{
		"s.yaml": []byte(text), "rows.jsonl": rows,
		"protos/all.proto": []byte("syntax = \"proto3\";\nimport public \"sim.proto\";\n"),
		"protos/sim.proto": read(t, "..", "..", "proto", "loadline", "sim", "v1", "sim.proto"),
	} {
		path := filepath.Join(scene, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := &played{dir: c.dir, folder: filepath.Join(c.dir, "r")}
	p.process = start(t, c.dir, nil, c.client("run", "scene/s.yaml", "--plain", "--out", "r", "--agents", "2")...)
	kept := func(folder string) int {
		entries, _ := os.ReadDir(folder) // it may not be there yet
		n := 0
		for _, e := range entries {
			data, err := os.ReadFile(filepath.Join(folder, e.Name()))
			if sum := sha256.Sum256(data); err == nil && e.Name() == hex.EncodeToString(sum[:]) {
				n++
			}
		}
		return n
	}
	p.until(t, "the coordinator has the files", func() bool { return kept(filepath.Join(c.dir, "kept", "files")) == 3 })
	if err := os.RemoveAll(scene); err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(c.dir, "cache")
	c.join(t, "a2", "--cache-dir", cache, "--cache-max", "1MiB")
	p.wait()
	p.read(t)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	p.wantVerdict(t, 0)
	if r := p.summary.GetRequests(); r.GetSucceeded() != 40 || len(p.summary.GetAgents()) != 2 {
		t.Errorf("%v by %d agents, errors %v", r, len(p.summary.GetAgents()), p.summary.GetErrors())
	}
	if truth := service.Truth(); truth.Routes["grpc_generate"].Completed != 20 {
		t.Errorf("%+v", truth.Routes)
	}
	if n := kept(cache); n != 3 {
		t.Errorf("the agent keeps %d files by their digest, want 3", n)
	}
	c.wantGoodEnd(t)
}

// TestALargeUploadTellsHowFarItIs reads a file that takes longer than the pause between two lines.
func TestALargeUploadTellsHowFarItIs(t *testing.T) {
	var said bytes.Buffer
	u := &upload{file: bytes.NewReader(make([]byte, 2<<20)), name: "rows\x1b.jsonl", size: 2 << 20, tell: &said, told: time.Now()}
	if _, err := u.ReadAt(make([]byte, 1<<20), 0); err != nil || said.Len() != 0 {
		t.Errorf("it says at once: %q, %v", &said, err)
	}
	u.told = time.Now().Add(-2 * tellEvery)
	if _, err := u.ReadAt(make([]byte, 512<<10), 1<<20); err != nil {
		t.Error(err)
	}
	if text := said.String(); !strings.Contains(text, "1.5 MiB of 2.0 MiB (75%)") || strings.Contains(text, "\x1b") {
		t.Errorf("it says %q", text)
	}
}

func TestSizesOfFiles(t *testing.T) {
	for text, want := range map[string]int64{"20GiB": 20 << 30, "1.5 MiB": 3 << 19, "100": 100, "7 B": 7, "1KiB": 1024, "0": 0, "-1GiB": 0, "x": 0, "9999999TiB": 0, "NaN": 0} {
		if n, err := parseSize("files-max", text); n != want || (err == nil) != (want > 0) {
			t.Errorf("%q is %d, %v; want %d", text, n, err, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 900: "900 B", 1536: "1.5 KiB", 20 << 30: "20.0 GiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

// TestARunThatIsTakenUpAgainHasItsFiles kills the coordinator in the middle of a run and starts it again: the run goes on, and an
// agent that joins only then gets the data set, whose own folder is gone.
func TestARunThatIsTakenUpAgainHasItsFiles(t *testing.T) {
	t.Parallel()
	target := serveSim(t, nil)
	f := files{"rows.jsonl": "{\"q\": \"one\"}\n{\"q\": \"two\"}\n", "s.yaml": fmt.Sprintf(`name: cluster
targets: [{name: t, url: "%s", protocol: http}]
workloads: [{name: w, target: t, http: {method: POST, path: /echo, body: "{{row.q}}", dataset: {file: rows.jsonl}}}]
load: [{name: main, open: {rate: 20}, duration: 20s}]
orphan: {hold: 20s}
%s`, target.root, everyArrival)}
	c := startCluster(t, f, 1, false)
	p := &played{dir: c.dir, folder: filepath.Join(c.dir, "r")}
	var id string
	p.process, id = c.begin(t, target)
	if err := os.Remove(filepath.Join(c.dir, "rows.jsonl")); err != nil {
		t.Fatal(err)
	}
	c.restart(t)
	c.coordinator.until(t, "the run is taken up again", func() bool { return strings.Contains(c.ask(t, "runs"), id) })
	c.join(t, "a2", "--cache-dir", filepath.Join(c.dir, "cache"))
	c.coordinator.until(t, "a2 plays", func() bool {
		for line := range strings.Lines(c.ask(t, "agents")) {
			if strings.Contains(line, "a2") && strings.Contains(line, id) {
				return true
			}
		}
		return false
	})
	p.wait()
	p.read(t)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	seen := target.arrivals(t, id)
	wantOnce(t, seen)
	if len(seen) != 400 || len(p.summary.GetAgents()) != 2 {
		t.Errorf("%d arrivals at the target by %d agents, want 400 by 2: %v", len(seen), len(p.summary.GetAgents()), p.summary.GetArrivals())
	}
	if entries, err := os.ReadDir(filepath.Join(c.dir, "cache")); err != nil || len(entries) != 1 {
		t.Errorf("the cache of a2 holds %d files, %v", len(entries), err)
	}
}
