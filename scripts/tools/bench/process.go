package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// grace is the time that a process has to end after SIGTERM.
	grace = 5 * time.Second
	// simStart is the time that the simulator has to say its address.
	simStart = 20 * time.Second
	// settle is the time that the simulator has to end what is in flight after a run.
	settle = 5 * time.Second
	// maxTruth bounds what is read of GET /truth.
	maxTruth = 16 << 20
)

// build makes the binary once.
func (b *bench) build(ctx context.Context) error {
	if b.binary != "" {
		return nil
	}
	path := filepath.Join(b.dir, "loadline")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/loadline")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	b.binary = path
	return nil
}

// command is the binary with arguments, ended by SIGTERM with ctx. Variables that change what loadline
// does are taken out of its environment.
func (b *bench) command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.binary, args...)
	cmd.Dir = b.dir
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LOADLINE_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// simulator is a running `loadline sim`.
type simulator struct {
	cmd *exec.Cmd
	// host serves HTTP, grpc gRPC.
	host, grpc string
	stderr     bytes.Buffer
}

// simulate starts the simulator on a free loopback port. The caller stops it.
func (b *bench) simulate(ctx context.Context, args ...string) (*simulator, error) {
	return b.simulateOn(ctx, place{}, args...)
}

// simulateOn starts the simulator at a place, by gRPC on a second port as well. The caller stops it.
func (b *bench) simulateOn(ctx context.Context, on place, args ...string) (*simulator, error) {
	if err := b.build(ctx); err != nil {
		return nil, err
	}
	s := &simulator{cmd: b.command(ctx, nil, append([]string{"sim", "--address", "127.0.0.1:0", "--grpc-address", "127.0.0.1:0"}, args...)...)}
	on.confine(s.cmd)
	s.cmd.Stderr = &s.stderr
	out, w := io.Pipe()
	s.cmd.Stdout = w
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	found := make(chan bool, 1)
	go func() {
		found <- s.addresses(out)
		io.Copy(io.Discard, out)
	}()
	said := false
	select {
	case said = <-found:
	case <-time.After(simStart):
	}
	if !said {
		s.stop()
		return nil, fmt.Errorf("the simulator did not say its addresses: %s", s.stderr.String())
	}
	return s, nil
}

// addresses reads where the simulator serves; false: it did not say.
func (s *simulator) addresses(out io.Reader) bool {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, rest, ok := strings.Cut(lines.Text(), " http://"); ok {
			s.host, _, _ = strings.Cut(rest, "/")
		}
		if _, rest, ok := strings.Cut(lines.Text(), " grpc://"); ok {
			s.grpc, _, _ = strings.Cut(rest, ": ")
			return true
		}
	}
	return false
}

// stop ends the simulator and waits for it.
func (s *simulator) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(grace, func() { s.cmd.Process.Kill() })
	defer timer.Stop()
	s.cmd.Wait()
	s.cmd.Stdout.(io.Closer).Close()
}

// truth is what GET /truth says, once nothing is in flight any more.
func (s *simulator) truth(ctx context.Context) (*truth, error) {
	deadline := time.Now().Add(settle)
	for {
		t, err := s.look(ctx)
		if err != nil || t.InFlight == 0 {
			return t, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the simulator still has %d requests in flight", t.InFlight)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *simulator) look(ctx context.Context) (*truth, error) {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.host+"/truth", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	t := new(truth)
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxTruth)).Decode(t); err != nil {
		return nil, fmt.Errorf("GET /truth: %w", err)
	}
	return t, nil
}

// result is a run that has ended.
type result struct {
	summary summary
	// cpu is what the process spent, user and system, its start included.
	cpu time.Duration
	// peak is its largest resident size in bytes, looked at several times a second; 0: it ended before the first look.
	peak uint64
	// begun is right before the process was started.
	begun time.Time
	// stderr is what it said.
	stderr []byte
}

// playing is one run to be played.
type playing struct {
	scenario string
	limit    time.Duration
	on       place
	// env is added to the environment.
	env []string
	// during, when it is not nil, is called beside the run with its process; after with the run's folder.
	during func(*os.Process) error
	after  func(folder string) error
}

// play runs one scenario. Any exit status is a result as long as there is a summary; during, when it is
// not nil, is called beside the run with its process.
func (b *bench) play(ctx context.Context, scenario string, limit time.Duration, on place, during func(*os.Process) error) (*result, error) {
	return b.run(ctx, playing{scenario: scenario, limit: limit, on: on, during: during})
}

// run plays one run. Any exit status is a result as long as there is a summary.
func (b *bench) run(ctx context.Context, p playing) (*result, error) {
	if err := b.build(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	folder, err := os.MkdirTemp(b.dir, "run-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	file, out := filepath.Join(folder, "scenario.yaml"), filepath.Join(folder, "out")
	if err := os.WriteFile(file, []byte(p.scenario), 0o600); err != nil {
		return nil, err
	}
	cmd := b.command(ctx, p.env, "run", file, "--quiet", "--json", "--out", out)
	p.on.confine(cmd)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	r := &result{begun: time.Now()}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	peak := watchPeak(ctx, cmd.Process.Pid)
	var beside error
	if p.during != nil {
		beside = p.during(cmd.Process)
	}
	err = cmd.Wait()
	r.peak, r.stderr = peak(), stderr.Bytes()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		return nil, errors.Join(err, ctx.Err(), beside)
	}
	r.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if err := json.Unmarshal(stdout.Bytes(), &r.summary); err != nil {
		return nil, fmt.Errorf("exit status %d without a summary: %s", cmd.ProcessState.ExitCode(), stderr.String())
	}
	if got := cmd.ProcessState.ExitCode(); got != r.summary.ExitStatus {
		return nil, fmt.Errorf("exit status %d, and %d in the summary", got, r.summary.ExitStatus)
	}
	if p.after != nil {
		beside = errors.Join(beside, p.after(out))
	}
	return r, beside
}
