package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loadline/loadline/coordinator/journal"
	"github.com/loadline/loadline/coordinator/report"
	"github.com/loadline/loadline/internal/sim"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// The tests in e2e_*_test.go run the real command, which testscript.Main puts into PATH, in processes of its own
// against targets that this process serves on 127.0.0.1. A busy machine makes a run not valid (exit status 98), so
// what is asserted are counts, classes, states and objectives, never times.

const (
	// processLimit bounds one process, waitLimit one wait for something to happen. Both are far above what is needed.
	processLimit = 4 * time.Minute
	waitLimit    = 90 * time.Second
)

// everyArrival keeps a starved machine from missing arrivals, for tests that count them.
const everyArrival = "limits: {max_lateness: 1m}\n"

// output is what a process has written so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// process is loadline in a process of its own.
type process struct {
	cmd      *exec.Cmd
	out, err output
	ended    chan struct{}
	status   int // once ended is closed; -1: ended by a signal
}

// start starts loadline in a working folder. env is added to an environment without LOADLINE_ variables.
func start(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	p, err := launch(t, dir, env, func(*exec.Cmd) {}, "loadline", args...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// launch starts a program as start does, after a change to how it is started.
func launch(t *testing.T, dir string, env []string, change func(*exec.Cmd), program string, args ...string) (*process, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), processLimit)
	p := &process{cmd: exec.CommandContext(ctx, program, args...), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, &p.out, &p.err
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, variablePrefix) })
	p.cmd.Env = append(p.cmd.Env, "XDG_CACHE_HOME="+t.TempDir()) // no calibration but the test's own
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.WaitDelay = 10 * time.Second
	change(p.cmd)
	if err := p.cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // the status says it all
		p.status = p.cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		cancel()
		<-p.ended
	})
	return p, nil
}

// wait returns the exit status.
func (p *process) wait() int {
	<-p.ended
	return p.status
}

// signal sends a signal to the process.
func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal %v: %v; standard error:\n%s", s, err, &p.err)
	}
}

// execLoadline runs loadline to its end.
func execLoadline(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	p := start(t, dir, env, args...)
	p.wait()
	return p
}

// until waits for something that must happen while the process runs.
func (p *process) until(t *testing.T, what string, happened func() bool) {
	t.Helper()
	deadline := time.Now().Add(waitLimit)
	for !happened() {
		select {
		case <-p.ended:
			t.Fatalf("the process ended with %d before this: %s\n%s%s", p.status, what, &p.out, &p.err)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s\n%s", waitLimit, what, &p.err)
		}
	}
}

// files are the files of a working folder, by name.
type files map[string]string

