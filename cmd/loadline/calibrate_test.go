package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/loadline/loadline/coordinator/calibrate"
	"github.com/loadline/loadline/coordinator/judge"
	"github.com/loadline/loadline/coordinator/report"
	"github.com/loadline/loadline/internal/null"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// fakeMachine is a cluster on a machine that sustains so many sessions a second and so many open streams.
type fakeMachine struct {
	*fakeControl
	requests float64
	streams  uint64
	busy     float64 // share of the machine

	mu   sync.Mutex
	last *pb.Scenario
}

func (m *fakeMachine) StartRun(ctx context.Context, in *pb.StartRunRequest, o ...grpc.CallOption) (*pb.StartRunResponse, error) {
	m.mu.Lock()
	m.last = in.GetScenario()
	m.mu.Unlock()
	return m.fakeControl.StartRun(ctx, in, o...)
}

func (m *fakeMachine) GetReport(context.Context, *pb.GetReportRequest, ...grpc.CallOption) (*pb.GetReportResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	hold := m.last.GetLoad()[len(m.last.GetLoad())-1]
	held := hold.GetOpen().GetRate() <= m.requests && hold.GetSessions() <= m.streams
	series := func(name string, p50, p99 uint64) *pb.SeriesSummary {
		return pb.SeriesSummary_builder{Name: name, Count: 1000, P50: &p50, P99: &p99}.Build()
	}
	return pb.GetReportResponse_builder{Summary: pb.Summary_builder{
		State: pb.SummaryState_SUMMARY_STATE_COMPLETE, Validity: pb.Validity_builder{Valid: held}.Build(),
		Phases: []*pb.PhaseSummary{pb.PhaseSummary_builder{Name: hold.GetName(), InFlightMax: hold.GetSessions()}.Build()},
		Agents: []*pb.AgentSummary{pb.AgentSummary_builder{Name: "a1", CpuMax: m.busy}.Build()},
		Series: []*pb.SeriesSummary{series("lateness", 60, 200), series("ttft_service", 120, 400)},
	}.Build()}.Build(), nil
}

// calibrated is an app on such a machine; its null server is in no process.
func calibratedApp(t *testing.T, m *fakeMachine) *testApp {
	t.Helper()
	m.fakeControl = newFake()
	close(m.messages)
	a := newTestApp(t, nil, nil)
	a.embedded = func(_ context.Context, o embeddedOptions) (pb.ControlServiceClient, func() error, error) {
		a.options = o
		return m, func() error { a.stopped++; return nil }, nil
	}
	a.null = func(context.Context) (string, func() error, error) {
		return "127.0.0.1:9", func() error { a.stopped++; return nil }, nil
	}
	return a
}

