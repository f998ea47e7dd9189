package schedule

import "math"

// The functions in this file and the next ones are our own because the standard library's differ
// between processors (assembly here, fused multiply-add there). Every product that feeds a sum is
// rounded by an explicit float64 conversion, which forbids the compiler to fuse the two.

const (
	// logCells is the number of cells that Log's table cuts one octave into, a power of two.
	logCells = 1 << logCellBits
	// logCellBits is the number of bits of the significand that choose the cell.
	logCellBits = 7
	// logOffset is the bit pattern of 0.6875, where the octave begins: 1 lies within it and not at its edge.
	logOffset = 0x3fe6000000000000

	// ln2High is the logarithm of 2 cut to 42 bits, so that its product with any exponent is exact.
	ln2High = 0x1.62e42fefa38p-01
	// ln2Low is the rest.
	ln2Low = 0x1.ef35793c7673p-45

	exponentMask = 0xfff << 52
	smallestNorm = 0x0010000000000000
	infinityBits = 0x7ff0000000000000
)

// logCell holds for one cell of the octave a short reciprocal of its middle and minus that
// reciprocal's logarithm in two parts.
type logCell struct{ inverse, high, low float64 }

// Log is the natural logarithm, the same bits on every processor, off by less than 0.65 units in
// the last place (measured: 0.60). Zero gives −∞; negative numbers and NaN give NaN.
//
// With x = 2ᵏ·z and c the reciprocal of z's cell, log x = k·log 2 − log c + log(1+r), r = z·c − 1, |r| < 1/127.
func Log(x float64) float64 {
	b := math.Float64bits(x)
	if b-smallestNorm >= infinityBits-smallestNorm {
		return logEdge(x)
	}
	return logNormal(b, 0)
}

// logEdge is Log of what is not a positive normal number.
func logEdge(x float64) float64 {
	switch {
	case x != x || x < 0:
		return math.NaN()
	case x == 0:
		return math.Inf(-1)
	case x > math.MaxFloat64:
		return x
	}
	return logNormal(math.Float64bits(x*0x1p52), -52)
}

// logNormal is the logarithm of the positive normal number with bits b, times 2 to the given power.
func logNormal(b uint64, power int64) float64 {
	t := b - logOffset
	cell := &logTable[t>>(52-logCellBits)%logCells]
	k := float64(int64(t)>>52 + power)
	zBits := b - t&exponentMask
	z := math.Float64frombits(zBits)

	// The reciprocal has few bits, so both products and the difference from 1 are exact.
	upper := math.Float64frombits(zBits &^ (1<<27 - 1))
	r := (float64(upper*cell.inverse) - 1) + float64((z-upper)*cell.inverse)

	// Exact as well, since ln2High and high are short.
	w := float64(k*ln2High) + cell.high
	high := w + r
	low := (w - high) + r + (float64(k*ln2Low) + cell.low)
	return high + (low + logTail(r))
}

// logTail is log(1+r) − r by its series up to r⁸, enough for |r| < 1/127.
func logTail(r float64) float64 {
	r2 := float64(r * r)
	p := float64(r*(1.0/7)) - 1.0/6 - float64(r2*(1.0/8))
	p = float64(r2*p) + (float64(r*(1.0/5)) - 1.0/4)
	p = float64(r2*p) + (float64(r*(1.0/3)) - 1.0/2)
	return float64(r2 * p)
}
