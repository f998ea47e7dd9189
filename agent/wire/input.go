package wire

import (
	"bytes"
	"io"
	"sync"
)

// source is where the bytes of a response come from.
type source interface {
	// read waits for more and puts it into the buffer of in, which is empty. It returns an error
	// exactly when nothing came.
	read(in *input) error
}

// input is what has been read of a connection and not been parsed yet. It has a buffer only while
// there is something in it: an idle stream holds none.
type input struct {
	src  source
	buf  *buffer // nil: nothing is there
	r, w int     // buf[r:w] is there
	line []byte  // a line that did not come in one piece
}

// buffer is what one read goes to.
type buffer [readBuffer]byte

// buffers are those that are not in use.
type buffers struct{ pool sync.Pool }

func (b *buffers) get() *buffer {
	if p, ok := b.pool.Get().(*buffer); ok {
		return p
	}
	return new(buffer)
}

// hold makes sure that there is a buffer to read into.
func (in *input) hold(from *buffers) *buffer {
	if in.buf == nil {
		in.buf = from.get()
	}
	return in.buf
}

// release gives the buffer back. What was there is lost.
func (in *input) release(to *buffers) {
	if in.buf != nil {
		to.pool.Put(in.buf)
		in.buf = nil
	}
	in.r, in.w = 0, 0
}

// keepLine is the longest scratch that is kept for lines in pieces, in bytes.
const keepLine = 1 << 10

// empty reports whether everything read has been parsed.
func (in *input) empty() bool { return in.r == in.w }

// more waits until something is there that has not been parsed.
func (in *input) more() error {
	if !in.empty() {
		return nil
	}
	in.r, in.w = 0, 0
	return in.src.read(in)
}

// take hands out at most n bytes of what is there, without waiting. They are valid until the next read.
func (in *input) take(n uint64) []byte {
	end := in.w
	if uint64(end-in.r) > n {
		end = in.r + int(n)
	}
	p := in.buf[in.r:end]
	in.r = end
	return p
}

// next takes one byte.
func (in *input) next() (byte, error) {
	if err := in.more(); err != nil {
		return 0, unexpected(err)
	}
	in.r++
	return in.buf[in.r-1], nil
}

// readLine takes a line of at most limit bytes, with its end, and is valid until the next read; one
// that is longer gives tooLong. The end of the connection is an unexpected one.
func (in *input) readLine(limit int, tooLong error) ([]byte, error) {
	if cap(in.line) > keepLine {
		in.line = nil
	}
	in.line = in.line[:0]
	for {
		if err := in.more(); err != nil {
			return nil, unexpected(err)
		}
		there := in.buf[in.r:in.w]
		i := bytes.IndexByte(there, '\n')
		if n := len(in.line) + i + 1; n > limit || i < 0 && n+len(there) > limit {
			return nil, tooLong
		}
		if i >= 0 {
			in.r += i + 1
			if len(in.line) == 0 {
				return there[:i+1], nil
			}
			in.line = append(in.line, there[:i+1]...)
			return in.line, nil
		}
		in.line = append(in.line, there...)
		in.r = in.w
	}
}

// unexpected says that the connection ended where it must not.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