func TestCalibrateKeepsWhatItFinds(t *testing.T) {
	a := calibratedApp(t, &fakeMachine{requests: 11_500, streams: 6000})
	if status := a.run(t.Context(), []string{"calibrate", "--json"}); status != 0 {
		t.Fatalf("exit status %d: %s", status, a.err)
	}
	c, err := calibrate.Decode(bytes.NewReader(a.out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	// 11,500 sessions a second: 8,000 held, 16,000 did not; then 12,000, 10,000, 11,000. A stream has 50 events.
	if c.Requests != (calibrate.Figure{Value: 11_000}) || c.Events != (calibrate.Figure{Value: 560_000}) || c.Streams != (calibrate.Figure{Value: 5500}) {
		t.Errorf("it found %+v", c)
	}
	if c.TTFTServiceP50US != 120 || c.TTFTServiceP99US != 400 || len(c.Lateness) != 5 || c.Lateness[0].Rate != floorRate || c.Lateness[4].Rate != 11_000 {
		t.Errorf("it found %+v", c)
	}
	if a.stopped != 2 {
		t.Errorf("%d of cluster and null server were stopped", a.stopped)
	}
	if _, err := os.Stat(a.options.Runs); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of the runs is left behind: %v", err)
	}
	if got := a.err.String(); !strings.Contains(got, "16,000 requests/s") || strings.Contains(got, "busy at next to no load") || !strings.Contains(got, "too much: sessions started late") {
		t.Errorf("the progress is\n%s", got)
	}
	log := newTestLog()
	if r := a.roofline(t.Context(), log.logger); r.GetRequestsPerSecond() != 11_000 || r.GetStreams() != 5500 || log.String() != "" {
		t.Errorf("a run is given %v; log %s", r, log)
	}
}

func TestCalibrateSaysWhatItFound(t *testing.T) {
	a := calibratedApp(t, &fakeMachine{requests: 3000, streams: 1 << 40})
	if status := a.run(t.Context(), []string{"calibrate"}); status != 0 {
		t.Fatalf("exit status %d: %s", status, a.err)
	}
	for _, want := range []string{"requests      3,000/s\n", "streams       at least 48,000 open at once (nothing higher", "ttft_service  p50 120 µs, p99 400 µs", "lateness      p50 60 µs, p99 200 µs at 200/s", "kept in "} {
		if !strings.Contains(a.out.String(), want) {
			t.Errorf("%q is missing:\n%s", want, a.out)
		}
	}
}

func TestCalibrateOnABusyMachine(t *testing.T) {
	a := calibratedApp(t, &fakeMachine{requests: 220, busy: 0.93})
	if status := a.run(t.Context(), []string{"calibrate"}); status != statusUnforeseen {
		t.Errorf("exit status %d", status)
	}
	if got := a.err.String(); !strings.Contains(got, "not even 250 requests/s: sessions started late") || !strings.Contains(got, "the machine is 93% busy at next to no load") || a.out.Len() > 0 || a.stopped != 2 {
		t.Errorf("it says\n%s%s", got, a.out)
	}
}

// With an address of the user's own nothing but requests is measured, gently at first, and nothing is kept.
func TestCalibrateAnAddress(t *testing.T) {
	m := &fakeMachine{requests: 900}
	a := calibratedApp(t, m)
	if status := a.run(t.Context(), []string{"calibrate", "--url", "http://127.0.0.1:9/x?y=1"}); status != 0 {
		t.Fatalf("exit status %d: %s", status, a.err)
	}
	if first := m.started[0].GetScenario(); first.GetLoad()[1].GetOpen().GetRate() != 250 || first.GetTargets()[0].GetUrl() != "http://127.0.0.1:9" || first.GetWorkloads()[0].GetHttp().GetPath() != "/x?y=1" {
		t.Errorf("the first run is %v", first)
	}
	if !strings.Contains(a.err.String(), "only for an endpoint of your own") || strings.Contains(a.out.String(), "kept in") || strings.Contains(a.out.String(), "streams") {
		t.Errorf("it says\n%s%s", a.err, a.out)
	}
	if r := a.roofline(t.Context(), newTestLog().logger); r != nil {
		t.Errorf("%v was kept", r)
	}
	for _, bad := range []string{"127.0.0.1:9", "grpc://127.0.0.1:9", "http://", "http://u:p@127.0.0.1:9"} {
		if status := a.run(t.Context(), []string{"calibrate", "--url", bad}); status != statusBadInput {
			t.Errorf("%s: exit status %d", bad, status)
		}
	}
}

// The address for runs is not one to be loaded to its limit.
func TestCalibrateHasVariablesOfItsOwn(t *testing.T) {
	m := &fakeMachine{requests: 900, streams: 900}
	a := calibratedApp(t, m)
	a.env = func(name string) (string, bool) { return "http://127.0.0.1:9/", name == "LOADLINE_URL" }
	if status := a.run(t.Context(), []string{"calibrate"}); status != 0 || strings.Contains(a.err.String(), "of your own") {
		t.Errorf("exit status %d: %s", status, a.err)
	}
}

func TestCalibrateIsStoppedByASignal(t *testing.T) {
	m := &fakeMachine{requests: 1 << 40}
	a := calibratedApp(t, m)
	m.messages = make(chan *pb.WatchRunResponse) // the first run does not end
	a.interr <- syscall.SIGINT
	if status := a.run(t.Context(), []string{"calibrate"}); status != statusStopped || a.out.Len() > 0 || a.stopped != 2 {
		t.Errorf("exit status %d, %d stopped: %s", status, a.stopped, a.out)
	}
	if r := a.roofline(t.Context(), newTestLog().logger); r != nil {
		t.Errorf("%v was kept", r)
	}
}

// A calibration that does not fit is left aside, and the log says why. Without one there is nothing to say.
func TestRooflineIsOfThisMachine(t *testing.T) {
	fits := func(a *testApp) calibrate.Calibration {
		return calibrate.Calibration{
			Format: calibrate.Format, Measured: time.Now(), Machine: a.machine(t.Context()), Requests: calibrate.Figure{Value: 10},
		}
	}
	tests := map[string]struct {
		write func(t *testing.T, a *testApp, path string)
		want  float64
		log   string
	}{
		"none": {func(*testing.T, *testApp, string) {}, 0, ""},
		"fits": {func(t *testing.T, a *testApp, _ string) { keep(t, a, fits(a)) }, 10, ""},
		"other version": {func(t *testing.T, a *testApp, _ string) {
			c := fits(a)
			c.Machine.Version = "v9"
			keep(t, a, c)
		}, 0, "another version"},
		"damaged": {func(t *testing.T, a *testApp, path string) {
			keep(t, a, fits(a))
			if err := os.WriteFile(path, []byte(`{"format": 1`), 0o600); err != nil {
				t.Fatal(err)
			}
		}, 0, "read a calibration"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := newTestApp(t, nil, nil)
			cache, _ := a.cache()
			test.write(t, a, filepath.Join(cache, calibrationFile))
			log := newTestLog()
			r := a.roofline(t.Context(), log.logger)
			if r.GetRequestsPerSecond() != test.want || !strings.Contains(log.String(), test.log) || (log.String() == "") != (test.log == "") {
				t.Errorf("the roofline is %v, the log %s", r, log)
			}
		})
	}
}

