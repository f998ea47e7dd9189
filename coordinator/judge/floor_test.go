package judge

import (
	"math"
	"testing"
)

// The floors of M7, which equal those of MLPerf LoadGen.
func TestFloor(t *testing.T) {
	for p, want := range map[float64]uint64{
		0.5: 11, 0.75: 24, 0.8: 31, 0.9: 64, 0.95: 130, 0.97: 219, 0.99: 662, 0.999: 6_636, 0.9999: 66_381,
	} {
		if got := Floor(p); got != want {
			t.Errorf("the floor of p%g is %d, want %d", p*100, got, want)
		}
	}
	for _, p := range []float64{0, 1, -1, 2, math.NaN()} {
		if Floor(p) != maxFloor {
			t.Errorf("a quantile of %v has a floor", p)
		}
	}
}

// atLeast against sums over all outcomes of few trials.
func TestAtLeast(t *testing.T) {
	for _, q := range []float64{0.01, 0.3, 0.5} {
		for n := uint64(1); n < 20; n++ {
			tail := 0.0
			for k := n; k > 0; k-- {
				choose := 1.0
				for i := range k {
					choose = choose * float64(n-i) / float64(i+1)
				}
				tail += choose * math.Pow(q, float64(k)) * math.Pow(1-q, float64(n-k))
				if got := atLeast(k, n, q); math.Abs(got-tail) > 1e-9 {
					t.Fatalf("P(Bin(%d, %v) ≥ %d) is %v, want %v", n, q, k, got, tail)
				}
			}
		}
	}
	if atLeast(0, 5, 0.1) != 1 {
		t.Error("at least none is certain")
	}
}

// Both are one inequality: at the floor, one value above the bound is within what chance explains.
func TestFloorAgreesWithTail(t *testing.T) {
	for _, p := range []float64{0.5, 0.9, 0.99} {
		n := Floor(p)
		if atMost := 1 - atLeast(2, n, 1-p); atMost >= 1-confidence {
			t.Errorf("p%g: at the floor %d the chance of one or none above is %v", p*100, n, atMost)
		}
		if atMost := 1 - atLeast(2, n-1, 1-p); atMost < 1-confidence {
			t.Errorf("p%g: one below the floor %d it is small enough already, %v", p*100, n, atMost)
		}
	}
}

func TestQuantity(t *testing.T) {
	tests := []struct {
		v      float64
		unit   string
		want   string
		figure string
	}{
		{0, UnitMicros, "0 µs", "0 µs"},
		{84, UnitMicros, "84 µs", "84 µs"},
		{999, UnitMicros, "999 µs", "999 µs"},
		{999.6, UnitMicros, "1 ms", "1.00 ms"},
		{10_000, UnitMicros, "10 ms", "10.0 ms"},
		{128_400, UnitMicros, "128 ms", "128 ms"},
		{999_499, UnitMicros, "999 ms", "999 ms"},
		{999_500, UnitMicros, "1 s", "1.00 s"},
		{1_237_000, UnitMicros, "1.24 s", "1.24 s"},
		{119_000_000, UnitMicros, "119 s", "119 s"},
		{312_400_000, UnitMicros, "5m12s", "5m12s"},
		{0.001, UnitShare, "0.1%", "0.1%"},
		{1, UnitShare, "100%", "100%"},
		{1250.4, UnitPerSecond, "1,250/s", "1,250/s"},
		{0.5, UnitPerSecond, "0.5/s", "0.5/s"},
		{1_234_567, UnitTokens, "1,234,567", "1,234,567"},
		{math.Inf(1), UnitMicros, "infinite", "infinite"},
	}
	for _, test := range tests {
		if got := Quantity(test.v, test.unit); got != test.want {
			t.Errorf("%v %s is %q, want %q", test.v, test.unit, got, test.want)
		}
		if got := Figure(test.v, test.unit); got != test.figure {
			t.Errorf("%v %s as a figure is %q, want %q", test.v, test.unit, got, test.figure)
		}
	}
	if got := Count(1_234_567); got != "1,234,567" {
		t.Error(got)
	}
}
