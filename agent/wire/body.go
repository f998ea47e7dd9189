package wire

import (
	"bytes"
	"errors"
	"io"
)

// This file finds the pieces of a body and its end (RFC 9112, sections 6 and 7). For chunks it
// accepts and refuses what net/http does, but for trailers: their lines must end in CRLF, and they may
// take as much as a head, where net/http asks that they fit its read buffer.

const (
	// maxChunkLine bounds the line with a chunk's size, in bytes.
	maxChunkLine = 4096
	// maxExcess bounds how much more than content the framing of chunks may be, in bytes: each chunk
	// may spend chunkAllowance and twice its content. The figures are those of net/http.
	maxExcess      = 16 << 10
	chunkAllowance = 16
)

var (
	errChunkLine   = errors.New("the line of a chunk's size is longer than 4 KiB")
	errChunkEnd    = errors.New("a chunk does not end where its size says")
	errChunkBareLF = errors.New("the line of a chunk's size does not end in CRLF")
	errChunkSize   = errors.New("the size of a chunk is not a hexadecimal number")
	errChunkHuge   = errors.New("the size of a chunk has more than 16 digits")
	errChunkExcess = errors.New("the chunks hold too much that is not content")
	errTrailerLine = errors.New("a line of the trailer does not end in CRLF")
)

// body reads a body piece by piece. It does not hold what it reads.
type body struct {
	in     *input
	kind   framing
	left   uint64 // of the body, or of the chunk
	begun  bool   // a chunk is being read, or its end is still to come
	excess int64
}

// next gives the next piece, never an empty one, valid until the next call; io.EOF: the body is over.
func (b *body) next() ([]byte, error) {
	switch b.kind {
	case byLength:
		if b.left == 0 {
			return nil, io.EOF
		}
		return b.piece()
	case byClose:
		if err := b.in.more(); err != nil {
			return nil, err
		}
		return b.in.take(noLength), nil
	case byChunks:
		return b.chunk()
	}
	return nil, io.EOF
}

// piece gives some of what is left.
func (b *body) piece() ([]byte, error) {
	if err := b.in.more(); err != nil {
		return nil, unexpected(err)
	}
	p := b.in.take(b.left)
	b.left -= uint64(len(p))
	return p, nil
}

// chunk gives the next piece of a chunk.
func (b *body) chunk() ([]byte, error) {
	if b.left == 0 {
		if err := b.nextChunk(); err != nil {
			return nil, err
		}
	}
	return b.piece()
}

// nextChunk reads from the end of one chunk to the beginning of the next; io.EOF: it was the last.
func (b *body) nextChunk() error {
	if b.begun {
		for _, want := range [...]byte{'\r', '\n'} {
			got, err := b.in.next()
			if err != nil {
				return err
			}
			if got != want {
				return errChunkEnd
			}
		}
	}
	line, err := b.in.readLine(maxChunkLine+1, errChunkLine)
	if err != nil {
		return err
	}
	n := len(line) - 2
	if n < 0 || bytes.IndexByte(line, '\r') != n {
		return errChunkBareLF
	}
	if b.left, err = chunkSize(line[:n]); err != nil {
		return err
	}
	if b.excess = max(b.excess+int64(n)+2-chunkAllowance-2*int64(b.left), 0); b.excess > maxExcess {
		return errChunkExcess
	}
	b.begun = true
	if b.left == 0 {
		b.kind = noBody
		return b.trailer()
	}
	return nil
}

// chunkSize reads the size of a chunk; extensions are passed over.
func chunkSize(line []byte) (uint64, error) {
	line, _, _ = bytes.Cut(trimEnd(line), []byte(";"))
	if len(line) == 0 {
		return 0, errChunkSize
	}
	var n uint64
	for i, c := range line {
		switch c = lower(c); {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, errChunkSize
		}
		if i == 16 {
			return 0, errChunkHuge
		}
		n = n<<4 | uint64(c)
	}
	return n, nil
}

// trailer reads the fields after the last chunk, which say nothing that is needed; io.EOF: all is well.
func (b *body) trailer() error {
	var f Fields
	budget := MaxHead
	for {
		line, err := b.in.readLine(budget, errHeadSize)
		if err != nil {
			return err
		}
		budget -= len(line)
		n := len(line) - 2
		switch {
		case n < 0 || line[n] != '\r':
			return errTrailerLine
		case n == 0:
			if err := f.check(); err != nil {
				return err
			}
			return io.EOF
		}
		if err := f.parseLine(line[:n]); err != nil {
			return err
		}
	}
}
