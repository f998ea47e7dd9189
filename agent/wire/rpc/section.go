package rpc

import (
	"io"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/loadline/loadline/agent/wire"
)

// section is a header or a trailer as it comes. Only what gRPC looks at is kept: the framer would make a list
// of everything anew for each, which was most of what a call allocated.
type section struct {
	id      uint32
	ended   bool // nothing follows on the stream
	bytes   int  // of the block as sent
	size    uint32
	long    bool
	bad     bool
	regular bool // a field that is no pseudo-header has come

	code, contentType, encoding, status, message, details string
}

// emit takes a field.
func (s *section) emit(f hpack.HeaderField) {
	if s.size += f.Size(); s.size > wire.MaxHead {
		s.long = true
		return
	}
	if len(f.Name) > 0 && f.Name[0] == ':' {
		s.bad = s.bad || s.regular || f.Name != ":status"
		s.code = f.Value
		return
	}
	s.regular = true
	switch f.Name {
	case "content-type":
		s.contentType = f.Value
	case "grpc-encoding":
		s.encoding = f.Value
	case "grpc-status":
		s.status = f.Value
	case "grpc-message":
		s.message = f.Value
	case "grpc-status-details-bin":
		s.details = f.Value
	default:
		s.bad = s.bad || !validName(f.Name)
	}
	s.bad = s.bad || !httpguts.ValidHeaderFieldValue(f.Value)
}

func validName(name string) bool {
	if name == "" {
		return false
	}
	for _, r := range name {
		if !httpguts.IsTokenRune(r) || 'A' <= r && r <= 'Z' {
			return false
		}
	}
	return true
}

// headers reads a HEADERS or CONTINUATION frame. That they come in the right order, the framer has checked.
func (c *conn) headers(head http2.FrameHeader) error {
	left, pad := int(head.Length), 0
	if head.Type == http2.FrameHeaders {
		if head.StreamID == 0 {
			return breach(http2.ErrCodeProtocol, "HEADERS on no stream")
		}
		c.section = section{id: head.StreamID, ended: head.Flags.Has(http2.FlagHeadersEndStream)}
		if head.Flags.Has(http2.FlagHeadersPadded) {
			b, err := c.br.ReadByte()
			if err != nil {
				return err
			}
			left, pad = left-1, int(b)
		}
		if head.Flags.Has(http2.FlagHeadersPriority) {
			const priority = 5
			if left -= priority; left >= pad {
				if _, err := c.br.Discard(priority); err != nil {
					return err
				}
			}
		}
		if left < pad {
			return breach(http2.ErrCodeProtocol, "a frame is padded with more than it holds")
		}
	}
	if err := c.fragment(left - pad); err != nil {
		return err
	}
	if _, err := c.br.Discard(pad); err != nil {
		return err
	}
	if !head.Flags.Has(http2.FlagHeadersEndHeaders) {
		return nil
	}
	if err := c.dec.Close(); err != nil {
		return breach(http2.ErrCodeCompression, "a header block is not complete")
	}
	return c.sectioned(&c.section)
}

// fragment unpacks the next n bytes of a header block.
func (c *conn) fragment(n int) error {
	if c.section.bytes += n; c.section.bytes > 2*wire.MaxHead {
		return breach(http2.ErrCodeEnhanceYourCalm, "headers are far too long")
	}
	for n > 0 {
		if _, err := c.br.Peek(1); err != nil {
			return unexpected(err)
		}
		p, _ := c.br.Peek(min(n, c.br.Buffered())) // they are there
		if _, err := c.dec.Write(p); err != nil {
			return breach(http2.ErrCodeCompression, "a header block cannot be unpacked: COMPRESSION_ERROR")
		}
		n -= len(p)
		_, _ = c.br.Discard(len(p))
	}
	return nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
