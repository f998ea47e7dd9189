package measure

// Rank orders requests for samples: those of the smallest rank are kept. It is the same for the same
// seed and arrival, wherever and whenever it is asked for. Phase is the index of the phase, turn the
// number of the request within its session.
func Rank(seed uint64, phase, turn uint32, id ID) uint64 {
	h := mix(mix(seed) ^ uint64(phase)<<32 ^ uint64(turn))
	h = mix(h ^ uint64(id.Slot)<<32 ^ uint64(id.Epoch))
	return mix(h ^ id.Number)
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
