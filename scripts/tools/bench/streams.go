package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"
)

const (
	// streamsBound is issue 4's bound of the agent's memory, in bytes, for streamsBase streams.
	streamsBound = 400e6
	streamsBase  = 20000
	// streamsGap is the time between the events of a stream.
	streamsGap = 2 * time.Second
	// spareFiles is what both processes open beside one socket for each stream.
	spareFiles = 100
)

const streamsScenario = `name: streams
targets:
  - %s
workloads:
  - %s
load:
  - {name: open, open: {rate: %d, arrivals: poisson}, sessions: %d}
limits: {max_in_flight: %d, max_lateness: 250ms}
drain: 5m
`

// fromSeveral opens the connections of HTTP/1.1 from several addresses. From some 14,000 to one address and port on, the kernel looks for
// a free port one by one at each connect, for milliseconds.
func fromSeveral(p protocol) protocol {
	if p.name == "http1" {
		p.target = func(s *simulator, _ int) string {
			return fmt.Sprintf(`{name: sim, url: "http://%s/v1", protocol: openai-chat, model: simulated, `+
				`connections: {source_addresses: [127.0.0.1, 127.0.0.2, 127.0.0.3, 127.0.0.4]}}`, s.host)
		}
	}
	return p
}

// runStreams holds many streams open at once, each with an event every 2 s.
func runStreams(ctx context.Context, b *bench, args []string) error {
	fs := flag.NewFlagSet("streams", flag.ContinueOnError)
	n := fs.Int("streams", streamsBase, "streams open at once; as many as the limit on open files lets be over http1")
	ramp := fs.Int("ramp", 1000, "streams started each second")
	hold := fs.Duration("hold", 15*time.Second, "time in which all of them are open")
	turns := fs.Int("rounds", 1, "rounds, each with every protocol once")
	names := fs.String("protocols", "http1", "protocols, by comma: http1, http2, grpc")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *n < 1 || *n > 60000 || *ramp < 1 || *ramp > 10000 || *hold < 2*streamsGap || *hold > 5*time.Minute || *turns < 1 || *turns > 5 {
		return errors.New("flags out of range: --streams 1 to 60000, --ramp 1 to 10000, --hold 4s to 5m, --rounds 1 to 5")
	}
	picked, err := pickProtocols(*names)
	if err != nil {
		return err
	}
	limit := openFiles()
	var each []func() (string, []row, error)
	for _, p := range picked {
		streams := *n
		if most := int(limit) - spareFiles; p.name == "http1" && limit > 0 && streams > most {
			fmt.Fprintf(b.out, "\nthe limit on open files is %d here: %d streams instead of %d, and the bound in proportion\n", limit, most, streams)
			streams = most
		}
		each = append(each, func() (string, []row, error) { return streamsOnce(ctx, b, fromSeveral(p), streams, *ramp, *hold) })
	}
	seen, err := measureRounds(*turns, each)
	if err != nil {
		return err
	}
	return seen.judge(b, "bound from")
}

// streamsOnce opens so many streams one after the other; the first ends only when all have been open for hold.
func streamsOnce(ctx context.Context, b *bench, p protocol, streams, ramp int, hold time.Duration) (string, []row, error) {
	ours, theirs := cores()
	sim, err := b.simulateOn(ctx, theirs, "--law", "fixed", "--ttft", streamsGap.String(), "--itl", streamsGap.String())
	if err != nil {
		return "", nil, err
	}
	defer sim.stop()
	// Poisson arrivals may take a little longer than their mean.
	opening := time.Duration(float64(streams)/float64(ramp)*1.05*float64(time.Second)) + time.Second
	tokens := int((opening+hold)/streamsGap) + 1
	r, err := b.run(ctx, playing{
		scenario: fmt.Sprintf(streamsScenario, p.target(sim, tokens), p.workload(sim, tokens), ramp, streams, streams),
		limit:    2*opening + hold + 2*time.Minute, on: ours,
	})
	if err != nil {
		return "", nil, err
	}
	t, err := sim.truth(ctx)
	if err != nil {
		return "", nil, err
	}
	s := &r.summary
	if s.State != "complete" {
		return "", nil, s.sound()
	}
	if err := s.sound(); err != nil {
		fmt.Fprintf(b.out, "%s: %v\n", p.name, err)
	}
	title := fmt.Sprintf("streams over %s: %d, %d a second, an event every %v, all open for %v; the agent %v, with its coordinator in one process", p.name, streams, ramp, streamsGap, hold, ours)
	most := streamsBound * float64(streams) / streamsBase
	itl := s.of("itl")
	return title, []row{
		count("arrivals due", s.Arrivals.Due, uint64(streams)),
		count("arrivals missed, shed, lost", s.Arrivals.Missed+s.Arrivals.Shed+s.Arrivals.Lost, 0),
		count("requests succeeded", s.Requests.Succeeded, uint64(streams)),
		count("open at once, by the simulator's count", uint64(t.InFlightMax), uint64(streams)),
		count("gaps", itl.Count, t.ITL.Count),
		{what: "peak memory in MB", ours: float64(r.peak) / 1e6, truth: 0, bound: most / 1e6},
		{what: "KB a stream", ours: float64(r.peak) / 1e3 / float64(streams), bound: -1},
		micros("itl p50", value(itl.P50), t.ITL.P50, 3),
		{what: "itl p99", ours: value(itl.P99), truth: t.ITL.P99, unit: "ms", bound: -1},
		{what: "lateness p99", ours: value(s.of("lateness").P99), unit: "ms", bound: -1},
		{what: "cores used, in percent", ours: 100 * r.cpu.Seconds() / (2*opening + hold).Seconds(), bound: -1},
	}, nil
}
