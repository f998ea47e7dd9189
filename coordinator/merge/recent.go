package merge

import "github.com/loadline/loadline/internal/hist"

// openSeconds is for how many seconds behind the latest one sums of the timeline are kept open: as long as windows of that second
// still come from agents that keep up.
const openSeconds = 3

// seriesSum is the sum of one series over one entry of the timeline. It is sparse, as it takes some hundred bytes then where
// the counters would take thousands. To add to a sparse sum is to read and write all of it, which is too slow where a
// thousand windows come in one second: so the sums of the last seconds are open, and closed when no more is expected.
type seriesSum struct {
	data []byte          // sparse, while open is nil
	open *hist.Histogram // nil: closed
}

// addTo adds the sum to h.
func (s *seriesSum) addTo(h *hist.Histogram) {
	if s.open != nil {
		h.Merge(s.open)
		return
	}
	mustMerge(h, s.data)
}

// sparse is the sum in sparse form, whether it is open or not.
func (s *seriesSum) sparse() []byte {
	if s.open != nil {
		return s.open.AppendBinary(nil)
	}
	return s.data
}

// recent holds the sums that are open, and histograms for others.
type recent struct {
	sums []openSum
	idle []*hist.Histogram
}

// openSum is an open sum with its entry's first second.
type openSum struct {
	second uint64
	sum    *seriesSum
}

// add adds a histogram in sparse form to a sum of an entry that begins with second. The first one is only kept.
func (r *recent) add(second uint64, s *seriesSum, data []byte) {
	switch {
	case s.open != nil:
	case s.data == nil:
		s.data = data
		return
	default:
		s.open = r.take()
		mustMerge(s.open, s.data)
		s.data = nil
		r.sums = append(r.sums, openSum{second, s})
	}
	mustMerge(s.open, data)
}

func (r *recent) take() *hist.Histogram {
	last := len(r.idle) - 1
	if last < 0 {
		return new(hist.Histogram)
	}
	h := r.idle[last]
	r.idle = r.idle[:last]
	return h
}

// close closes the sums of entries that begin before second.
func (r *recent) close(second uint64) {
	kept := r.sums[:0]
	for _, o := range r.sums {
		if o.second >= second {
			kept = append(kept, o)
			continue
		}
		o.sum.data = o.sum.open.AppendBinary(nil)
		o.sum.open.Reset()
		r.idle = append(r.idle, o.sum.open)
		o.sum.open = nil
	}
	clear(r.sums[len(kept):])
	r.sums = kept
}
