// Package judge turns what a run added up to into a verdict with its evidence.
//
// Each objective is judged twice. Once every arrival without an answer (missed, shed, lost,
// unfinished) counts as infinitely slow and failed; once as fast and good. Where both agree, that
// stands; else the objective is undecided. A request that the scenario canceled at the end of
// its drain time got no answer either: it counts as infinitely slow the first time, and is left
// out the second time, because what ran out of its time was not fast. In e2e and session it is
// infinitely slow both times where the bound is no longer than the drain time, which it outlasted
// (3.2 of the reliability page); its first token may have been fast. A failed request is
// infinitely slow in a quantile of latency both times. Means, smallest and largest values and
// itl use measured values only.
//
// A quantile needs the sample size of M7 of the reliability page, else it is undecided.
//
// Everything here is a function of a merge.Run: the same run gives the same summary.
package judge

// Bounds of validity: what makes the generator too bad to be trusted.
const (
	// lateFloorUS is the lateness that is always allowed, in microseconds.
	lateFloorUS = 1_000
	// lateShare is the lateness that is allowed as a share of the median latency.
	lateShare = 0.05
	// maxMissedOneIn: one arrival in so many may be missed, which is 1 %.
	maxMissedOneIn = 100
	// busyWindows is the number of windows, one after the other, with a busy machine that void a run.
	busyWindows = 3
	// clockErrorUS is the largest error of an agent's clock, in microseconds (R9: interleaved arrivals).
	clockErrorUS = 5_000
	// minLate is the least number of sessions for a 99th percentile of lateness; with fewer the
	// median is held to the same bound.
	minLate = 100
)

// What the notes call large.
const (
	// coalescedShare of content events that shared a read, above which itl must be read with care.
	coalescedShare = 0.2
	// liveSeconds is how far back the quantiles of the live view reach.
	liveSeconds = 5
	// maxLiveErrors bounds the classes of failure in a live snapshot.
	maxLiveErrors = 16
	// minSpanNS is the shortest span that has rates: 1 ms.
	minSpanNS = 1_000_000
)
