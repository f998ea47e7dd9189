package hist

import "math/bits"

// The layout is that of hdrhistogram-go's New(1, MaxValue, 3): values below 2,048 have a bucket
// each, and every doubling after that has 1,024 buckets, so a bucket is at most 1/1,024 as wide
// as its values are large.
const (
	// MaxValue is the largest value with a bucket of its own: one hour in microseconds.
	MaxValue = 3_600_000_000
	// NumBuckets is the number of buckets of the layout.
	NumBuckets = 23_552

	// halfBits: each doubling has 1<<halfBits buckets.
	halfBits = 10
	half     = 1 << halfBits
	// unitMask covers the values that have a bucket each.
	unitMask = 2*half - 1

	// topIndex is the bucket of MaxValue; no bucket above it is ever used.
	topIndex = 23_220
)

// Bucket is a range of values that are counted together.
type Bucket struct {
	// Index of the bucket, 0 to NumBuckets-1.
	Index int
	// Low and High are the smallest and the largest value of the bucket.
	Low, High uint64
}

// BucketOf returns the bucket that counts v; values above MaxValue share the bucket of MaxValue.
func BucketOf(v uint64) Bucket { return bucketAt(indexOf(min(v, MaxValue))) }

// indexOf returns the bucket of v, which must not be above MaxValue.
func indexOf(v uint64) int {
	doubling := bits.Len64(v|unitMask) - (halfBits + 1)
	return doubling<<halfBits + int(v>>uint(doubling))
}

// bucketAt is the inverse of indexOf.
func bucketAt(index int) Bucket {
	doubling := max(index>>halfBits-1, 0)
	low := uint64(index-doubling<<halfBits) << uint(doubling)
	return Bucket{Index: index, Low: low, High: low + 1<<uint(doubling) - 1}
}
