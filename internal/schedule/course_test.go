package schedule

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// change makes a change that follows a course: at so many seconds, with the weights given.
func change(c *Course, at float64, weights []uint32, revisions ...*pb.Revision) *pb.Change {
	ch := pb.Change_builder{
		Epoch: c.Epoch() + 1, Attempt: 1, Revision: c.Revision(), AtNs: int64(at * second), Weights: weights, Revisions: revisions,
	}
	if len(revisions) > 0 {
		ch.Revision++
	}
	for range len(weights) - c.Members() {
		ch.Joined = append(ch.Joined, pb.Member_builder{Agent: "joined", Weight: 1}.Build())
	}
	return ch.Build()
}

func toRate(phase uint32, r float64) *pb.Revision {
	return pb.Revision_builder{Phase: phase, Rate: &r}.Build()
}

func toUsers(phase, n uint32) *pb.Revision {
	return pb.Revision_builder{Phase: phase, Users: &n}.Build()
}

func pause(phase uint32) *pb.Revision {
	return pb.Revision_builder{Phase: phase, Paused: proto.Bool(true)}.Build()
}

func resume(phase uint32) *pb.Revision {
	return pb.Revision_builder{Phase: phase, Resumed: proto.Bool(true)}.Build()
}

func end(phase uint32) *pb.Revision {
	return pb.Revision_builder{Phase: phase, Ended: proto.Bool(true)}.Build()
}

// apply applies changes that fit.
func apply(t tester, c *Course, changes ...*pb.Change) *Course {
	t.Helper()
	for _, ch := range changes {
		next, err := c.Apply(ch)
		if err != nil {
			t.Fatalf("%v: %v", ch, err)
		}
		c = next
	}
	return c
}

// tester is what tests and property tests have in common.
type tester interface {
	Helper()
	Fatalf(string, ...any)
}

// dues are the arrivals of a phase.
func dues(p *Phase) []arrival {
	w := p.Walk(0)
	return take(&w, 100_000)
}

// story is a drawn run: a scenario and changes that fit it, with the course after each.
type story struct {
	compiled *Schedule
	changes  []*pb.Change
	courses  []*Course // courses[i] is that after i changes
}

func (s *story) last() *Course { return s.courses[len(s.courses)-1] }

// storyOf draws a run of up to three phases, which may overlap, and up to six changes.
func storyOf(t *rapid.T) *story {
	var phases []*pb.Phase
	for i := range rapid.IntRange(1, 2).Draw(t, "phases") {
		name := string(rune('a' + i))
		var p *pb.Phase
		if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
			p = closedPhase(name, rapid.Uint32Range(1, 40).Draw(t, "users"), rapid.Float64Range(1, 20).Draw(t, "closed for"))
			p.GetClosed().SetRampUp(seconds(rapid.Float64Range(0, 1).Draw(t, "ramp up")))
		} else {
			load, length := loadOf(t)
			p = open(name, load, length)
			if rapid.Bool().Draw(t, "bounded") {
				p.SetSessions(rapid.Uint64Range(1, 3000).Draw(t, "sessions"))
			}
		}
		if rapid.Bool().Draw(t, "own start") {
			p.SetAt(seconds(rapid.Float64Range(0, 15).Draw(t, "at")))
		}
		phases = append(phases, p)
	}
	s := &story{compiled: compiled(t, scenario(rapid.Uint64().Draw(t, "seed"), []uint32{3, 1}, phases...))}
	s.courses = []*Course{NewCourse(s.compiled, weightsOf(t, 6))}
	at := 0.0
	for i := range rapid.IntRange(0, 6).Draw(t, "changes") {
		at += rapid.Float64Range(0.001, 6).Draw(t, "later by")
		s.draw(t, at, i)
	}
	return s
}

