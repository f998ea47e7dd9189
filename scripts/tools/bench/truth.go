package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"time"
)

const truthScenario = `name: truth
targets:
  - %s
workloads:
  - %s
load:
  - {name: hold, open: {rate: %.3f, arrivals: poisson}, duration: %s}
capture: {records: all}
limits: {max_in_flight: 20000}
`

// Connections that are open before the load begins, so that what is compared is reading and not connecting, which the simulator
// cannot see: more than are in use at a time up to 1,000 streams, where a stream has one of its own and where they share.
const (
	warmed       = 1500
	warmedShared = 16
)

// protocol is a way to ask the simulator for tokens.
type protocol struct {
	name, route      string
	target, workload func(s *simulator, tokens int) string
}

func protocols() []protocol {
	chat := func(more string) func(*simulator, int) string {
		return func(s *simulator, _ int) string {
			return fmt.Sprintf(`{name: sim, url: "http://%s/v1", protocol: openai-chat, model: simulated%s}`, s.host, more)
		}
	}
	words := func(_ *simulator, tokens int) string {
		return fmt.Sprintf("{synthetic: {input_tokens: {fixed: 32}, output_tokens: {fixed: %d}}}", tokens)
	}
	return []protocol{
		{"http1", "chat", chat(fmt.Sprintf(", connections: {warm: %d}", warmed)), words},
		{"http2", "chat", chat(fmt.Sprintf(", connections: {http: http2, warm: %d}", warmedShared)), words},
		{"grpc", "grpc_generate",
			func(s *simulator, _ int) string {
				return fmt.Sprintf(`{name: sim, url: "grpc://%s", protocol: grpc, connections: {warm: %d}}`, s.grpc, warmedShared)
			},
			func(_ *simulator, tokens int) string {
				return fmt.Sprintf(`{grpc: {method: loadline.sim.v1.GeneratorService/Generate, message: {prompt: "tell me a story", count: %d}}}`, tokens)
			}},
	}
}

// pickProtocols are those named in a list by comma.
func pickProtocols(list string) ([]protocol, error) {
	var picked []protocol
	for _, name := range split(list) {
		i := slices.IndexFunc(protocols(), func(p protocol) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("--protocols: there is no %q; there are http1, http2, grpc", name)
		}
		picked = append(picked, protocols()[i])
	}
	if len(picked) == 0 {
		return nil, errors.New("--protocols is empty")
	}
	return picked, nil
}

// truthTask is what one invocation measures.
type truthTask struct {
	lasting, ttft, itl time.Duration
	tokens             int
}

// length is how long one stream lasts by the law.
func (t truthTask) length() time.Duration { return t.ttft + time.Duration(t.tokens-1)*t.itl }

// truthBound is issue 4's bound of the error in milliseconds, by the streams in flight.
func truthBound(streams int) float64 {
	switch {
	case streams <= 100:
		return 0.3
	case streams <= 1000:
		return 1
	}
	return 3
}

// runTruth holds every request of a run against the simulator's own record of it.
func runTruth(ctx context.Context, b *bench, args []string) error {
	fs := flag.NewFlagSet("truth", flag.ContinueOnError)
	var task truthTask
	streams := fs.String("streams", "100,1000,2000", "streams in flight, by comma")
	names := fs.String("protocols", "http1,http2,grpc", "protocols, by comma")
	fs.IntVar(&task.tokens, "tokens", 64, "tokens a stream")
	fs.DurationVar(&task.lasting, "for", 15*time.Second, "length of the load")
	fs.DurationVar(&task.ttft, "ttft", 200*time.Millisecond, "the simulator's time to first token")
	fs.DurationVar(&task.itl, "itl", 20*time.Millisecond, "the simulator's time between tokens")
	turns := fs.Int("rounds", 3, "rounds, each with every protocol and number of streams once")
	if err := parse(fs, args); err != nil {
		return err
	}
	if task.tokens < 2 || task.tokens > 4096 || task.lasting < time.Second || task.lasting > 5*time.Minute || task.length() <= 0 || *turns < 1 || *turns > 20 {
		return errors.New("flags out of range: --tokens 2 to 4096, --for 1s to 5m, --ttft and --itl above 0, --rounds 1 to 20")
	}
	picked, err := pickProtocols(*names)
	if err != nil {
		return err
	}
	var each []func() (string, []row, error)
	for _, p := range picked {
		for _, text := range split(*streams) {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > 15000 {
				return fmt.Errorf("--streams: %q is not a number from 1 to 15000", text)
			}
			each = append(each, func() (title string, rows []row, err error) {
				err = undisturbed(b.out, fmt.Sprintf("%s, %d streams", p.name, n), func() error {
					title, rows, err = truthOnce(ctx, b, p, n, task)
					return err
				})
				return title, rows, err
			})
		}
	}
	seen, err := measureRounds(*turns, each)
	if err != nil {
		return err
	}
	return seen.judge(b, "truth")
}