// testLog is a log that a test reads.
type testLog struct {
	output
	logger *slog.Logger
}

func newTestLog() *testLog {
	l := &testLog{}
	l.logger = slog.New(slog.NewTextHandler(l, nil))
	return l
}

func keep(t *testing.T, a *testApp, c calibrate.Calibration) {
	t.Helper()
	path, err := a.keepCalibration(c)
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("beside the file there is %v, %v", entries, err)
	}
}

// Every kind of step goes through the whole path and reaches the server; a busy machine may make it "too late".
func TestCalibrationSteps(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- null.Serve(ctx, listener) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	dir, log := t.TempDir(), newTestLog()
	client, stop, err := startEmbedded(ctx, embeddedOptions{Agents: 1, Runs: dir, Env: os.LookupEnv, Log: log.logger, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	c := &calibrator{client: client, url: "http://" + listener.Addr().String(), path: "/", strict: true, progress: &bytes.Buffer{}}
	steps := map[string]func() (attempt, error){
		"requests": func() (attempt, error) { return c.requests(ctx, 200) },
		"events":   func() (attempt, error) { return c.events(ctx, 1000) },
		"streams":  func() (attempt, error) { return c.streams(ctx, 30, 100) },
	}
	for name, step := range steps {
		a, err := step()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s := a.summary
		if n := s.GetRequests().GetFailed(); n > 0 || len(s.GetErrors()) > 0 || s.GetArrivals().GetStarted() == 0 {
			t.Errorf("%s: %d failed: %v", name, n, s.GetErrors())
		}
		if name == "streams" && s.GetPhases()[0].GetInFlightMax() != s.GetArrivals().GetStarted() {
			t.Errorf("%d streams open of %d", s.GetPhases()[0].GetInFlightMax(), s.GetArrivals().GetStarted())
		}
		if name == "events" && report.Whole(s, "itl").GetCount() == 0 {
			t.Errorf("no gaps between events: %v", s.GetSeries())
		}
	}
	if p50, _, err := c.floor(ctx); err != nil || p50 == 0 {
		t.Errorf("the floor is %d: %v", p50, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the runs left %v behind: %v", left, err)
	}
}

// ctrl-c ends the real command cleanly, with its server's process.
func TestCalibrateCtrlC(t *testing.T) {
	temp, cache := t.TempDir(), t.TempDir()
	p := start(t, t.TempDir(), []string{"TMPDIR=" + temp, "XDG_CACHE_HOME=" + cache}, "calibrate")
	p.until(t, "the first step", func() bool { return strings.Contains(p.err.String(), "requests/s") })
	p.signal(t, syscall.SIGINT)
	if status := p.wait(); status != statusStopped || !strings.Contains(p.err.String(), "stopped; nothing was kept") {
		t.Errorf("exit status %d\n%s", status, &p.err)
	}
	for _, dir := range []string{temp, cache} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%v is left behind: %v", left, err)
		}
	}
}

// A run above its machine's roofline is not valid, and its report is the same again from the journal alone.
func TestRunAboveItsRoofline(t *testing.T) {
	cache := t.TempDir()
	a := newTestApp(t, nil, nil)
	a.cache = func() (string, error) { return cache, nil }
	keep(t, a, calibrate.Calibration{
		Format: calibrate.Format, Measured: time.Now(), Machine: a.machine(t.Context()), Requests: calibrate.Figure{Value: 10},
	})
	g, env := serveSim(t, nil), []string{"XDG_CACHE_HOME=" + cache}
	dir := t.TempDir()
	p := &played{dir: dir, folder: filepath.Join(dir, "r")}
	p.process = execLoadline(t, dir, env, "run", "--url", g.root+"/echo", "--protocol", "http", "--rate", "30", "--duration", "2s", "--out", "r")
	p.read(t)
	use := p.summary.GetRoofline()
	if p.status != judge.ExitInvalid || use.GetShare() < 0.9 || use.GetRequests().GetLimit() != 10 || !strings.Contains(p.out.String(), "% of 10 requests/s") {
		t.Errorf("exit status %d, the use is %v\n%s%s", p.status, use, &p.out, &p.err)
	}
	if !slices.ContainsFunc(p.summary.GetValidity().GetReasons(), func(r string) bool { return strings.Contains(r, "what this machine can do as a generator") }) {
		t.Errorf("the reasons are %q", p.summary.GetValidity().GetReasons())
	}
	before := read(t, p.folder, "summary.json")
	if again := execLoadline(t, dir, nil, "report", "r"); again.status != p.status { // without the calibration
		t.Errorf("report ends with %d, run with %d", again.status, p.status)
	}
	if after := read(t, p.folder, "summary.json"); !bytes.Equal(before, after) {
		t.Errorf("the report differs:\n%s\nwant\n%s", after, before)
	}
}