// draw draws a change; one that does not fit, since its phase is over, is left out.
func (s *story) draw(t *rapid.T, at float64, i int) {
	c := s.last()
	weights := weightsFor(t, c.Members()+rapid.IntRange(0, 2).Draw(t, "joined"))
	var revisions []*pb.Revision
	for range rapid.IntRange(0, 3).Draw(t, "revisions") {
		phase := rapid.Uint32Range(0, uint32(len(c.Phases()))-1).Draw(t, "phase")
		shape := rapid.SampledFrom([]*pb.Revision{
			toRate(phase, rapid.Float64Range(0.5, 60).Draw(t, "rate")), pause(phase), resume(phase), end(phase), resume(phase),
		}).Draw(t, "shape")
		if c.Phases()[phase].Users > 0 && shape.HasRate() {
			shape = toUsers(phase, rapid.Uint32Range(1, 60).Draw(t, "users"))
		}
		revisions = append(revisions, shape)
	}
	ch := change(c, at, weights, revisions...)
	if rapid.IntRange(0, 3).Draw(t, "append") == 0 {
		ch.SetAppended([]*pb.Phase{open(fmt.Sprint("appended-", i), poisson(rate(30)), 3)})
		ch.SetWorkloadWeights([]uint32{1, uint32(i)})
	}
	if next, err := c.Apply(ch); err == nil {
		s.changes, s.courses = append(s.changes, ch), append(s.courses, next)
	} else if !strings.Contains(err.Error(), "is over") {
		t.Fatalf("%v: %v", ch, err)
	}
}

// weightsFor draws so many weights, one of them at least above 0.
func weightsFor(t *rapid.T, n int) []uint32 {
	w := rapid.SliceOfN(rapid.Uint32Range(0, 5), n, n).Draw(t, "weights")
	w[rapid.IntRange(0, n-1).Draw(t, "present")] |= 1
	return w
}

// TestMembersShareTheCourse is the promise of all changes: the union of what the members walk is the whole schedule once, in
// order, whoever owned what when; and every arrival is governed by the epoch that held when it was due.
func TestMembersShareTheCourse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := storyOf(t)
		c := s.last()
		for i, p := range c.Phases() {
			if p.Users > 0 {
				continue
			}
			all := dues(p)
			if uint64(len(all)) != p.Arrivals {
				t.Fatalf("phase %d: %d arrivals walked of %d", i, len(all), p.Arrivals)
			}
			var union []arrival
			for m := range c.Members() {
				w := c.Walk(i, m, 0)
				own := take(&w, 100_000)
				if got := c.Count(i, m, p.Arrivals); got != uint64(len(own)) {
					t.Fatalf("phase %d: member %d walks %d arrivals, counts %d", i, m, len(own), got)
				}
				for _, a := range own {
					owner, epoch := c.Owner(i, a.n)
					if owner != m || c.epochs[epoch-1].weights[m] == 0 {
						t.Fatalf("phase %d: member %d walks arrival %d of member %d by epoch %d", i, m, a.n, owner, epoch)
					}
					if a.due < c.At(epoch) || epoch < c.Epoch() && a.due >= c.At(epoch+1) {
						t.Fatalf("phase %d: arrival %d, due at %d, is governed by epoch %d, which begins at %d", i, a.n, a.due, epoch, c.At(epoch))
					}
				}
				union = append(union, own...)
			}
			slices.SortFunc(union, func(a, b arrival) int { return int(a.n) - int(b.n) })
			if !slices.Equal(union, all) {
				t.Fatalf("phase %d: the members walk %d arrivals, one alone %d", i, len(union), len(all))
			}
		}
	})
}

