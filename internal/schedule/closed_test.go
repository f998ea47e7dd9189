package schedule

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func TestUsersBeginEvenly(t *testing.T) {
	src := closedPhase("a", 4, 60)
	src.GetClosed().SetRampUp(seconds(10))
	src.SetAt(seconds(5))
	p := compiled(t, scenario(1, nil, src)).Phases[0]
	want := []arrival{{0, 5e9}, {1, 7.5e9}, {2, 10e9}, {3, 12.5e9}}
	w := p.Walk(0)
	if got := take(&w, 10); !slices.Equal(got, want) {
		t.Errorf("slots %v, want %v", got, want)
	}
	for _, a := range want {
		if got := p.SlotStart(uint32(a.n) + 1); got != a.due {
			t.Errorf("slot %d begins at %d, want %d", a.n+1, got, a.due)
		}
	}
	owned := p.WalkOwned(NewOwnership([]uint32{1, 1}), 1, 0)
	if got := take(&owned, 10); !slices.Equal(got, []arrival{want[1], want[3]}) {
		t.Errorf("member 1 has slots %v", got)
	}
	if p.RateAt(6e9) != 0 || p.CountUntil(50e9) != 0 || p.Arrivals != 0 || p.Users != 4 {
		t.Errorf("closed load has rate %v, %d arrivals due, %d in all, %d users", p.RateAt(6e9), p.CountUntil(50e9), p.Arrivals, p.Users)
	}
}

func TestManyUsersOverALongTime(t *testing.T) {
	src := closedPhase("a", 1_000_000, 30*86400)
	src.GetClosed().SetRampUp(seconds(30 * 86400))
	p := compiled(t, scenario(1, nil, src)).Phases[0]
	if got, want := p.SlotStart(1_000_000), int64(2592000e9-2592000e3); got != want {
		t.Errorf("the last slot begins at %d, want %d", got, want)
	}
}

func TestSessionsAreStriped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		users := rapid.Uint32Range(1, 50).Draw(t, "users")
		sessions := rapid.Uint64Range(1, 500).Draw(t, "sessions")
		src := closedPhase("a", users, 0)
		src.SetSessions(sessions)
		p := compiled(t, scenario(1, nil, src)).Phases[0]
		seen := make([]bool, sessions)
		for slot := uint32(1); slot <= p.Users; slot++ {
			if p.Iterations(slot) == 0 {
				t.Fatalf("slot %d of %d plays nothing of %d", slot, p.Users, sessions)
			}
			for i := range p.Iterations(slot) {
				n := i*uint64(p.Users) + uint64(slot-1)
				if n >= sessions || seen[n] {
					t.Fatalf("slot %d plays session %d of %d, or again", slot, n, sessions)
				}
				seen[n] = true
			}
		}
		if i := slices.Index(seen, false); i >= 0 {
			t.Fatalf("nobody plays session %d", i)
		}
	})
}

func TestThinkTimes(t *testing.T) {
	s := time.Second
	for _, c := range []struct {
		name   string
		law    *pb.DurationDistribution
		median float64 // ns
		p95    float64
		most   time.Duration
	}{
		{"none", nil, 0, 0, 0},
		{"fixed", pb.DurationDistribution_builder{Fixed: seconds(2)}.Build(), 2e9, 2e9, 2 * s},
		{"uniform", pb.DurationDistribution_builder{Uniform: pb.DurationUniform_builder{Min: seconds(1), Max: seconds(3)}.Build()}.Build(), 2e9, 2.9e9, 3 * s},
		{"exponential", pb.DurationDistribution_builder{Exponential: pb.DurationExponential_builder{Mean: seconds(2)}.Build()}.Build(),
			2e9 * math.Ln2, 2e9 * math.Log(20), MaxThink},
		{"cut", pb.DurationDistribution_builder{Exponential: pb.DurationExponential_builder{Mean: seconds(2), Max: seconds(4)}.Build()}.Build(),
			2e9 * math.Ln2, 4e9, 4 * s},
		{"lognormal", pb.DurationDistribution_builder{Lognormal: pb.DurationLognormal_builder{Median: seconds(2), P95: seconds(7)}.Build()}.Build(),
			2e9, 7e9, MaxThink},
		{"cut at a day", pb.DurationDistribution_builder{Lognormal: pb.DurationLognormal_builder{Median: seconds(86400), P95: seconds(86400)}.Build()}.Build(),
			86400e9, 86400e9, MaxThink},
	} {
		src := closedPhase("a", 100, 60)
		if c.law != nil {
			src.GetClosed().SetThink(c.law)
		}
		p := compiled(t, scenario(1, nil, src)).Phases[0]
		var all []float64
		for slot := uint32(1); slot <= 100; slot++ {
			if got := p.Think(slot, 0); got != 0 {
				t.Errorf("%s: slot %d thinks for %d before its first session", c.name, slot, got)
			}
			for i := uint64(1); i <= 200; i++ {
				all = append(all, float64(p.Think(slot, i)))
			}
		}
		slices.Sort(all)
		n := len(all)
		if all[0] < 0 || all[n-1] > float64(c.most) {
			t.Errorf("%s: think times %v…%v", c.name, all[0], all[n-1])
		}
		for _, q := range []struct{ p, want float64 }{{0.5, c.median}, {0.95, c.p95}} {
			// 20,000 draws: the quantile is good to a few percent.
			if got := all[int(q.p*float64(n))]; math.Abs(got-q.want) > 0.05*q.want {
				t.Errorf("%s: quantile %v is %v, want %v", c.name, q.p, got, q.want)
			}
		}
	}
}

