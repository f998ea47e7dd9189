package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"testing"

	"golang.org/x/net/http2"
	"pgregory.net/rapid"

	"github.com/loadline/loadline/internal/measure"
)

// frames collects what a framer writes.
type frames struct {
	bytes.Buffer
	*http2.Framer
}

func newFrames() *frames {
	f := new(frames)
	f.Framer = http2.NewFramer(&f.Buffer, nil)
	f.AllowIllegalWrites = true
	return f
}

// fields writes HEADERS of a stream, and the rest of what they hold in a CONTINUATION each.
func (f *frames) fields(id uint32, end bool, blocks ...[]byte) {
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndStream: end, BlockFragment: blocks[0], EndHeaders: len(blocks) == 1})
	for i, b := range blocks[1:] {
		_ = f.WriteContinuation(id, i == len(blocks)-2, b)
	}
}

// told is what is to be known of one stream: when each byte of its body came, and so on.
type told struct {
	body       []byte
	at         []measure.Instant
	first, end measure.Instant
}

// byBytes reads whole frames and says what is to be known of each stream, given when each byte came.
func byBytes(all []byte, at []measure.Instant) map[uint32]*told {
	streams, closing := map[uint32]*told{}, false
	for i := 0; i+frameHead <= len(all); {
		size := int(binary.BigEndian.Uint32(append([]byte{0}, all[i:i+3]...)))
		kind, flags, id := http2.FrameType(all[i+3]), all[i+4], binary.BigEndian.Uint32(all[i+5:])&0x7fffffff
		from, to := i+frameHead, i+frameHead+size
		i = to
		if to > len(all) {
			return streams
		}
		if streams[id] == nil {
			streams[id] = &told{first: measure.None, end: measure.None}
		}
		s, ended := streams[id], flags&1 != 0
		switch kind {
		case http2.FrameData:
			body, until := from, to
			if flags&8 != 0 {
				body, until = from+1, to-int(all[from])
			}
			s.body, s.at = append(s.body, all[body:until]...), append(s.at, at[body:until]...)
		case http2.FrameHeaders, http2.FrameContinuation:
			if kind == http2.FrameHeaders {
				closing = ended
			}
			if ended = closing && flags&4 != 0; flags&4 != 0 && !s.first.Reached() {
				s.first = at[to-1]
			}
		default:
			ended = false
		}
		if ended && !s.end.Reached() {
			s.end = at[to-1]
		}
	}
	return streams
}

// wall is a connection that takes what is written, by a clock that goes on with each write.
type wall struct {
	net.Conn
	at  measure.Instant
	err error
}

func (w *wall) Write(p []byte) (int, error) { w.at += 10; return len(p), w.err }

// lone is a link without net/http, whose preface has been written.
func lone() (*link, *wall) {
	w := &wall{at: 1}
	raw := &rawConn{Conn: w, now: func() measure.Instant { return w.at }, received: newReceived(nil)}
	l := newLink(w, raw)
	_, _ = l.Write([]byte(http2.ClientPreface))
	return l, w
}

// receive is a read at the given instant, of what the kernel had one nanosecond before.
func (l *link) receive(p []byte, at measure.Instant) {
	l.raw.last, l.raw.received.at = at, at-1
	l.arrived(p)
}

// begin opens a stream for an exchange.
func (l *link) begin(id uint32) *timeline {
	t, f := newTimeline(), newFrames()
	l.trace(t).WroteHeaderField(":method", nil)
	f.fields(id, true, []byte("fields"))
	_, _ = l.Write(f.Bytes())
	return t
}

// drawFrame writes any frame that a server may send, and some that it may not.
func drawFrame(t *rapid.T, f *frames, id uint32) {
	data := func(what string, most int) []byte { return rapid.SliceOfN(rapid.Byte(), 0, most).Draw(t, what) }
	end := rapid.IntRange(0, 9).Draw(t, "end") == 0
	switch rapid.IntRange(0, 9).Draw(t, "frame") {
	case 0:
		f.fields(id, end, data("block", 30))
	case 1:
		f.fields(id, end, data("block", 30), data("block", 30), data("block", 3))
	case 2:
		_ = f.WritePing(false, [8]byte{})
	case 3:
		_ = f.WriteRawFrame(http2.FrameType(rapid.ByteRange(10, 255).Draw(t, "kind")), 0xff, id, data("payload", 40))
	case 4:
		_ = f.WriteDataPadded(id, end, data("body", 20), make([]byte, rapid.IntRange(0, 255).Draw(t, "padding")))
	default:
		_ = f.WriteData(id, end, data("body", 50))
	}
}