// TestEveryWayToAnArrivalIsTheSame: after changes, an arrival is the same by walking, by number and by time.
func TestEveryWayToAnArrivalIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := storyOf(t)
		c := s.last()
		for i, p := range c.Phases() {
			if p.Users > 0 {
				continue
			}
			all := dues(p)
			for k, a := range all {
				if a.n != uint64(k) || a.due < p.Start || a.due >= p.End() || k > 0 && a.due < all[k-1].due {
					t.Fatalf("phase %d: arrival %d is %+v after %+v, in a phase of %d…%d", i, k, a, all[max(k-1, 0)], p.Start, p.End())
				}
			}
			from := rapid.IntRange(0, len(all)).Draw(t, "from")
			w := p.Walk(uint64(from))
			if !slices.Equal(take(&w, 100_000), all[from:]) {
				t.Fatalf("phase %d: walking from %d gives other arrivals", i, from)
			}
			at := rapid.Int64Range(-1, p.End()+1).Draw(t, "at")
			due := func(until int64) uint64 {
				return uint64(len(all[:len(all)-len(slices.DeleteFunc(slices.Clone(all), func(a arrival) bool { return a.due <= until }))]))
			}
			if got, want := p.CountUntil(at), due(at); got != want {
				t.Fatalf("phase %d: %d arrivals due until %d, want %d", i, got, at, want)
			}
			m := rapid.IntRange(0, c.Members()-1).Draw(t, "member")
			whole, late := c.Walk(i, m, 0), c.Walk(i, m, at)
			want := slices.DeleteFunc(take(&whole, 100_000), func(a arrival) bool { return a.due < at })
			if !slices.Equal(take(&late, 100_000), want) {
				t.Fatalf("phase %d: member %d walks something else from %d on", i, m, at)
			}
			for epoch := uint32(2); epoch <= c.Epoch(); epoch++ {
				if got, want := c.First(i, epoch), due(c.At(epoch)-1); got != want {
					t.Fatalf("phase %d: epoch %d governs from arrival %d, want %d", i, epoch, got, want)
				}
			}
		}
	})
}

// TestTheNumberOfMembersChangesNothing: what is due when follows from scenario and revisions, not from who plays.
func TestTheNumberOfMembersChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := storyOf(t)
		alone := NewCourse(s.compiled, []uint32{1})
		for _, ch := range s.changes {
			own := proto.CloneOf(ch)
			own.SetWeights([]uint32{1})
			own.SetJoined(nil)
			alone = apply(t, alone, own)
		}
		for i, p := range s.last().Phases() {
			q := alone.Phases()[i]
			if !slices.Equal(dues(p), dues(q)) || p.End() != q.End() || p.Users != q.Users {
				t.Fatalf("phase %d is another one for a single member", i)
			}
		}
	})
}

// TestAChangeLeavesThePastAlone: a walker of the course before, up to the instant, and one of the course after, from it on, are
// together the walk of the course after. So a member that applies a change while it plays loses and repeats nothing. And the
// course before is what it was.
func TestAChangeLeavesThePastAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := storyOf(t)
		for k, ch := range s.changes {
			before, after := s.courses[k], s.courses[k+1]
			for i := range before.Phases() {
				if before.Phases()[i].Users > 0 {
					continue
				}
				for _, m := range []int{rapid.IntRange(0, before.Members()-1).Draw(t, "member")} {
					first, second, whole := before.Walk(i, m, 0), after.Walk(i, m, ch.GetAtNs()), after.Walk(i, m, 0)
					both := slices.DeleteFunc(take(&first, 100_000), func(a arrival) bool { return a.due >= ch.GetAtNs() })
					both = append(both, take(&second, 100_000)...)
					if !slices.Equal(both, take(&whole, 100_000)) {
						t.Fatalf("change %d, phase %d: member %d walks something else across it", k, i, m)
					}
				}
			}
		}
		again, err := s.courses[0].ApplyAll(s.changes)
		if err != nil {
			t.Fatalf("all changes again: %v", err)
		}
		for i, p := range again.Phases() {
			if !slices.Equal(dues(p), dues(s.last().Phases()[i])) || again.End() != s.last().End() {
				t.Fatalf("phase %d: all changes at once give another schedule", i)
			}
		}
	})
}