// TestEverySlotMeetsTheMix: where the users are a multiple of the weights' sum, plain striping would give each slot one workload for good.
func TestEverySlotMeetsTheMix(t *testing.T) {
	p := compiled(t, scenario(1, []uint32{3, 1}, closedPhase("a", 64, 60))).Phases[0]
	for slot := range uint64(64) {
		golden := 0
		for i := range uint64(400) {
			if w, _ := p.Pick(i*64 + slot); w == 1 {
				golden++
			}
		}
		// 400 draws of ¼: 100 ± 4 standard deviations of 8.7.
		if golden < 65 || golden > 135 {
			t.Errorf("slot %d meets the second workload %d times in 400", slot+1, golden)
		}
	}
}

// TestPickNumbersEachWorkload: over all sessions, each workload's ordinals are 0, 1, 2 … without a gap, and WorkloadCount agrees.
func TestPickNumbersEachWorkload(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint32Range(1, 9), 1, 6).Draw(t, "weights")
		src := closedPhase("a", rapid.Uint32Range(1, 40).Draw(t, "users"), 0)
		src.SetSessions(rapid.Uint64Range(1, 300).Draw(t, "sessions"))
		if rapid.Bool().Draw(t, "open") {
			src.SetOpen(rate(100))
		}
		p := compiled(t, scenario(rapid.Uint64().Draw(t, "seed"), weights, src)).Phases[0]
		seen := make([][]bool, len(weights))
		for w := range weights {
			seen[w] = make([]bool, p.WorkloadCount(w, p.Arrivals))
		}
		counts := make([]uint64, len(weights))
		for n := range p.Arrivals {
			for w := range weights {
				if got := p.WorkloadCount(w, n); got != counts[w] {
					t.Fatalf("workload %d has %d of the first %d, counted %d", w, counts[w], n, got)
				}
			}
			w, ordinal := p.Pick(n)
			counts[w]++
			if ordinal >= uint64(len(seen[w])) || seen[w][ordinal] {
				t.Fatalf("session %d is number %d of workload %d, which has %d, or again", n, ordinal, w, len(seen[w]))
			}
			seen[w][ordinal] = true
		}
	})
}

func TestOrdinalsGoOnOverTheRun(t *testing.T) {
	named := func(p *pb.Phase, names ...string) *pb.Phase {
		p.SetWorkloads(names)
		return p
	}
	bounded := closedPhase("d", 3, 1)
	bounded.SetSessions(8)
	s := compiled(t, scenario(1, []uint32{3, 1},
		open("a", rate(8), 1), named(open("b", rate(5), 1), "b"), closedPhase("c", 3, 1), bounded, open("e", rate(4), 1)))
	for _, c := range []struct {
		phase      int
		n          uint64
		w, ordinal uint64
	}{{0, 0, 0, 0}, {0, 7, 1, 1}, {1, 0, 1, 2}, {1, 4, 1, 6}, {4, 0, 0, 12}, {4, 3, 1, 9}} {
		if w, ordinal := s.Phases[c.phase].Pick(c.n); uint64(w) != c.w || ordinal != c.ordinal {
			t.Errorf("phase %d, arrival %d: workload %d, ordinal %d, want %d, %d", c.phase, c.n, w, ordinal, c.w, c.ordinal)
		}
	}
	if got := s.Phases[1].WorkloadCount(0, 5); got != 0 {
		t.Errorf("a phase of workload b alone has %d of a", got)
	}
	if _, err := Compile(scenario(1, nil, named(open("a", rate(1), 1), "nobody"))); err == nil {
		t.Error("a workload that does not exist is accepted")
	}
	absent := scenario(1, []uint32{1, 1}, open("a", rate(4), 1))
	absent.GetWorkloads()[0].ClearWeight()
	if got := compiled(t, absent).Phases[0].WorkloadCount(0, 4); got != 2 {
		t.Errorf("a workload without a weight gets %d of 4, want 2", got)
	}
}
