package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// Bounds of issue 5, part 7. Those of cost are for a thousand agents, that of the stop for a hundred.
const (
	clusterAgents   = 1000
	clusterStopping = 100

	clusterCores    = 0.5
	clusterPeak     = 512 << 20 // bytes
	clusterBehind   = 2 * time.Second
	clusterAssigned = 2 * time.Second
	clusterStop     = time.Second
)

const (
	// clusterVariable and clusterTest are how the swarm of agents in cmd/loadline is started.
	clusterVariable = "LOADLINE_TEST_SCALE"
	clusterTest     = "^TestScale$"
	// clusterLimit bounds one size, the time that is measured not included.
	clusterLimit = 3 * time.Minute
	// mostAgents is as many as a coordinator takes.
	mostAgents = 4000
	// mostEvery is the longest window that may be asked for.
	mostEvery = 10 * time.Second
)

// swarmOrder is what the swarm is to do; cmd/loadline/scale_test.go reads it.
type swarmOrder struct {
	Address     string
	Coordinator int
	Agents      int
	Seconds     int
	WarmUp      int
	Every       int // length of a window, in seconds
}

// swarmFigures is what the swarm says. Times are in milliseconds.
type swarmFigures struct {
	JoinMS, AssignedMS, ReadyMS, Cores, AgentCores, WindowsPerSec, WindowBytes float64
	BehindP50MS, BehindMaxMS                                                   float64
	Seconds                                                                    int
	StopP99MS, StopMaxMS                                                       float64
	Missing                                                                    uint64
	State                                                                      string

	agents int
	every  int    // length of a window, in seconds
	peak   uint64 // of the coordinator, bytes
}

// runCluster measures what many agents cost one coordinator.
func runCluster(ctx context.Context, b *bench, args []string) error {
	fs := flag.NewFlagSet("cluster", flag.ContinueOnError)
	sizes := fs.String("agents", "100,1000,2000", "numbers of agents, by comma")
	lasting := fs.Duration("for", 30*time.Second, "time that is measured for each, whole seconds")
	warmUp := fs.Duration("warm-up", 10*time.Second, "time from the start of the load to there, whole seconds")
	every := fs.Duration("every", time.Second, "length of a window, whole seconds: more than agents have, where a machine cannot hold so many")
	wait := fs.Duration("wait", 0, "wait so long at most for a quiet machine before each size")
	if err := parse(fs, args); err != nil {
		return err
	}
	wanted, err := agentNumbers(*sizes)
	if err != nil {
		return err
	}
	if *lasting < 5*time.Second || *lasting > 10*time.Minute || *warmUp < time.Second || *warmUp > time.Minute || *every < time.Second || *every > mostEvery {
		return errors.New("flags out of range: --for 5s to 10m, --warm-up 1s to 1m, --every 1s to 10s")
	}
	if err := b.build(ctx); err != nil {
		return err
	}
	swarm := filepath.Join(b.dir, "swarm.test")
	if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", swarm, "./cmd/loadline").CombinedOutput(); err != nil {
		return fmt.Errorf("go test -c: %w\n%s", err, out)
	}
	var all []swarmFigures
	for _, n := range wanted {
		if *wait > 0 {
			if err := awaitQuiet(ctx, *wait); err != nil {
				return err
			}
		}
		fmt.Fprintf(b.out, "%d agents, %s\n", n, loadAverage())
		order := swarmOrder{Agents: n, Seconds: int(lasting.Seconds()), WarmUp: int(warmUp.Seconds()), Every: int(every.Seconds())}
		figures, err := clusterOnce(ctx, b, swarm, order)
		if err != nil {
			return fmt.Errorf("%d agents: %w", n, err)
		}
		all = append(all, *figures)
	}
	return judgeCluster(b.out, all)
}

// agentNumbers reads the flag.
func agentNumbers(text string) ([]int, error) {
	var all []int
	for field := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 || n > mostAgents {
			return nil, fmt.Errorf("--agents %q: numbers from 1 to %d", text, mostAgents)
		}
		all = append(all, n)
	}
	return all, nil
}