// TestSlotsMoveOnlyFromWhoLost: at every change each slot has one owner with a weight, members keep their slots unless their share
// fell or the users did, and what begins anew is exactly what changed hands.
func TestSlotsMoveOnlyFromWhoLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := storyOf(t)
		for k := range s.changes {
			before, after := s.courses[k], s.courses[k+1]
			for i, p := range before.Phases() {
				if p.Users > 0 && p.Start < after.At(after.Epoch()) {
					checkMoves(t, before, after, i)
				}
			}
		}
	})
}

func checkMoves(t *rapid.T, before, after *Course, phase int) {
	lost := fallen(before.Weights(), after.Weights())
	epoch := after.Epoch()
	begins := map[uint32]int{}
	for m := range after.Members() {
		for slot := range after.Slots(phase, m, epoch) {
			begins[slot] = m
		}
	}
	for slot := uint32(1); slot <= after.Phases()[phase].Users; slot++ {
		was, since := before.Owner(phase, uint64(slot-1))
		is, by := after.Owner(phase, uint64(slot-1))
		if is < 0 || after.Weights()[is] == 0 || !after.Holds(phase, is, slot, by) {
			t.Fatalf("slot %d belongs to member %d of weights %v", slot, is, after.Weights())
		}
		to, begun := begins[slot]
		if was == is && (begun || by != since) || was != is && (!begun || to != is || by != epoch) {
			t.Fatalf("slot %d went from member %d to %d by epoch %d; begun anew: %v", slot, was, is, by, begun)
		}
		if was >= 0 && was != is && !lost[was] {
			t.Fatalf("member %d lost slot %d, though its share of %v did not fall to %v", was, slot, before.Weights(), after.Weights())
		}
		delete(begins, slot)
	}
	if len(begins) > 0 {
		t.Fatalf("slots %v begin and are not there", begins)
	}
}

func TestSlotsOfALostMember(t *testing.T) {
	src := closedPhase("a", 6, 60)
	src.GetClosed().SetRampUp(seconds(6))
	c := NewCourse(compiled(t, scenario(1, nil, src)), []uint32{1, 1, 1}) // slots 1 and 4, 2 and 5, 3 and 6
	c = apply(t, c, change(c, 3.5, []uint32{1, 0, 1}))
	for m, want := range [][]arrival{{{1, 3.5e9}}, nil, {{4, 4e9}, {5, 5e9}}} {
		w := c.Walk(0, m, 3.5e9)
		if got := take(&w, 10); !slices.Equal(got, want) {
			t.Errorf("member %d begins %v, want %v", m, got, want)
		}
	}
	if got := c.Restarted(0, 2); got != 1 {
		t.Errorf("%d users restarted, want slot 2 alone: slot 5 had not begun", got)
	}
	c = apply(t, c, change(c, 10, []uint32{1, 0, 1}, toUsers(0, 4)))
	if c.Holds(0, 2, 6, 1) || !c.Holds(0, 0, 1, 1) || c.Restarted(0, 3) != 0 {
		t.Error("slot 6 is still there with 4 users, or slot 1 is not")
	}
}

func TestSessionsOfALostMemberAreAbandoned(t *testing.T) {
	c := NewCourse(compiled(t, scenario(1, nil, sessionsOf(10, closedPhase("a", 4, 0)))), []uint32{1, 1})
	c = apply(t, c, change(c, 1, []uint32{1, 0}))
	c = apply(t, c, change(c, 2, []uint32{1, 0, 1}))
	if got := abandoned(c, 0); got != 5 {
		t.Errorf("%d sessions abandoned, want slots 2 and 4 of 10 sessions: 3 + 2", got)
	}
	for m := range 3 {
		if w := c.Walk(0, m, 1); len(take(&w, 10)) > 0 {
			t.Errorf("member %d begins slots whose sessions nobody knows", m)
		}
	}
}