// TestTimelinesAreThoseOfTheBytes: whatever frames come, however reads cut them and whenever it is taken, each byte of body has the
// read that brought it.
func TestTimelinesAreThoseOfTheBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, _ := lone()
		ids := []uint32{1, 3, 5, 7, 9, 0} // the last three are not ours
		exchanges, got := map[uint32]*timeline{}, map[uint32]*told{}
		for _, id := range ids[:3] {
			exchanges[id], got[id] = l.begin(id), new(told)
		}
		f := newFrames()
		for range rapid.IntRange(1, 40).Draw(t, "frames") {
			drawFrame(t, f, rapid.SampledFrom(ids).Draw(t, "stream"))
		}
		var at []measure.Instant
		take := func(id uint32, n int) {
			for x := exchanges[id]; n > 0; {
				k, m := l.take(x, n)
				if m.stamp != m.at-1 {
					t.Fatalf("read at %d, stamped at %d", m.at, m.stamp)
				}
				got[id].at, n = append(got[id].at, slices.Repeat([]measure.Instant{m.at}, k)...), n-k
			}
		}
		all := f.Bytes()
		for now := measure.Instant(100); len(at) < len(all); now += 7 {
			n := min(rapid.IntRange(1, 120).Draw(t, "read"), len(all)-len(at))
			l.receive(all[len(at):len(at)+n], now)
			at = append(at, slices.Repeat([]measure.Instant{now}, n)...)
			for id, x := range exchanges {
				take(id, rapid.IntRange(0, int(x.came-x.given)).Draw(t, "taken"))
			}
		}
		want := byBytes(all, at)
		for id, x := range exchanges {
			take(id, int(x.came-x.given))
			w := want[id]
			if w == nil {
				w = &told{first: measure.None, end: measure.None}
			}
			if !slices.Equal(got[id].at, w.at) || x.first.at != w.first || x.end != w.end {
				t.Fatalf("stream %d: %v, head %d, end %d; want %v, %d, %d", id, got[id].at, x.first.at, x.end, w.at, w.first, w.end)
			}
			l.finish(x)
		}
		if len(l.streams) != 0 {
			t.Fatalf("%d timelines are left", len(l.streams))
		}
	})
}

// FuzzFrames: whatever crosses a connection in either direction, nothing breaks, and no timeline holds more than it may.
func FuzzFrames(f *testing.F) {
	some := newFrames()
	some.fields(1, false, []byte("a"), []byte("b"))
	_ = some.WriteDataPadded(1, true, []byte("body"), []byte{0, 0})
	f.Add(some.Bytes(), byte(3))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), byte(255))
	f.Fuzz(func(t *testing.T, p []byte, cut byte) {
		l, _ := lone()
		one := l.begin(1)
		for now := measure.Instant(1); len(p) > 0; now++ {
			n := min(int(cut)+1, len(p))
			l.receive(p[:n], now)
			l.leaves(p[:n])
			p = p[n:]
		}
		if len(l.streams) > 1 || len(one.spans)-one.taken > maxSpans {
			t.Fatalf("%d timelines, %d spans", len(l.streams), len(one.spans))
		}
	})
}

// TestASinkThatStandsStill: past the most that is kept, instants are later than they were, never earlier, and no byte is lost.
func TestASinkThatStandsStill(t *testing.T) {
	l, _ := lone()
	x, f := l.begin(1), newFrames()
	_ = f.WriteData(1, false, []byte("x"))
	const reads = 3 * maxSpans
	for i := range measure.Instant(reads) {
		l.receive(f.Bytes(), i)
	}
	if len(x.spans) != maxSpans {
		t.Errorf("%d spans are kept", len(x.spans))
	}
	for i := range measure.Instant(reads) {
		if n, m := l.take(x, 1); n != 1 || m.at < i || i < maxSpans-1 && m.at != i || m.stamp != m.at-1 {
			t.Fatalf("byte %d: %d of it, read at %d, stamped at %d", i, n, m.at, m.stamp)
		}
	}
	if n, m := l.take(x, 5); n != 5 || m.at != reads-1 || m.stamp.Reached() {
		t.Errorf("of what is not known: %d, %+v", n, m)
	}
}

