package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const echoScenario = `name: echo
seed: 7
targets:
  - {name: api, url: http://127.0.0.1:9, protocol: http, auth: {bearer: {env: ECHO_KEY}}}
workloads:
  - http: {method: POST, path: /echo, body_file: body.txt}
load:
  - {open: {rate: 10}, duration: 1s}
`

// scenarioFile writes a scenario with the body file it names, and returns its path.
func scenarioFile(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string]string{"s.yaml": text, "body.txt": "hello"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "s.yaml")
}

var echoEnv = map[string]string{"ECHO_KEY": "s3cret-value"}

func second(n uint64) *pb.WatchRunResponse {
	return pb.WatchRunResponse_builder{
		Status:   pb.RunStatus_builder{RunId: "r1", State: pb.RunState_RUN_STATE_RUNNING}.Build(),
		Snapshot: pb.Snapshot_builder{Second: n, ElapsedUs: int64(n+1) * 1e6, Due: 10, Started: 10}.Build(),
	}.Build()
}

func TestRunEndsWithTheStatusOfTheSummary(t *testing.T) {
	for _, want := range []int{0, 97, 98, 99, 105} {
		fake := newFake()
		fake.summary = pb.Summary_builder{RunId: "r1", ExitStatus: uint32(want)}.Build()
		close(fake.messages)
		a := newTestApp(t, fake, echoEnv)
		if got := a.run(context.Background(), []string{"run", scenarioFile(t, echoScenario)}); got != want {
			t.Errorf("exit status %d, want %d; standard error:\n%s", got, want, a.err)
		}
		if a.stopped != 1 {
			t.Errorf("the cluster was stopped %d times", a.stopped)
		}
		if !strings.Contains(a.out.String(), "r1") {
			t.Errorf("no final block on standard output: %q", a.out)
		}
	}
}

func TestRunSendsWhatItRead(t *testing.T) {
	fake := newFake()
	close(fake.messages)
	a := newTestApp(t, fake, echoEnv)
	path := scenarioFile(t, echoScenario)
	if got := a.run(context.Background(), []string{"run", path, "--agents", "3", "--out", "elsewhere", "--set", "load[0].open.rate=20"}); got != 0 {
		t.Fatalf("exit status %d: %s", got, a.err)
	}
	r := fake.started[0]
	sum := sha256.Sum256([]byte("hello"))
	if f := r.GetFiles(); len(f) != 1 || f[0].GetPath() != "body.txt" || f[0].GetSize() != 5 || hex.EncodeToString(f[0].GetSha256()) != hex.EncodeToString(sum[:]) {
		t.Errorf("files: %v", f)
	}
	digest := scenario.Digest(r.GetScenario(), r.GetFiles())
	if r.GetDigest() != hex.EncodeToString(digest[:]) {
		t.Errorf("digest %q is not that of the scenario", r.GetDigest())
	}
	if string(r.GetSource()) != echoScenario || r.GetBaseDir() != filepath.Dir(path) {
		t.Errorf("source %q in %q", r.GetSource(), r.GetBaseDir())
	}
	if got := r.GetScenario().GetLoad()[0].GetOpen().GetRate(); got != 20 {
		t.Errorf("--set was not applied: rate %v", got)
	}
	if r.GetAgents() != 3 || a.options.Agents != 3 || a.options.Folder != "elsewhere" {
		t.Errorf("agents %d, options %+v", r.GetAgents(), a.options)
	}
	if strings.Contains(protojson.Format(r), "s3cret-value") {
		t.Error("the value of a secret is in the request")
	}
}

func TestRunRefusesBeforeStarting(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := scenarioFile(t, echoScenario)
	tests := []struct {
		name string
		args []string
		env  map[string]string
		want []string
	}{
		{"missing file", []string{"run", filepath.Join(dir, "none.yaml")}, nil, []string{"none.yaml", "no such file"}},
		{"folder", []string{"run", dir}, nil, []string{"folder"}},
		{"binary", []string{"run", write("b.yaml", []byte("name: \x00\x01"))}, nil, []string{"not text"}},
		{"too large", []string{"run", write("l.yaml", make([]byte, 2<<20))}, nil, []string{"1 MiB"}},
		{"problems", []string{"run", write("p.yaml", []byte("name: x\nnaem: y\n"))}, nil, []string{"p.yaml:2:1", "naem"}},
		{"missing secret", []string{"run", good}, nil, []string{"ECHO_KEY", "not set"}},
		{"missing data", []string{"run", write("d.yaml", []byte(echoScenario))}, echoEnv, []string{"body.txt", "workloads[0].http.body_file"}},
		{"two files", []string{"run", good, good}, nil, []string{"one scenario file"}},
		{"folder in use", []string{"run", good, "--out", filepath.Dir(good)}, echoEnv, []string{"--out", "not empty"}},
		{"folder is a file", []string{"run", good, "--out", good}, echoEnv, []string{"--out", "s.yaml"}},
		{"no agents", []string{"run", good, "--agents", "0"}, echoEnv, []string{"--agents 0"}},
		{"quick flag beside a file", []string{"run", good, "--rate", "5"}, echoEnv, []string{"--rate", "LOADLINE_RATE"}},
		{"nothing", []string{"run"}, nil, []string{"--url"}},
		{"bad environment", []string{"run", good}, map[string]string{"LOADLINE_AGENTS": "many"}, []string{"LOADLINE_AGENTS", "many"}},
		{"unknown preset", []string{"run", "--url", "sim://huge", "--rate", "1"}, nil, []string{"huge", "small"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fake := newFake()
			close(fake.messages)
			a := newTestApp(t, fake, tt.env)
			if got := a.run(context.Background(), tt.args); got != statusBadInput {
				t.Errorf("exit status %d, want 104", got)
			}
			for _, want := range tt.want {
				if !strings.Contains(a.err.String(), want) {
					t.Errorf("%q is not in the message:\n%s", want, a.err)
				}
			}
			if len(fake.started) > 0 {
				t.Error("a run was started")
			}
		})
	}
}