func TestPauseLeavesOutWhatWouldHaveBeenDue(t *testing.T) {
	c := NewCourse(compiled(t, scenario(1, nil, open("a", ramp(0, 40), 10))), []uint32{1})
	plan := dues(c.Phases()[0])
	c = apply(t, c, change(c, 3, []uint32{1}, pause(0)))
	if got := c.Phases()[0].RateAt(4e9); got != 0 || !c.Phases()[0].Paused() {
		t.Errorf("a paused phase has a rate of %v", got)
	}
	c = apply(t, c, change(c, 6, []uint32{1}, resume(0)))
	var want []arrival
	for _, a := range plan {
		if a.due < 3e9 || a.due >= 6e9 {
			want = append(want, arrival{uint64(len(want)), a.due})
		}
	}
	if got := dues(c.Phases()[0]); !slices.Equal(got, want) {
		t.Errorf("%d arrivals after pause and resumption, want %d", len(got), len(want))
	}
	if got := c.Phases()[0].RateAt(7e9); math.Abs(got-28) > 1e-9 {
		t.Errorf("the ramp is at %v at 7 s, want 28", got)
	}
}

func TestARateHoldsToTheEndOfThePhase(t *testing.T) {
	c := NewCourse(compiled(t, scenario(1, nil, open("a", ramp(5, 50), 10), open("b", rate(1), 5))), []uint32{1})
	before := c.Phases()[0].CountUntil(4e9 - 1)
	c = apply(t, c, change(c, 4, []uint32{1}, toRate(0, 80)))
	p := c.Phases()[0]
	if p.Arrivals != before+480 || p.End() != 10e9 || c.Phases()[1].Start != 10e9 || c.End() != 15e9 {
		t.Errorf("%d arrivals until %d, want %d until 10 s", p.Arrivals, p.End(), before+480)
	}
	for k, a := range dues(p)[before:] {
		if a.due != 4e9+int64(k)*12_500_000 {
			t.Fatalf("arrival %d of the new rate is due at %d", k, a.due)
		}
	}
}

func TestSessionsAreKeptAcrossARate(t *testing.T) {
	src := open("a", rate(10), 0)
	src.SetSessions(100)
	c := NewCourse(compiled(t, scenario(1, nil, src)), []uint32{1})
	c = apply(t, c, change(c, 5, []uint32{1}, toRate(0, 5)))
	if p := c.Phases()[0]; p.Arrivals != 100 || p.End() != 5e9+9.8e9+1 {
		t.Errorf("%d arrivals until %d, want all 100, the last 50 at 5 a second", p.Arrivals, p.End())
	}
}

func TestAppendedPhases(t *testing.T) {
	c := NewCourse(compiled(t, scenario(1, []uint32{1, 1}, open("a", rate(10), 10))), []uint32{1})
	ch := change(c, 4, []uint32{1}, end(0))
	ch.SetAppended([]*pb.Phase{open("b", rate(20), 5)})
	ch.SetWorkloadWeights([]uint32{0, 1})
	c = apply(t, c, ch)
	a, b := c.Phases()[0], c.Phases()[1]
	if a.Arrivals != 40 || a.End() != 4e9 || b.Start != 4e9 || b.Arrivals != 100 || b.Index != 1 || c.End() != 9e9 {
		t.Errorf("phases %d until %d and %d from %d", a.Arrivals, a.End(), b.Arrivals, b.Start)
	}
	if w, ordinal := b.Pick(0); w != 1 || ordinal != 20 {
		t.Errorf("the first arrival asks for %d of workload %d, want 20 of 1: the first phase had as many", ordinal, w)
	}
	if m, epoch := c.Owner(1, 5); m != 0 || epoch != 2 {
		t.Errorf("it belongs to member %d by epoch %d", m, epoch)
	}
}

