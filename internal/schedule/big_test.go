package schedule

import (
	"math"
	"math/big"
)

// The references below compute with 160 bits, by series, independently of the code under test.

const bigBits = 160

func bigFloat(x float64) *big.Float { return new(big.Float).SetPrec(bigBits).SetFloat64(x) }

// bigLog is the natural logarithm of a positive number.
func bigLog(x *big.Float) *big.Float {
	m := new(big.Float).SetPrec(bigBits)
	e := x.MantExp(m) // m in ½…1
	if m.Cmp(bigFloat(0.7)) < 0 {
		m.SetMantExp(m, 1)
		e--
	}
	sum := bigLogNear1(m)
	ln2, _ := new(big.Float).SetPrec(bigBits).SetString("0.69314718055994530941723212145817656807550013436025525412068000949339")
	return sum.Add(sum, ln2.Mul(ln2, bigFloat(float64(e))))
}

// bigLogNear1 is 2·artanh((m−1)/(m+1)) by its series.
func bigLogNear1(m *big.Float) *big.Float {
	q := new(big.Float).SetPrec(bigBits).Quo(
		new(big.Float).SetPrec(bigBits).Sub(m, bigFloat(1)), new(big.Float).SetPrec(bigBits).Add(m, bigFloat(1)))
	return bigSeries(q, new(big.Float).SetPrec(bigBits).Mul(q, q), func(k int) (up, down float64) { return float64(2*k - 1), float64(2*k + 1) }, 2)
}

// bigSeries is scale·(t + t·z·(up₁/down₁) + …): each term is the one before times z times up(k)/down(k).
func bigSeries(t, z *big.Float, ratio func(k int) (up, down float64), scale float64) *big.Float {
	sum := new(big.Float).SetPrec(bigBits).Set(t)
	term := new(big.Float).SetPrec(bigBits).Set(t)
	for k := 1; k < 200; k++ {
		up, down := ratio(k)
		term.Mul(term, z)
		term.Mul(term, bigFloat(up))
		term.Quo(term, bigFloat(down))
		if term.Sign() == 0 || term.MantExp(nil) < sum.MantExp(nil)-bigBits {
			break
		}
		sum.Add(sum, term)
	}
	return sum.Mul(sum, bigFloat(scale))
}

// bigSincos is sine and cosine of 2πx.
func bigSincos(x float64) (sin, cos *big.Float) {
	pi, _ := new(big.Float).SetPrec(bigBits).SetString("3.14159265358979323846264338327950288419716939937510582097494459")
	a := new(big.Float).SetPrec(bigBits).Mul(pi, bigFloat(2*x))
	z := new(big.Float).SetPrec(bigBits).Mul(a, a)
	z.Neg(z)
	sin = bigSeries(a, z, func(k int) (up, down float64) { return 1, float64(2*k) * float64(2*k+1) }, 1)
	cos = bigSeries(bigFloat(1), z, func(k int) (up, down float64) { return 1, float64(2*k-1) * float64(2*k) }, 1)
	return sin, cos
}

// ulps is how far got lies from the truth, in units in the last place of the truth.
func ulps(got float64, truth *big.Float) float64 {
	near, _ := truth.Float64()
	ulp := math.Nextafter(math.Abs(near), math.Inf(1)) - math.Abs(near)
	miss, _ := new(big.Float).SetPrec(bigBits).Sub(bigFloat(got), truth).Float64()
	return math.Abs(miss) / ulp
}