func TestRunReportsWhatTheServiceRefuses(t *testing.T) {
	tests := []struct {
		code codes.Code
		want int
	}{{codes.InvalidArgument, 104}, {codes.FailedPrecondition, 104}, {codes.Unavailable, 1}, {codes.Internal, 1}}
	for _, tt := range tests {
		fake := newFake()
		fake.startErr = status.Error(tt.code, "the folder cannot be written")
		a := newTestApp(t, fake, echoEnv)
		if got := a.run(context.Background(), []string{"run", scenarioFile(t, echoScenario)}); got != tt.want {
			t.Errorf("%s: exit status %d, want %d", tt.code, got, tt.want)
		}
		if got := a.err.String(); got != "loadline: the folder cannot be written\n" {
			t.Errorf("%s: message %q", tt.code, got)
		}
		if a.stopped != 1 {
			t.Errorf("%s: the cluster was stopped %d times", tt.code, a.stopped)
		}
	}
}

// play runs a scenario in the background and returns the channel of its exit status.
func play(a *testApp, args ...string) <-chan int {
	done := make(chan int, 1)
	go func() { done <- a.run(context.Background(), append([]string{"run"}, args...)) }()
	return done
}

func TestSignalsHardenTheStop(t *testing.T) {
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		fake := newFake()
		fake.summary = pb.Summary_builder{RunId: "r1", ExitStatus: 105}.Build()
		stops := make(chan pb.StopMode)
		fake.onStop = func(m pb.StopMode) { stops <- m }
		a := newTestApp(t, fake, echoEnv)
		done := play(a, scenarioFile(t, echoScenario))
		fake.messages <- second(0)
		a.interr <- signal
		if m := <-stops; m != pb.StopMode_STOP_MODE_DRAIN {
			t.Errorf("first %s: %s", signal, m)
		}
		fake.messages <- second(1) // the run goes on while it drains
		a.interr <- signal
		if m := <-stops; m != pb.StopMode_STOP_MODE_NOW {
			t.Errorf("second %s: %s", signal, m)
		}
		close(fake.messages)
		if got := <-done; got != 105 {
			t.Errorf("exit status %d, want 105", got)
		}
		if fake.reports != 1 || !strings.Contains(a.out.String(), "r1") {
			t.Errorf("no full report after a stop: %q", a.out)
		}
		if !strings.Contains(a.err.String(), "no new arrivals") || !strings.Contains(a.err.String(), "stopping now") {
			t.Errorf("the stop was not announced:\n%s", a.err)
		}
	}
}

func TestThirdSignalLeavesAtOnce(t *testing.T) {
	fake := newFake()
	hang := make(chan struct{})
	defer close(hang)
	fake.onStop = func(pb.StopMode) { <-hang } // a coordinator that does not answer
	a := newTestApp(t, fake, echoEnv)
	done := play(a, scenarioFile(t, echoScenario))
	fake.messages <- second(0)
	for range 3 {
		a.interr <- os.Interrupt
	}
	if got := <-done; got != 105 {
		t.Errorf("exit status %d, want 105", got)
	}
	if got := a.err.String(); !strings.Contains(got, "journal is valid") || !strings.Contains(got, "loadline report runs/r1") {
		t.Errorf("message: %s", got)
	}
}

func TestSignalBeforeTheRunBegins(t *testing.T) {
	fake := newFake()
	a := newTestApp(t, fake, echoEnv)
	entered := make(chan struct{})
	a.embedded = func(ctx context.Context, _ embeddedOptions) (pb.ControlServiceClient, func() error, error) {
		close(entered)
		<-ctx.Done()
		return nil, nil, ctx.Err()
	}
	done := play(a, scenarioFile(t, echoScenario))
	<-entered
	a.interr <- os.Interrupt
	if got := <-done; got != 105 {
		t.Errorf("exit status %d, want 105", got)
	}
	if len(fake.started) > 0 || !strings.Contains(a.err.String(), "before the run began") {
		t.Errorf("started %d; message %q", len(fake.started), a.err)
	}
}