// A closed course takes no more phases, and other changes still.
func TestAClosedCourse(t *testing.T) {
	c := NewCourse(compiled(t, scenario(1, []uint32{1}, open("a", rate(10), 10))), []uint32{1, 1})
	ch := change(c, 4, []uint32{1, 1}, end(0))
	ch.SetClosed(true)
	c = apply(t, c, ch)
	more := change(c, 5, []uint32{1, 1})
	more.SetAppended([]*pb.Phase{open("b", rate(20), 5)})
	more.SetRevision(c.Revision() + 1)
	if _, err := c.Apply(more); err == nil || !c.Closed() {
		t.Errorf("closed %v, and a phase appended: %v", c.Closed(), err)
	}
	if c = apply(t, c, change(c, 6, []uint32{1, 0})); !c.Closed() {
		t.Error("another change opens it")
	}
}

// TestARevisedStretchKeepsItsLaw: from T on the gaps have the coefficient of variation of the phase's law and the mean of the rate,
// and are other draws than those of another revision.
func TestARevisedStretchKeepsItsLaw(t *testing.T) {
	for name, law := range map[string]struct {
		load *pb.OpenLoad
		cv   float64
	}{"poisson": {poisson(ramp(1, 50)), 1}, "gamma": {gammaOf(2, rate(10)), 2}, "even gamma": {gammaOf(0.5, rate(10)), 0.5}} {
		c := NewCourse(compiled(t, scenario(3, nil, open("a", law.load, 400))), []uint32{1})
		first := apply(t, c, change(c, 1, []uint32{1}, toRate(0, 100)))
		second := apply(t, first, change(first, 200, []uint32{1}, toRate(0, 100)))
		p := second.Phases()[0]
		one, two := gapsBetween(p, 1e9, 200e9), gapsBetween(p, 200e9, 400e9)
		if slices.Equal(one[:100], two[:100]) {
			t.Errorf("%s: two revisions draw the same gaps", name)
		}
		for k, gaps := range [][]float64{one, two} {
			mean, cv := moments(gaps)
			// 20,000 gaps: four standard deviations of the mean are 3 % at a cv of 1, and 6 % at 2.
			if math.Abs(mean-0.01) > 0.0003*max(law.cv, 1) || math.Abs(cv-law.cv) > 0.1*law.cv {
				t.Errorf("%s, stretch %d: gaps of mean %v and cv %v, want 0.01 and %v", name, k, mean, cv, law.cv)
			}
		}
	}
}

// gapsBetween are the gaps in s between arrivals that are due from…until.
func gapsBetween(p *Phase, from, until int64) []float64 {
	var gaps []float64
	w := p.Walk(p.CountUntil(from - 1))
	last := from
	for {
		_, due, ok := w.Next()
		if !ok || due >= until {
			return gaps
		}
		gaps, last = append(gaps, float64(due-last)/second), due
	}
}

func moments(x []float64) (mean, cv float64) {
	var sum, squares float64
	for _, v := range x {
		sum += v
		squares += v * v
	}
	mean = sum / float64(len(x))
	return mean, math.Sqrt(squares/float64(len(x))-mean*mean) / mean
}

// TestRevisedDueTimesAreTheSameEverywhere; the file was written on amd64.
func TestRevisedDueTimesAreTheSameEverywhere(t *testing.T) {
	var b strings.Builder
	for _, load := range []struct {
		name string
		load *pb.OpenLoad
	}{{"constant", rate(33.3)}, {"poisson", poisson(ramp(5, 80))}, {"gamma-2", gammaOf(2, sineLoad(50, 30, 17))}} {
		c := NewCourse(compiled(t, scenario(42, nil, open("a", load.load, 60))), []uint32{2, 1})
		c = apply(t, c, change(c, 10.5, []uint32{2, 0}, toRate(0, 71.7)))
		c = apply(t, c, change(c, 20, []uint32{2, 0, 3}, pause(0)))
		c = apply(t, c, change(c, 31.25, []uint32{2, 5, 3}, resume(0)))
		c = apply(t, c, change(c, 40, []uint32{2, 5, 3}, toRate(0, 12)))
		p := c.Phases()[0]
		fmt.Fprintf(&b, "%s arrivals %d\n", load.name, p.Arrivals)
		for epoch := uint32(1); epoch <= c.Epoch(); epoch++ {
			for k := range uint64(3) {
				w := p.Walk(c.First(0, epoch) + k)
				n, due, _ := w.Next()
				owner, by := c.Owner(0, n)
				fmt.Fprintf(&b, "%d %d member %d epoch %d\n", n, due, owner, by)
			}
		}
	}
	goldenFile(t, "course.golden", b.String())
}

