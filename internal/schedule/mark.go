package schedule

// mark is an amount of load in sessions: a point on the axis of Λ, the integral of the rate. It is a
// whole number of units of 2⁻⁴⁸, so that sums of any length and in any order are exact: only
// each single gap is rounded (down, by less than 4·10⁻¹⁵ of the mean gap), once.
type mark struct {
	whole uint64
	part  uint64 // of 2⁴⁸
}

const (
	markBits = 48
	// one is the unit gap.
	one = 1 << markBits
)

// plus adds a gap in units of 2⁻⁴⁸.
func (m mark) plus(gap uint64) mark {
	m.part += gap
	m.whole += m.part >> markBits
	m.part &= one - 1
	return m
}

// after reports whether m lies beyond o.
func (m mark) after(o mark) bool {
	return m.whole > o.whole || m.whole == o.whole && m.part > o.part
}

// float is the mark rounded to the nearest float64; it never falls as the mark rises.
func (m mark) float() float64 {
	return float64(int64(m.whole)) + float64(float64(int64(m.part))*(1.0/one))
}
