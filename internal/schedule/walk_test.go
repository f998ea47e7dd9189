package schedule

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func TestConstantRateHitsRoundTimes(t *testing.T) {
	p := compiled(t, scenario(1, nil, open("a", rate(50), 60))).Phases[0]
	if p.Arrivals != 3000 {
		t.Fatalf("arrivals = %d, want 3000", p.Arrivals)
	}
	w := p.Walk(0)
	for i, a := range take(&w, 5000) {
		if a.n != uint64(i) || a.due != int64(i)*20_000_000 {
			t.Fatalf("arrival %d = %+v", i, a)
		}
	}
}

// phaseOf compiles one drawn phase, at times bounded by sessions and behind another one.
func phaseOf(t *rapid.T) *Phase {
	load, length := loadOf(t)
	p := open("a", load, length)
	if rapid.Bool().Draw(t, "bounded") {
		p.SetSessions(rapid.Uint64Range(1, 3000).Draw(t, "sessions"))
	}
	before := open("before", rate(1), rapid.Float64Range(0.1, 5).Draw(t, "before"))
	return compiled(t, scenario(rapid.Uint64().Draw(t, "seed"), nil, before, p)).Phases[1]
}

func TestWalkIsTheSameFromAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := phaseOf(t)
		w := p.Walk(0)
		all := take(&w, 10_000)
		if uint64(len(all)) != p.Arrivals {
			t.Fatalf("%d arrivals walked of %d", len(all), p.Arrivals)
		}
		for i, a := range all {
			if a.n != uint64(i) || a.due < p.Start || a.due >= p.End() || i > 0 && a.due < all[i-1].due {
				t.Fatalf("arrival %d is %+v after %+v, in a phase of %d…%d", i, a, all[max(i-1, 0)], p.Start, p.End())
			}
		}
		from := rapid.IntRange(0, len(all)).Draw(t, "from")
		w = p.Walk(uint64(from))
		if !slices.Equal(take(&w, 10_000), all[from:]) {
			t.Fatalf("walking from %d gives other arrivals", from)
		}
		moments := []int64{p.Start - 1, p.Start, p.End() - 1, p.End(), rapid.Int64Range(p.Start, p.End()).Draw(t, "moment")}
		if len(all) > 0 {
			due := all[min(from, len(all)-1)].due
			moments = append(moments, due-1, due, due+1)
		}
		for _, at := range moments {
			want := uint64(0)
			for _, a := range all {
				if a.due <= at {
					want++
				}
			}
			if got := p.CountUntil(at); got != want {
				t.Fatalf("%d arrivals due until %d, want %d", got, at, want)
			}
		}
	})
}

// TestOwnersShareTheSchedule is the promise of every split: the union of what the members walk is what one agent walks, and no
// arrival is walked twice.
func TestOwnersShareTheSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := phaseOf(t)
		o, members := tableOf(t)
		w := p.Walk(0)
		all := take(&w, 10_000)
		from := rapid.IntRange(0, len(all)).Draw(t, "from")
		var union []arrival
		for m := range members {
			w := p.WalkOwned(o, m, uint64(from))
			own := take(&w, 10_000)
			if got, want := uint64(len(own)), o.Count(m, p.Arrivals)-o.Count(m, uint64(from)); got != want {
				t.Fatalf("member %d walks %d arrivals, owns %d", m, got, want)
			}
			union = append(union, own...)
		}
		slices.SortFunc(union, func(a, b arrival) int { return int(a.n) - int(b.n) })
		if !slices.Equal(union, all[from:]) {
			t.Fatalf("%d members walk %d arrivals, one agent %d", members, len(union), len(all)-from)
		}
	})
}

// TestFarArrivals: marks lead to the same place as walking, across several of them.
func TestFarArrivals(t *testing.T) {
	for name, load := range map[string]*pb.OpenLoad{"poisson": poisson(ramp(10, 5000)), "gamma": gammaOf(1.5, rate(3000))} {
		p := compiled(t, scenario(9, nil, open("a", load, 60))).Phases[0]
		if p.Arrivals < 4*markEvery {
			t.Fatalf("%s: only %d arrivals", name, p.Arrivals)
		}
		o := NewOwnership([]uint32{1, 50_000})
		owned := p.WalkOwned(o, 0, 0)
		next := take(&owned, 100)
		w := p.Walk(0)
		for {
			n, due, ok := w.Next()
			if !ok {
				break
			}
			if n%markEvery <= 1 || n%markEvery == markEvery-1 {
				far := p.Walk(n)
				if got := take(&far, 1)[0]; got != (arrival{n, due}) {
					t.Errorf("%s: arrival %d is due at %d, from afar %+v", name, n, due, got)
				}
				if got := p.CountUntil(due); got < n+1 || p.CountUntil(due-1) > n {
					t.Errorf("%s: %d arrivals until arrival %d", name, got, n)
				}
			}
			if len(next) > 0 && next[0].n == n {
				if next[0].due != due {
					t.Errorf("%s: arrival %d is due at %d, for its owner at %d", name, n, due, next[0].due)
				}
				next = next[1:]
			}
		}
		if len(next) > 0 {
			t.Errorf("%s: owner walks %d arrivals that do not exist", name, len(next))
		}
	}
}