func TestChangesThatDoNotFit(t *testing.T) {
	bounded := closedPhase("c", 4, 20)
	bounded.SetSessions(50)
	phases := []*pb.Phase{open("a", poisson(rate(10)), 10), closedPhase("b", 4, 20), bounded, open("d", rate(1), 0)}
	phases[3].SetSessions(5)
	for _, p := range phases {
		p.SetAt(seconds(0))
	}
	c := NewCourse(compiled(t, scenario(1, []uint32{1, 2}, phases...)), []uint32{1, 1})
	c = apply(t, c, change(c, 2, []uint32{1, 1}))
	with := func(f func(*pb.Change)) *pb.Change {
		ch := change(c, 3, []uint32{1, 1})
		f(ch)
		return ch
	}
	appended := func(p *pb.Phase) *pb.Change {
		return with(func(ch *pb.Change) { ch.SetAppended([]*pb.Phase{p}) })
	}
	late := open("z", rate(1), 1)
	late.SetAt(seconds(9))
	for _, x := range []struct {
		want string
		ch   *pb.Change
	}{
		{"there is no change", nil},
		{"it cannot follow epoch 2", with(func(ch *pb.Change) { ch.SetEpoch(4) })},
		{"it cannot follow epoch 2", with(func(ch *pb.Change) { ch.SetEpoch(2) })},
		{"does not lie after that of the change before", change(c, 2, []uint32{1, 1})},
		{"does not lie after that of the change before", change(c, -5, []uint32{1, 1})},
		{"within 400 days", with(func(ch *pb.Change) { ch.SetAtNs(math.MaxInt64) })},
		{"3 weights for 2 members", with(func(ch *pb.Change) { ch.SetWeights([]uint32{1, 1, 1}) })},
		{"1 weights for 2 members", change(c, 3, []uint32{1})},
		{"no member has a weight", change(c, 3, []uint32{0, 0})},
		{"65537 members", change(c, 3, slices.Repeat([]uint32{1}, MaxMembers+1))},
		{"4001 revisions", change(c, 3, []uint32{1, 1}, slices.Repeat([]*pb.Revision{pause(0)}, MaxRevisions+1)...)},
		{"revision 5 cannot follow revision 1", with(func(ch *pb.Change) { ch.SetRevision(5) })},
		{"there is no phase 4", change(c, 3, []uint32{1, 1}, pause(4))},
		{"no shape", change(c, 3, []uint32{1, 1}, &pb.Revision{})},
		{"says nothing", change(c, 3, []uint32{1, 1}, pb.Revision_builder{Paused: proto.Bool(false)}.Build())},
		{"a rate of NaN", change(c, 3, []uint32{1, 1}, toRate(0, math.NaN()))},
		{"a rate of +Inf", change(c, 3, []uint32{1, 1}, toRate(0, math.Inf(1)))},
		{"a rate of 0", change(c, 3, []uint32{1, 1}, toRate(0, 0))},
		{"a rate of -1", change(c, 3, []uint32{1, 1}, toRate(0, -1))},
		{"has users and no rate", change(c, 3, []uint32{1, 1}, toRate(1, 5))},
		{"has a rate and no users", change(c, 3, []uint32{1, 1}, toUsers(0, 5))},
		{"0 users", change(c, 3, []uint32{1, 1}, toUsers(1, 0))},
		{"1000001 users", change(c, 3, []uint32{1, 1}, toUsers(1, MaxUsers+1))},
		{"plays a number of sessions", change(c, 3, []uint32{1, 1}, toUsers(2, 5))},
		{"phase a is over", change(c, 10, []uint32{1, 1}, toRate(0, 5))},
		{"phase b is over", change(c, 20, []uint32{1, 1}, toUsers(1, 5))},
		{"phase a is over", change(c, 3, []uint32{1, 1}, end(0), toRate(0, 5))},
		{"phase d is over", change(c, 4.5, []uint32{1, 1}, toRate(3, 5))},
		{"1 workload_weights for 2 workloads", with(func(ch *pb.Change) { ch.SetWorkloadWeights([]uint32{1}) })},
		{"no workload has a weight", with(func(ch *pb.Change) { ch.SetWorkloadWeights([]uint32{0, 0}) })},
		{"has no name", appended(open("", rate(1), 1))},
		{"there is a phase a already", appended(open("a", rate(1), 1))},
		{"leave at out", appended(late)},
		{"a rate of NaN", appended(open("z", rate(math.NaN()), 1))},
		{"without a load", appended(pb.Phase_builder{Name: proto.String("z"), Duration: seconds(1)}.Build())},
		{"has no arrivals", appended(open("z", poisson(rate(1e-9)), 1))},
		{"1000001 users", appended(closedPhase("z", MaxUsers+1, 1))},
		{"more than the 268435456", appended(open("z", poisson(rate(1e6)), 1000))},
		{"1001 phases in all", with(func(ch *pb.Change) { ch.SetAppended(slices.Repeat([]*pb.Phase{late}, MaxPhases-3)) })},
	} {
		_, err := c.Apply(x.ch)
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("error %v, want %q", err, x.want)
		}
	}
}

