package judge

import (
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/loadline/loadline/coordinator/merge/mergetest"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func limits(requests, events float64, streams uint64) *pb.Roofline {
	return pb.Roofline_builder{
		RequestsPerSecond: requests, EventsPerSecond: events, Streams: streams,
		MeasuredTime: timestamppb.New(mergetest.Start()), TtftServiceP50Us: 120,
	}.Build()
}

// 100 arrivals a second with 10 events each, of which mergetest has 100 open at most.
func TestRooflineUse(t *testing.T) {
	tests := map[string]struct {
		limits  *pb.Roofline
		share   float64
		note    string
		invalid string
		exit    uint32
	}{
		"not calibrated": {nil, 0, "", "", ExitPass},
		"nothing known":  {limits(0, math.NaN(), 0), 0, "", "", ExitPass},
		"far below":      {limits(1000, 10_000, 1000), 0.2, "", "", ExitPass},
		"requests and events share the processors": {limits(200, 4000, 1000), 0.75,
			"the run used 75% of what this machine can do as a generator (50% of 200 requests/s, 25% of 4,000 events/s, 10% of 1,000 open streams); above 90%", "", ExitPass},
		"seventy per cent is no warning": {limits(1000.0/7, 0, 0), 0.7, "", "", ExitPass},
		"ninety per cent is valid":       {limits(0, 0, 112), 100.0 / 112, "89.3% of 112 open streams", "", ExitPass},
		"too many requests": {limits(105, 0, 1000), 100.0 / 105, "",
			"the run used 95.2% of what this machine can do as a generator (95.2% of 105 requests/s, 10% of 1,000 open streams), more than 90%", ExitInvalid},
		"too many events":       {limits(0, 1001, 0), 1000.0 / 1001, "", "99.9% of 1,001 events/s", ExitInvalid},
		"too many streams":      {limits(0, 0, 50), 2, "", "200% of 50 open streams", ExitInvalid},
		"all of it taken twice": {limits(100, 1000, 0), 2, "", "the run used 200% of", ExitInvalid},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := play(t, open(100, 20*time.Second, p50()), fast)
			if test.limits != nil {
				g.header.SetRoofline(test.limits)
			}
			s := g.summary()
			use := s.GetRoofline()
			if s.HasRoofline() != (test.limits != nil) || math.Abs(use.GetShare()-test.share) > 1e-9 {
				t.Errorf("the use is %v, want a share of %v", use, test.share)
			}
			if s.GetExitStatus() != test.exit || s.GetValidity().GetValid() != (test.exit == ExitPass) {
				t.Errorf("exit status %d, validity %v; want %d", s.GetExitStatus(), s.GetValidity(), test.exit)
			}
			if got := strings.Join(s.GetNotes(), "\n"); !strings.Contains(got, test.note) || (got == "") != (test.note == "") {
				t.Errorf("the notes are %q, want %q", got, test.note)
			}
			if got := strings.Join(s.GetValidity().GetReasons(), "\n"); !strings.Contains(got, test.invalid) || (got == "") != (test.invalid == "") {
				t.Errorf("the reasons are %q, want %q", got, test.invalid)
			}
		})
	}
}

func TestRooflineUseHoldsItsParts(t *testing.T) {
	g := play(t, open(100, 20*time.Second), fast)
	g.header.SetRoofline(limits(1000, 0, 400))
	use := g.summary().GetRoofline()
	if r := use.GetRequests(); r.GetMost() != 100 || r.GetLimit() != 1000 || r.GetShare() != 0.1 {
		t.Errorf("requests: %v", r)
	}
	if e := use.GetEvents(); e.GetMost() != 1000 || e.HasLimit() || e.HasShare() {
		t.Errorf("events: %v", e)
	}
	if s := use.GetStreams(); s.GetMost() != 100 || s.GetShare() != 0.25 {
		t.Errorf("streams: %v", s)
	}
	if use.GetMeasuredTime() != "2026-03-01T12:00:00Z" || use.GetTtftServiceFloorP50() != 120 || use.HasTtftServiceFloorP99() || use.GetWindowSeconds() != 5 {
		t.Errorf("the use is %v", use)
	}
}

// What a warm-up took of the machine says nothing about the phases that are judged.
func TestRooflineUseLeavesDiscardedPhasesOut(t *testing.T) {
	g := play(t, mergetest.Scenario([]*pb.Phase{
		mergetest.Discarded(mergetest.Open("warm-up", 500, 10*time.Second)), mergetest.Open("hold", 50, 10*time.Second),
	}), fast)
	g.header.SetRoofline(limits(1000, 0, 0))
	// The warm-up's last answers end in the first second of hold: 200, and then 30 + 4 × 50 of its own.
	if most := g.summary().GetRoofline().GetRequests().GetMost(); most != 86 {
		t.Errorf("the most is %v requests/s, want 86", most)
	}
}

// Streams that begin together end together; their events came over the whole time that they were open.
func TestRooflineUseAveragesOverTheLengthOfAnswers(t *testing.T) {
	g := play(t, open(1, 40*time.Second), func(a arrival) answer {
		x := fast(a)
		x.E2E, x.OutputTokens = 20*time.Second-time.Duration(a.Due)%(20*time.Second), 1000 // 20 end in the same second
		return x
	})
	g.header.SetRoofline(limits(0, 2000, 0))
	g.windows(func(w *pb.Window) {
		for _, group := range w.GetGroups() {
			for _, d := range group.GetSeries() {
				if d.GetSeries() == pb.Series_SERIES_E2E {
					group.SetSeries(append(group.GetSeries(), pb.SeriesData_builder{Series: pb.Series_SERIES_E2E_SERVICE, Histogram: d.GetHistogram()}.Build()))
				}
			}
		}
	})
	use := g.summary().GetRoofline()
	if use.GetWindowSeconds() != 20 || use.GetEvents().GetMost() != 1000 || use.GetShare() != 0.5 {
		t.Errorf("the use is %v; 20,000 events in one second came over 20 s", use)
	}
}
