package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"syscall"
	"time"
)

const (
	// pause and period: one second in ten stands still.
	pause  = time.Second
	period = 10 * time.Second
	// stallInFlight is above what a pause of one second lets pile up at 2,000 requests a second.
	stallInFlight = 5000
)

const stallScenario = `name: stall
targets:
  - %s
workloads:
  - %s
load:
  - {name: hold, open: {rate: %d}, duration: %s}
limits: {max_in_flight: %d}
`

// stallPlay is the scenario over one protocol, and the simulator's route that it takes.
func stallPlay(p protocol, s *simulator, rate int, lasting time.Duration) (scenario, route string) {
	target, workload := fmt.Sprintf(`{name: api, url: "http://%s", protocol: http}`, s.host), "{name: echo, target: api, http: {method: GET, path: /echo}}"
	route = "echo"
	switch p.name {
	case "http2":
		target = fmt.Sprintf(`{name: api, url: "http://%s", protocol: http, connections: {http: http2}}`, s.host)
	case "grpc":
		target, workload = p.target(s, 0), "{name: echo, grpc: {method: loadline.sim.v1.EchoService/Unary, message: {text: a}}}"
		route = "grpc_echo"
	}
	return fmt.Sprintf(stallScenario, target, workload, rate, lasting, stallInFlight), route
}

// stalledQuantile is the q-quantile in microseconds of the wait that a pause of every period makes, seen
// by arrivals spread evenly over whole periods: P(L > x) = (pause − x) / period.
func stalledQuantile(q float64) float64 {
	return max(0, float64((pause - time.Duration((1-q)*float64(period))).Microseconds()))
}

// runStall lets first the target and then the generator stand still.
func runStall(ctx context.Context, b *bench, args []string) error {
	fs := flag.NewFlagSet("stall", flag.ContinueOnError)
	rate := fs.Int("rate", 1000, "requests a second, up to 2,000")
	periods := fs.Int("periods", 2, "periods of 10 s with the target standing still for 1 s of each")
	names := fs.String("protocols", "http1,http2,grpc", "protocols, by comma")
	tries := fs.Int("tries", 2, "runs at most, if the generator says of itself that it was not good enough")
	if err := parse(fs, args); err != nil {
		return err
	}
	picked, err := pickProtocols(*names)
	if err != nil {
		return err
	}
	var broken error
	for _, p := range picked {
		err := attempts(ctx, b, *tries, func() error { return stallTarget(ctx, b, p, *rate, *periods) })
		if err != nil && !errors.Is(err, errBroken) {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		broken = errors.Join(broken, err)
	}
	return errors.Join(broken, stallGenerator(ctx, b, *rate))
}

// stallTarget is issue 3, "Done when" 3: a stalled target must not hide its stall.
func stallTarget(ctx context.Context, b *bench, p protocol, rate, periods int) error {
	sim, err := b.simulate(ctx, "--law", "fixed", "--fault", fmt.Sprintf("freeze:at=%v,for=%v,every=%v", period/2, pause, period))
	if err != nil {
		return err
	}
	defer sim.stop()
	lasting := time.Duration(periods) * period
	scenario, route := stallPlay(p, sim, rate, lasting)
	r, err := b.play(ctx, scenario, lasting+time.Minute, place{}, nil)
	if err != nil {
		return err
	}
	t, err := sim.truth(ctx)
	if err != nil {
		return err
	}
	// After each stall a thousand answers come at once and are read one after the other, which the run says of itself as read_lag:
	// how much that is decides here against a second of waiting.
	if r.summary.State != "complete" {
		return r.summary.sound()
	}
	if err := r.summary.sound(); err != nil {
		fmt.Fprintf(b.out, "%s: %v\n", p.name, err)
	}
	s, e2e := &r.summary, r.summary.of("e2e")
	return judge(b.out, fmt.Sprintf("stall of the target over %s: %d requests/s for %v, 1 s of every 10 s frozen", p.name, rate, lasting), "should be", []row{
		count("arrivals due", s.Arrivals.Due, uint64(rate)*uint64(lasting/time.Second)),
		count("arrivals started", s.Arrivals.Started, t.Routes[route].Begun),
		count("arrivals missed, shed, lost", s.Arrivals.Missed+s.Arrivals.Shed+s.Arrivals.Lost, 0),
		count("requests succeeded", s.Requests.Succeeded, t.Routes[route].Completed),
		within("e2e p95", value(e2e.P95), stalledQuantile(0.95), 0.05),
		within("e2e p99", value(e2e.P99), stalledQuantile(0.99), 0.05),
		{what: "e2e p95 beside the simulator's own", ours: value(e2e.P95), truth: t.Routes[route].Latency.P95, unit: "ms", bound: -1},
		{what: "lateness p99", ours: value(s.of("lateness").P99), unit: "ms", bound: -1},
	})
}

// stallGenerator stops loadline itself for one second of ten: the wait must show as lateness, and the run
// must not count as valid.
func stallGenerator(ctx context.Context, b *bench, rate int) error {
	sim, err := b.simulate(ctx, "--law", "fixed")
	if err != nil {
		return err
	}
	defer sim.stop()
	scenario, _ := stallPlay(protocols()[0], sim, rate, period)
	r, err := b.play(ctx, scenario, period+time.Minute, place{}, func(p *os.Process) error {
		return halt(ctx, sim, p)
	})
	if err != nil {
		return err
	}
	s, late := &r.summary, r.summary.of("lateness")
	missed := float64(rate) * (pause - 250*time.Millisecond).Seconds()
	return judge(b.out, fmt.Sprintf("stall of the generator: %d requests/s for %v, stopped for 1 s", rate, period), "should be", []row{
		count("arrivals due", s.Arrivals.Due, uint64(rate)*uint64(period/time.Second)),
		{what: "arrivals missed (over 250 ms late)", ours: float64(s.Arrivals.Missed), truth: missed, bound: missed / 10},
		within("lateness p95", value(late.P95), stalledQuantile(0.95), 0.05),
		within("lateness p99", value(late.P99), stalledQuantile(0.99), 0.05),
		count("exit status", uint64(s.ExitStatus), 98),
	})
}

// halt stops a process for one pause once its load runs.
func halt(ctx context.Context, sim *simulator, p *os.Process) error {
	deadline := time.Now().Add(simStart)
	for {
		t, err := sim.look(ctx)
		if err != nil {
			return err
		}
		if t.Routes["echo"].Begun > 0 {
			break
		}
		if time.Now().After(deadline) {
			return errors.New("the run sent nothing")
		}
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(period / 4)
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	time.Sleep(pause)
	return p.Signal(syscall.SIGCONT)
}

// attempts measures again when nothing could be measured; a broken bound is never tried again.
func attempts(ctx context.Context, b *bench, tries int, measure func() error) error {
	for try := 1; ; try++ {
		err := measure()
		if err == nil || errors.Is(err, errBroken) || try >= tries || ctx.Err() != nil {
			return err
		}
		fmt.Fprintf(b.out, "try %d of %d: %v (%s)\n", try, tries, err, loadAverage())
	}
}
