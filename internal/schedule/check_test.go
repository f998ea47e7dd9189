package schedule

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// sessionsOf bounds a phase.
func sessionsOf(n uint64, p *pb.Phase) *pb.Phase {
	p.SetSessions(n)
	return p
}

// at gives a phase its own start.
func at(s float64, p *pb.Phase) *pb.Phase {
	p.SetAt(seconds(s))
	return p
}

func TestCheckFindsWhatCannotBeScheduled(t *testing.T) {
	rampUp := closedPhase("a", 10, 5)
	rampUp.GetClosed().SetRampUp(seconds(6))
	withCv := rate(5)
	withCv.SetCv(2)
	trace := pb.OpenLoad_builder{Trace: &pb.Trace{}}.Build()
	endless := open("a", rate(5), 0)
	endless.SetDuration(seconds(31 * 86400))
	for _, c := range []struct {
		name   string
		phases []*pb.Phase
		want   []string
	}{
		{"a length that is only known at run time", []*pb.Phase{sessionsOf(500, closedPhase("h", 8, 0)), open("g", rate(1), 10)},
			[]string{`load[1]: phase "g" begins when phase "h" ends, which is only known at run time, since sessions alone end it; give the former a duration, or this one its own start with at:`}},
		{"no end of open load", []*pb.Phase{open("a", rate(1), 0)}, []string{"load[0]: nothing ends this phase"}},
		{"no end of a sine", []*pb.Phase{open("a", sineLoad(1, 0, 1), 0)}, []string{"load[0]: nothing ends this phase"}},
		{"no end of closed load", []*pb.Phase{closedPhase("a", 1, 0)}, []string{"load[0]: nothing ends this phase"}},
		{"a ramp without a length", []*pb.Phase{sessionsOf(5, open("a", ramp(1, 2), 0))}, []string{"load[0]: a ramp is drawn over the phase's duration"}},
		{"a spike without a length", []*pb.Phase{sessionsOf(5, open("a", spike(1, 2, 1, 1, 1), 0))}, []string{"load[0]: a spike is drawn over"}},
		{"a spike longer than its phase", []*pb.Phase{open("a", spike(1, 2, 1, 8, 1.5), 10)},
			[]string{"load[0].open.spike: rise, hold and fall last 10.5s, longer than the phase of 10s"}},
		{"a spike of negative parts", []*pb.Phase{open("a", spike(1, 2, -1, 8, -2), 10)},
			[]string{"load[0].open.spike.rise: a rise of -1s", "load[0].open.spike.fall: a fall of -2s"}},
		{"steps of another length", []*pb.Phase{open("a", steps(1, 3, 1, 10), 40)}, []string{"load[0].duration: steps last 30s by themselves; leave it out"}},
		{"too many steps", []*pb.Phase{open("a", steps(1, 1e6, 1, 1), 0)}, []string{"load[0].open.steps.by: 1000000 steps, more than 100000"}},
		{"steps too small to count", []*pb.Phase{open("a", steps(1, 2, 1e-300, 1), 0)}, []string{"load[0].open.steps.by: "}},
		{"steps longer than a phase", []*pb.Phase{open("a", steps(1, 90, 1, 86400), 0)}, []string{"load[0].open.steps.every: 90 steps of 24h0m0s"}},
		{"steps of no size", []*pb.Phase{open("a", steps(1, 90, 0, 1), 0)}, []string{"load[0].open.steps.by: steps of 0"}},
		{"steps of no length", []*pb.Phase{open("a", steps(1, 90, 1, 0), 0)}, []string{"load[0].open.steps.every: steps of 0s"}},
		{"no load at all", []*pb.Phase{open("a", ramp(0, 0), 10)}, []string{"load[0].open.ramp: a load of no sessions"}},
		{"rates out of range", []*pb.Phase{open("a", ramp(-1, 2e6), 10)}, []string{"load[0].open.ramp.from: a rate of -1", "load[0].open.ramp.to: a rate of 2e+06"}},
		{"not a rate", []*pb.Phase{open("a", rate(math.NaN()), 10)}, []string{"load[0].open.rate: a rate of NaN"}},
		{"a sine below nothing", []*pb.Phase{open("a", sineLoad(1, 2, 10), 10)}, []string{"load[0].open.sine.amplitude: an amplitude of 2 around a mean of 1"}},
		{"a sine without a period", []*pb.Phase{open("a", sineLoad(1, 1, 0), 10)}, []string{"load[0].open.sine.period: a period of 0s"}},
		{"gamma without cv", []*pb.Phase{open("a", gammaOf(0, rate(1)), 10)}, []string{"load[0].open.cv: gamma arrivals with cv 0"}},
		{"cv without gamma", []*pb.Phase{open("a", withCv, 10)}, []string{"load[0].open.cv: cv belongs to gamma arrivals"}},
		{"a trace", []*pb.Phase{open("a", trace, 10)}, []string{"load[0].open.trace: not in this version"}},
		{"no shape", []*pb.Phase{open("a", &pb.OpenLoad{}, 10)}, []string{"load[0].open: no shape of load"}},
		{"no load", []*pb.Phase{{}}, []string{"load[0]: a phase without a load"}},
		{"users that never begin", []*pb.Phase{rampUp}, []string{"load[0].closed.ramp_up: users begin over 6s, longer than the phase of 5s"}},
		{"no sessions", []*pb.Phase{sessionsOf(0, open("a", rate(1), 10))}, []string{"load[0].sessions: a phase of no sessions"}},
		{"sessions that take too long", []*pb.Phase{sessionsOf(3_000_000, open("a", rate(1), 0))}, []string{"load[0].sessions: 3000000 sessions would take longer than 30d"}},
		{"a phase that is too long", []*pb.Phase{endless}, []string{"load[0].duration: a phase of 744h0m0s"}},
		{"a start before the run", []*pb.Phase{at(-1, open("a", rate(1), 10))}, []string{"load[0].at: a start at -1s"}},
		{"too many to count", []*pb.Phase{open("a", poisson(rate(1e6)), 4000), open("b", poisson(rate(1e6)), 4000)}, []string{"load: about 8e+09 arrivals with random spacing"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := scenario(1, nil, c.phases...)
			problems := Check(s)
			for i, p := range problems {
				if i >= len(c.want) || !strings.HasPrefix(p.String(), c.want[i]) || p.Hint == "" {
					t.Errorf("problem %d is %q, want %q", i, p, c.want)
				}
			}
			if len(problems) < len(c.want) {
				t.Errorf("problems %v, want %q", problems, c.want)
			}
			if _, err := Compile(s); err == nil {
				t.Error("it compiles")
			}
		})
	}
}

