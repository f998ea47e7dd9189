package schedule

import "math"

const (
	// expLargest and expSmallest are where Exp leaves the range of float64.
	expLargest  = 709.782712893384
	expSmallest = -745.1332191019411
	log2e       = 1.44269504088896338700
)

// Exp is e to the power of x, the same bits on every processor, off by less than one unit in the
// last place (measured: 0.79). The method is that of FreeBSD's e_exp.c: x = k·log 2 + r, and a rational form of eʳ.
func Exp(x float64) float64 {
	switch {
	case x != x || x > math.MaxFloat64:
		return x
	case x > expLargest:
		return math.Inf(1)
	case x < expSmallest:
		return 0
	}
	n := int64(float64(log2e*x) + math.Copysign(0.5, x))
	k := float64(n)
	high := x - float64(k*ln2High)
	low := float64(k * ln2Low)
	r := high - low
	t := float64(r * r)
	c := 4.13813679705723846039e-08
	c = float64(c*t) - 1.65339022054652515390e-06
	c = float64(c*t) + 6.61375632143793436117e-05
	c = float64(c*t) - 2.77777777770155933842e-03
	c = float64(c*t) + 1.66666666666666019037e-01
	c = r - float64(t*c)
	y := 1 - ((low - float64(r*c)/(2-c)) - high)
	if n < -1021 || n > 1023 {
		return math.Ldexp(y, int(n))
	}
	// Within the normal numbers a power of two is added to the exponent.
	return math.Float64frombits(math.Float64bits(y) + uint64(n)<<52)
}
