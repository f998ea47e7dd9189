package rpc

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/internal/measure"
)

// maxHeld is the largest buffer that a call keeps for the next answer.
const maxHeld = 64 << 10

// frame puts the bytes of an answer together into messages.
type frame struct {
	pool  *Pool
	head  [prefix]byte
	have  int  // bytes of head
	left  int  // bytes of the message that are still to come
	size  int  // of the message
	zip   bool // the message is packed
	body  []byte
	plain []byte
}

// begin makes the frame ready for another answer.
func (f *frame) begin(p *Pool) {
	*f = frame{pool: p, body: f.body[:0], plain: f.plain[:0]}
	if cap(f.body) > maxHeld || cap(f.plain) > maxHeld {
		f.body, f.plain = nil, nil
	}
}

// take takes the next bytes of the answer, which were read at the instant at.
func (f *frame) take(c *Call, p []byte, at measure.Instant) error {
	for len(p) > 0 {
		if f.have < prefix {
			n := copy(f.head[f.have:], p)
			f.have, p = f.have+n, p[n:]
			if f.have < prefix {
				return nil
			}
			if err := f.open(c); err != nil {
				return err
			}
		}
		n := min(f.left, len(p))
		piece := p[:n]
		p, f.left = p[n:], f.left-n
		if f.left > 0 || len(f.body) > 0 {
			if f.zip || c.Keep {
				f.body = append(f.body, piece...)
			}
			piece = f.body
		}
		if f.left > 0 {
			return nil
		}
		if err := f.close(c, piece, at); err != nil {
			return err
		}
	}
	return nil
}

// open looks at the prefix of a message.
func (f *frame) open(c *Call) error {
	size := binary.BigEndian.Uint32(f.head[1:])
	if int64(size) > int64(c.MaxMessage) {
		return tooLong(c)
	}
	f.size, f.left = int(size), int(size)
	switch f.head[0] {
	case 0:
		f.zip = false
	case 1:
		if !c.packed {
			return malformed("a message is packed, and the header of the answer does not say how")
		}
		f.zip = true
	default:
		return malformed("a message begins with a flag that there is not")
	}
	return nil
}

// close hands a whole message to the sink.
func (f *frame) close(c *Call, data []byte, at measure.Instant) error {
	f.have = 0
	size := f.size
	if f.zip {
		var err error
		if data, err = f.unzip(c, data); err != nil {
			return err
		}
		size = len(data)
	}
	c.late = at
	if !c.Keep {
		data = nil
	}
	err := c.Sink.Message(data, size, at)
	f.body = f.body[:0]
	return err
}

func tooLong(c *Call) error {
	return &wire.Error{Class: measure.ClassOversized, Err: fmt.Errorf("a message is longer than %d MiB", c.MaxMessage>>20)}
}

// unzip unpacks a message.
func (f *frame) unzip(c *Call, data []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, malformed("a message is not packed as it says")
	}
	plain := bytes.NewBuffer(f.plain[:0])
	n, err := io.Copy(plain, io.LimitReader(r, int64(c.MaxMessage)+1))
	switch f.plain = plain.Bytes(); {
	case err != nil:
		return nil, malformed("a message is not packed as it says")
	case n > int64(c.MaxMessage):
		return nil, tooLong(c)
	}
	return f.plain, nil
}
