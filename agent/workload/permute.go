package workload

import (
	"math/bits"

	"github.com/loadline/loadline/internal/schedule"
)

// rounds is the number of rounds of the Feistel network; four make it pseudorandom (Luby and
// Rackoff 1988) for large halves, the others are for small ones.
const rounds = 8

// permute is where a permutation of 0…n−1, chosen by the stream, takes i < n. It holds no table: a
// Feistel network permutes the next power of four, and a result outside is put through it again until it
// lies within (cycle walking, Black and Rogaway 2002), fewer than four times in the mean.
func permute(s schedule.Stream, n, i uint64) uint64 {
	if n < 2 {
		return i
	}
	half := uint64(bits.Len64(n-1)+1) / 2
	mask := uint64(1)<<half - 1
	for {
		left, right := i>>half, i&mask
		for round := range uint64(rounds) {
			left, right = right, left^s.Uint64(right*rounds+round)&mask
		}
		if i = left<<half | right; i < n {
			return i
		}
	}
}

// below maps 64 random bits to 0…n−1; the bias is at most n/2⁶⁴.
func below(random, n uint64) uint64 {
	high, _ := bits.Mul64(random, n)
	return high
}
