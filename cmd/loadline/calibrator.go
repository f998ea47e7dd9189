package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/loadline/loadline/coordinator/calibrate"
	"github.com/loadline/loadline/coordinator/judge"
	"github.com/loadline/loadline/coordinator/report"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// How the time of about 20 s is spent. A search begins no step once its time is over; a step has a bound of its own.
const (
	requestsTime = 6 * time.Second
	eventsTime   = 6 * time.Second
	streamsTime  = 5 * time.Second
	stepLimit    = 30 * time.Second
)

// What the steps are like.
const (
	// streamEvents and streamGap shape the streams of the events search: 250 ms each.
	streamEvents = 50
	streamGap    = 5 * time.Millisecond
	// floorRate is the rate of the streams that are answered at once, for a second.
	floorRate = 200
	// openingPart: streams are opened at one part in so many of the rate of requests, and openingMost a second at most,
	// since a new connection costs several times as much as a request.
	openingPart, openingMost = 4, 5000
	// slowAnswer is the 99th percentile of e2e above which the null server itself no longer keeps up.
	slowAnswer = 50 * time.Millisecond
	// busyElsewhere is the busy share of the machine at floorRate above which something else must be running.
	busyElsewhere = 0.5
)

// calibrator plays short runs, one after the other, and looks for the most that holds.
type calibrator struct {
	client   pb.ControlServiceClient
	url      string // of the server, without a path
	path     string // of the small requests
	strict   bool   // the server answers at once, so slow answers are a fault
	progress io.Writer
	lateness []calibrate.Lateness
}

// attempt is one step of a search.
type attempt struct {
	summary *pb.Summary
	why     string // it did not hold; empty: it did
}

// measure fills in what it finds.
func (c *calibrator) measure(ctx context.Context, out *calibrate.Calibration) (err error) {
	if c.strict {
		if out.TTFTServiceP50US, out.TTFTServiceP99US, err = c.floor(ctx); err != nil {
			return fmt.Errorf("streams answered at once: %w", err)
		}
	}
	requests := &calibrate.Search{Start: 4000, Least: 250, Most: 4_096_000, Halvings: 3}
	if !c.strict {
		requests.Start = 250 // an endpoint that others may use is approached from below
	}
	if out.Requests, err = c.search(ctx, "requests/s", requests, requestsTime, c.requests); err != nil {
		return err
	}
	if c.strict {
		if err := c.measureStreams(ctx, out); err != nil {
			return err
		}
	}
	slices.SortFunc(c.lateness, func(a, b calibrate.Lateness) int { return cmp.Compare(a.Rate, b.Rate) })
	out.Lateness = slices.CompactFunc(c.lateness, func(a, b calibrate.Lateness) bool { return a.Rate == b.Rate })
	return nil
}

func (c *calibrator) measureStreams(ctx context.Context, out *calibrate.Calibration) (err error) {
	events := &calibrate.Search{Start: 20_000, Least: 1000, Most: 8_192_000, Halvings: 3}
	if out.Events, err = c.search(ctx, "events/s", events, eventsTime, c.events); err != nil {
		return err
	}
	opening := min(max(out.Requests.Value/openingPart, 100), openingMost)
	streams := &calibrate.Search{Start: opening, Least: 50, Most: 64 * opening, Halvings: 2}
	out.Streams, err = c.search(ctx, "streams", streams, streamsTime, func(ctx context.Context, n uint64) (attempt, error) {
		return c.streams(ctx, n, opening)
	})
	return err
}

// search carries a search out, within its time. That nothing held is an error.
func (c *calibrator) search(ctx context.Context, unit string, s *calibrate.Search, limit time.Duration,
	step func(context.Context, uint64) (attempt, error),
) (calibrate.Figure, error) {
	begun, why := time.Now(), ""
	for {
		value, ok := s.Next()
		if !ok || time.Since(begun) > limit {
			break
		}
		a, err := step(ctx, value)
		if err != nil {
			return calibrate.Figure{}, fmt.Errorf("%s %s: %w", judge.Count(value), unit, err)
		}
		s.Report(a.why == "")
		verdict := "held"
		if a.why != "" {
			verdict, why = "too much: "+a.why, a.why
		}
		fmt.Fprintf(c.progress, "%12s %-10s  lateness p99 %-8s %s\n", judge.Count(value), unit, p99(a.summary, "lateness"), verdict)
	}
	best, reached := s.Best()
	if best == 0 {
		value, _ := s.Next()
		return calibrate.Figure{}, fmt.Errorf("not even %s %s: %s; calibrate while nothing else keeps the machine busy", judge.Count(value), unit, why)
	}
	return calibrate.Figure{Value: best, AtLeast: !reached}, nil
}

// floor measures what ttft_service reads of streams that are answered at once.
func (c *calibrator) floor(ctx context.Context) (p50, p99 uint64, err error) {
	s, err := c.play(ctx, fmt.Sprintf(`name: calibrate-floor
drain: 1s
targets: [{name: server, url: %q, protocol: openai-chat, model: none}]
workloads: [{name: stream, synthetic: {input_tokens: {fixed: 16}, output_tokens: {fixed: 1}}}]
load:
  - {name: warm-up, open: {rate: %[2]d}, duration: 200ms, discard: true}
  - {name: hold, open: {rate: %[2]d}, duration: 1s}
`, c.url+"/stream/1/0", floorRate))
	if err != nil {
		return 0, 0, err
	}
	series := report.Whole(s, "ttft_service")
	if series.GetCount() == 0 {
		return 0, 0, fmt.Errorf("no stream was answered: %s", c.fault(s))
	}
	for _, a := range s.GetAgents() {
		if a.GetCpuMax() > busyElsewhere {
			fmt.Fprintf(c.progress, "the machine is %s busy at next to no load: something else is running, and the result will be too low\n",
				judge.Quantity(a.GetCpuMax(), judge.UnitShare))
		}
	}
	c.note(floorRate, s)
	return series.GetP50(), series.GetP99(), nil
}

