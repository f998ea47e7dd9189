package judge

import (
	"math"
	"sort"
)

// confidence of M7.
const confidence = 0.99

// maxFloor bounds the search for a floor.
const maxFloor = 1 << 40

// Floor is the least number of samples that can certify a bound on the p-quantile, 0 < p < 1:
// the smallest n for which one value above the bound still shows, with 99 % confidence, that no
// more than a share of 1−p lies above it: P(Bin(n, 1−p) ≤ 1) < 1 − 0.99 (M7, after MLPerf
// LoadGen's early stopping).
func Floor(p float64) uint64 {
	if !(p > 0 && p < 1) {
		return maxFloor
	}
	n := sort.Search(maxFloor, func(n int) bool {
		return n > 1 && atMostOne(float64(n), p) < 1-confidence
	})
	return uint64(n)
}

// atMostOne is P(Bin(n, 1−p) ≤ 1) = pⁿ + n(1−p)pⁿ⁻¹.
func atMostOne(n, p float64) float64 {
	return math.Exp((n-1)*math.Log(p)) * (p + n*(1-p))
}

// atLeast is P(Bin(n, q) ≥ t), the regularised incomplete beta function I_q(t, n−t+1), summed
// term by term from t on; the terms fall once they lie above the mean, where it is used.
func atLeast(t, n uint64, q float64) float64 {
	if t == 0 {
		return 1
	}
	sum := 0.0
	for k := t; k <= n; k++ {
		term := math.Exp(logChoose(n, k) + float64(k)*math.Log(q) + float64(n-k)*math.Log1p(-q))
		sum += term
		if float64(k) > float64(n)*q && term < sum*1e-12 {
			break
		}
	}
	return min(sum, 1)
}

func logChoose(n, k uint64) float64 {
	a, _ := math.Lgamma(float64(n) + 1)
	b, _ := math.Lgamma(float64(k) + 1)
	c, _ := math.Lgamma(float64(n-k) + 1)
	return a - b - c
}

// decisive says that so many of n requests failed that, with 99 % confidence, more than a share
// of 1−p fails: the p-quantile is infinite, however small the sample.
func decisive(failed, n uint64, p float64) bool {
	return failed > 0 && float64(failed) > float64(n)*(1-p) && atLeast(failed, n, 1-p) < 1-confidence
}