func TestCompileTellsAllAtOnce(t *testing.T) {
	_, err := Compile(scenario(1, nil, open("a", rate(1), 0), open("b", ramp(0, 0), 1), open("c", rate(1), 1)))
	if err == nil || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), "load[0]") || !strings.Contains(err.Error(), "load[1]") {
		t.Errorf("error %v, want both problems", err)
	}
}

func TestPhasesFollowOrOverlap(t *testing.T) {
	both := sessionsOf(10, closedPhase("closed, both", 2, 7))
	s := compiled(t, scenario(1, nil,
		open("first", rate(10), 10),
		open("second", steps(1, 3, 1, 2), 0),
		at(3, open("overlapping", rate(5), 4)),
		open("after it", rate(5), 1),
		sessionsOf(11, open("sessions", rate(10), 0)),
		sessionsOf(5, open("sessions first", rate(10), 2)),
		sessionsOf(50, open("duration first", rate(10), 2)),
		both,
		open("after closed", rate(1), 1),
		sessionsOf(3, closedPhase("last", 2, 0)),
	))
	type row struct {
		start, duration int64
		arrivals        uint64
		users           uint32
	}
	want := []row{
		{0, 10e9, 100, 0},
		{10e9, 6e9, 12, 0},
		{3e9, 4e9, 20, 0},
		{7e9, 1e9, 5, 0},
		{8e9, 1e9 + 1, 11, 0},
		{9e9 + 1, 4e8 + 1, 5, 0},
		{94e8 + 2, 2e9, 20, 0},
		{114e8 + 2, 7e9, 10, 2},
		{184e8 + 2, 1e9, 1, 0},
		{194e8 + 2, 0, 3, 2},
	}
	var got []row
	for i, p := range s.Phases {
		if p.Index != i {
			t.Errorf("phase %d has index %d", i, p.Index)
		}
		got = append(got, row{p.Start, p.Duration, p.Arrivals, p.Users})
	}
	if !slices.Equal(got, want) {
		t.Errorf("phases\n%v\nwant\n%v", fmt.Sprint(got), fmt.Sprint(want))
	}
	if s.End != 194e8+2 {
		t.Errorf("end %d", s.End)
	}
}

func TestAtAllowsWhatFollowsAnUnknownEnd(t *testing.T) {
	s := compiled(t, scenario(1, nil, sessionsOf(5, closedPhase("a", 1, 0)), at(20, open("b", rate(1), 10))))
	if s.Phases[1].Start != 20e9 || s.End != 30e9 {
		t.Errorf("start %d, end %d", s.Phases[1].Start, s.End)
	}
}

// TestAPhaseMayHaveNoArrivals, or just the one that constant spacing puts where the rate begins.
func TestAPhaseMayHaveNoArrivals(t *testing.T) {
	for name, load := range map[string]*pb.OpenLoad{"poisson": poisson(rate(1e-9)), "spike": spike(0, 1e-9, 0, 1, 0),
		"sine": sineLoad(1e-300, 1e-300, 1)} {
		p := compiled(t, scenario(1, nil, open("a", load, 10))).Phases[0]
		w := p.Walk(0)
		if _, _, ok := w.Next(); ok && (name == "poisson" || p.Arrivals != 1) || p.Duration != 10e9 {
			t.Errorf("%s: %d arrivals in %d ns", name, p.Arrivals, p.Duration)
		}
		if got := p.CountUntil(4e9); got > 0 && name != "sine" {
			t.Errorf("%s: %d arrivals due", name, got)
		}
	}
}

func TestTheLongestPhase(t *testing.T) {
	src := open("a", rate(1e6), 0)
	src.SetDuration(durationpb.New(MaxPhase))
	p := compiled(t, scenario(1, nil, src)).Phases[0]
	if p.Arrivals != 2_592_000_000_000 {
		t.Errorf("%d arrivals", p.Arrivals)
	}
	w := p.Walk(p.Arrivals - 1)
	if _, due, _ := w.Next(); due != int64(MaxPhase)-1000 {
		t.Errorf("the last is due at %d", due)
	}
	if got := p.CountUntil(int64(MaxPhase) - 1001); got != p.Arrivals-1 {
		t.Errorf("%d before the last", got)
	}
}