// requests plays so many small requests a second.
func (c *calibrator) requests(ctx context.Context, rate uint64) (attempt, error) {
	s, err := c.play(ctx, fmt.Sprintf(`name: calibrate-requests
drain: 1s
limits: {max_in_flight: 100000}
targets: [{name: server, url: %q, protocol: http}]
workloads: [{name: get, http: {method: GET, path: %[3]q}}]
load:
  - {name: warm-up, open: {rate: %[2]d}, duration: 200ms, discard: true}
  - {name: hold, open: {rate: %[2]d}, duration: 500ms}
`, c.url, rate, c.path))
	if err != nil {
		return attempt{}, err
	}
	a := attempt{s, c.fault(s)}
	if e2e := report.Whole(s, "e2e"); a.why == "" && c.strict && e2e.GetP99() > uint64(slowAnswer.Microseconds()) {
		a.why = "the server took " + judge.Quantity(float64(e2e.GetP99()), judge.UnitMicros)
	}
	if a.why == "" {
		c.note(rate, s)
	}
	return a, nil
}

// events plays streams with so many events a second in all, each event a read of its own.
func (c *calibrator) events(ctx context.Context, rate uint64) (attempt, error) {
	length := streamEvents * streamGap
	s, err := c.play(ctx, fmt.Sprintf(`name: calibrate-events
drain: 1s
limits: {max_in_flight: 100000}
targets: [{name: server, url: %q, protocol: openai-chat, model: none}]
workloads: [{name: stream, synthetic: {input_tokens: {fixed: 16}, output_tokens: {fixed: %d}}}]
load:
  - {name: warm-up, open: {rate: %[3]g}, duration: %[4]s, discard: true}
  - {name: hold, open: {rate: %[3]g}, duration: 500ms}
`, fmt.Sprintf("%s/stream/%d/%d", c.url, streamEvents, streamGap.Milliseconds()), streamEvents,
		float64(rate)/streamEvents, length))
	if err != nil {
		return attempt{}, err
	}
	a := attempt{s, c.fault(s)}
	if took := report.Whole(s, "e2e_service").GetP50(); a.why == "" && took > uint64(length.Microseconds()*6/5) {
		a.why = fmt.Sprintf("streams of %v took %s", length, judge.Quantity(float64(took), judge.UnitMicros))
	}
	return a, nil
}

// streams opens n streams, opening of them a second. They outlast the run, with an event a second each.
func (c *calibrator) streams(ctx context.Context, n, opening uint64) (attempt, error) {
	s, err := c.play(ctx, fmt.Sprintf(`name: calibrate-streams
drain: 500ms
limits: {max_in_flight: %d}
targets: [{name: server, url: %q, protocol: openai-chat, model: none}]
workloads: [{name: stream, synthetic: {input_tokens: {fixed: 16}, output_tokens: {fixed: 600}}}]
load:
  - {name: hold, open: {rate: %d}, sessions: %d}
`, n, c.url+"/stream/600/1000", opening, n))
	if err != nil {
		return attempt{}, err
	}
	a := attempt{s, c.fault(s)}
	if open := s.GetPhases()[0].GetInFlightMax(); a.why == "" && open < n*99/100 {
		a.why = fmt.Sprintf("only %s were open at once", judge.Count(open))
	}
	return a, nil
}

// fault says in a few words why a run did not hold; empty: it did.
func (c *calibrator) fault(s *pb.Summary) string {
	hold := s.GetPhases()[len(s.GetPhases())-1]
	arrivals, errs := hold.GetArrivals(), hold.GetErrors()
	switch {
	case arrivals.GetMissed() > 0:
		return judge.Count(arrivals.GetMissed()) + " arrivals missed"
	case len(errs) > 0:
		return fmt.Sprintf("%s requests failed: %s: %s", judge.Count(hold.GetRequests().GetFailed()), errs[0].GetClass(), errs[0].GetExample())
	case arrivals.GetStarted() != arrivals.GetDue():
		return judge.Count(arrivals.GetDue()-arrivals.GetStarted()) + " arrivals not started"
	case !s.GetValidity().GetValid():
		return "sessions started late, or what came was read late"
	case s.GetState() != pb.SummaryState_SUMMARY_STATE_COMPLETE:
		return "the run did not go to its end"
	}
	return ""
}

// note remembers the lateness at a rate.
func (c *calibrator) note(rate uint64, s *pb.Summary) {
	l := report.Whole(s, "lateness")
	c.lateness = append(c.lateness, calibrate.Lateness{Rate: rate, P50US: l.GetP50(), P99US: l.GetP99()})
}

func p99(s *pb.Summary, name string) string {
	if e := report.Whole(s, name); e.HasP99() {
		return judge.Quantity(float64(e.GetP99()), judge.UnitMicros)
	}
	return "–"
}

// play plays a scenario to its end and leaves nothing behind.
func (c *calibrator) play(ctx context.Context, text string) (summary *pb.Summary, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	s, err := scenario.Parse(scenario.Source{Name: "calibrate", Data: []byte(text)})
	if err != nil {
		return nil, err
	}
	started, err := c.client.StartRun(ctx, pb.StartRunRequest_builder{RequestId: rand.Text(), Scenario: s, Agents: 1}.Build())
	if err != nil {
		return nil, plainError(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(started.GetFolder())) }()
	f := &follower{client: c.client, runID: started.GetRunId(), view: quietView{}, pause: watchPause}
	return f.follow(ctx)
}
