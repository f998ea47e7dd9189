package wire

import (
	"bytes"
	"net/http"
	"strings"
)

// Fields are the header fields of a response, in the order received. They are kept in one buffer
// that is used again, so that reading them allocates nothing. The zero value is empty.
type Fields struct {
	text []byte // names and values, one after the other
	list []field
}

// field is where a name and its value lie: text[name:value] and text[value:end].
type field struct{ name, value, end int32 }

// keepFields is the most text that is kept for the next response, in bytes.
const keepFields = 4 << 10

func (f *Fields) reset() {
	if cap(f.text) > keepFields {
		*f = Fields{}
		return
	}
	f.text, f.list = f.text[:0], f.list[:0]
}

// Len is the number of fields.
func (f *Fields) Len() int { return len(f.list) }

// At gives the i-th field. The slices are valid until the next exchange.
func (f *Fields) At(i int) (name, value []byte) {
	x := f.list[i]
	return f.text[x.name:x.value], f.text[x.value:x.end]
}

// Get gives the value of the first field of that name, in any case of letters; nil: there is none.
// It is valid until the next exchange.
func (f *Fields) Get(name string) []byte {
	for i := range f.list {
		if n, v := f.At(i); isName(n, name) {
			return v
		}
	}
	return nil
}

// MediaType gives the type of the body without its parameters, in lower case; empty: none was told.
func (f *Fields) MediaType() string {
	v, _, _ := bytes.Cut(f.Get("Content-Type"), []byte(";"))
	switch v = trimBlanks(v); string(v) { // the common ones without an allocation
	case "text/event-stream":
		return "text/event-stream"
	case "application/json":
		return "application/json"
	case "text/plain":
		return "text/plain"
	}
	return strings.ToLower(string(v))
}

// add appends a field.
func (f *Fields) add(name, value []byte) {
	start := int32(len(f.text))
	f.text = append(f.text, name...)
	mid := int32(len(f.text))
	f.text = append(f.text, value...)
	f.list = append(f.list, field{start, mid, int32(len(f.text))})
}

// extend continues the value of the latest field after a blank, as a folded line does.
func (f *Fields) extend(more []byte) {
	f.text = append(append(f.text, ' '), more...)
	f.list[len(f.list)-1].end = int32(len(f.text))
}

// fill takes the fields of a response over HTTP/2 over.
func (f *Fields) fill(h http.Header) {
	f.reset()
	for name, values := range h {
		for _, v := range values {
			f.add([]byte(name), []byte(v))
		}
	}
}

// isName reports whether a name as received is the given one; letters are compared in any case.
func isName(got []byte, name string) bool {
	if len(got) != len(name) {
		return false
	}
	for i, c := range got {
		if lower(c) != lower(name[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// trimBlanks cuts off spaces and tabs at both ends.
func trimBlanks(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	return trimEnd(b)
}

func trimEnd(b []byte) []byte {
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// hasToken reports whether a list separated by commas holds a token.
func hasToken(list []byte, token string) bool {
	for len(list) > 0 {
		var one []byte
		one, list, _ = bytes.Cut(list, []byte(","))
		if isName(trimBlanks(one), token) {
			return true
		}
	}
	return false
}
