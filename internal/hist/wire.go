package hist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// The sparse form: one version byte, then varints: count, sum, minimum, maximum, and for every
// bucket that holds values, in order, its distance from the bucket before (the first: its index)
// and its count. There is one form for every histogram, so equal histograms have equal bytes.
const (
	wireVersion = 1
	// MaxWireSize bounds one encoded histogram, in bytes. A full one stays below it.
	MaxWireSize = 256 << 10
	// MaxCount bounds the values of one histogram that crosses the wire, so that no sum of
	// the 1,000 series of a run can overflow.
	MaxCount = 1 << 53
)

// AppendBinary appends the sparse form to b.
func (h *Histogram) AppendBinary(b []byte) []byte {
	b = append(b, wireVersion)
	for _, v := range [...]uint64{h.count, h.sum, h.min, h.max} {
		b = binary.AppendUvarint(b, v)
	}
	last := 0
	for i, c := range h.counts {
		b = binary.AppendUvarint(b, uint64(i-last))
		b = binary.AppendUvarint(b, c)
		last = i
	}
	return b
}

// MergeBinary adds the values of a histogram in the sparse form. It trusts nothing: the counts
// must add up, the buckets ascend, and minimum, maximum and sum agree with them. On an error,
// which says what is wrong and where, h is unchanged. It allocates nothing but pages of h.
func (h *Histogram) MergeBinary(data []byte) error {
	r := reader{data: data}
	head, err := r.check()
	if err != nil {
		return fmt.Errorf("histogram of %d bytes, at byte %d: %w", len(data), r.at, err)
	}
	return h.merge(head, data)
}

// MergeChecked is MergeBinary for data that CheckBinary has accepted or AppendBinary has written, which is not checked once more:
// of anything else it makes nonsense, or panics.
func (h *Histogram) MergeChecked(data []byte) error {
	r := reader{data: data}
	head, err := r.header()
	if err != nil {
		return fmt.Errorf("histogram of %d bytes, at byte %d: %w", len(data), r.at, err)
	}
	return h.merge(head, data)
}

// merge adds what follows a header, all of which has been checked.
func (h *Histogram) merge(head header, data []byte) error {
	if head.count > MaxCount-min(h.count, MaxCount) {
		return fmt.Errorf("histogram holds %d values, which with %d before is more than %d", head.count, h.count, uint64(MaxCount))
	}
	if head.count == 0 {
		return nil
	}
	data = data[head.body:]
	for index, at := 0, 0; at < len(data); {
		delta, size := uint64(data[at]), 1 // most distances and counts take one byte
		if delta >= 0x80 {
			delta, size = binary.Uvarint(data[at:])
		}
		at += size
		n, size := uint64(data[at]), 1
		if n >= 0x80 {
			n, size = binary.Uvarint(data[at:])
		}
		at += size
		index += int(delta)
		h.add(index, n)
	}
	h.note(head.count, head.sum, head.min, head.max)
	return nil
}

// CheckBinary says how many values a histogram in the sparse form holds. Its error is that of
// MergeBinary into an empty histogram. What passes is in the one form that AppendBinary writes.
func CheckBinary(data []byte) (count uint64, err error) {
	r := reader{data: data}
	head, err := r.check()
	if err != nil {
		return 0, fmt.Errorf("histogram of %d bytes, at byte %d: %w", len(data), r.at, err)
	}
	return head.count, nil
}

// header is what stands before the runs.
type header struct {
	count, sum, min, max uint64
	body                 int // where the runs begin
}

// reader reads the sparse form from front to back.
type reader struct {
	data []byte
	at   int
}

var (
	errCut    = errors.New("the data is cut off")
	errVarint = errors.New("not a varint in its shortest form")
)

func (r *reader) uvarint() (uint64, error) {
	if r.at < len(r.data) && r.data[r.at] < 0x80 { // most take one byte
		r.at++
		return uint64(r.data[r.at-1]), nil
	}
	v, n := binary.Uvarint(r.data[r.at:])
	switch {
	case n == 0:
		return 0, errCut
	case n < 0, n > 1 && r.data[r.at+n-1] == 0:
		return 0, errVarint
	}
	r.at += n
	return v, nil
}

func (r *reader) run() (delta, n uint64, err error) {
	if delta, err = r.uvarint(); err != nil {
		return 0, 0, err
	}
	n, err = r.uvarint()
	return delta, n, err
}

