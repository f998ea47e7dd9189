package main

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// gcBound is issue 4's bound of the share of CPU that garbage collection takes, in percent.
const gcBound = 2

// gcRate is the rate at which it holds, in requests a second.
const gcRate = 30000

const gcScenario = `name: gc
targets:
  - {name: api, url: "http://%s", protocol: http}
workloads:
  - {name: get, target: api, http: {method: GET, path: /}}
load:
  - {name: hold, closed: {users: %d}, duration: %s}
`

// runGC measures what garbage collection takes of the CPU under a closed load against a server that does nothing.
func runGC(ctx context.Context, b *bench, args []string) error {
	fs := flag.NewFlagSet("gc", flag.ContinueOnError)
	users := fs.Int("users", 64, "requests in flight")
	turns := fs.Int("rounds", 3, "rounds")
	lasting := fs.Duration("for", 8*time.Second, "length of the load")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *users < 1 || *users > maxUsers || *lasting < time.Second || *lasting > time.Minute || *turns < 1 || *turns > 20 {
		return fmt.Errorf("flags out of range: --users 1 to %d, --for 1s to 1m, --rounds 1 to 20", maxUsers)
	}
	seen, err := measureRounds(*turns, []func() (string, []row, error){func() (string, []row, error) { return gcOnce(ctx, b, *users, *lasting) }})
	if err != nil {
		return err
	}
	return seen.judge(b, "bound from")
}

func gcOnce(ctx context.Context, b *bench, users int, lasting time.Duration) (string, []row, error) {
	ours, theirs := cores()
	server, err := b.nullTarget(ctx, lasting+overtime, theirs)
	if err != nil {
		return "", nil, err
	}
	defer server.stop()
	r, err := b.run(ctx, playing{
		scenario: fmt.Sprintf(gcScenario, server.host, users, lasting),
		limit:    lasting + time.Minute, on: ours, env: []string{"GODEBUG=gctrace=1"},
	})
	if err != nil {
		return "", nil, err
	}
	if r.summary.State != "complete" {
		return "", nil, r.summary.sound()
	}
	cycles, spent, err := gcSpent(string(r.stderr))
	if err != nil {
		return "", nil, err
	}
	perSecond := float64(r.summary.Requests.Succeeded) / lasting.Seconds()
	if perSecond < gcRate {
		return "", nil, fmt.Errorf("%.0f requests/s are fewer than the %d at which the bound holds", perSecond, gcRate)
	}
	title := fmt.Sprintf("gc: closed load of %d users for %v, generator %v; CPU of GODEBUG=gctrace=1 against that of wait4, the start of the process in both", users, lasting, ours)
	return title, []row{
		count("requests failed", r.summary.Requests.Failed, 0),
		{what: "requests/s", ours: perSecond, bound: -1},
		{what: "cycles", ours: float64(cycles), bound: -1},
		{what: "CPU of the process in ms", ours: r.cpu.Seconds() * 1e3, bound: -1},
		{what: "of it garbage collection in thousandths", ours: 1e3 * spent.Seconds() / r.cpu.Seconds(), bound: gcBound * 10},
	}, nil
}

// gcSpent sums the CPU of all cycles in a trace by GODEBUG=gctrace=1, without that of idle processors:
//
//	gc 5 @0.513s 0%: 0.018+1.3+0.076 ms clock, 0.054+0.35/1.2/3.0+0.23 ms cpu, 4->5->2 MB, …
//
// The parts of cpu are the sweep termination, then assists / dedicated and fractional workers / idle workers, and the mark
// termination. What idle workers take nobody else wanted.
func gcSpent(trace string) (cycles int, spent time.Duration, err error) {
	for line := range strings.Lines(trace) {
		_, rest, ok := strings.Cut(line, " ms clock, ")
		if !ok || !strings.HasPrefix(line, "gc ") {
			continue
		}
		cpu, _, _ := strings.Cut(rest, " ms cpu")
		parts := strings.FieldsFunc(cpu, func(r rune) bool { return r == '+' || r == '/' })
		if len(parts) != 5 {
			return 0, 0, fmt.Errorf("a line of gctrace is not understood: %s", line)
		}
		parts = append(parts[:3], parts[4])
		for _, p := range parts {
			ms, err := strconv.ParseFloat(p, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("a line of gctrace is not understood: %s", line)
			}
			spent += time.Duration(ms * float64(time.Millisecond))
		}
		cycles++
	}
	return cycles, spent, nil
}
