package main

import (
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name   string
		row    row
		broken bool
	}{
		{"equal counts", count("x", 7, 7), false},
		{"one is missing", count("x", 6, 7), true},
		{"at the bound", micros("x", 2000, 1000, 1), false},
		{"over the bound", micros("x", 2001, 1000, 1), true},
		{"under the bound", micros("x", -1, 1000, 1), true},
		{"five percent", within("x", 525000, 500000, 0.05), false},
		{"more than five percent", within("x", 474999, 500000, 0.05), true},
		{"an absent value", within("x", math.NaN(), 500000, 0.05), true},
		{"shown only", row{what: "x", ours: 5, bound: -1}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := judge(io.Discard, "title", "truth", []row{count("good", 1, 1), c.row})
			if errors.Is(err, errBroken) != c.broken {
				t.Errorf("judged %v", err)
			}
		})
	}
}

// The values of section 3.7 of the reliability page.
func TestStalledQuantile(t *testing.T) {
	for q, want := range map[float64]float64{0.5: 0, 0.9: 0, 0.95: 500e3, 0.99: 900e3, 1: 1e6} {
		if got := stalledQuantile(q); math.Abs(got-want) > 1 {
			t.Errorf("quantile %v is %v µs, not %v", q, got, want)
		}
	}
}

func TestParseMicro(t *testing.T) {
	out := `goos: linux
pkg: github.com/loadline/loadline/internal/schedule
BenchmarkWalk/gamma-0.5-2     	 5000000	        49.40 ns/op	        20.24 M/s	       0 B/op	       0 allocs/op
BenchmarkWalk/gamma-0.5
PASS
pkg: github.com/loadline/loadline/agent/record
BenchmarkRecord-2     	 5000000	        169 ns/op	       8 B/op	       1 allocs/op
BenchmarkRecord/events=1-2     	 5000000	        301 ns/op	       0 B/op	       0 allocs/op
BenchmarkSwapStall-2     	 22	        5913765 ns/op	        15.47 p50-µs	        50.1 p99-µs	     191892 B/op	     324 allocs/op
`
	got := parseMicro(out)
	if len(got) != 4 {
		t.Fatalf("%d results", len(got))
	}
	if r := got[0]; r.pkg != "internal/schedule" || r.name != "Walk/gamma-0.5" || r.metrics["ns/op"] != 49.4 || r.metrics["M/s"] != 20.24 {
		t.Errorf("first: %+v", r)
	}
	var said strings.Builder
	if err := judgeMicro(&bench{out: &said}, got); !errors.Is(err, errBroken) {
		t.Errorf("an allocation a record is good: %v", err)
	}
	if strings.Count(said.String(), "NO") != 3 {
		t.Errorf("the table:\n%s", said.String())
	}
}

func TestInitialised(t *testing.T) {
	trace := "init runtime @0.07 ms, 0.12 ms clock, 0 bytes, 0 allocs\ninit a/b @6.4 ms, 0.79 ms clock, 15160 bytes, 128 allocs\nsomething else\n"
	if got := initialised(trace); got != 910*time.Microsecond {
		t.Errorf("%v", got)
	}
}

func TestSearchRate(t *testing.T) {
	for limit, want := range map[int]int{0: 0, 1000: 1000, 5000: 5000, 7400: 7000, 1 << 20: 16000} {
		_, best, err := searchRate(1000, 16000, 3, func(rate int) (probe, error) {
			p := probe{rate: rate}
			if rate > limit {
				p.why = "too much"
			}
			return p, nil
		})
		if err != nil || best.rate != want {
			t.Errorf("limit %d: found %d, not %d (%v)", limit, best.rate, want, err)
		}
	}
}
