package schedule

import "math"

// NormalQuantile is the inverse of the standard normal distribution function, the same bits on
// every processor, off by less than 2·10⁻¹⁵ of max(1, |x|) (measured: 0.8·10⁻¹⁵). Arguments outside 0…1 give NaN, 0 and 1 the infinities.
// The method is PPND16 of Wichura, algorithm AS 241, Applied Statistics 37 (1988).
func NormalQuantile(p float64) float64 {
	switch {
	case p != p || p < 0 || p > 1:
		return math.NaN()
	case p == 0:
		return math.Inf(-1)
	case p == 1:
		return math.Inf(1)
	}
	q := p - 0.5
	if math.Abs(q) <= 0.425 {
		r := 0.180625 - float64(q*q)
		return float64(q*normalCentre(r)) / normalCentreBelow(r)
	}
	tail := p
	if q > 0 {
		tail = 1 - p
	}
	x := normalTail(math.Sqrt(-Log(tail)))
	if q < 0 {
		return -x
	}
	return x
}

func normalCentre(r float64) float64 {
	y := float64(2.5090809287301226727e+3*r) + 3.3430575583588128105e+4
	y = float64(y*r) + 6.7265770927008700853e+4
	y = float64(y*r) + 4.5921953931549871457e+4
	y = float64(y*r) + 1.3731693765509461125e+4
	y = float64(y*r) + 1.9715909503065514427e+3
	y = float64(y*r) + 1.3314166789178437745e+2
	return float64(y*r) + 3.3871328727963666080e+0
}

func normalCentreBelow(r float64) float64 {
	y := float64(5.2264952788528545610e+3*r) + 2.8729085735721942674e+4
	y = float64(y*r) + 3.9307895800092710610e+4
	y = float64(y*r) + 2.1213794301586595867e+4
	y = float64(y*r) + 5.3941960214247511077e+3
	y = float64(y*r) + 6.8718700749205790830e+2
	y = float64(y*r) + 4.2313330701600911252e+1
	return float64(y*r) + 1
}

// normalTail is the quantile where −log of the tail's probability is r².
func normalTail(r float64) float64 {
	if r > 5 {
		return normalFar(r - 5)
	}
	r -= 1.6
	y := float64(7.74545014278341407640e-4*r) + 2.27238449892691845833e-2
	y = float64(y*r) + 2.41780725177450611770e-1
	y = float64(y*r) + 1.27045825245236838258e+0
	y = float64(y*r) + 3.64784832476320460504e+0
	y = float64(y*r) + 5.76949722146069140550e+0
	y = float64(y*r) + 4.63033784615654529590e+0
	y = float64(y*r) + 1.42343711074968357734e+0
	z := float64(1.05075007164441684324e-9*r) + 5.47593808499534494600e-4
	z = float64(z*r) + 1.51986665636164571966e-2
	z = float64(z*r) + 1.48103976427480074590e-1
	z = float64(z*r) + 6.89767334985100004550e-1
	z = float64(z*r) + 1.67638483018380384940e+0
	z = float64(z*r) + 2.05319162663775882187e+0
	return y / (float64(z*r) + 1)
}

// normalFar is normalTail beyond 5, where the probability is below e⁻²⁵.
func normalFar(r float64) float64 {
	y := float64(2.01033439929228813265e-7*r) + 2.71155556874348757815e-5
	y = float64(y*r) + 1.24266094738807843860e-3
	y = float64(y*r) + 2.65321895265761230930e-2
	y = float64(y*r) + 2.96560571828504891230e-1
	y = float64(y*r) + 1.78482653991729133580e+0
	y = float64(y*r) + 5.46378491116411436990e+0
	y = float64(y*r) + 6.65790464350110377720e+0
	z := float64(2.04426310338993978564e-15*r) + 1.42151175831644588870e-7
	z = float64(z*r) + 1.84631831751005468180e-5
	z = float64(z*r) + 7.86869131145613259100e-4
	z = float64(z*r) + 1.48753612908506148525e-2
	z = float64(z*r) + 1.36929880922735805310e-1
	z = float64(z*r) + 5.99832206555887937690e-1
	return y / (float64(z*r) + 1)
}
