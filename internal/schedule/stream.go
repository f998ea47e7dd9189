package schedule

// Stream is a counter-based generator: draw j follows from the key and j alone, so that nobody
// needs to have drawn the others before. It is SplitMix64 (Steele, Lea and Flood 2014) read at
// position j. Different purposes use streams of their own.
type Stream uint64

// golden is the odd number nearest to 2⁶⁴ divided by the golden ratio: the step of SplitMix64.
const golden = 0x9e3779b97f4a7c15

// NewStream derives a stream from the seed, what it is for, and numbers that tell it apart from
// others of the same purpose.
func NewStream(seed uint64, purpose string, parts ...uint64) Stream {
	h := mix(seed + golden)
	for i := range len(purpose) {
		h = mix(h ^ uint64(purpose[i]) + golden)
	}
	// The length parts what would otherwise run together: a purpose and the first number after it.
	h = mix(h ^ uint64(len(purpose)) + golden)
	for _, p := range parts {
		h = mix(h ^ mix(p+golden) + golden)
	}
	return Stream(h)
}

// Uint64 is draw j: 64 random bits.
func (s Stream) Uint64(j uint64) uint64 {
	return mix(uint64(s) + j*golden)
}

// Float64 is draw j as a number in the open interval (0,1): one of the 2⁵² midpoints (k+½)/2⁵².
// Neither 0 nor 1 comes up, and 1−u is as exact as u.
func (s Stream) Float64(j uint64) float64 {
	return float64((float64(int64(s.Uint64(j)>>12)) + 0.5) * 0x1p-52)
}

// below is draw j as a whole number below n; the bias is at most n/2⁶⁴.
func (s Stream) below(j, n uint64) uint64 {
	return s.Uint64(j) % n
}

// mix spreads every bit of z over the whole word (Stafford's variant 13 of the finalizer of
// MurmurHash3, as SplitMix64 uses it).
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
