package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const fromData = `name: data
targets:
  - {url: TARGET/v1, protocol: openai-chat, model: m}
workloads:
  - dataset: {file: rows.jsonl}
load:
  - {open: {rate: 50}, duration: 1s}
`

// TestBadInputIsRefusedBeforeLoad: what is wrong is named with its place, nothing is sent, no run folder appears.
func TestBadInputIsRefusedBeforeLoad(t *testing.T) {
	t.Parallel()
	g := serveSim(t, nil)
	good := steadyFor(g)
	data := strings.ReplaceAll(fromData, "TARGET", g.root)
	secret := strings.Replace(good, "model: m", "model: m, auth: {bearer: {env: E2E_ABSENT_KEY}}", 1)
	tests := map[string]struct {
		files files
		args  []string
		want  []string
	}{
		"missing file":   {files{}, nil, []string{"s.yaml", "no such file"}},
		"folder":         {files{}, []string{"run", "folder"}, []string{"folder", "name the scenario file"}},
		"binary":         {files{"s.yaml": "name: x\x00\x01\x02"}, nil, []string{"s.yaml", "not text"}},
		"not UTF-8":      {files{"s.yaml": "name: \xff\xfe"}, nil, []string{"s.yaml", "UTF-8"}},
		"2 MiB":          {files{"s.yaml": good + "#" + strings.Repeat("x", 2<<20)}, nil, []string{"s.yaml", "1 MiB"}},
		"empty":          {files{"s.yaml": ""}, nil, []string{"s.yaml"}},
		"unknown field":  {files{"s.yaml": strings.Replace(good, "model:", "modle:", 1)}, nil, []string{"s.yaml:3:", "did you mean model?", "^"}},
		"bad override":   {files{"s.yaml": good}, []string{"run", "s.yaml", "--set", "load[0].open.rate=-1"}, []string{"load[0].open.rate"}},
		"no data set":    {files{"s.yaml": data}, nil, []string{"rows.jsonl", "no such file"}},
		"broken line":    {files{"s.yaml": data, "rows.jsonl": "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n{\"prompt\": oops}\n"}, nil, []string{"rows.jsonl:3"}},
		"line of a list": {files{"s.yaml": data, "rows.jsonl": "{\"prompt\": \"a\"}\n[1, 2]\n"}, nil, []string{"rows.jsonl:2"}},
		"wrong field":    {files{"s.yaml": data, "rows.jsonl": "{\"text\": \"a\"}\n"}, nil, []string{"rows.jsonl:1", "prompt"}},
		"empty data set": {files{"s.yaml": data, "rows.jsonl": ""}, nil, []string{"rows.jsonl"}},
		"missing key":    {files{"s.yaml": secret}, nil, []string{"E2E_ABSENT_KEY", "export"}},
		"file as folder": {files{"s.yaml": good, "r": "a file"}, nil, []string{"--out"}},
		"file in the way": {
			files{"s.yaml": good, "way": "a file"},
			[]string{"run", "s.yaml", "--out", "way/r"}, []string{"--out", "not a directory"},
		},
		"used folder":    {files{"s.yaml": good}, []string{"run", "s.yaml", "--out", "folder"}, []string{"--out folder", "not empty"}},
		"no agents":      {files{"s.yaml": good}, []string{"run", "s.yaml", "--agents", "0"}, []string{"--agents 0"}},
		"no such preset": {files{"s.yaml": strings.Replace(good, g.root+"/v1", "sim://huge", 1)}, nil, []string{"huge", "small"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := tt.files.write(t)
			if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "folder", "note"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			args := tt.args
			if args == nil {
				args = []string{"run", "s.yaml", "--out", "r"}
			}
			p := execLoadline(t, dir, nil, args...)
			if p.status != 104 || p.out.String() != "" {
				t.Errorf("exit status %d, want 104; standard output %q", p.status, &p.out)
			}
			for _, want := range tt.want {
				if !strings.Contains(p.err.String(), want) {
					t.Errorf("standard error has no %q:\n%s", want, &p.err)
				}
			}
			for _, made := range []string{"r/journal", "runs"} {
				if _, err := os.Stat(filepath.Join(dir, made)); err == nil {
					t.Errorf("%s was made", made)
				}
			}
		})
	}
	if n := g.begun(); n > 0 {
		t.Errorf("the target saw %d requests", n)
	}
}

// TestRunFolderThatCannotBeMade: a place where nothing can be written is told, and nothing is sent.
func TestRunFolderThatCannotBeMade(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self"); err != nil {
		t.Skip("there is no /proc, where nothing can be made")
	}
	g := serveSim(t, nil)
	p := execLoadline(t, files{"s.yaml": steadyFor(g)}.write(t), nil, "run", "s.yaml", "--out", "/proc/self/r")
	if p.status == 0 || !strings.Contains(p.err.String(), "/proc/self/r") || g.begun() > 0 {
		t.Errorf("exit status %d, %d requests: %s", p.status, g.begun(), &p.err)
	}
}

// TestFileThatChanged: a data set that is not the one that was read when the scenario was is refused by the agents, with
// the reason in the report.
func TestFileThatChanged(t *testing.T) {
	t.Parallel()
	g := serveSim(t, nil)
	dir := files{"rows.jsonl": "{\"prompt\": \"now\"}\n"}.write(t)
	s, err := scenario.Parse(scenario.Source{Name: "s.yaml", Data: []byte(strings.ReplaceAll(fromData, "TARGET", g.root))})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	client, stop, err := startEmbedded(t.Context(), embeddedOptions{
		Agents: 2, Folder: filepath.Join(dir, "r"), Env: os.LookupEnv, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	before := sha256.Sum256([]byte("{\"prompt\": \"old\"}\n"))
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	started, err := client.StartRun(ctx, pb.StartRunRequest_builder{
		RequestId: "changed", Scenario: s, BaseDir: dir, Agents: 2,
		Files: []*pb.FileDigest{pb.FileDigest_builder{Path: "rows.jsonl", Sha256: before[:], Size: 18}.Build()},
	}.Build())
	if err != nil {
		t.Fatal(err)
	}
	got := waitReport(ctx, t, client, started.GetRunId())
	if err := stop(); err != nil {
		t.Error(err)
	}
	reasons := strings.Join(got.GetReasons(), "\n")
	if got.GetState() != pb.SummaryState_SUMMARY_STATE_ABORTED || got.GetExitStatus() == 0 ||
		!strings.Contains(reasons, "rows.jsonl has changed since the scenario was read") {
		t.Errorf("state %v, exit status %d, reasons %q\n%s", got.GetState(), got.GetExitStatus(), reasons, &log)
	}
	if got.GetArrivals().GetStarted() != 0 || g.begun() != 0 {
		t.Errorf("%d requests were sent", g.begun())
	}
}

// waitReport waits for the end of a run.
func waitReport(ctx context.Context, t *testing.T, client pb.ControlServiceClient, run string) *pb.Summary {
	t.Helper()
	stream, err := client.WatchRun(ctx, pb.WatchRunRequest_builder{RunId: run}.Build())
	for err == nil {
		_, err = stream.Recv()
	}
	got, err := client.GetReport(ctx, pb.GetReportRequest_builder{RunId: run}.Build())
	if err != nil {
		t.Fatal(err)
	}
	return got.GetSummary()
}
