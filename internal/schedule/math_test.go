package schedule

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
)

// samples is a spread of draws in the open interval 0…1.
func samples(n int) []float64 {
	s := NewStream(7, "samples")
	all := make([]float64, n)
	for i := range all {
		all[i] = s.Float64(uint64(i))
	}
	return all
}

func TestLogTableIsWhatItShouldBe(t *testing.T) {
	for i, cell := range logTable {
		low, width := 0.6875+float64(i)/256, 1.0/256
		if i >= 80 {
			low, width = 1+float64(i-80)/128, 1.0/128
		}
		inverse := math.RoundToEven(1/(low+width/2)*(1<<15)) / (1 << 15)
		if i == 79 || i == 80 {
			inverse = 1
		}
		truth := bigLog(bigFloat(inverse))
		truth.Neg(truth)
		rounded, _ := truth.Float64()
		high := math.RoundToEven(rounded*(1<<42)) / (1 << 42)
		low64, _ := new(big.Float).Sub(truth, bigFloat(high)).Float64()
		if want := (logCell{inverse, high, low64}); cell != want {
			t.Errorf("cell %d = %v, want %v", i, cell, want)
		}
	}
	truth, _ := new(big.Float).Sub(bigLog(bigFloat(2)), bigFloat(ln2High)).Float64()
	if truth != ln2Low {
		t.Errorf("ln2Low = %x, want %x", ln2Low, truth)
	}
}

// worst is the largest error of f over the given arguments, in units in the last place.
func worst(xs []float64, f func(float64) float64, truth func(*big.Float) *big.Float) (ulp, at float64) {
	for _, x := range xs {
		if u := ulps(f(x), truth(bigFloat(x))); u > ulp {
			ulp, at = u, x
		}
	}
	return ulp, at
}

func TestLogIsOffByLessThan065(t *testing.T) {
	xs := samples(1500)
	for i, u := range samples(1500) {
		// Near 1, where the result is small, and over the whole range.
		xs = append(xs, 1+(u-0.5)*math.Ldexp(1, -i%50), math.Ldexp(0.5+u/2, i%2000-1000))
	}
	ulp, at := worst(xs, Log, bigLog)
	t.Logf("largest error %.4f ulp at %v", ulp, at)
	if ulp >= 0.65 {
		t.Errorf("error of %.4f ulp at %v", ulp, at)
	}
}

func TestLogAgreesWithTheLibrary(t *testing.T) {
	for _, x := range samples(200_000) {
		if got, want := Log(x), math.Log(x); math.Abs(got-want) > 2*math.Abs(math.Nextafter(want, 0)-want) {
			t.Fatalf("Log(%v) = %v, library %v", x, got, want)
		}
	}
}

func TestLogAtTheEdges(t *testing.T) {
	for _, c := range []struct{ x, want float64 }{
		{0, math.Inf(-1)}, {math.Copysign(0, -1), math.Inf(-1)}, {1, 0}, {math.Inf(1), math.Inf(1)},
		{5e-324, -744.4400719213812}, {0x1p-1022, -708.3964185322641}, {math.MaxFloat64, 709.782712893384},
	} {
		if got := Log(c.x); got != c.want {
			t.Errorf("Log(%v) = %v, want %v", c.x, got, c.want)
		}
	}
	for _, x := range []float64{-1, math.Inf(-1), math.NaN()} {
		if got := Log(x); got == got {
			t.Errorf("Log(%v) = %v, want NaN", x, got)
		}
	}
}

func TestExpIsOffByLessThanOne(t *testing.T) {
	largest, at := 0.0, 0.0
	for i, u := range samples(1500) {
		x := (u - 0.5) * []float64{0.01, 1, 80, 1400}[i%4]
		y := Exp(x)
		// y·(1+e) is the truth where log y + e = x.
		miss := new(big.Float).Sub(bigFloat(x), bigLog(bigFloat(y)))
		e, _ := miss.Float64()
		if ulp := math.Abs(e) * y / (math.Nextafter(y, math.Inf(1)) - y); ulp > largest {
			largest, at = ulp, x
		}
	}
	t.Logf("largest error %.4f ulp at %v", largest, at)
	if largest >= 1 {
		t.Errorf("error of %.4f ulp at %v", largest, at)
	}
}