// write makes a working folder with the files.
func (f files) write(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range f {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// played is a run that has ended.
type played struct {
	*process
	dir     string // the working folder
	folder  string // the run's
	summary *pb.Summary
}

// playThrough runs the scenario s.yaml among the files, and holds what every run must keep.
func playThrough(t *testing.T, f files, args ...string) *played {
	t.Helper()
	dir := f.write(t)
	p := &played{dir: dir, folder: filepath.Join(dir, "r")}
	p.process = execLoadline(t, dir, nil, append([]string{"run", "s.yaml", "--out", "r"}, args...)...)
	p.read(t)
	return p
}

// read reads the summary that a run has left and checks what holds for every one.
func (p *played) read(t *testing.T) {
	t.Helper()
	p.summary = summaryOf(t, p.folder)
	if got := int(p.summary.GetExitStatus()); p.status != got {
		t.Errorf("exit status %d, and %d in the summary\n%s%s", p.status, got, &p.out, &p.err)
	}
	checkLedger(t, p.summary)
	checkNoRemains(t, p.folder)
}

// wantVerdict wants an exit status and its verdict, or 98 where this machine was too busy for a valid run.
func (p *played) wantVerdict(t *testing.T, status int) {
	t.Helper()
	verdicts := map[int][]pb.Verdict{
		0:  {pb.Verdict_VERDICT_PASS},
		97: {pb.Verdict_VERDICT_INCONCLUSIVE},
		98: {pb.Verdict_VERDICT_INCONCLUSIVE},
		99: {pb.Verdict_VERDICT_FAIL},
	}
	if !p.summary.GetValidity().GetValid() {
		status = 98
	}
	if p.status != status || !slices.Contains(verdicts[status], p.summary.GetVerdict()) {
		t.Errorf("exit status %d, verdict %v; want %d\n%s%s", p.status, p.summary.GetVerdict(), status, &p.out, &p.err)
	}
}

// wantState wants a state.
func (p *played) wantState(t *testing.T, state pb.SummaryState) {
	t.Helper()
	if got := p.summary.GetState(); got != state {
		t.Errorf("state %v, want %v: %v", got, state, p.summary.GetReasons())
		if p.process != nil {
			t.Logf("standard error:\n%s", &p.err)
		}
	}
}

func read(t *testing.T, parts ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func summaryOf(t *testing.T, folder string) *pb.Summary {
	t.Helper()
	s, err := report.ReadJSON(bytes.NewReader(read(t, folder, "summary.json")))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkLedger holds the ledgers of design §7, of the run and of each phase.
func checkLedger(t *testing.T, s *pb.Summary) {
	t.Helper()
	var due, sent uint64
	for _, p := range s.GetPhases() {
		checkSums(t, "phase "+p.GetName(), p.GetArrivals(), p.GetSessions(), p.GetRequests())
		due, sent = due+p.GetArrivals().GetDue(), sent+p.GetRequests().GetSent()
	}
	checkSums(t, "run", s.GetArrivals(), s.GetSessions(), s.GetRequests())
	if due != s.GetArrivals().GetDue() || sent != s.GetRequests().GetSent() {
		t.Errorf("the phases sum to %d due and %d sent, the run has %d and %d", due, sent, s.GetArrivals().GetDue(), s.GetRequests().GetSent())
	}
}

func checkSums(t *testing.T, of string, a *pb.ArrivalLedger, s *pb.EndLedger, r *pb.RequestLedger) {
	t.Helper()
	if sum := a.GetStarted() + a.GetMissed() + a.GetShed() + a.GetLost(); a.GetDue() != sum {
		t.Errorf("%s: %d due, and started, missed, shed and lost sum to %d: %v", of, a.GetDue(), sum, a)
	}
	if sum := s.GetSucceeded() + s.GetFailed() + s.GetCanceled() + s.GetUnfinished(); a.GetStarted() != sum {
		t.Errorf("%s: %d started, and the ends of sessions sum to %d: %v", of, a.GetStarted(), sum, s)
	}
	if sum := r.GetSucceeded() + r.GetFailed() + r.GetCanceled() + r.GetUnfinished(); r.GetSent() != sum {
		t.Errorf("%s: %d sent, and the ends of requests sum to %d: %v", of, r.GetSent(), sum, r)
	}
}

// checkNoRemains wants no temporary file left anywhere in a run folder, and none that the design does not know.
func checkNoRemains(t *testing.T, folder string) {
	t.Helper()
	known := []string{
		"histograms.hlog", "journal", "plan.json", "requests.parquet", "scenario.resolved.yaml", "scenario.yaml", "summary.json", "windows.csv",
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, known) {
		t.Errorf("the run folder holds %v, want %v", names, known)
	}
}

// records are those of a run's journal, as far as it goes.
func records(t *testing.T, folder string) []*pb.JournalRecord {
	t.Helper()
	var all []*pb.JournalRecord
	_, err := journal.Replay(filepath.Join(folder, "journal"), func(r *pb.JournalRecord) error {
		all = append(all, r)
		return nil
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return all
}

// target is a simulator that the test serves.
type target struct {
	server *sim.Server
	root   string // http://127.0.0.1:port
}

// serveSim serves a simulator until the test ends. It is quick unless change says otherwise.
func serveSim(t *testing.T, change func(*sim.Config)) *target {
	t.Helper()
	config := sim.Default()
	config.Fixed = sim.FixedLaw{TTFT: sim.Fixed(2 * time.Millisecond)}
	config.OutputTokens = 4
	if change != nil {
		change(&config)
	}
	server, address := startSim(t, config, (*sim.Server).Serve)
	return &target{server: server, root: "http://" + address}
}

// startSim serves a simulator on a loopback port until the test ends, and gives the address.
func startSim(t *testing.T, config sim.Config, serve func(*sim.Server, context.Context, net.Listener) error) (*sim.Server, string) {
	t.Helper()
	server, err := sim.New(config)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- serve(server, ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("simulator: %v", err)
		}
	})
	return server, listener.Addr().String()
}

// fault is a change that makes a simulator fail.
func fault(t *testing.T, texts ...string) func(*sim.Config) {
	t.Helper()
	var faults []sim.Fault
	for _, text := range texts {
		f, err := sim.ParseFault(text)
		if err != nil {
			t.Fatal(err)
		}
		faults = append(faults, f)
	}
	return func(c *sim.Config) { c.Faults = faults }
}

// arrivals are those that the target has seen of a run, by its own count, with their bodies' digests.
func (g *target) arrivals(t *testing.T, run string) map[string]sim.Arrival {
	t.Helper()
	response, err := http.Get(g.root + "/truth/arrivals?run=" + run)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	seen := map[string]sim.Arrival{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		var a sim.Arrival
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatalf("line %q of the truth: %v", lines.Text(), err)
		}
		seen[a.Arrival] = a
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return seen
}

// wantOnce wants every arrival to have come exactly once.
func wantOnce(t *testing.T, seen map[string]sim.Arrival) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		if n := seen[name].Count; n != 1 {
			t.Errorf("arrival %s came %d times", name, n)
		}
	}
}

// begun is the number of requests that have reached the target.
func (g *target) begun() uint64 {
	var sum uint64
	for _, r := range g.server.Truth().Routes {
		sum += r.Begun
	}
	return sum
}

// serveRaw answers every connection with a function, until the test ends.
func serveRaw(t *testing.T, answer func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed by the cleanup
			}
			serving.Go(func() {
				defer conn.Close()
				answer(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	return listener.Addr().String()
}

// closedPort is an address where nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// drainConn reads what the client sends until it leaves.
func drainConn(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
