package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"
)

// latenessBounds are issue 4's bounds of the 99th percentile at 5,000/s, in milliseconds.
const (
	latenessBound = 0.4
	preciseBound  = 0.1
)

const latenessScenario = `name: lateness
precise: %v
targets:
  - {name: api, url: "http://%s", protocol: http}
workloads:
  - {name: get, target: api, http: {method: GET, path: /}}
load:
  - {name: hold, open: {rate: %d}, duration: %s}
`

// punctual is one run.
type punctual struct{ p50, p99, cores float64 }

// runLateness measures how late sessions start at a rate that takes half a core, with and without precise.
func runLateness(ctx context.Context, b *bench, args []string) error {
	fs := flag.NewFlagSet("lateness", flag.ContinueOnError)
	rate := fs.Int("rate", 5000, "requests a second")
	lasting := fs.Duration("for", 5*time.Second, "length of one run")
	rounds := fs.Int("rounds", 5, "rounds, each with a run of each kind")
	wide := fs.Bool("wide", false, "let the generator use all cores; by default it is confined to one")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *rate < 1 || *rate > 100000 || *rounds < 1 || *rounds > 50 || *lasting < time.Second || *lasting > time.Minute {
		return errors.New("flags out of range: --rate 1 to 100000, --rounds 1 to 50, --for 1s to 1m")
	}
	ours, theirs := cores()
	if *wide {
		ours = place{}
	}
	if err := b.build(ctx); err != nil {
		return err
	}
	seen := map[bool][]punctual{}
	for range *rounds {
		for _, precise := range []bool{false, true} {
			var one punctual
			err := undisturbed(b.out, fmt.Sprintf("precise %v", precise), func() (err error) {
				one, err = latenessOnce(ctx, b, *rate, *lasting, precise, ours, theirs)
				return err
			})
			if err != nil {
				return err
			}
			seen[precise] = append(seen[precise], one)
		}
	}
	title := fmt.Sprintf("lateness: %d requests/s, %d rounds of %v, medians of the rounds; generator %v", *rate, *rounds, *lasting, ours)
	return judge(b.out, title, "bound from", append(latenessRows("normal", seen[false], latenessBound), latenessRows("precise", seen[true], preciseBound)...))
}

func latenessOnce(ctx context.Context, b *bench, rate int, lasting time.Duration, precise bool, ours, theirs place) (punctual, error) {
	server, err := b.nullTarget(ctx, lasting+overtime, theirs)
	if err != nil {
		return punctual{}, err
	}
	defer server.stop()
	r, err := b.play(ctx, fmt.Sprintf(latenessScenario, precise, server.host, rate, lasting), lasting+time.Minute, ours, nil)
	if err != nil {
		return punctual{}, err
	}
	s := &r.summary
	if s.State != "complete" || s.Arrivals.Started != s.Arrivals.Due || s.Requests.Succeeded != s.Requests.Sent {
		return punctual{}, fmt.Errorf("run %s, %d of %d arrivals started: %s", s.State, s.Arrivals.Started, s.Arrivals.Due, strings.Join(s.Reasons, "; "))
	}
	late := s.of("lateness")
	return punctual{value(late.P50), value(late.P99), r.cpu.Seconds() / lasting.Seconds()}, nil
}

// latenessRows are the medians of the rounds with their extremes.
func latenessRows(name string, rounds []punctual, bound float64) []row {
	of := func(pick func(punctual) float64) []float64 {
		var v []float64
		for _, r := range rounds {
			v = append(v, pick(r))
		}
		slices.Sort(v)
		return v
	}
	p50, p99 := of(func(r punctual) float64 { return r.p50 }), of(func(r punctual) float64 { return r.p99 })
	used := of(func(r punctual) float64 { return 100 * r.cores })
	shown := func(what string, v float64) row { return row{what: name + what, ours: v, unit: "ms", bound: -1} }
	return []row{
		shown(" p50", middle(p50)),
		micros(name+" p99", middle(p99), 0, bound),
		shown(" p99, best round", p99[0]),
		shown(" p99, worst round", p99[len(p99)-1]),
		{what: name + " CPU in percent of a core", ours: middle(used), bound: -1},
	}
}

// nullTarget starts the server that answers every request with a few prepared bytes.
func (b *bench) nullTarget(ctx context.Context, lifetime time.Duration, on place) (*saturation, error) {
	return b.saturate(ctx, kind{protocol: protocolHTTP}, lifetime, on)
}