func TestExpAtTheEdges(t *testing.T) {
	for _, c := range []struct{ x, want float64 }{
		{0, 1}, {math.Inf(1), math.Inf(1)}, {math.Inf(-1), 0}, {710, math.Inf(1)}, {-746, 0}, {-745, 5e-324},
		{-709, math.Exp(-709)}, {709.7, math.Exp(709.7)},
	} {
		if got := Exp(c.x); math.Abs(got-c.want) > c.want*1e-15 {
			t.Errorf("Exp(%v) = %v, want %v", c.x, got, c.want)
		}
	}
	if got := Exp(math.NaN()); got == got {
		t.Errorf("Exp(NaN) = %v", got)
	}
}

func TestSincosIsOffByLessThanTwoToTheMinus52(t *testing.T) {
	xs := append(samples(800), 0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1)
	largest := 0.0
	for _, x := range xs {
		sin, cos := sincosTurns(x)
		trueSin, trueCos := bigSincos(x)
		es, _ := new(big.Float).Sub(bigFloat(sin), trueSin).Float64()
		ec, _ := new(big.Float).Sub(bigFloat(cos), trueCos).Float64()
		largest = max(largest, math.Abs(es), math.Abs(ec))
	}
	t.Logf("largest error %.3g", largest)
	if largest > 0x1p-52 {
		t.Errorf("error of %.3g", largest)
	}
}

func TestNormalQuantileInvertsTheDistribution(t *testing.T) {
	xs := samples(100_000)
	for i := range 300 {
		xs = append(xs, math.Ldexp(0.75, -i), 1-math.Ldexp(0.75, -1-i%52))
	}
	largest := 0.0
	for _, p := range xs {
		x := NormalQuantile(p)
		// The probability that belongs to x, from the side where it is small, and what that means for x.
		miss := 0.5*math.Erfc(-x/math.Sqrt2) - p
		if p > 0.5 {
			miss = (1 - p) - 0.5*math.Erfc(x/math.Sqrt2)
		}
		density := math.Exp(-x*x/2) / math.Sqrt(2*math.Pi)
		largest = max(largest, math.Abs(miss/density)/max(math.Abs(x), 1))
	}
	t.Logf("largest error %.3g of max(1, |x|)", largest)
	if largest > 2e-15 {
		t.Errorf("error of %.3g of max(1, |x|)", largest)
	}
}

func TestNormalQuantileAtTheEdges(t *testing.T) {
	for _, c := range []struct{ p, want float64 }{{0, math.Inf(-1)}, {0.5, 0}, {1, math.Inf(1)}, {0.95, z95}} {
		if got := NormalQuantile(c.p); got != c.want && !(math.Abs(got-c.want) < 1e-15) {
			t.Errorf("NormalQuantile(%v) = %v, want %v", c.p, got, c.want)
		}
	}
	for _, p := range []float64{-0.1, 1.1, math.NaN()} {
		if got := NormalQuantile(p); got == got {
			t.Errorf("NormalQuantile(%v) = %v, want NaN", p, got)
		}
	}
	for _, p := range samples(1000) {
		if low, high := NormalQuantile(p), NormalQuantile(1-p); low != -high {
			t.Fatalf("quantiles of %v and %v are %v and %v", p, 1-p, low, high)
		}
	}
}

// TestFunctionsHaveTheSameBitsEverywhere is the promise of the package: the file was written on amd64.
func TestFunctionsHaveTheSameBitsEverywhere(t *testing.T) {
	var b strings.Builder
	row := func(name string, x, y float64) {
		fmt.Fprintf(&b, "%s %016x %016x\n", name, math.Float64bits(x), math.Float64bits(y))
	}
	for i, u := range samples(64) {
		row("log", u, Log(u))
		row("exp", (u-0.5)*60, Exp((u-0.5)*60))
		row("normal", u, NormalQuantile(u))
		far := math.Ldexp(u, -i*4)
		row("log", far, Log(far))
		row("normal", far, NormalQuantile(far))
		sin, cos := sincosTurns(u)
		row("sin", u, sin)
		row("cos", u, cos)
	}
	goldenFile(t, "functions.golden", b.String())
}