// cores are the places of the generator and of its target: a core each, where that can be had.
func cores() (generator, target place) {
	generator = oneCore()
	if generator.taskset == "" {
		return place{}, place{}
	}
	target = generator
	target.core = runtime.NumCPU() - 1
	return generator, target
}

// truthOnce plays one protocol with so many streams in flight.
func truthOnce(ctx context.Context, b *bench, p protocol, streams int, task truthTask) (string, []row, error) {
	ours, theirs := cores()
	sim, err := b.simulateOn(ctx, theirs, "--law", "fixed", "--ttft", task.ttft.String(), "--itl", task.itl.String(), "--requests", "1000000")
	if err != nil {
		return "", nil, err
	}
	defer sim.stop()
	rate := float64(streams) / task.length().Seconds()
	var records []ourRequest
	r, err := b.run(ctx, playing{
		scenario: fmt.Sprintf(truthScenario, p.target(sim, task.tokens), p.workload(sim, task.tokens), rate, task.lasting),
		limit:    task.lasting + time.Minute, on: ours,
		after: func(folder string) (err error) { records, err = ourRequests(folder); return err },
	})
	if err != nil {
		return "", nil, err
	}
	t, err := sim.truth(ctx)
	if err != nil {
		return "", nil, err
	}
	// What the run says of its own validity decides nothing here: how good it was is what is measured.
	if r.summary.State != "complete" {
		return "", nil, r.summary.sound()
	}
	kept, err := sim.requests(ctx, r.summary.RunID)
	if err != nil {
		return "", nil, err
	}
	title := fmt.Sprintf("truth over %s: %d streams in flight (%.0f/s of %d tokens, first after %v, then every %v) for %v; generator %v, simulator too",
		p.name, streams, rate, task.tokens, task.ttft, task.itl, task.lasting, ours)
	if err := r.summary.sound(); err != nil {
		fmt.Fprintf(b.out, "%s, %d streams: %v\n", p.name, streams, err)
	}
	rows := append(truthCounts(&r.summary, t, p.route, uint64(task.tokens)), truthTimes(&r.summary, t, join(records, kept), truthBound(streams))...)
	rows = append(rows, row{what: "CPU in percent of a core", ours: 100 * r.cpu.Seconds() / task.lasting.Seconds(), bound: -1})
	return title, rows, nil
}

// truthCounts are the comparisons of issue 3, "Done when" 2.
func truthCounts(s *summary, t *truth, route string, tokens uint64) []row {
	asked := t.Routes[route]
	var seen, requests, twice uint64
	for _, r := range t.Runs {
		if r.Run == s.RunID {
			seen, requests, twice = r.Arrivals, r.Requests, r.Duplicates+r.Conflicts
		}
	}
	ttft, itl := s.of("ttft_service"), s.of("itl")
	return []row{
		count("arrivals started", s.Arrivals.Started, s.Arrivals.Due),
		count("arrivals seen by the simulator", s.Arrivals.Started, seen),
		count("arrivals missed, shed, lost", s.Arrivals.Missed+s.Arrivals.Shed+s.Arrivals.Lost, 0),
		count("arrivals sent twice", twice, 0),
		count("requests sent", s.Requests.Sent, requests),
		count("requests begun", s.Requests.Sent, asked.Begun),
		count("requests succeeded", s.Requests.Succeeded, asked.Completed),
		count("tokens", itl.Count+ttft.Count, t.CompletionTokens),
		count("first tokens", ttft.Count, t.TTFT.Count),
		count("gaps", itl.Count, t.ITL.Count),
		count("gaps the streams should have", itl.Count, s.Arrivals.Started*(tokens-1)),
	}
}

// truthTimes are the comparisons of issue 4: each request with the simulator's record of it, and the gaps as distributions.
func truthTimes(s *summary, t *truth, j *joined, bound float64) []row {
	itl := s.of("itl")
	shown := func(what string, v float64) row { return row{what: what, ours: v, unit: "ms", bound: -1} }
	return []row{
		count("requests joined", j.count, s.Requests.Sent),
		count("requests without a partner, of either side", j.oursAlone+j.theirsAlone, 0),
		count("requests with other numbers of events", j.torn, 0),
		shown("size of the error of ttft_service, p50", errorAt(j.ttft, 0.50)),
		micros("size of the error of ttft_service, p99", errorAt(j.ttft, 0.99), 0, bound),
		shown("size of the error of ttft_service, max", errorAt(j.ttft, 1)),
		shown("of it, dispatched to sent, p99", errorAt(j.sent, 0.99)),
		shown("size of the error of last − first token, p99", errorAt(j.span, 0.99)),
		micros("itl p50", value(itl.P50), t.ITL.P50, bound),
		micros("itl p99", value(itl.P99), t.ITL.P99, bound),
		shown("lateness p99", value(s.of("lateness").P99)),
		shown("read_lag p50", value(s.of("read_lag").P50)),
		shown("read_lag p99", value(s.of("read_lag").P99)),
	}
}
