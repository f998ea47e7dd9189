package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// prepare returns the document as the YAML parser takes it. YAML is meant to contain JSON, but
// the parser knows neither pairs of surrogate escapes nor some characters that a JSON string may
// hold as they are; in a JSON document these are written as YAML escapes instead.
func (t *text) prepare() []byte {
	trimmed := bytes.TrimLeft(t.data, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' || !json.Valid(t.data) {
		return t.data
	}
	t.json = true
	p := preparer{text: t, line: 1, column: 1}
	for len(t.data) > p.at {
		p.step()
	}
	return p.out
}

// preparer walks a JSON document; column counts characters of the output.
type preparer struct {
	text         *text
	out          []byte
	at           int
	line, column int
	inString     bool
}

func (p *preparer) step() {
	rest := p.text.data[p.at:]
	c, size := utf8.DecodeRune(rest)
	switch {
	case p.inString && c == '\\':
		if high, ok := surrogatePair(rest); ok {
			p.replace(12, 12, fmt.Sprintf(`\U%08X`, high))
			return
		}
		p.copy(2, 2)
	case p.inString && needsEscape(c):
		p.replace(size, 1, fmt.Sprintf(`\u%04X`, c))
	case c == '\n':
		p.copy(1, 1)
		p.line, p.column = p.line+1, 1
	default:
		p.inString = p.inString != (c == '"')
		p.copy(size, 1)
	}
}

func (p *preparer) copy(size, chars int) {
	p.out = append(p.out, p.text.data[p.at:p.at+size]...)
	p.at, p.column = p.at+size, p.column+chars
}

func (p *preparer) replace(size, chars int, by string) {
	p.out = append(p.out, by...)
	s := shift{line: p.line, column: p.column, by: chars - len(by)}
	if n := len(p.text.shifts); n > 0 && p.text.shifts[n-1].line == p.line {
		s.by += p.text.shifts[n-1].by
	}
	p.text.shifts = append(p.text.shifts, s)
	p.at, p.column = p.at+size, p.column+len(by)
}

// surrogatePair reads two escapes such as \ud83d\ude00 as the one character they stand for.
func surrogatePair(b []byte) (rune, bool) {
	if len(b) < 12 || string(b[:2]) != `\u` || string(b[6:8]) != `\u` {
		return 0, false
	}
	high, err1 := strconv.ParseUint(string(b[2:6]), 16, 32)
	low, err2 := strconv.ParseUint(string(b[8:12]), 16, 32)
	c := utf16.DecodeRune(rune(high), rune(low))
	return c, err1 == nil && err2 == nil && c != utf8.RuneError
}

// needsEscape reports whether JSON allows a character in a string and the YAML parser does not
// take it there as it is.
func needsEscape(c rune) bool {
	return c >= 0x7f && c <= 0x9f || c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe || c == 0xffff
}