// hearingView hands every notice to the test.
type hearingView struct {
	quietView
	notices chan string
}

func (v hearingView) Notice(text string) { v.notices <- text }

func TestFailedStopIsSaid(t *testing.T) {
	fake := newFake()
	fake.stopErr = status.Error(codes.Unavailable, "bus is gone")
	signals, heard := make(chan os.Signal, 1), make(chan string, 1)
	f := &follower{client: fake, runID: "r1", view: hearingView{notices: heard}, signals: signals}
	done := make(chan error, 1)
	go func() { _, err := f.follow(context.Background()); done <- err }()
	signals <- os.Interrupt
	if got := <-heard; !strings.Contains(got, "bus is gone") {
		t.Errorf("notice %q", got)
	}
	close(fake.messages)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestBrokenStreamIsOpenedAgain(t *testing.T) {
	fake := newFake()
	fake.reportErr = []error{status.Error(codes.FailedPrecondition, "the run goes on")}
	f := &follower{client: fake, runID: "r1", view: quietView{}}
	done := make(chan error, 1)
	go func() { _, err := f.follow(context.Background()); done <- err }()
	fake.messages <- second(0)
	fake.messages <- nil
	fake.messages <- second(1)
	close(fake.messages)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if fake.watches != 2 {
		t.Errorf("watched %d times, want 2", fake.watches)
	}
}

func TestBrokenStreamOfALostRunIsAnError(t *testing.T) {
	fake := newFake()
	fake.reportErr = []error{status.Error(codes.NotFound, "there is no run r1")}
	a := newTestApp(t, fake, echoEnv)
	done := play(a, scenarioFile(t, echoScenario))
	fake.messages <- nil
	if got := <-done; got != statusUnforeseen {
		t.Errorf("exit status %d, want 1", got)
	}
	for _, want := range []string{"there is no run r1", "the stream broke"} {
		if !strings.Contains(a.err.String(), want) {
			t.Errorf("%q is not in the message:\n%s", want, a.err)
		}
	}
}

func TestProgressOffATerminal(t *testing.T) {
	lines := func(args ...string) []string {
		fake := newFake()
		a := newTestApp(t, fake, echoEnv)
		done := play(a, append([]string{scenarioFile(t, echoScenario)}, args...)...)
		for n := range uint64(12) {
			fake.messages <- second(n)
		}
		close(fake.messages)
		<-done
		return strings.Split(strings.TrimSpace(a.err.String()), "\n")
	}
	if got := lines(); len(got) != 4 || got[0] != "run r1 of echo; its folder is runs/r1" ||
		!strings.HasPrefix(got[2], "00:05") || !strings.HasPrefix(got[3], "00:10") {
		t.Errorf("want the folder, the state and a line every five seconds, got:\n%s", strings.Join(got, "\n"))
	}
	if got := lines("--quiet"); len(got) != 1 || got[0] != "" {
		t.Errorf("--quiet wrote:\n%s", strings.Join(got, "\n"))
	}
	got := lines("--json")
	if len(got) != 12 {
		t.Errorf("--json wrote %d lines for 12 seconds", len(got))
	}
	for _, line := range got {
		var p struct {
			RunID string  `json:"run_id"`
			Rate  float64 `json:"offered_rate"`
		}
		if err := json.Unmarshal([]byte(line), &p); err != nil || p.RunID != "r1" || p.Rate != 10 {
			t.Errorf("line %q: %v", line, err)
		}
	}
}

func TestSimulatedTargetKeepsTheDigest(t *testing.T) {
	var digests []string
	for range 2 {
		fake := newFake()
		close(fake.messages)
		a := newTestApp(t, fake, nil)
		if got := a.run(context.Background(), []string{"run", "--url", "sim://small", "--rate", "1"}); got != 0 {
			t.Fatalf("exit status %d: %s", got, a.err)
		}
		r := fake.started[0]
		if got := r.GetScenario().GetTargets()[0].GetUrl(); got != "sim://small" {
			t.Errorf("the scenario's address became %q", got)
		}
		name := r.GetScenario().GetTargets()[0].GetName()
		if got := r.GetAddresses()[name]; !strings.HasPrefix(got, "http://127.0.0.1:") || !strings.HasSuffix(got, "/v1") {
			t.Errorf("address of %q: %q", name, got)
		}
		digests = append(digests, r.GetDigest())
	}
	if digests[0] != digests[1] {
		t.Errorf("two runs of one scenario have digests %s and %s", digests[0], digests[1])
	}
}