func TestEpochsAppendedWhileWalkingCount(t *testing.T) {
	p := compiled(t, scenario(1, nil, open("a", poisson(rate(100)), 1))).Phases[0]
	o := NewOwnership([]uint32{1, 0})
	first, second := p.WalkOwned(o, 0, 0), p.WalkOwned(o, 1, 0)
	if got := take(&second, 1); got != nil {
		t.Errorf("member 1 owns nothing yet and walks %v", got)
	}
	take(&first, 5)
	if err := o.append(20, []uint32{0, 1}); err != nil {
		t.Fatal(err)
	}
	if got := take(&first, 1000); len(got) != 15 || got[14].n != 19 {
		t.Errorf("member 0 walks %d more, want 15 up to arrival 19", len(got))
	}
	if got := take(&second, 1000); uint64(len(got)) != p.Arrivals-20 || got[0].n != 20 {
		t.Errorf("member 1 walks %d, want %d from arrival 20", len(got), p.Arrivals-20)
	}
}

func TestSeedsAndNamesChangeTheDraws(t *testing.T) {
	dues := func(seed uint64, name string) []arrival {
		p := compiled(t, scenario(seed, nil, open(name, poisson(rate(100)), 1))).Phases[0]
		w := p.Walk(0)
		return take(&w, 50)
	}
	if !slices.Equal(dues(1, "a"), dues(1, "a")) {
		t.Error("the same scenario gives other arrivals")
	}
	if slices.Equal(dues(1, "a"), dues(2, "a")) {
		t.Error("another seed gives the same arrivals")
	}
	if slices.Equal(dues(1, "a"), dues(1, "b")) {
		t.Error("another phase gives the same arrivals")
	}
}

func TestWalkingAllocatesNothing(t *testing.T) {
	o := NewOwnership(slices.Repeat([]uint32{1}, 1000))
	for _, shape := range shapes() {
		p := compiled(t, scenario(1, nil, open("a", shape.load, 20))).Phases[0]
		w, owned := p.Walk(0), p.WalkOwned(o, 3, 0)
		if n := testing.AllocsPerRun(10, func() {
			w.Next()
			owned.Next()
			p.Pick(5)
			o.Owner(12345)
			p.CountUntil(second)
		}); n != 0 {
			t.Errorf("%s: %v allocations", shape.name, n)
		}
	}
}

// TestDueTimesAreTheSameEverywhere is the promise of the package, shape by shape; the file was written on amd64.
func TestDueTimesAreTheSameEverywhere(t *testing.T) {
	loads := []struct {
		name   string
		length float64
		load   func() *pb.OpenLoad
	}{
		{"rate", 100, func() *pb.OpenLoad { return rate(33.3) }},
		{"ramp", 60, func() *pb.OpenLoad { return ramp(5, 80) }},
		{"ramp-down", 60, func() *pb.OpenLoad { return ramp(80, 0) }},
		{"steps", 0, func() *pb.OpenLoad { return steps(10, 50, 10, 20) }},
		{"spike", 60, func() *pb.OpenLoad { return spike(10, 200, 5, 10, 5) }},
		{"sine", 60, func() *pb.OpenLoad { return sineLoad(50, 30, 17) }},
		{"deep-sine", 60, func() *pb.OpenLoad { return sineLoad(50, 50, 17) }},
	}
	laws := []struct {
		name string
		law  func(*pb.OpenLoad) *pb.OpenLoad
	}{
		{"constant", func(o *pb.OpenLoad) *pb.OpenLoad { return o }},
		{"poisson", poisson},
		{"gamma-0.5", func(o *pb.OpenLoad) *pb.OpenLoad { return gammaOf(0.5, o) }},
		{"gamma-3", func(o *pb.OpenLoad) *pb.OpenLoad { return gammaOf(3, o) }},
	}
	var b strings.Builder
	for _, load := range loads {
		for _, law := range laws {
			p := compiled(t, scenario(42, nil, open("a", law.law(load.load()), load.length))).Phases[0]
			fmt.Fprintf(&b, "%s %s arrivals %d\n", load.name, law.name, p.Arrivals)
			for _, n := range []uint64{0, 1, 2, 10, 100, p.Arrivals / 2, p.Arrivals - 1} {
				w := p.Walk(n)
				n, due, _ := w.Next()
				fmt.Fprintf(&b, "%d %d\n", n, due)
			}
		}
	}
	goldenFile(t, "due.golden", b.String())
}
