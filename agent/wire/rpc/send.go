package rpc

import (
	"encoding/binary"
	"math"
	"time"

	"golang.org/x/net/http2"

	"github.com/loadline/loadline/internal/measure"
)

// prefix of a message: whether it is packed, and its length.
const prefix = 5

// start opens the stream of a call and sends what may be sent of its messages; false: the connection takes no
// more calls.
func (c *conn) start(call *Call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving || len(c.calls) >= int(c.most) {
		return false
	}
	call.id, call.window = c.nextID, c.initial
	if c.nextID += 2; c.nextID > maxID {
		c.leaving = true
		c.slot.conn.CompareAndSwap(c, nil)
	}
	c.calls[call.id] = call
	before := len(c.out)
	c.ask(call)
	call.BytesOut += uint64(len(c.out) - before)
	now := c.pool.now()
	call.begun = time.Duration(now - call.Dispatched)
	c.send(call, now)
	c.push()
	return true
}

// ask queues the header block of a call, in as many frames as it takes.
func (c *conn) ask(call *Call) {
	at := len(c.out)
	c.out = appendHead(c.out, 0, http2.FrameHeaders, 0, call.id)
	c.out = c.pack(c.out, call)
	size := len(c.out) - at - frameHead
	if size <= c.largest {
		setHead(c.out[at:], size, http2.FlagHeadersEndHeaders)
		return
	}
	rest := append([]byte(nil), c.out[at+frameHead+c.largest:]...)
	c.out = c.out[:at+frameHead+c.largest]
	setHead(c.out[at:], c.largest, 0)
	for len(rest) > 0 {
		n := min(len(rest), c.largest)
		flags := http2.Flags(0)
		if n == len(rest) {
			flags = http2.FlagContinuationEndHeaders
		}
		c.out = append(appendHead(c.out, n, http2.FrameContinuation, flags, call.id), rest[:n]...)
		rest = rest[n:]
	}
}

func setHead(b []byte, size int, flags http2.Flags) {
	b[0], b[1], b[2], b[4] = byte(size>>16), byte(size>>8), byte(size), byte(flags)
}

// pack appends the header block. The fields that calls share are packed by the encoder, which puts them into the
// table of the connection; when all of them are in it, the bytes are remembered and used again as long as
// the table stays the same. Fields of one call alone never enter it.
func (c *conn) pack(b []byte, call *Call) []byte {
	known, ok := c.blocks[call.Steady]
	if ok && known.table == c.table && !c.resized {
		b = append(b, known.bytes...)
	} else {
		b = append(b, c.encode(call.Steady)...)
	}
	for _, h := range call.Vary {
		b = append(b, 0) // a literal without indexing, with a new name
		b = append(appendLength(b, len(h.Name)), h.Name...)
		b = append(appendLength(b, len(h.Value)), h.Value...)
	}
	return b
}

func (c *conn) encode(f *Fields) []byte {
	c.packing.Reset()
	changed := c.resized // the new size comes before the first field
	c.resized = false
	for _, field := range f.list {
		at := c.packing.Len()
		_ = c.enc.WriteField(field) // a buffer takes everything
		const mask, indexing = 0xc0, 0x40
		changed = changed || c.packing.Bytes()[at]&mask == indexing
	}
	if changed {
		c.table++
		return c.packing.Bytes()
	}
	if len(c.blocks) >= maxBlocks {
		clear(c.blocks)
	}
	c.blocks[f] = block{c.table, append([]byte(nil), c.packing.Bytes()...)}
	return c.packing.Bytes()
}

// appendLength appends the length of a string that is not Huffman coded (RFC 7541, 5.1 and 5.2).
func appendLength(b []byte, n int) []byte {
	const most = 1<<7 - 1
	if n < most {
		return append(b, byte(n))
	}
	return binary.AppendUvarint(append(b, most), uint64(n-most))
}

// send queues as much of the call's messages as is due and as windows and room let it. It returns when the
// next message is due; the largest instant: that is not what it waits for.
func (c *conn) send(call *Call, now measure.Instant) measure.Instant {
	for call.next < len(call.Messages) && !call.over {
		if call.next > 0 && call.offset == 0 && call.Every > 0 {
			if due := call.Dispatched + measure.Instant(call.begun+time.Duration(call.next)*call.Every); due > now {
				return due
			}
		}
		if !c.piece(call, now) {
			call.hungry, c.hungry = true, true
			break
		}
	}
	return math.MaxInt64
}

// piece queues one frame of the message at hand; false: there is no room.
func (c *conn) piece(call *Call, now measure.Instant) bool {
	m := call.Messages[call.next]
	whole := prefix + len(m)
	n := int(min(int64(whole-call.offset), call.window, c.window, int64(c.largest)))
	if n <= 0 || len(c.out) > maxQueued {
		return false
	}
	if call.offset == 0 && call.NoteSent {
		call.SentAt = append(call.SentAt, now)
	}
	end := call.offset+n == whole
	call.closed = end && call.next == len(call.Messages)-1
	flags := http2.Flags(0)
	if call.closed {
		flags = http2.FlagDataEndStream
	}
	b := appendHead(c.out, n, http2.FrameData, flags, call.id)
	var head [prefix]byte
	if call.Packed {
		head[0] = 1
	}
	binary.BigEndian.PutUint32(head[1:], uint32(len(m)))
	first := min(call.offset, prefix)
	ahead := head[first:min(prefix, call.offset+n)]
	b = append(b, ahead...)
	from := max(call.offset-prefix, 0)
	c.out = append(b, m[from:from+n-len(ahead)]...)
	call.window, c.window, call.BytesOut = call.window-int64(n), c.window-int64(n), call.BytesOut+frameHead+uint64(n)
	if call.offset += n; end {
		call.next, call.offset = call.next+1, 0
	}
	return true
}
