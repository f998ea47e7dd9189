// Command bench measures the loadline binary from outside: against the simulator's own truth, against
// figures that follow from arithmetic, and against a reference measured on the same machine in the
// same minute. It imports nothing of the product: it starts the binary, reads summary.json and the
// simulator's GET /truth.
//
// It runs in the root of the repository (scripts/bench sees to that). Exit status: 0, 1 (a bound is
// broken) or 2 (could not measure).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// longest is the most time that one invocation takes, whatever happens.
const longest = 40 * time.Minute

// measurement is one subcommand.
type measurement struct {
	name  string
	quick bool
	does  string
	run   func(ctx context.Context, b *bench, args []string) error
}

func measurements() []measurement {
	return []measurement{
		{"start", true, "from exec of the binary to the first arrival at the target", runStart},
		{"micro", true, "cost of the hot path's parts, by their Go benchmarks", runMicro},
		{"truth", false, "every stream of a run against the simulator's own record of it (9 min)", runTruth},
		{"stamps", false, "our instants and the kernel's stamps of the same reads beside the simulator's times (25 s)", runStamps},
		{"stall", false, "a target that stands still 1 s in 10, then a generator that does (90 s)", runStall},
		{"streams", false, "20,000 streams open at once: memory of the agent, nothing missed (2 min)", runStreams},
		{"lateness", false, "how late sessions start at 5,000/s, with and without precise (90 s)", runLateness},
		{"gc", false, "the share of CPU that garbage collection takes at full load (10 s)", runGC},
		{"rate", false, "how many requests a second one core sustains, beside bare loopback round trips (90 s)", runRate},
		{"idle", false, "memory of an open stream beside wrk, oha, h2load, hey, vegeta and k6 (4 min)", runIdle},
		{"cluster", false, "a thousand agents and more at one coordinator: CPU, memory, windows behind, orders (4 min)", runCluster},
		{"peers", false, "requests and streamed events beside wrk, oha, h2load, hey, vegeta and k6 (6 min)", runPeers},
	}
}

// bench is what all measurements share.
type bench struct {
	out io.Writer
	// dir is a temporary folder.
	dir string
	// binary is the path of loadline, built on first use.
	binary string
}

// errBroken says that a measurement was made and a bound is broken.
var errBroken = errors.New("a bound is broken")

func main() {
	os.Exit(start(os.Args[1:]))
}

func start(args []string) int {
	// SIGPIPE, because a reader that leaves (scripts/bench | head) must not leave a simulator behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	dir, err := os.MkdirTemp("", "loadline-bench-")
	if err != nil {
		return report(err)
	}
	defer os.RemoveAll(dir)
	return report(dispatch(ctx, &bench{out: os.Stdout, dir: dir}, args))
}

// report says what went wrong and returns the exit status.
func report(err error) int {
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errBroken):
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	fmt.Fprintln(os.Stderr, "bench: could not measure:", err)
	return 2
}

func dispatch(ctx context.Context, b *bench, args []string) error {
	if len(args) > 0 && args[0] == referenceCommand {
		return runReference(ctx, b.out, args[1:])
	}
	if len(args) > 0 && args[0] == saturatorCommand {
		return runSaturator(ctx, b.out, args[1:])
	}
	if len(args) > 0 && args[0] == idleCommand {
		return runIdleServer(ctx, b.out)
	}
	if len(args) > 0 && args[0] == bareCommand {
		return runBare(ctx, b.out, args[1:])
	}
	if len(args) > 0 {
		for _, m := range measurements() {
			if m.name == args[0] {
				b.machine()
				return m.run(ctx, b, args[1:])
			}
		}
		list(os.Stderr)
		return fmt.Errorf("there is no measurement %q", args[0])
	}
	list(b.out)
	b.machine()
	var broken error
	for _, m := range measurements() {
		if !m.quick {
			continue
		}
		err := m.run(ctx, b, nil)
		if err != nil && !errors.Is(err, errBroken) {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		broken = errors.Join(broken, err)
	}
	return broken
}

func list(w io.Writer) {
	fmt.Fprintln(w, "scripts/bench NAME [flags]; NAME --help for its flags; without a name the quick ones run")
	for _, m := range measurements() {
		quick := ""
		if m.quick {
			quick = " (quick)"
		}
		fmt.Fprintf(w, "  %-8s %s%s\n", m.name, m.does, quick)
	}
}

// machine says what the figures were taken on, and whether it had other things to do.
func (b *bench) machine() {
	fmt.Fprintf(b.out, "machine: %s/%s, %d cores, %s, %s\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), loadAverage())
}

// busyAbove is the load average, for each core, above which figures say little.
const busyAbove = 0.75

// loadAverage is the load of the last minute in words, with a warning if the machine is busy.
func loadAverage() string {
	load, err := readLoad()
	if err != nil {
		return "load average unknown"
	}
	said := fmt.Sprintf("load average %.2f", load)
	if load > busyAbove*float64(runtime.NumCPU()) {
		said += ": the machine is BUSY, figures say little"
	}
	return said
}

// readLoad is the load average of the last minute.
func readLoad() (float64, error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), " ")
	return strconv.ParseFloat(first, 64)
}

// awaitQuiet waits until the machine is not busy, at most so long.
func awaitQuiet(ctx context.Context, most time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		load, err := readLoad()
		if err != nil || load <= busyAbove*float64(runtime.NumCPU()) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the machine was busy for %v: load average %.2f", most, load)
		case <-tick.C:
		}
	}
}

// parse reads the flags of one measurement and refuses what is left over.
func parse(fs *flag.FlagSet, args []string) error {
	fs.SetOutput(os.Stdout)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("%s takes no argument %q", fs.Name(), fs.Arg(0))
	}
	return nil
}
