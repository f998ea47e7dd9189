package main

import (
	"context"
	"flag"
	"fmt"
	"time"
)

const stampsScenario = `name: stamps
targets:
  - {name: sim, url: "http://%s/v1", protocol: openai-chat, model: simulated}
workloads:
  - synthetic: {input_tokens: {fixed: 32}, output_tokens: {fixed: %d}}
capture: {wire: true}
load:
  - {name: hold, open: {rate: %d, arrivals: poisson}, duration: %s}
`

// runStamps holds our instants and the kernel's stamps of the same reads against the simulator's truth. It
// judges neither: it is there to compare the two as a source of instants.
func runStamps(ctx context.Context, b *bench, args []string) error {
	fs := flag.NewFlagSet("stamps", flag.ContinueOnError)
	rate := fs.Int("rate", 50, "streams a second")
	tokens := fs.Int("tokens", 64, "tokens a stream")
	lasting := fs.Duration("for", 20*time.Second, "length of the load")
	ttft := fs.String("ttft", "fixed:200ms", "the simulator's time to first token")
	itl := fs.String("itl", "fixed:20ms", "the simulator's time between tokens")
	if err := parse(fs, args); err != nil {
		return err
	}
	sim, err := b.simulate(ctx, "--law", "fixed", "--ttft", *ttft, "--itl", *itl)
	if err != nil {
		return err
	}
	defer sim.stop()
	r, err := b.play(ctx, fmt.Sprintf(stampsScenario, sim.host, *tokens, *rate, *lasting), *lasting+time.Minute, place{}, nil)
	if err != nil {
		return err
	}
	t, err := sim.truth(ctx)
	if err != nil {
		return err
	}
	if r.summary.of("read_lag").Count == 0 {
		return fmt.Errorf("the system gives no stamps, or the run did not go well: %s", r.summary.State)
	}
	title := fmt.Sprintf("stamps: %d streams/s of %d tokens for %v", *rate, *tokens, *lasting)
	return judge(b.out, title, "truth", stampRows(&r.summary, t))
}

// stampRows sets both versions of each series beside the truth.
func stampRows(s *summary, t *truth) []row {
	var rows []row
	shown := func(name string, of series, truth distribution) {
		rows = append(rows,
			row{what: name + " p50", ours: value(of.P50), truth: truth.P50, unit: "ms", bound: -1},
			row{what: name + " p99", ours: value(of.P99), truth: truth.P99, unit: "ms", bound: -1})
	}
	shown("ttft_service", s.of("ttft_service"), t.TTFT)
	shown("ttft_wire", s.of("ttft_wire"), t.TTFT)
	shown("itl", s.of("itl"), t.ITL)
	shown("itl_wire", s.of("itl_wire"), t.ITL)
	shown("read_lag", s.of("read_lag"), distribution{})
	return rows
}
