package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

// This file reads the head of a response: the status line and the fields, as RFC 9112 sections 3
// to 6 have them. What is accepted and what is refused is what net/http accepts and refuses, held
// against it by FuzzResponse, but for this:
//
//   - The version is HTTP/1 followed by a dot and one digit, and the status is between 100 and 999
//     and written without a sign. net/http takes HTTP/7.3, 000 and +12 as well.
//   - A head longer than MaxHead is refused.

// head is what the head of a response says about the rest of it.
type head struct {
	status  int
	minor   byte   // of the version HTTP/1.minor
	close   bool   // the connection ends with this response
	chunked bool   // the body comes in chunks
	length  uint64 // of the body; noLength: not told
	body    framing
}

const noLength = math.MaxUint64

// framing is how the end of a body is found.
type framing uint8

const (
	noBody   framing = iota
	byLength         // head.length bytes
	byChunks
	byClose // it ends with the connection
)

// readHead reads one head; the response may be an interim one. budget is what all heads of the
// exchange may still take, in bytes.
func (in *input) readHead(method string, f *Fields, budget *int) (head, error) {
	f.reset()
	h := head{length: noLength}
	line, err := in.headLine(budget)
	if err != nil {
		return h, err
	}
	if err := h.parseStatus(line); err != nil {
		return h, err
	}
	if err := in.readFields(f, budget); err != nil {
		return h, err
	}
	return h, h.frame(method, f)
}

// headLine reads one line of a head and cuts its end off: a line feed, or a carriage return and one.
func (in *input) headLine(budget *int) ([]byte, error) {
	line, err := in.readLine(*budget, errHeadSize)
	if err != nil {
		return nil, err
	}
	*budget -= len(line)
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

// parseStatus reads "HTTP/1.1 200 OK". The reason may be missing and may hold anything.
func (h *head) parseStatus(line []byte) error {
	const version = "HTTP/1."
	n := len(version)
	if len(line) < n+2 || string(line[:n]) != version || !isDigit(line[n]) || line[n+1] != ' ' {
		return malformed("not an HTTP/1 status line", line)
	}
	h.minor = line[n] - '0'
	rest := bytes.TrimLeft(line[n+2:], " ")
	if len(rest) > 3 && rest[3] != ' ' || len(rest) < 3 || !isDigit(rest[0]) || !isDigit(rest[1]) || !isDigit(rest[2]) {
		return malformed("the status is not a number of three digits", line)
	}
	h.status = int(rest[0]-'0')*100 + int(rest[1]-'0')*10 + int(rest[2]-'0')
	if h.status < 100 {
		return malformed("the status is not between 100 and 999", line)
	}
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// readFields reads fields up to the blank line that ends them.
func (in *input) readFields(f *Fields, budget *int) error {
	for {
		line, err := in.headLine(budget)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return f.check()
		}
		if err := f.parseLine(line); err != nil {
			return err
		}
	}
}

// parseLine reads a line of a head that is not blank: a field, or more of the one before (obs-fold).
func (f *Fields) parseLine(line []byte) error {
	if isBlank(line[0]) {
		if f.Len() == 0 {
			return malformed("the first header line begins with a blank", line)
		}
		f.extend(trimBlanks(line))
		return nil
	}
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return malformed("a header line has no colon", line)
	}
	f.add(line[:colon], trimBlanks(line[colon+1:]))
	return nil
}

// check reports whether names and values hold only what they may. A blank in a name is let pass, as
// net/http does, but makes it another name.
func (f *Fields) check() error {
	for i := range f.list {
		name, value := f.At(i)
		if len(name) == 0 {
			return malformed("a header line has no name", value)
		}
		for _, c := range name {
			if nameBytes[c>>3]&(1<<(c&7)) == 0 {
				return malformed("a header name is not valid", name)
			}
		}
		for _, c := range value {
			if c < ' ' && c != '\t' || c == 0x7f {
				return malformed("a header value holds a control character", name)
			}
		}
	}
	return nil
}

// nameBytes has a bit for every byte that may stand in a name: those of a token, and the blank.
var nameBytes = func() (set [32]byte) {
	for _, c := range []byte("!#$%&'*+-.^_`|~ 0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		set[c>>3] |= 1 << (c & 7)
	}
	return set
}()

// frame finds out how the body ends and what becomes of the connection (RFC 9112, 6.3 and 9.3).
func (h *head) frame(method string, f *Fields) error {
	var s scanned
	for i := range f.list {
		if err := s.see(h, f, i); err != nil {
			return err
		}
	}
	if h.chunked && s.badTrailer {
		return malformed("the field Trailer announces a field that cannot stand there", nil)
	}
	h.close = s.close || h.minor == 0 && !s.keep
	switch {
	case method == "HEAD" || h.status < 200 || h.status == 204 || h.status == 304:
		h.body = noBody
	case h.chunked:
		h.body = byChunks
	case h.length == 0:
		h.body = noBody
	case h.length != noLength:
		h.body = byLength
	default:
		h.body, h.close = byClose, true
	}
	return nil
}

// bodyLeft is what a body of known length has left before it begins.
func (h *head) bodyLeft() uint64 {
	if h.body == byLength {
		return h.length
	}
	return 0
}

// scanned is what the fields about framing say.
type scanned struct{ close, keep, badTrailer bool }

// see looks at one field. Only names of the right lengths are compared.
func (s *scanned) see(h *head, f *Fields, i int) error {
	name, value := f.At(i)
	switch len(name) {
	case len("Trailer"):
		if isName(name, "Trailer") {
			s.badTrailer = s.badTrailer || hasToken(value, "Transfer-Encoding") || hasToken(value, "Trailer") || hasToken(value, "Content-Length")
		}
	case len("Connection"):
		if isName(name, "Connection") {
			s.close = s.close || hasToken(value, "close")
			s.keep = s.keep || hasToken(value, "keep-alive")
		}
	case len("Content-Length"):
		if isName(name, "Content-Length") {
			return h.seeLength(trimBlanks(value))
		}
	case len("Transfer-Encoding"):
		if isName(name, "Transfer-Encoding") && h.minor > 0 {
			if h.chunked || !isName(value, "chunked") {
				return malformed("no transfer encoding but chunked, once, is understood", value)
			}
			h.chunked = true
		}
	}
	return nil
}

// seeLength reads a Content-Length. Several must agree.
func (h *head) seeLength(value []byte) error {
	n, ok := parseLength(value)
	if !ok {
		return malformed("the Content-Length is not a number", value)
	}
	if h.length != noLength && h.length != n {
		return malformed("there are two Content-Lengths that differ", value)
	}
	h.length = n
	return nil
}

// parseLength reads a number below 2^63 of decimal digits alone.
func parseLength(value []byte) (uint64, bool) {
	var n uint64
	for _, c := range value {
		if !isDigit(c) || n > (math.MaxInt64-uint64(c-'0'))/10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, len(value) > 0
}

// malformed is an error that quotes a little of what was wrong.
func malformed(text string, quote []byte) error {
	const most = 64
	if len(quote) == 0 {
		return errors.New(text)
	}
	return fmt.Errorf("%s: %q", text, quote[:min(len(quote), most)])
}
