package wire

import (
	"encoding/binary"

	"golang.org/x/net/http2"

	"github.com/loadline/loadline/internal/measure"
)

// frameHead is the length of a frame's head, in bytes: length, type, flags and stream (RFC 9113, 4.1).
const frameHead = 9

// frame is the frame that a walk over one direction of a connection has come to.
type frame struct {
	head    [frameHead]byte
	have    int    // bytes of head that are there
	left    uint32 // bytes of payload that are still to come
	closing bool   // the latest HEADERS said that nothing follows its fields, which CONTINUATION may go on with
}

// step walks over what is missing of the head, or over what p has of the payload. p is not empty.
func (f *frame) step(p []byte) (n int, payload bool) {
	if f.have == frameHead {
		n = int(min(uint64(len(p)), uint64(f.left)))
		f.left -= uint32(n)
		return n, true
	}
	n = copy(f.head[f.have:], p)
	f.have += n
	f.left = binary.BigEndian.Uint32(f.head[:4]) >> 8
	return n, false
}

func (f *frame) begun() bool { return f.have == frameHead }

// over reports whether the frame is complete; the next step is then one into the next frame.
func (f *frame) over() bool {
	if f.have < frameHead || f.left > 0 {
		return false
	}
	f.have = 0
	return true
}

func (f *frame) kind() http2.FrameType { return http2.FrameType(f.head[3]) }

func (f *frame) has(flag http2.Flags) bool { return http2.Flags(f.head[4]).Has(flag) }

// stream is the stream's id; the first bit has no meaning.
func (f *frame) stream() uint32 { return binary.BigEndian.Uint32(f.head[5:]) &^ (1 << 31) }

// ends tells of a complete frame whether fields are complete with it, and whether its sender has ended the stream.
func (f *frame) ends() (fields, stream bool) {
	switch f.kind() {
	case http2.FrameData:
		return false, f.has(http2.FlagDataEndStream)
	case http2.FrameHeaders:
		f.closing = f.has(http2.FlagHeadersEndStream)
	case http2.FrameContinuation:
	default:
		return false, false
	}
	fields = f.has(http2.FlagHeadersEndHeaders) // that of CONTINUATION is the same
	return fields, fields && f.closing
}

// mark is a read of a connection: when it returned, and when the kernel had received the end of what it took.
type mark struct {
	at, stamp measure.Instant
	dropped   bool // there was a stamp, and it was of no use
}

// span is a part of a body that one read brought: what lies between the span before and end.
type span struct {
	end uint64
	mark
}

const (
	// maxSpans bounds the spans of a timeline that have not been taken. Past it the last one grows, so that the instants in it are
	// those of a later read, never of an earlier one. It takes a sink that stands still for so many reads.
	maxSpans = 1024
	// maxSpare bounds the spans that are kept for the next timeline.
	maxSpare = 64
)

// timeline is when what one exchange gets over HTTP/2 came. The lock of the link guards it.
type timeline struct {
	id    uint32          // of the stream; 0: it has not been opened
	over  bool            // the exchange has ended
	sent  measure.Instant // when the end of the request was written
	first mark            // the read that completed the first head, be it that of an interim response
	end   measure.Instant // when the read returned that brought the end of the stream
	came  uint64          // bytes of body so far
	given uint64          // of them, to the exchange
	spans []span
	taken int // spans that are done with
}

func newTimeline() *timeline {
	return &timeline{sent: measure.None, first: mark{at: measure.None, stamp: measure.None}, end: measure.None}
}

// grow notes that a read brought so many bytes of body. What else one read brings for the stream lies in the same span.
func (t *timeline) grow(n uint32, m mark) {
	t.came += uint64(n)
	if last := len(t.spans) - 1; last >= t.taken && (t.spans[last].at == m.at || last-t.taken+1 >= maxSpans) {
		m.dropped = m.dropped || t.spans[last].dropped
		t.spans[last] = span{t.came, m}
		return
	}
	if len(t.spans) == cap(t.spans) && t.taken > len(t.spans)/2 {
		t.spans = t.spans[:copy(t.spans, t.spans[t.taken:])]
		t.taken = 0
	}
	t.spans = append(t.spans, span{t.came, m})
}

// take gives the next of the body to the exchange, n bytes at most and no more than one read brought. False: nothing is known of them.
func (t *timeline) take(n int) (int, mark, bool) {
	for ; t.taken < len(t.spans); t.taken++ {
		s := &t.spans[t.taken]
		if s.end <= t.given {
			continue
		}
		n = int(min(uint64(n), s.end-t.given))
		m := s.mark
		s.dropped = false // it is counted once
		t.given += uint64(n)
		return n, m, true
	}
	t.spans, t.taken = t.spans[:0], 0
	t.given += uint64(n)
	return n, mark{}, false
}
