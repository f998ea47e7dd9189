package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

const rateScenario = `name: rate
targets:
  - {name: api, url: "http://%s", protocol: http}
workloads:
  - {name: get, target: api, http: {method: GET, path: /}}
load:
  - {name: hold, open: {rate: %d}, duration: %s}
`

// probe is one run at one rate.
type probe struct {
	rate    int
	why     string
	cpu     time.Duration
	cores   float64
	started uint64
	late    series
	e2e     series
}

// runRate looks for the highest rate that one core of the generator sustains against a server that does
// nothing: every arrival started and answered, the run valid, and so the p99 of lateness below
// max(1 ms, 5 % of the median e2e).
func runRate(ctx context.Context, b *bench, args []string) error {
	fs := flag.NewFlagSet("rate", flag.ContinueOnError)
	lasting := fs.Duration("for", 4*time.Second, "length of each probe")
	from := fs.Int("from", 1000, "first rate, doubled until it is too much")
	most := fs.Int("most", 64000, "highest rate tried")
	steps := fs.Int("steps", 3, "halvings of the last interval")
	tries := fs.Int("tries", 2, "runs at one rate before it counts as too much")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *from < 1 || *most < *from || *lasting < time.Second || *steps > 8 || *tries < 1 || *tries > 5 {
		return errors.New("-from must be above 0, -most not below it, -for at least 1s, -steps at most 8, -tries 1 to 5")
	}
	server, err := serveNull()
	if err != nil {
		return err
	}
	defer server.close()
	core := oneCore()
	ref, err := measureReference(ctx, server.addr(), *lasting, core)
	if err != nil {
		return err
	}
	probes, best, err := searchRate(*from, *most, *steps, func(rate int) (p probe, err error) {
		for range *tries {
			if p, err = tryRate(ctx, b, server, rate, *lasting, core); err != nil || p.why == "" {
				break
			}
		}
		return p, err
	})
	if err != nil {
		return err
	}
	printRate(b.out, probes, best, ref, core)
	if best.rate == 0 {
		return fmt.Errorf("not even %d requests/s: %s", *from, probes[0].why)
	}
	return nil
}

// searchRate doubles the rate until it is too much and halves the interval steps times.
func searchRate(from, most, steps int, try func(int) (probe, error)) (probes []probe, best probe, err error) {
	good, bad := 0, 0
	for rate := from; ; {
		p, err := try(rate)
		if err != nil {
			return nil, probe{}, err
		}
		probes = append(probes, p)
		if p.why == "" {
			good, best = rate, p
		} else {
			bad = rate
		}
		switch {
		case bad == 0 && rate >= most, bad != 0 && (good == 0 || steps == 0):
			return probes, best, nil
		case bad == 0:
			rate = min(2*rate, most)
		default:
			rate = (good + bad) / 2
			steps--
		}
	}
}

func tryRate(ctx context.Context, b *bench, server *nullServer, rate int, lasting time.Duration, core place) (probe, error) {
	text := fmt.Sprintf(rateScenario, server.addr(), rate, lasting)
	r, err := b.play(ctx, text, lasting+time.Minute, core, nil)
	if err != nil {
		return probe{}, err
	}
	s := &r.summary
	p := probe{rate: rate, started: s.Arrivals.Started, late: s.of("lateness"), e2e: s.of("e2e")}
	if s.Requests.Sent > 0 {
		p.cpu = r.cpu / time.Duration(s.Requests.Sent)
		p.cores = r.cpu.Seconds() / lasting.Seconds()
	}
	p.why = notSustained(s)
	return p, nil
}

// notSustained says why a run does not count; empty: it does.
func notSustained(s *summary) string {
	switch {
	case s.State != "complete":
		return "run " + s.State
	case !s.Validity.Valid:
		return strings.Join(s.Validity.Reasons, "; ")
	case s.Arrivals.Started != s.Arrivals.Due:
		return fmt.Sprintf("%d of %d arrivals not started", s.Arrivals.Due-s.Arrivals.Started, s.Arrivals.Due)
	case s.Requests.Succeeded != s.Requests.Sent:
		return fmt.Sprintf("%d requests without success", s.Requests.Sent-s.Requests.Succeeded)
	}
	return ""
}

func printRate(w io.Writer, probes []probe, best probe, ref reference, core place) {
	fmt.Fprintf(w, "\nrate: GET requests/s of a generator %v, against a server that does nothing\n", core)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "offered/s\tstarted\tlateness p50\tp99\te2e p50\tp99\tCPU/request\tcores\tsustained\t")
	ms := func(p *float64) string { return row{unit: "ms"}.show(value(p)) }
	for _, p := range probes {
		ok := "yes"
		if p.why != "" {
			ok = "NO"
		}
		fmt.Fprintf(t, "%d\t%d\t%s\t%s\t%s\t%s\t%.1f µs\t%.2f\t%s\t\n", p.rate, p.started,
			ms(p.late.P50), ms(p.late.P99), ms(p.e2e.P50), ms(p.e2e.P99), float64(p.cpu.Nanoseconds())/1000, p.cores, ok)
	}
	t.Flush()
	for _, p := range probes {
		if p.why != "" {
			fmt.Fprintf(w, "%d/s: %s\n", p.rate, p.why)
		}
	}
	fmt.Fprintf(w, "reference: %.0f bare loopback round trips/s of a client %v, %.1f µs of CPU each\n", ref.perSecond, core, float64(ref.cpu.Nanoseconds())/1000)
	if best.rate > 0 {
		fmt.Fprintf(w, "sustained: %d requests/s = %.2f of the reference; CPU a request = %.1f of the reference's\n",
			best.rate, float64(best.rate)/ref.perSecond, float64(best.cpu)/float64(ref.cpu))
	}
}