func TestRunsHaveSoManyEpochs(t *testing.T) {
	c := NewCourse(compiled(t, scenario(1, nil, open("a", rate(1), 10))), []uint32{1})
	for c.Epoch() < MaxEpochs {
		c = apply(t, c, change(c, float64(c.Epoch()), []uint32{1}))
	}
	if _, err := c.Apply(change(c, 5000, []uint32{1})); err == nil || !strings.Contains(err.Error(), "at most 1024 epochs") {
		t.Errorf("error %v", err)
	}
}

func TestCeilings(t *testing.T) {
	for _, x := range []struct {
		ceiling uint32
		weights []uint32
		want    []uint32
	}{
		{10, []uint32{1, 1, 1}, []uint32{4, 3, 3}},
		{10, []uint32{0, 3, 1}, []uint32{0, 7, 3}},
		{2, []uint32{1, 1, 1}, []uint32{1, 1, 1}},
		{10_000, []uint32{1, 0}, []uint32{10_000, 0}},
		{5, []uint32{0, 0}, []uint32{0, 0}},
	} {
		if got := Ceilings(x.ceiling, x.weights); !slices.Equal(got, x.want) {
			t.Errorf("%d by %v: %v, want %v", x.ceiling, x.weights, got, x.want)
		}
	}
}

func TestWalkingACourseAllocatesNothing(t *testing.T) {
	for _, shape := range shapes() {
		c := NewCourse(compiled(t, scenario(1, nil, open("a", shape.load, 20))), slices.Repeat([]uint32{1}, 100))
		c = apply(t, c, change(c, 0.01, slices.Repeat([]uint32{1}, 100), toRate(0, 1000)))
		p, w := c.Phases()[0], c.Walk(0, 3, 0)
		if n := testing.AllocsPerRun(100, func() {
			w.Next()
			p.Pick(5)
			c.Owner(0, 12345)
			p.CountUntil(second)
		}); n != 0 {
			t.Errorf("%s: %v allocations", shape.name, n)
		}
	}
}
