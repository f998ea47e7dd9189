package workload

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/loadline/loadline/internal/scenario"
	"github.com/loadline/loadline/internal/schedule"
)

// context is what surrounds a placeholder: it decides how a value is written there.
type context uint8

const (
	// inText: the value as it is. Bodies that are not JSON, and headers.
	inText context = iota
	// inPath: percent-encoded, so that a value is one segment or one parameter and nothing more.
	inPath
	// inJSON: a JSON value. A row's string brings its quotes along.
	inJSON
	// inString: the inside of a JSON string, escaped.
	inString
)

// theText is a segment that is no placeholder.
const theText scenario.PlaceholderKind = 0

// segment is one piece of a template: text, or a placeholder.
type segment struct {
	what    scenario.PlaceholderKind
	context context
	text    string // the text, or the field's name
	draw    uint64 // uuid, random: which draw of the request's stream
	low     int64  // random: the smallest value
	span    uint64 // random: largest minus smallest, so that the whole of int64 fits
}

// template is text with placeholders, cut up once.
type template struct{ segments []segment }

// Draws of a request's stream: the first few have a purpose each, a template's placeholders follow
// in pairs, words come last.
const (
	drawInput uint64 = iota
	drawOutput
	drawGroup
	drawKeep
	drawPlaceholders uint64 = 16
	drawWords        uint64 = 1 << 32
)

// parser cuts the templates of one workload up. It numbers the placeholders that draw something,
// so that two of them in one request differ.
type parser struct {
	seed  uint64
	draws uint64
	// hasRows says that {{row.FIELD}} may be used; fields are those that were.
	hasRows bool
	fields  []string
}

// parse cuts one text up, in the context given.
func (p *parser) parse(text string, in context) (*template, error) {
	find := scenario.ParsePlaceholders
	if in == inPath {
		find = scenario.ParseRequestPath
	}
	found, err := find(text, p.hasRows)
	if err != nil {
		return nil, err
	}
	return p.cut(text, found, in), nil
}

// cut cuts a text at the placeholders found in it. In inJSON it keeps track of strings: a placeholder
// between quotes is inString.
func (p *parser) cut(text string, found []scenario.Placeholder, in context) *template {
	t := &template{}
	quoted, from := false, 0
	for _, one := range found {
		between := text[from:one.Start]
		t.literal(between)
		here := in
		if in == inJSON {
			if quoted = endsQuoted(between, quoted); quoted {
				here = inString
			}
		}
		t.segments = append(t.segments, p.placeholder(one, here))
		from = one.End
	}
	t.literal(text[from:])
	return t
}

// endsQuoted tells whether JSON text ends inside a string, given whether it begins in one.
func endsQuoted(text string, quoted bool) bool {
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		}
	}
	return quoted
}

// literal appends text, unless there is none.
func (t *template) literal(text string) {
	if text != "" {
		t.segments = append(t.segments, segment{text: text})
	}
}

// placeholder is the segment for a placeholder that stands in a context.
func (p *parser) placeholder(one scenario.Placeholder, in context) segment {
	s := segment{what: one.Kind, context: in}
	switch one.Kind {
	case scenario.PlaceholderSeed: // the same in every request
		s.what, s.text = theText, strconv.FormatUint(p.seed, 10)
	case scenario.PlaceholderField:
		s.text = one.Field
		p.fields = append(p.fields, one.Field)
	case scenario.PlaceholderUUID:
		s.draw = p.draw()
	case scenario.PlaceholderRandom:
		s.draw, s.low, s.span = p.draw(), one.Low, uint64(one.High)-uint64(one.Low)
	}
	return s
}

// draw numbers a placeholder's draws: each has two.
func (p *parser) draw() uint64 {
	p.draws++
	return drawPlaceholders + 2*(p.draws-1)
}

// fixed gives the text of a template without anything that changes from request to request.
func (t *template) fixed() (string, bool) {
	var b strings.Builder
	for _, s := range t.segments {
		if s.what != theText {
			return "", false
		}
		b.WriteString(s.text)
	}
	return b.String(), true
}