// check reads everything and returns the header of a histogram that can be trusted.
func (r *reader) check() (header, error) {
	head, err := r.header()
	if err != nil {
		return head, err
	}
	var seen uint64
	var bounds bounds
	data := r.data
	for index, first := 0, true; r.at < len(data); first = false {
		var delta, n uint64
		if at := r.at; at+1 < len(data) && data[at]|data[at+1] < 0x80 { // most take one byte each
			delta, n = uint64(data[at]), uint64(data[at+1])
			r.at += 2
		} else if delta, n, err = r.run(); err != nil {
			return head, err
		}
		switch {
		case delta == 0 && !first:
			return head, errors.New("the buckets do not ascend")
		case delta > uint64(topIndex-index):
			return head, fmt.Errorf("bucket beyond the last, %d", topIndex)
		case n == 0:
			return head, errors.New("a bucket without values")
		case n > head.count-seen:
			return head, fmt.Errorf("the buckets hold more than the %d values of the header", head.count)
		}
		index += int(delta)
		seen += n
		bounds.add(index, n, first)
	}
	if seen != head.count {
		return head, fmt.Errorf("the buckets hold %d values, the header says %d", seen, head.count)
	}
	return head, bounds.check(head)
}

func (r *reader) header() (header, error) {
	var head header
	if len(r.data) > MaxWireSize {
		return head, fmt.Errorf("more than %d bytes", MaxWireSize)
	}
	if len(r.data) == 0 {
		return head, errCut
	}
	if r.data[0] != wireVersion {
		return head, fmt.Errorf("version %d, this build reads version %d", r.data[0], wireVersion)
	}
	r.at = 1
	for _, to := range [...]*uint64{&head.count, &head.sum, &head.min, &head.max} {
		v, err := r.uvarint()
		if err != nil {
			return head, err
		}
		*to = v
	}
	head.body = r.at
	if head.count > MaxCount {
		return head, fmt.Errorf("%d values are more than %d", head.count, uint64(MaxCount))
	}
	return head, nil
}

// bounds gathers what the buckets allow for minimum, maximum and sum.
type bounds struct {
	first, last           int  // buckets
	low, high             wide // sums if every value stood at the lower, or upper, edge of its bucket
	firstCount, lastCount uint64
}

func (b *bounds) add(index int, n uint64, first bool) {
	if first {
		b.first, b.firstCount = index, n
	}
	b.last, b.lastCount = index, n
	k := bucketAt(index)
	b.low.addProduct(k.Low, n)
	b.high.addProduct(k.High, n)
}

func (b *bounds) check(head header) error {
	if b.firstCount == 0 {
		if head.sum != 0 || head.min != 0 || head.max != 0 {
			return errors.New("sum, minimum or maximum without values")
		}
		return nil
	}
	first, last := bucketAt(b.first), bucketAt(b.last)
	if head.min < first.Low || head.min > first.High {
		return fmt.Errorf("the minimum %d is not in the first bucket, %d to %d", head.min, first.Low, first.High)
	}
	if head.max < last.Low || head.max > last.High || head.max > MaxValue {
		return fmt.Errorf("the maximum %d is not in the last bucket, %d to %d", head.max, last.Low, last.High)
	}
	if head.min > head.max || head.count == 1 && head.min != head.max {
		return fmt.Errorf("minimum %d and maximum %d contradict each other", head.min, head.max)
	}
	b.narrow(head, first, last)
	sum := wide{low: head.sum}
	saturated := head.sum == math.MaxUint64 && sum.less(b.high)
	if sum.less(b.low) && !saturated || b.high.less(sum) {
		return fmt.Errorf("the sum %d does not fit the buckets", head.sum)
	}
	return nil
}

// narrow moves the bounds of the sum in by what the exact minimum and maximum tell: all values
// of the first bucket are at least the minimum, all of the last at most the maximum, one value
// is the minimum and another the maximum.
func (b *bounds) narrow(head header, first, last Bucket) {
	b.low.addProduct(head.min-first.Low, b.firstCount)
	b.high.subProduct(last.High-head.max, b.lastCount)
	if head.count == 1 {
		return
	}
	floor, ceiling := last.Low, first.High
	if b.first == b.last {
		floor, ceiling = head.min, head.max
	}
	b.low.addProduct(head.max-floor, 1)
	b.high.subProduct(ceiling-head.min, 1)
}

// wide is an unsigned number of 128 bits; 2^53 values of at most 2^32 each stay far below that.
type wide struct{ high, low uint64 }

func (w *wide) addProduct(a, b uint64) {
	high, low := bits.Mul64(a, b)
	var carry uint64
	w.low, carry = bits.Add64(w.low, low, 0)
	w.high, _ = bits.Add64(w.high, high, carry)
}

func (w *wide) subProduct(a, b uint64) {
	high, low := bits.Mul64(a, b)
	var borrow uint64
	w.low, borrow = bits.Sub64(w.low, low, 0)
	w.high, _ = bits.Sub64(w.high, high, borrow)
}

func (w wide) less(o wide) bool {
	return w.high < o.high || w.high == o.high && w.low < o.low
}