// TestADroppedStampIsToldOnce, whatever one read brought and however it is taken.
func TestADroppedStampIsToldOnce(t *testing.T) {
	x := newTimeline()
	x.grow(3, mark{at: 1, stamp: measure.None, dropped: true})
	x.grow(2, mark{at: 1, stamp: measure.None})
	for _, want := range []bool{true, false, false} {
		if n, m, known := x.take(2); m.dropped != want || !known {
			t.Errorf("%d bytes: %+v, %v", n, m, known)
		}
	}
}

// TestEventsAllocateNothing, once a timeline has grown to what it needs.
func TestEventsAllocateNothing(t *testing.T) {
	l, _ := lone()
	f, now := newFrames(), measure.Instant(0)
	_ = f.WriteData(1, false, []byte("event"))
	x := l.begin(1)
	events := func() {
		for range 5 {
			now++
			l.receive(f.Bytes(), now)
		}
		for n := int(x.came - x.given); n > 0; {
			k, _ := l.take(x, n)
			n -= k
		}
	}
	events()
	if n := testing.AllocsPerRun(100, events); n > 0 {
		t.Errorf("%v allocations", n)
	}
	spans := cap(x.spans)
	l.finish(x)
	if next := l.begin(3); cap(next.spans) != spans {
		t.Errorf("the next timeline begins with room for %d, not %d", cap(next.spans), spans)
	}
}

// TestSent is when the write returned that held the end of the request, however the request is cut into writes.
func TestSent(t *testing.T) {
	for _, bodies := range [][]string{nil, {""}, {"body"}, {"in", "pieces", ""}} {
		for _, size := range []int{1, 5, 9, 14, 1000} {
			l, w := lone()
			x, f := newTimeline(), newFrames()
			l.trace(x).WroteHeaderField(":method", nil)
			f.fields(1, bodies == nil, []byte("fields"), []byte("more"))
			for i, b := range bodies {
				_ = f.WriteData(1, i == len(bodies)-1, []byte(b))
			}
			for p := range slices.Chunk(f.Bytes(), size) {
				if x.sent.Reached() {
					t.Error("sent before the end was written")
				}
				_, _ = l.Write(p)
			}
			done := w.at
			_, _ = l.Write([]byte{0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1}) // WINDOW_UPDATE
			if x.sent != done {
				t.Errorf("%q in writes of %d: sent at %d, not %d", bodies, size, x.sent, done)
			}
			l.finish(x)
		}
	}
	l, w := lone()
	w.err = errors.New("broken")
	if x := l.begin(1); x.sent.Reached() {
		t.Error("sent though the write failed")
	}
}

// TestWhoseStream: a stream is that of the exchange whose fields were encoded last. One that has ended by then gets none, nor does an
// exchange whose request is not written.
func TestWhoseStream(t *testing.T) {
	l, _ := lone()
	never, late, over := newTimeline(), newTimeline(), newTimeline()
	l.trace(never).WroteHeaderField(":method", nil)
	one := l.begin(1)
	trace := l.trace(late)
	l.finish(late)
	trace.WroteHeaderField(":method", nil)
	f := newFrames()
	f.fields(3, true, []byte("fields"))
	_, _ = l.Write(f.Bytes())
	l.trace(over).WroteHeaderField(":method", nil)
	l.finish(over)
	last := newTimeline()
	f = newFrames()
	f.fields(5, true, []byte("fields"))
	_, _ = l.Write(f.Bytes())
	l.trace(last).WroteHeaderField(":method", nil)
	f.Reset()
	f.fields(1, true, []byte("trailer"))
	f.fields(7, true, []byte("fields"))
	_, _ = l.Write(f.Bytes())
	if never.id != 0 || late.id != 0 || over.id != 0 || l.streams[1] != one || l.streams[7] != last || len(l.streams) != 2 {
		t.Errorf("%d, %d, %d; %v", never.id, late.id, over.id, l.streams)
	}
	for _, x := range []*timeline{never, one, last} {
		l.finish(x)
	}
	if len(l.streams) != 0 || l.next != nil {
		t.Errorf("left: %v, %v", l.streams, l.next)
	}
}
