// Package sse reads event streams (text/event-stream) as they come in, in whatever pieces.
//
// It follows the standard (HTML, section "Server-sent events"): lines end in LF, CR or CRLF; a
// byte order mark at the beginning is passed over; a line that begins with a colon is a comment;
// one space after the colon of a field is not part of its value; the data lines of an event are
// joined by LF; an event ends at an empty line, and one without a data line is none. Unlike the
// standard, a last event without its empty line is handed on too, and marked: common servers leave
// the line out, and common clients take the event.
//
// The input may be cut anywhere. Events that lie whole in one piece are handed on without being
// copied.
package sse

import (
	"bytes"
	"errors"
)

// Limits on what a parser holds.
const (
	// MaxLine bounds a line, in bytes.
	MaxLine = 1 << 20
	// MaxEvent bounds the data of an event, in bytes.
	MaxEvent = 4 << 20

	keepBuffer = 64 << 10 // buffers above this are given up when a parser is used again
)

// Errors of a parser.
var (
	// ErrLine means that a line is longer than MaxLine.
	ErrLine = errors.New("a line of the event stream is longer than 1 MiB")
	// ErrEvent means that an event is longer than MaxEvent.
	ErrEvent = errors.New("an event of the stream is longer than 4 MiB")
)

// Event is one event. What it holds is valid only during the call that hands it on.
type Event struct {
	// Type is the value of the event field; empty: message.
	Type []byte
	// Data is what the data fields hold, joined by LF.
	Data []byte
	// ID is the last id seen in the stream; empty: none.
	ID []byte
	// Unfinished says that the stream ended before the empty line that ends an event.
	Unfinished bool
}

// Parser turns a stream of bytes into events. The zero value is ready.
type Parser struct {
	line []byte // beginning of a line that is not complete yet
	data []byte // data of the event under way
	kind []byte // its type
	id   []byte

	borrowed []byte // the first data line, while it still lies in the piece; nil: it is in data
	lines    uint64 // data lines of the event under way
	begun    bool   // the first line has been read
	skipLF   bool   // the last byte was a CR that ended a line
	failed   error
	retry    uint64
	ignored  uint64
}

// Reset makes the parser ready for another stream.
func (p *Parser) Reset() {
	*p = Parser{line: keep(p.line), data: keep(p.data), kind: keep(p.kind), id: keep(p.id)}
}

func keep(b []byte) []byte {
	if cap(b) > keepBuffer {
		return nil
	}
	return b[:0]
}

// Ignored counts the lines that are neither a field of the standard nor a comment. A stream that
// has them and no events is hardly an event stream.
func (p *Parser) Ignored() uint64 { return p.ignored }

// Retry is the last reconnection time that the stream named, in milliseconds; 0: none.
func (p *Parser) Retry() uint64 { return p.retry }

// Feed reads a piece of the stream and calls emit for every event that it completes. The error is
// emit's, or ErrLine or ErrEvent; after one, the parser takes nothing more and returns it again.
func (p *Parser) Feed(b []byte, emit func(Event) error) error {
	if p.failed == nil {
		p.failed = p.feed(b, emit)
	}
	return p.failed
}

// End tells the parser that the stream has ended, and hands on an event that lacks its empty line.
func (p *Parser) End(emit func(Event) error) error {
	if p.failed != nil {
		return p.failed
	}
	if len(p.line) > 0 {
		if p.failed = p.take(nil, emit); p.failed != nil {
			return p.failed
		}
	}
	p.failed = p.dispatch(emit, true)
	return p.failed
}

func (p *Parser) feed(b []byte, emit func(Event) error) error {
	if p.skipLF && len(b) > 0 {
		p.skipLF = false
		if b[0] == '\n' {
			b = b[1:]
		}
	}
	lf := -1 // place of the next LF in b; < 0: to be looked for; len(b): there is none
	for len(b) > 0 {
		if lf < 0 {
			if lf = bytes.IndexByte(b, '\n'); lf < 0 {
				lf = len(b)
			}
		}
		end := lf
		if cr := bytes.IndexByte(b[:lf], '\r'); cr >= 0 {
			end = cr
		}
		if end == len(b) {
			if len(p.line)+len(b) > MaxLine {
				return ErrLine
			}
			p.line = append(p.line, b...)
			break
		}
		next := end + 1
		if b[end] == '\r' && next == len(b) {
			p.skipLF = true
		} else if b[end] == '\r' && b[next] == '\n' {
			next++
		}
		if err := p.take(b[:end], emit); err != nil {
			return err
		}
		b, lf = b[next:], lf-next
	}
	p.own()
	return nil
}

// take reads a complete line; what was held back of it stands before rest.
func (p *Parser) take(rest []byte, emit func(Event) error) error {
	if len(p.line)+len(rest) > MaxLine {
		return ErrLine
	}
	line, held := rest, len(p.line) > 0
	if held {
		p.line = append(p.line, rest...)
		line, p.line = p.line, p.line[:0]
	}
	if !p.begun {
		p.begun = true
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	}
	if len(line) == 0 {
		return p.dispatch(emit, false)
	}
	err := p.field(line)
	if held { // the next line may be held back in the same place
		p.own()
	}
	return err
}

// field reads a line that is not empty.
func (p *Parser) field(line []byte) error {
	name, value, _ := bytes.Cut(line, []byte{':'})
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	switch string(name) {
	case "":
		// A comment.
	case "data":
		return p.add(value)
	case "event":
		p.kind = append(p.kind[:0], value...)
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			p.id = append(p.id[:0], value...)
		}
	case "retry":
		p.retry = digits(value, p.retry)
	default:
		p.ignored++
	}
	return nil
}

// add joins a data line to the event. The first one is borrowed until another comes or the piece
// ends.
func (p *Parser) add(value []byte) error {
	p.lines++
	if p.lines == 1 {
		p.borrowed = value
		return nil
	}
	p.own()
	if len(p.data)+1+len(value) > MaxEvent {
		return ErrEvent
	}
	p.data = append(append(p.data, '\n'), value...)
	return nil
}

// own copies what is borrowed.
func (p *Parser) own() {
	if p.borrowed != nil {
		p.data = append(p.data[:0], p.borrowed...)
		p.borrowed = nil
	}
}

// dispatch hands an event on, if there is one, and begins the next.
func (p *Parser) dispatch(emit func(Event) error, unfinished bool) error {
	defer p.begin()
	if p.lines == 0 {
		return nil
	}
	data := p.data
	if p.borrowed != nil {
		data = p.borrowed
	}
	return emit(Event{Type: p.kind, Data: data, ID: p.id, Unfinished: unfinished})
}

func (p *Parser) begin() {
	p.lines, p.borrowed = 0, nil
	p.data, p.kind = p.data[:0], p.kind[:0]
}

// digits reads a number of digits alone; anything else leaves the old value.
func digits(b []byte, old uint64) uint64 {
	var v uint64
	for _, c := range b {
		if c < '0' || c > '9' || v > 1<<40 {
			return old
		}
		v = v*10 + uint64(c-'0')
	}
	if len(b) == 0 {
		return old
	}
	return v
}
