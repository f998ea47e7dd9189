package wire

import (
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"

	"github.com/loadline/loadline/internal/measure"
)

// link lies between net/http and a connection. It walks over the frames of both directions for what net/http does not tell:
// which read brought what of which exchange, when the end of a request was written, and what becomes of the connection. So the instants
// are exact however late the goroutines between a read and the exchange are let run.
type link struct {
	net.Conn // what is read and written: the socket, or TLS above it
	raw      *rawConn
	settled  func()      // called once, when net/http knows the peer's settings
	open     atomic.Bool // it has been: how many streams the peer allows is known
	away     atomic.Bool // the peer has said GOAWAY: it takes no more streams
	closed   atomic.Bool // by us
	lost     atomic.Bool // not by us
	alien    atomic.Bool // the peer answers in HTTP/1

	// What the goroutine that reads has come to.
	in     frame
	whole  bool   // a whole frame has come: the first one, which is that of the settings
	body   uint32 // bytes of body that the DATA frame under way still has
	padded bool   // it begins with how long its padding is, which has not come yet

	// What the one goroutine that has net/http's lock for writing has come to.
	out    frame
	hello  int    // bytes of the preface still to be written
	newest uint32 // the stream opened last

	mu      sync.Mutex // it is never held around a call of net/http or of the connection
	last    measure.Instant
	next    *timeline // of the exchange whose request is to be written next
	streams map[uint32]*timeline
	spare   [][]span
}

func newLink(rw net.Conn, raw *rawConn) *link {
	return &link{Conn: rw, raw: raw, hello: len(http2.ClientPreface), last: measure.None, streams: map[uint32]*timeline{}}
}

// Read reads once. When net/http asks for more, it has dealt with what it was given.
func (l *link) Read(p []byte) (int, error) {
	if l.whole && !l.open.Load() {
		l.open.Store(true)
		l.settled()
	}
	n, err := l.Conn.Read(p)
	l.arrived(p[:n])
	if err != nil && !l.closed.Load() {
		l.lost.Store(true)
	}
	return n, err
}

// arrived walks over what came. All of it is of the socket's latest read, under TLS as well: the socket is read again only for
// a record that is not complete.
func (l *link) arrived(p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = l.raw.last
	for len(p) > 0 {
		n, payload := l.in.step(p)
		switch {
		case payload:
			l.brought(p[:n])
		case l.in.begun():
			l.begins()
		}
		p = p[n:]
		if l.in.over() {
			l.completed()
		}
	}
}

// begins looks at the head of a frame that comes.
func (l *link) begins() {
	if !l.whole && string(l.in.head[:5]) == "HTTP/" {
		l.alien.Store(true)
	}
	switch l.in.kind() {
	case http2.FrameGoAway:
		l.away.Store(true)
	case http2.FrameData:
		l.body, l.padded = l.in.left, l.in.has(http2.FlagDataPadded)
	}
}

// brought looks at what came of a frame's payload. What has come of a frame that is not complete counts as well, though net/http hands
// nothing of it on before the rest is there: an instant is that of the read that brought the bytes, as over HTTP/1.1, and does not hang on
// what else the server put into the frame.
func (l *link) brought(p []byte) {
	if l.in.kind() != http2.FrameData {
		return
	}
	if l.padded {
		around := 1 + uint32(p[0])
		p, l.padded, l.body = p[1:], false, l.body-min(l.body, around)
	}
	n := min(uint32(len(p)), l.body)
	l.body -= n
	if t := l.streams[l.in.stream()]; t != nil && n > 0 {
		t.grow(n, l.mark())
	}
}

// completed looks at a frame that has come as a whole.
func (l *link) completed() {
	l.whole = true
	fields, end := l.in.ends()
	if !fields && !end {
		return
	}
	t := l.streams[l.in.stream()]
	if t == nil {
		return
	}
	if fields && !t.first.at.Reached() {
		t.first = l.mark()
	}
	if end && !t.end.Reached() {
		t.end = l.last
	}
}

