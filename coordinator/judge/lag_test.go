package judge

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// A lag that does not void a run is told where it can be noticed: as against the gaps between events.
func TestLagNotes(t *testing.T) {
	const own = "the generator's own delay is part of the figures: "
	with := func(change func(*answer)) func(arrival) answer {
		return func(a arrival) answer {
			x := fast(a)
			change(&x)
			return x
		}
	}
	for name, c := range map[string]struct {
		answer func(arrival) answer
		want   string // the beginning of a note; empty: none
	}{
		"no stamps":        {fast, ""},
		"1 ms":             {with(func(x *answer) { x.ReadLag = time.Millisecond; x.ITL = 10 * time.Millisecond }), ""},
		"more than 1 ms":   {with(func(x *answer) { x.ReadLag = 1100 * time.Microsecond; x.ITL = 10 * time.Millisecond }), own + "the 99th percentile of read_lag is 1.1 ms, more than 1 ms (5% of the median itl of 10 ms, and at least 1 ms)"},
		"within 5% of itl": {with(func(x *answer) { x.ReadLag = 2 * time.Millisecond; x.ITL = 40 * time.Millisecond }), ""},
		"no gaps":          {with(func(x *answer) { x.ReadLag = 3 * time.Millisecond; x.E2E = 40 * time.Millisecond }), own + "the 99th percentile of read_lag is 3 ms, more than 2 ms (5% of the median e2e of 40 ms"},
		"stamps dropped":   {with(func(x *answer) { x.StampsDropped = 1 }), "the wall clock of a generator was set during the run: 1,000 reads left out of read_lag, ttft_wire and itl_wire"},
	} {
		t.Run(name, func(t *testing.T) {
			s := play(t, open(100, 10*time.Second), c.answer).summary()
			told := slices.ContainsFunc(s.GetNotes(), func(n string) bool { return c.want != "" && strings.HasPrefix(n, c.want) })
			if told != (c.want != "") || c.want == "" && len(s.GetNotes()) > 0 {
				t.Errorf("notes %q, want %q", s.GetNotes(), c.want)
			}
			if !s.GetValidity().GetValid() {
				t.Errorf("not valid: %q", s.GetValidity().GetReasons())
			}
		})
	}
}

// Few reads are judged by their median, as few sessions are.
func TestLagOfFewReads(t *testing.T) {
	lagging := func(n uint64) func(arrival) answer {
		return func(a arrival) answer {
			x := fast(a)
			if x.ReadLag = time.Microsecond; a.Number < n {
				x.ReadLag = 30 * time.Millisecond
			}
			return x
		}
	}
	few := open(5, 10*time.Second)
	if v := play(t, few, lagging(20)).summary().GetValidity(); !v.GetValid() {
		t.Errorf("20 of 50 late: %q", v.GetReasons())
	}
	if v := play(t, few, lagging(30)).summary().GetValidity(); v.GetValid() || !strings.Contains(v.GetReasons()[0], "the median of read_lag is 30 ms over 50 reads") {
		t.Errorf("30 of 50 late: %q", v.GetReasons())
	}
}
