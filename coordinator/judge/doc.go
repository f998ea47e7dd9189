// Package judge turns what a run added up to into a verdict with its evidence.
//
// Each objective is judged twice. Once every arrival without an answer (missed, shed, lost,
// unfinished) counts as infinitely slow and failed; once as fast and good. Where both agree, that
// stands; else the objective is undecided. A failed request is infinitely slow in a quantile of
// latency both times. Means, smallest and largest values and itl use measured values only.
//
// A canceled request got no answer either and counts as infinitely slow the first time. The second
// time, in a quantile of latency, it depends on how long it had waited since it was due:
//
//   - the drain time at least, and the bound is no longer: it is infinitely slow again (3.2 of the
//     reliability page) in e2e and session, and in ttft, ttft_service and ttfo where no content
//     had come. So a target that hangs fails.
//   - the drain time at least, else: it is left out, because what ran out of its time was not fast;
//     but its first token may have been, or the bound is longer than what it had.
//   - less: a stop cut it off, and it counts as fast, as every arrival of which nothing is known.
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
	// lagVoidUS is the lag of reads that is always allowed, in microseconds. It is more than what is allowed of
	// lateness: a late read adds to one value, once, while a late start shifts the load itself. Above it,
	// lateShare of the median latency is allowed.
	lagVoidUS = 5_000
	// maxMissedOneIn: one arrival in so many may be missed, which is 1 %.
	maxMissedOneIn = 100
	// busyWindows is the number of windows, one after the other, with a busy machine that void a run.
	busyWindows = 3
	// clockErrorUS is the largest error of an agent's clock, in microseconds (R9: interleaved arrivals).
	clockErrorUS = 5_000
	// minLate is the least number of sessions for a 99th percentile of lateness; with fewer the
	// median is held to the same bound.
	minLate = 100
	// rooflineVoid is the part of the machine's roofline above which a run is void.
	rooflineVoid = 0.9
)

// What the notes call large.
const (
	// rooflineWarn is the part of the machine's roofline above which a note warns.
	rooflineWarn = 0.7
	// rooflineSeconds is the least length of the averages that are held against the roofline.
	rooflineSeconds = 5
	// lagNoteUS is the lag of reads above which a note warns, in microseconds, or lateShare of the median gap.
	lagNoteUS = 1_000
	// coalescedShare of content events that shared a read, above which itl must be read with care.
	coalescedShare = 0.2
	// liveSeconds is how far back the quantiles of the live view reach.
	liveSeconds = 5
	// maxLiveErrors bounds the classes of failure in a live snapshot.
	maxLiveErrors = 16
	// minSpanNS is the shortest span that has rates: 1 ms.
	minSpanNS = 1_000_000
)
