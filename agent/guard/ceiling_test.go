package guard_test

import (
	"math"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/loadline/loadline/agent/guard"
	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/schedule"
)

const second = measure.Instant(1e9)

// However a faulty scheduler asks, no span of time sees more than rate × span + burst.
func TestNoSpanExceedsTheCeiling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(0.5, 1e6).Draw(t, "rate")
		burst := float64(rapid.IntRange(1, 100).Draw(t, "burst"))
		b := guard.NewBucket(rate, burst)
		now := measure.Instant(rapid.Int64Range(-1e12, 1e12).Draw(t, "start"))
		var taken []measure.Instant
		for _, gap := range rapid.SliceOfN(rapid.Float64Range(0, 4), 1, 300).Draw(t, "gaps") {
			if rapid.Bool().Draw(t, "waits") {
				now += measure.Instant(gap * 1e9 / rate)
			}
			if b.Take(now) {
				taken = append(taken, now)
			}
		}
		for i := range taken {
			for j := i; j < len(taken); j++ {
				span := float64(taken[j]-taken[i]) / 1e9
				if n := float64(j - i + 1); n > burst+span*rate*(1+1e-5)+1e-6*rate+1 {
					t.Fatalf("%v in %v s at rate %v and burst %v", n, span, rate, burst)
				}
			}
		}
		if len(taken) == 0 {
			t.Fatal("a full bucket gave nothing")
		}
	})
}

func TestTheCeilingOfAScheduleIsNeverMetByIt(t *testing.T) {
	// Poisson arrivals at the planned rate against twice that rate and a burst of 32 (FromScenario).
	const rate = 50.0
	b := guard.NewBucket(2*rate, 32)
	stream := schedule.NewStream(3, "poisson")
	now := 0.0
	for j := range uint64(200_000) {
		now -= math.Log(stream.Float64(j)) / rate
		if !b.Take(measure.Instant(now * 1e9)) {
			t.Fatalf("arrival %d was held back", j)
		}
	}
}

func TestTheBucketRefills(t *testing.T) {
	b := guard.NewBucket(10, 2)
	want := []bool{true, true, false, true, false, true, true, false}
	at := []measure.Instant{0, 0, 0, second / 10, second / 10, 100 * second, 100 * second, 100 * second}
	for i := range want {
		if got := b.Take(at[i]); got != want[i] {
			t.Errorf("take %d at %d = %v, want %v", i, at[i], got, want[i])
		}
	}
}

func TestManyTakeFromOneBucket(t *testing.T) {
	b := guard.NewBucket(1, 500)
	var wg sync.WaitGroup
	counts := make([]int, 8)
	for i := range counts {
		wg.Go(func() {
			for range 1000 {
				if b.Take(0) {
					counts[i]++
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	if total != 500 {
		t.Errorf("%d tokens were taken of 500", total)
	}
}

func TestInFlight(t *testing.T) {
	f := guard.NewInFlight(2)
	first, second, third := f.Enter(), f.Enter(), f.Enter()
	if !first || !second || third || f.Now() != 2 {
		t.Error("two may be under way, not three")
	}
	f.Leave()
	if !f.Enter() || f.Enter() {
		t.Error("one left, so one may enter")
	}
	if new(guard.InFlight).Enter() {
		t.Error("the zero value lets someone in")
	}
}

func TestALeaseLapsesByItself(t *testing.T) {
	var l guard.Lease
	check := func(now int64, want bool) {
		t.Helper()
		if got := l.Valid(now); got != want {
			t.Errorf("Valid(%d) = %v, want %v", now, got, want)
		}
	}
	check(0, false)
	check(1, false)
	l.Grant(100)
	check(0, true)
	check(99, true)
	check(100, false) // the deadline itself is not covered
	l.Grant(200)
	l.Grant(150) // a late renewal shortens nothing
	check(199, true)
	check(200, false)
	l.Revoke()
	check(0, false)
	check(150, false)
	if l.Grant(1000) {
		t.Error("a revoked lease was granted again")
	}
	check(500, false)
}
