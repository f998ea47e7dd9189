package main

import (
	"context"
	"flag"
	"fmt"
	"time"
)

const truthScenario = `name: truth
targets:
  - {name: sim, url: "http://%s/v1", protocol: openai-chat, model: simulated}
workloads:
  - synthetic: {input_tokens: {fixed: 32}, output_tokens: {fixed: %d}}
load:
  - {name: hold, open: {rate: %d}, duration: %s}
`

// runTruth compares what loadline says of a run with what the simulator says of it.
func runTruth(ctx context.Context, b *bench, args []string) error {
	fs := flag.NewFlagSet("truth", flag.ContinueOnError)
	rate := fs.Int("rate", 50, "streams a second")
	tokens := fs.Int("tokens", 64, "tokens a stream")
	lasting := fs.Duration("for", 20*time.Second, "length of the load")
	ttft := fs.String("ttft", "lognormal:80ms,200ms", "the simulator's time to first token")
	itl := fs.String("itl", "normal:12ms,3ms", "the simulator's time between tokens")
	tries := fs.Int("tries", 2, "runs at most, if the generator says of itself that it was not good enough")
	if err := parse(fs, args); err != nil {
		return err
	}
	return attempts(ctx, b, *tries, func() error {
		sim, err := b.simulate(ctx, "--law", "fixed", "--ttft", *ttft, "--itl", *itl)
		if err != nil {
			return err
		}
		defer sim.stop()
		r, err := b.play(ctx, fmt.Sprintf(truthScenario, sim.host, *tokens, *rate, *lasting), *lasting+time.Minute, place{}, nil)
		if err != nil {
			return err
		}
		t, err := sim.truth(ctx)
		if err != nil {
			return err
		}
		if err := r.summary.sound(); err != nil {
			return err
		}
		title := fmt.Sprintf("truth: %d streams/s of %d tokens for %v", *rate, *tokens, *lasting)
		return judge(b.out, title, "truth", truthRows(&r.summary, t, uint64(lasting.Seconds()*float64(*rate)), uint64(*tokens)))
	})
}

// truthRows are the comparisons of issue 3, "Done when" 2.
func truthRows(s *summary, t *truth, arrivals, tokens uint64) []row {
	chat := t.Routes["chat"]
	var seen, requests, twice uint64
	for _, r := range t.Runs {
		if r.Run == s.RunID {
			seen, requests, twice = r.Arrivals, r.Requests, r.Duplicates+r.Conflicts
		}
	}
	ttft, itl := s.of("ttft_service"), s.of("itl")
	return []row{
		count("arrivals due", s.Arrivals.Due, arrivals),
		count("arrivals started", s.Arrivals.Started, seen),
		count("arrivals missed, shed, lost", s.Arrivals.Missed+s.Arrivals.Shed+s.Arrivals.Lost, 0),
		count("arrivals sent twice", twice, 0),
		count("requests sent", s.Requests.Sent, requests),
		count("requests begun", s.Requests.Sent, chat.Begun),
		count("requests succeeded", s.Requests.Succeeded, chat.Completed),
		count("output tokens", s.of("output_tokens").total(), t.CompletionTokens),
		count("first tokens", ttft.Count, t.TTFT.Count),
		count("gaps", itl.Count, t.ITL.Count),
		count("gaps a stream should have", itl.Count, arrivals*(tokens-1)),
		micros("ttft_service p50", value(ttft.P50), t.TTFT.P50, 1),
		micros("ttft_service p99", value(ttft.P99), t.TTFT.P99, 2),
		micros("itl p50", value(itl.P50), t.ITL.P50, 1),
		micros("itl p99", value(itl.P99), t.ITL.P99, 2),
		{what: "lateness p99", ours: value(s.of("lateness").P99), unit: "ms", bound: -1},
	}
}