// mark is the latest read.
func (l *link) mark() mark {
	stamp, dropped := l.raw.received.when(l.last)
	return mark{l.last, stamp, dropped}
}

// Write writes p. The end of a request is the end of a write: net/http flushes what it buffers there.
func (l *link) Write(p []byte) (int, error) {
	ended := l.leaves(p)
	n, err := l.Conn.Write(p)
	if ended != 0 {
		l.left(ended, err)
	}
	return n, err
}

// leaves walks over what is about to be written, before an answer to it can come. It gives the stream whose request ends in it; 0: none.
func (l *link) leaves(p []byte) (ended uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(p), l.hello)
	p, l.hello = p[n:], l.hello-n
	for len(p) > 0 {
		n, payload := l.out.step(p)
		if !payload && l.out.begun() {
			l.opens()
		}
		p = p[n:]
		if l.out.over() {
			if _, end := l.out.ends(); end {
				ended = l.out.stream()
			}
		}
	}
	if t := l.streams[ended]; t != nil {
		t.sent = l.raw.now() // the answer may have been read before this goroutine comes to say more
	}
	return ended
}

// opens begins the timeline of a stream where the head of its first frame is written.
func (l *link) opens() {
	id := l.out.stream()
	if l.out.kind() != http2.FrameHeaders || id <= l.newest {
		return
	}
	l.newest = id
	t := l.next
	if l.next = nil; t == nil {
		return
	}
	t.id, l.streams[id] = id, t
	if n := len(l.spare); n > 0 {
		t.spans, l.spare = l.spare[n-1], l.spare[:n-1]
	}
}

// left notes that the end of a request has been written, or could not be.
func (l *link) left(id uint32, err error) {
	at := l.raw.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.streams[id]; t != nil {
		if t.sent = at; err != nil {
			t.sent = measure.None
		}
	}
}

// trace is how an exchange learns of its stream. net/http does not tell the id, but it calls WroteHeaderField where it encodes the fields
// of a request, in the goroutine and under the lock with which it writes them then; so the next stream to be opened is the one of
// the exchange that was called last. WroteHeaders would come after the write, when the answer may be here.
func (l *link) trace(t *timeline) *httptrace.ClientTrace {
	told := false
	return &httptrace.ClientTrace{WroteHeaderField: func(string, []string) {
		if told {
			return
		}
		told = true
		l.mu.Lock()
		defer l.mu.Unlock()
		if !t.over {
			l.next = t
		}
	}}
}

// finish ends the timeline of an exchange, whatever became of it, and gives the instant at which the end of the request was written.
// net/http's goroutine may be about to write the request even so; it then opens a stream without a timeline.
func (l *link) finish(t *timeline) (sent measure.Instant) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.over = true
	if l.next == t {
		l.next = nil
	}
	if t.id != 0 {
		delete(l.streams, t.id)
	}
	if n := cap(t.spans); n > 0 && n <= maxSpare {
		l.spare = append(l.spare, t.spans[:0])
	}
	t.spans, t.taken = nil, 0
	return t.sent
}

// first is the read that brought the first head.
func (l *link) first(t *timeline) mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !t.first.at.Reached() {
		return mark{at: l.last, stamp: measure.None}
	}
	return t.first
}

// take gives a part of n bytes of body that one read brought, how long it is, and the read. Where nothing is known, which
// must not happen, the read is the latest one.
func (l *link) take(t *timeline, n int) (int, mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, m, known := t.take(n)
	if !known {
		m = mark{at: l.last, stamp: measure.None}
	}
	return n, m
}

// end is when the read returned that brought the end of the stream.
func (l *link) end(t *timeline) measure.Instant {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !t.end.Reached() {
		return l.last
	}
	return t.end
}

// Close closes the socket at once, as conn.close does.
func (l *link) Close() error {
	l.closed.Store(true)
	return l.raw.Conn.Close()
}