// append writes the template for one request.
func (t *template) append(b []byte, r *Request) ([]byte, error) {
	var err error
	for i := range t.segments {
		switch s := &t.segments[i]; s.what {
		case theText:
			b = append(b, s.text...)
		case scenario.PlaceholderArrival:
			b = s.appendArrival(b, r.key)
		case scenario.PlaceholderTurn:
			b = strconv.AppendUint(b, uint64(r.key.Turn), 10)
		case scenario.PlaceholderUUID:
			b = s.appendUUID(b, r.draws)
		case scenario.PlaceholderRandom:
			b = s.appendRandom(b, r.draws)
		case scenario.PlaceholderField:
			if b, err = s.appendField(b, r); err != nil {
				return b, err
			}
		}
	}
	return b, nil
}

// appendArrival writes the arrival's number. That of closed load, slot.epoch.iteration, is no JSON
// number and gets quotes where it stands bare in JSON.
func (s *segment) appendArrival(b []byte, k Key) []byte {
	if s.context != inJSON || k.ID.Slot == 0 {
		return k.ID.AppendTo(b)
	}
	b = append(b, '"')
	b = k.ID.AppendTo(b)
	return append(b, '"')
}

// appendUUID writes a random UUID (version 4 of RFC 9562), in quotes where it stands bare in JSON.
func (s *segment) appendUUID(b []byte, draws schedule.Stream) []byte {
	const hex = "0123456789abcdef"
	high := draws.Uint64(s.draw)&^uint64(0xf000) | 0x4000
	low := draws.Uint64(s.draw+1)&^(uint64(3)<<62) | 1<<63
	if s.context == inJSON {
		b = append(b, '"')
	}
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			b = append(b, '-')
		}
		digits := high
		if i >= 16 {
			digits = low
		}
		b = append(b, hex[digits>>(60-4*(i%16))&15])
	}
	if s.context == inJSON {
		b = append(b, '"')
	}
	return b
}

// appendRandom writes a whole number from A to B, both included.
func (s *segment) appendRandom(b []byte, draws schedule.Stream) []byte {
	random := draws.Uint64(s.draw)
	if s.span+1 != 0 { // else every int64 is as likely
		random = below(random, s.span+1)
	}
	return strconv.AppendInt(b, int64(uint64(s.low)+random), 10)
}

// appendField writes a member of the row: a string's text or another value's JSON, as the context
// wants it.
func (s *segment) appendField(b []byte, r *Request) ([]byte, error) {
	value := find(r.fields, s.text)
	if value == nil {
		return b, fmt.Errorf("the row has no %q: %w", s.text, errChanged)
	}
	switch {
	case s.context == inJSON:
		return append(b, value...), nil
	case s.context == inString && isString(value):
		return append(b, value[1:len(value)-1]...), nil // escaped already
	case s.context == inString:
		return appendQuoted(b, value), nil
	}
	start := len(b)
	if isString(value) {
		var err error
		if b, err = unquote(b, value); err != nil {
			return b, err
		}
	} else {
		b = append(b, value...)
	}
	if s.context == inPath {
		b = encodePath(b, start)
	}
	return b, nil
}

// encodePath percent-encodes everything from start on but the unreserved characters of RFC 3986.
func encodePath(b []byte, start int) []byte {
	const hex = "0123456789ABCDEF"
	end, grow := len(b), 0
	for _, c := range b[start:] {
		if !unreserved(c) {
			grow += 2
		}
	}
	for range grow {
		b = append(b, 0)
	}
	for from, to := end-1, len(b)-1; from >= start; from-- { // from behind, where the room is
		c := b[from]
		if unreserved(c) {
			b[to] = c
			to--
			continue
		}
		b[to-2], b[to-1], b[to] = '%', hex[c>>4], hex[c&15]
		to -= 3
	}
	return b
}

// encodeLetters percent-encodes the letters of a path that a request line cannot carry, and nothing else:
// what is encoded already stays so.
func encodeLetters(path string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(path) {
		if c := path[i]; c < 0x80 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
