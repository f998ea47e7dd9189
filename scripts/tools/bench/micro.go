package main

import (
	"context"
	"flag"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
)

// microPackages are the parts of the hot path, and the plan.
func microPackages() []string {
	return []string{
		"./internal/schedule", "./internal/hist", "./agent/record", "./agent/wire/sse", "./agent/pace",
		"./agent/driver/openai", "./agent/wire", "./agent/workload", "./agent", "./coordinator/plan",
	}
}

// microResult is one line of a Go benchmark.
type microResult struct {
	pkg, name string
	metrics   map[string]float64
}

// microBound is what an issue or the house's rules ask of a benchmark.
type microBound struct {
	pkg string
	// name matches the whole name of the benchmark.
	name *regexp.Regexp
	// most is the largest time of one operation in nanoseconds; 0: any.
	most float64
	// quiet asks for no allocation.
	quiet bool
	// tail is the largest 99th percentile, in microseconds, of what the benchmark reports as p99-µs; 0: any.
	tail float64
}

// microBounds are issue 3, part 3 (20 M and 8 M arrivals a second, a resume in 10 ms), issue 4, part 5 (an outcome
// with all its series in 300 ns, workers stopped by the swap of windows for 50 µs at most), issue 5, part 7 (plan and
// hand-over for 1,000 agents in 50 ms) and the rule that the hot path allocates nothing per event.
func microBounds() []microBound {
	at := func(pkg, name string, most float64, quiet bool) microBound {
		return microBound{pkg: pkg, name: regexp.MustCompile("^(?:" + name + ")$"), most: most, quiet: quiet}
	}
	tail := func(pkg, name string, micros float64) microBound {
		return microBound{pkg: pkg, name: regexp.MustCompile("^(?:" + name + ")$"), tail: micros}
	}
	return []microBound{
		at("internal/schedule", `Walk(Owned)?/(constant|poisson)`, 50, true),
		at("internal/schedule", `Walk(Owned)?/(sine|gamma.*)`, 125, true),
		at("internal/schedule", `Walk(Owned)?/.*|Owner`, 0, true),
		at("internal/schedule", `Resume/.*`, 10e6, false),
		at("internal/schedule", `Apply`, 50e6, false),
		at("coordinator/plan", `Plan`, 50e6, false),
		at("internal/hist", `Record.*`, 0, true),
		at("agent/record", `Record/events=1`, 300, true),
		at("agent/record", `Record.*`, 0, true),
		tail("agent/record", `SwapStall`, 50),
		at("agent/wire/sse", `.*`, 0, true),
		at("agent/driver/openai", `Scan|Stream`, 0, true),
		at("agent/pace", `Merge`, 0, true),
	}
}

// runMicro runs the Go benchmarks of the hot path and prints them as a table.
func runMicro(ctx context.Context, b *bench, args []string) error {
	fs := flag.NewFlagSet("micro", flag.ContinueOnError)
	benchtime := fs.String("benchtime", "200ms", "time for each benchmark, as go test takes it")
	only := fs.String("bench", ".", "regular expression of the benchmarks")
	if err := parse(fs, args); err != nil {
		return err
	}
	argv := append([]string{"test", "-run", "^$", "-bench", *only, "-benchmem", "-benchtime", *benchtime, "-timeout", "10m"}, microPackages()...)
	out, err := exec.CommandContext(ctx, "go", argv...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go test: %w\n%s", err, out)
	}
	return judgeMicro(b, parseMicro(string(out)))
}

// parseMicro reads the output of go test -bench.
func parseMicro(out string) []microResult {
	var all []microResult
	pkg := ""
	for line := range strings.Lines(out) {
		if path, ok := strings.CutPrefix(line, "pkg: "); ok {
			pkg = strings.TrimPrefix(strings.TrimSpace(path), "github.com/loadline/loadline/")
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		r := microResult{pkg: pkg, name: microName(fields[0]), metrics: map[string]float64{}}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				r.metrics[fields[i+1]] = v
			}
		}
		all = append(all, r)
	}
	return all
}

// microName takes off "Benchmark" and the number of cores.
func microName(full string) string {
	name := strings.TrimPrefix(full, "Benchmark")
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		if _, err := strconv.Atoi(name[i+1:]); err == nil {
			name = name[:i]
		}
	}
	return name
}

// judgeMicro prints the table; a result without a bound is shown only.
func judgeMicro(b *bench, all []microResult) error {
	fmt.Fprintf(b.out, "\nmicro: Go benchmarks of the hot path\n")
	t := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "package\tbenchmark\tns/op\tallocs/op\tbound\tok\tmore")
	broken := 0
	for _, r := range all {
		bound, ok := "-", "-"
		for _, want := range microBounds() {
			if want.pkg == r.pkg && want.name.MatchString(r.name) {
				bound, ok = want.String(), "yes"
				if !want.met(r) {
					ok = "NO"
					broken++
				}
				break
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%.0f\t%s\t%s\t%s\n", r.pkg, r.name, nanos(r.metrics["ns/op"]), r.metrics["allocs/op"], bound, ok, extra(r))
	}
	t.Flush()
	if len(all) == 0 {
		return fmt.Errorf("no benchmark ran")
	}
	if broken > 0 {
		return fmt.Errorf("micro: %w (%d of %d)", errBroken, broken, len(all))
	}
	return nil
}

func nanos(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func (w microBound) met(r microResult) bool {
	if tail, ok := r.metrics["p99-µs"]; w.tail > 0 && (!ok || tail > w.tail) {
		return false
	}
	return (w.most == 0 || r.metrics["ns/op"] <= w.most) && (!w.quiet || r.metrics["allocs/op"] == 0)
}

func (w microBound) String() string {
	var parts []string
	if w.most > 0 {
		parts = append(parts, fmt.Sprintf("%.0f ns", w.most))
	}
	if w.quiet {
		parts = append(parts, "0 allocs")
	}
	if w.tail > 0 {
		parts = append(parts, fmt.Sprintf("p99 %.0f µs", w.tail))
	}
	return strings.Join(parts, ", ")
}

// extra shows the metrics that a benchmark reports of its own.
func extra(r microResult) string {
	var parts []string
	for _, unit := range []string{"M/s", "MB/s", "ns/event", "p50-µs", "p99-µs"} {
		if v, ok := r.metrics[unit]; ok {
			parts = append(parts, fmt.Sprintf("%.4g %s", v, unit))
		}
	}
	return strings.Join(parts, ", ")
}
