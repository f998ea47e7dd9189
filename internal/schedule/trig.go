package schedule

import "math"

// sincosTurns gives sine and cosine of a whole turn times x, for x in 0…1: the same bits on every processor,
// off by less than 2⁻⁵² absolutely (measured: 1.3·10⁻¹⁶). The polynomials are those of FreeBSD's k_sin.c and k_cos.c.
func sincosTurns(x float64) (sin, cos float64) {
	quarter := math.Floor(float64(x*4) + 0.5)
	a := (x - float64(quarter*0.25)) * (2 * math.Pi)
	s, c := sincosKernel(a)
	switch int(quarter) & 3 {
	case 0:
		return s, c
	case 1:
		return c, -s
	case 2:
		return -s, -c
	}
	return -c, s
}

// sincosKernel gives sine and cosine of a, for |a| ≤ π/4.
func sincosKernel(a float64) (sin, cos float64) {
	z := float64(a * a)
	s := float64(z*1.58969099521155010221e-10) - 2.50507602534068634195e-08
	s = float64(z*s) + 2.75573137070700676789e-06
	s = float64(z*s) - 1.98412698298579493134e-04
	s = float64(z*s) + 8.33333333332248946124e-03
	s = float64(z*s) - 1.66666666666666324348e-01
	sin = a + float64(float64(a*z)*s)

	c := float64(z*-1.13596475577881948265e-11) + 2.08757232129817482790e-09
	c = float64(z*c) - 2.75573143513906633035e-07
	c = float64(z*c) + 2.48015872894767294178e-05
	c = float64(z*c) - 1.38888888888741095749e-03
	c = float64(z*c) + 4.16666666666666019037e-02
	half := float64(0.5 * z)
	w := 1 - half
	cos = w + (((1 - w) - half) + float64(float64(z*z)*c))
	return sin, cos
}
