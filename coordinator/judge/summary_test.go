package judge

import (
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/loadline/loadline/coordinator/merge/mergetest"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// whole finds a series of the whole run.
func whole(s *pb.Summary, name string) *pb.SeriesSummary {
	for _, e := range s.GetSeries() {
		if e.GetName() == name && e.GetPhase() == "" {
			return e
		}
	}
	return nil
}

// Totals leave out discarded phases where design §7 says so, and hold them where it does not.
func TestSummaryOfTwoPhases(t *testing.T) {
	s := mergetest.Scenario([]*pb.Phase{
		mergetest.Discarded(mergetest.Open("warm-up", 10, 5*time.Second)), mergetest.Open("hold", 100, 10*time.Second),
	}, mergetest.Chat("short"), mergetest.Chat("long"))
	sum := play(t, s, func(a arrival) answer {
		x := fast(a)
		switch {
		case a.Phase == 0:
			x.Class = "warming"
		case a.Number%10 == 3:
			x.Class = "http_500"
		case a.Number%100 == 5:
			x.Class = "reset"
		}
		return x
	}).summary()
	if a := sum.GetArrivals(); a.GetDue() != 1050 || a.GetStarted() != 1050 {
		t.Errorf("the ledger of arrivals is %v; it holds discarded phases", a)
	}
	if r := sum.GetRequests(); r.GetSent() != 1050 || r.GetFailed() != 160 || r.GetSucceeded() != 890 {
		t.Errorf("the ledger of requests is %v", r)
	}
	if e := sum.GetErrors(); len(e) != 2 || e[0].GetClass() != "http_500" || e[0].GetCount() != 100 || e[1].GetCount() != 10 {
		t.Errorf("the errors are %v; discarded phases are left out, the largest stands first", e)
	}
	if sum.GetErrorRate() != 0.11 || sum.GetGoodputShare() != 0.89 {
		t.Errorf("error rate %v, goodput share %v", sum.GetErrorRate(), sum.GetGoodputShare())
	}
	// What ends within the 10 s of the phase is what is due until 9.6 s: 960, 11% of it failed.
	if r := sum.GetThroughput(); math.Abs(r.GetRequestsPerSecond()-85.4) > 0.2 || math.Abs(r.GetOutputTokensPerSecond()-854) > 2 {
		t.Errorf("the rates are %v", r)
	}
	ph := sum.GetPhases()
	if len(ph) != 2 || !ph[0].GetDiscard() || ph[0].GetOfferedRate() != 10 || ph[1].GetOfferedRate() != 100 || ph[1].GetAchievedRate() != 100 {
		t.Errorf("the phases are %v", ph)
	}
	if ph[1].GetStartedTime() != "2026-03-01T12:00:05Z" || ph[1].GetEndedTime() != "2026-03-01T12:00:15Z" || sum.GetStartedTime() != "2026-03-01T12:00:00Z" {
		t.Errorf("hold lasts from %s to %s", ph[1].GetStartedTime(), ph[1].GetEndedTime())
	}
	if e := ph[0].GetErrors(); len(e) != 1 || e[0].GetClass() != "warming" || e[0].GetCount() != 50 {
		t.Errorf("the warm-up's errors are %v", e)
	}
	// 100 a second open for 0.4 s each.
	if ph[1].GetInFlightMean() != 40 || ph[1].GetInFlightMax() != 100 {
		t.Errorf("in flight: mean %v, most %d", ph[1].GetInFlightMean(), ph[1].GetInFlightMax())
	}
	if e := whole(sum, "ttft"); e.GetCount() != 890 {
		t.Errorf("the whole run's ttft holds %d values", e.GetCount())
	}
	if first := sum.GetSeries()[0]; first.GetPhase() != "" || first.GetName() != "lateness" {
		t.Errorf("the first series is %v; the whole run's stand first", first)
	}
	if last := sum.GetSeries()[len(sum.GetSeries())-1]; last.GetPhase() != "hold" || last.GetWorkload() != "long" || last.GetTarget() != "chat" {
		t.Errorf("the last series is %v", last)
	}
}

// A quantile is printed when n ≥ 1/(1−p).
func TestQuantilesOfFewValues(t *testing.T) {
	for n, want := range map[int][5]bool{
		1: {}, 2: {true}, 9: {true}, 10: {true, true}, 20: {true, true, true}, 99: {true, true, true},
		100: {true, true, true, true}, 1000: {true, true, true, true, true},
	} {
		e := whole(play(t, open(float64(n)/10, 10*time.Second), fast).summary(), "ttft")
		if got := [5]bool{e.HasP50(), e.HasP90(), e.HasP95(), e.HasP99(), e.HasP999()}; got != want || e.GetCount() != uint64(n) {
			t.Errorf("of %d values %v are printed, want %v", e.GetCount(), got, want)
		}
	}
}

// Overlapping phases count once in the measured span, and a stop cuts it.
func TestMeasuredSpan(t *testing.T) {
	tenant := mergetest.Open("tenant", 10, 10*time.Second)
	tenant.SetAt(durationOf(5 * time.Second))
	s := mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", 10, 10*time.Second), tenant})
	for stop, want := range map[time.Duration]int64{0: 15e9, 12 * time.Second: 12e9, 4 * time.Second: 4e9} {
		g := play(t, s, fast)
		if stop > 0 {
			g.events = append(g.events, mergetest.Event(stopKind, stop))
		}
		if got := measuredSpan(g.merged(), func(int) bool { return true }); got != want {
			t.Errorf("stopped after %v, the span is %d ns, want %d", stop, got, want)
		}
	}
}

func TestClosedPhaseHasNoOfferedRate(t *testing.T) {
	closed := pb.Phase_builder{
		Name: new("f"), Closed: pb.ClosedLoad_builder{Users: new(uint32(4))}.Build(), Duration: durationOf(10 * time.Second),
	}.Build()
	sum := play(t, mergetest.Scenario([]*pb.Phase{closed}), fast).summary()
	if sum.GetPhases()[0].HasOfferedRate() {
		t.Error("closed load has an offered rate")
	}
}

// While the run goes on, what is open counts as neither good nor bad.
func TestSnapshot(t *testing.T) {
	g := play(t, open(100, 10*time.Second, p50(), errorRate()), every(20, broken))
	g.events = g.events[:1]
	for i := range g.sent.Windows {
		g.sent.Windows[i] = g.sent.Windows[i][:4]
	}
	g.sent.Totals = nil
	got := Snapshot(g.merged(), 3)
	if got.GetSecond() != 3 || got.GetElapsedUs() != 4_000_000 {
		t.Errorf("second %d, elapsed %d µs", got.GetSecond(), got.GetElapsedUs())
	}
	if got.GetDue() != 100 || got.GetStarted() != 100 || got.GetSucceeded() != 95 || got.GetFailed() != 5 || got.GetOutputTokens() != 950 {
		t.Errorf("the second's counts are %v", got)
	}
	if got.GetAgentsReporting() != 2 || len(got.GetPhases()) != 1 || got.GetPhases()[0].GetStarted() != 100 || got.GetInFlight() != 50 {
		t.Errorf("agents %d, phases %v, in flight %d", got.GetAgentsReporting(), got.GetPhases(), got.GetInFlight())
	}
	if a := got.GetArrivals(); a.GetDue() != 400 || a.GetLost() != 0 {
		t.Errorf("the ledger is %v", a)
	}
	if e := got.GetErrors(); len(e) != 1 || e[0].GetCount() != 18 {
		t.Errorf("the errors are %v", e)
	}
	if s := got.GetSeries(); len(s) != 3 || s[0].GetName() != "ttft" || s[0].GetCount() != 342 || s[0].GetP50() < 200_000 || s[0].GetP50() > 200_200 {
		t.Errorf("the series are %v", s)
	}
	slo := got.GetSlo()
	if slo[0].GetVerdict() != pass || slo[1].GetVerdict() != fail {
		t.Errorf("the objectives are %v; what is open must not decide them", slo)
	}
	if h := got.GetHealth(); h.GetCpuMachine() != 0.4 {
		t.Errorf("the health is %v", h)
	}
	if empty := Snapshot(g.merged(), 50); empty.GetDue() != 0 || len(empty.GetSeries()) != 0 {
		t.Errorf("a second without windows shows %v", empty)
	}
}

// An abort condition holds second by second.
func TestMonitor(t *testing.T) {
	condition := func(o *pb.Objective, length time.Duration) *pb.AbortCondition {
		return pb.AbortCondition_builder{Expression: new(o.GetExpression()), Condition: o, For: durationOf(length)}.Build()
	}
	tooMany := mergetest.Share("error_rate > 20%", "error_rate", pb.Comparison_COMPARISON_GT, 0.2)
	tooSlow := with(p99(), "p99(ttft) > 1s", func(o *pb.Objective) {
		o.SetComparison(pb.Comparison_COMPARISON_GT)
		o.SetBound(1e6)
	})
	tooFew := with(p99(), "rate(requests) < 10", func(o *pb.Objective) {
		o.SetAggregate(pb.Aggregate_AGGREGATE_RATE)
		o.SetMetric("requests")
		o.SetBound(10)
	})
	within := func(from, to float64, f func(*answer)) func(arrival) answer {
		return func(a arrival) answer {
			x := fast(a)
			if end := float64(a.Due)/1e9 + 0.4; end >= from && end < to {
				f(&x)
			}
			return x
		}
	}
	tests := map[string]struct {
		rate      float64
		answer    func(arrival) answer
		condition *pb.AbortCondition
		fires     int // second; -1: never
	}{
		"holds for 3 s":               {100, within(4, 30, broken), condition(tooMany, 3*time.Second), 6},
		"holds for 2.5 s, rounded up": {100, within(4, 30, broken), condition(tooMany, 2500*time.Millisecond), 6},
		"holds for 2 s only":          {100, within(4, 6, broken), condition(tooMany, 3*time.Second), -1},
		"breaks between": {100, func(a arrival) answer {
			x := fast(a)
			if (a.Due+4e8)/1e9%3 > 0 {
				broken(&x)
			}
			return x
		}, condition(tooMany, 3*time.Second), -1},
		"never":                           {100, fast, condition(tooMany, time.Second), -1},
		"an empty second does not break":  {0.5, within(0, 60, broken), condition(tooMany, 3*time.Second), 4},
		"failed ones are infinitely slow": {100, within(4, 30, broken), condition(tooSlow, 3*time.Second), 6},
		"shed ones are not judged":        {100, within(4, 30, shed), condition(tooMany, time.Second), -1},
		"a stalled target has a rate":     {100, within(4, 30, unfinished), condition(tooFew, 3*time.Second), 6},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(test.rate, 20*time.Second)
			s.SetAbort([]*pb.AbortCondition{test.condition})
			r := play(t, s, test.answer).merged()
			m := NewMonitor(r.Header())
			fired := -1
			for second := range uint64(20) {
				if c := m.Observe(r, second); c != nil {
					if fired >= 0 {
						t.Fatal("it fires twice")
					}
					fired = int(second)
				}
			}
			if fired != test.fires {
				t.Errorf("it fires in second %d, want %d", fired, test.fires)
			}
		})
	}
}

func BenchmarkSnapshot(b *testing.B) {
	var workloads []*pb.Workload
	for i := range 60 {
		workloads = append(workloads, mergetest.Chat(string(rune('a'+i%26))+string(rune('a'+i/26))))
	}
	s := mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", 2000, 10*time.Second)}, workloads...)
	s.SetSlo([]*pb.Objective{p99(), p50(), errorRate()})
	r := play(b, s, fast).merged()
	for b.Loop() {
		Snapshot(r, 9)
	}
}

func durationOf(d time.Duration) *durationpb.Duration { return durationpb.New(d) }