// clusterOnce measures one size with a coordinator of its own.
func clusterOnce(ctx context.Context, b *bench, swarm string, order swarmOrder) (*swarmFigures, error) {
	ctx, cancel := context.WithTimeout(ctx, clusterLimit+time.Duration(order.Seconds+order.WarmUp)*time.Second)
	defer cancel()
	data, err := os.MkdirTemp(b.dir, "data-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(data)
	c := b.command(ctx, nil, "coordinator", "--listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--data", data, "--log-level", "error")
	address, ended, err := coordinate(c)
	if err != nil {
		return nil, err
	}
	peak := watchPeak(ctx, c.Process.Pid)
	order.Address, order.Coordinator = address, c.Process.Pid
	figures, err := release(ctx, b, swarm, order)
	most := peak()
	err = errors.Join(err, ended())
	if err != nil {
		return nil, err
	}
	figures.agents, figures.every, figures.peak = order.Agents, order.Every, most
	return figures, nil
}

// coordinate starts a coordinator and returns its address, and what ends it.
func coordinate(c *exec.Cmd) (address string, end func() error, err error) {
	withParent(c)
	var stderr bounded
	c.Stderr = &stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := c.Start(); err != nil {
		return "", nil, err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if said, ok := strings.CutPrefix(lines.Text(), "coordinator at "); ok {
			address = said
		}
		if strings.HasPrefix(lines.Text(), "bus at ") {
			break
		}
	}
	end = func() error {
		c.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(2*grace, func() { c.Process.Kill() })
		defer timer.Stop()
		io.Copy(io.Discard, out)
		if err := c.Wait(); err != nil {
			return fmt.Errorf("the coordinator: %w\n%s", err, tail(stderr.kept))
		}
		return nil
	}
	if address == "" {
		return "", nil, errors.Join(errors.New("the coordinator did not say its address"), end())
	}
	return address, end, nil
}

// release lets the agents loose in a process of their own and reads what they say at the end.
func release(ctx context.Context, b *bench, swarm string, order swarmOrder) (*swarmFigures, error) {
	text, err := json.Marshal(order)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, swarm, "-test.run", clusterTest, "-test.timeout", "20m")
	cmd.Dir = b.dir
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	cmd.Env = append(os.Environ(), clusterVariable+"="+string(text))
	withParent(cmd)
	var out, stderr bounded
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("the agents: %w\n%s%s", err, tail(out.kept), tail(stderr.kept))
	}
	return parseSwarm(out.kept)
}

// parseSwarm reads what the swarm has said.
func parseSwarm(out []byte) (*swarmFigures, error) {
	for line := range bytes.Lines(out) {
		if said, ok := bytes.CutPrefix(line, []byte("scale: ")); ok {
			f := &swarmFigures{}
			return f, json.Unmarshal(said, f)
		}
	}
	return nil, fmt.Errorf("the agents said nothing of what they measured:\n%s", tail(out))
}

// broken lists what is beyond its bound.
func (f *swarmFigures) broken() []string {
	var out []string
	check := func(good bool, what string) {
		if !good {
			out = append(out, what)
		}
	}
	millis := func(d time.Duration) float64 { return d.Seconds() * 1e3 }
	if f.agents <= clusterAgents {
		check(f.Cores <= clusterCores, "CPU")
		check(f.peak <= clusterPeak, "memory")
		check(f.BehindMaxMS <= millis(clusterBehind), "behind")
		check(f.AssignedMS <= millis(clusterAssigned), "assigned")
		check(f.WindowsPerSec >= 0.98*float64(f.agents)/float64(max(1, f.every)), "windows")
	}
	if f.agents <= clusterStopping {
		check(f.StopP99MS <= millis(clusterStop), "stop")
	}
	check(f.Missing == 0, "missing windows")
	return out
}

// judgeCluster prints the table and returns errBroken if a size is out of its bounds.
func judgeCluster(w io.Writer, all []swarmFigures) error {
	fmt.Fprintf(w, "\ncluster: agents as they are, with made-up windows of 20 series, and one coordinator\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "agents\twindow\tcores\tµs/window\tcores of agents\tpeak MiB\twindows/s\tKB each\tbehind p50\tmost\tjoined\tassigned\tstart told\tstop p99\tmost\tok\t")
	broken := 0
	for _, f := range all {
		ok := "yes"
		if bad := f.broken(); len(bad) > 0 {
			ok = "NO: " + strings.Join(slices.Compact(bad), ", ")
			broken++
		}
		fmt.Fprintf(t, "%d\t%d s\t%.2f\t%.0f\t%.2f\t%d\t%.0f\t%.1f\t%.0f ms\t%.0f ms\t%.1f s\t%.2f s\t%.2f s\t%.0f ms\t%.0f ms\t%s\t\n",
			f.agents, f.every, f.Cores, f.Cores/max(f.WindowsPerSec, 1)*1e6, f.AgentCores, f.peak>>20, f.WindowsPerSec, f.WindowBytes/1e3, f.BehindP50MS, f.BehindMaxMS,
			f.JoinMS/1e3, f.AssignedMS/1e3, f.ReadyMS/1e3, f.StopP99MS, f.StopMaxMS, ok)
	}
	t.Flush()
	fmt.Fprintf(w, "bounds up to %d agents: %.1f cores, %d MiB, %v behind, assigned within %v; up to %d: stop p99 %v\n",
		clusterAgents, clusterCores, clusterPeak>>20, clusterBehind, clusterAssigned, clusterStopping, clusterStop)
	if broken > 0 {
		return fmt.Errorf("cluster: %w (%d of %d sizes)", errBroken, broken, len(all))
	}
	return nil
}
