package workload

import (
	"encoding/json"
	"errors"
	"slices"
)

// field is one member of a row: its key, unescaped, and its value as it stands in the file.
type field struct{ key, value []byte }

var (
	errBrokenJSON = errors.New("broken JSON")
	errNotObject  = errors.New("not a JSON object")
)

// scanner walks JSON text without copying or allocating. It finds where values begin and end and trusts
// what lies within: Compile has validated every line in full. On other text it fails or gives
// nonsense, but never reads outside.
type scanner struct {
	text []byte
	at   int
}

// space skips white space.
func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// accept skips white space and takes the character c if it comes next.
func (s *scanner) accept(c byte) bool {
	s.space()
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// value takes one value and gives its text.
func (s *scanner) value() ([]byte, error) {
	s.space()
	start := s.at
	if s.at == len(s.text) {
		return nil, errBrokenJSON
	}
	var ok bool
	switch s.text[s.at] {
	case '"':
		ok = s.quoted()
	case '{', '[':
		ok = s.nested()
	default:
		ok = s.word()
	}
	if !ok {
		return nil, errBrokenJSON
	}
	return s.text[start:s.at], nil
}

// quoted takes a string from its opening quote to its closing one.
func (s *scanner) quoted() bool {
	for s.at++; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return true
		}
	}
	s.at = len(s.text) // an escape at the very end has stepped over it
	return false
}

// nested takes an object or array with everything in it.
func (s *scanner) nested() bool {
	for depth := 0; s.at < len(s.text); {
		switch s.text[s.at] {
		case '"':
			if !s.quoted() {
				return false
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		s.at++
		if depth == 0 {
			return true
		}
	}
	return false
}

// word takes a number, true, false or null.
func (s *scanner) word() bool {
	start := s.at
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n', ',', ':', ']', '}', '[', '{', '"':
			return s.at > start
		}
		s.at++
	}
	return s.at > start
}

// members appends the members of an object to fields. Keys and values are parts of the text; only
// a key with an escape in it is copied.
func members(text []byte, fields []field) ([]field, error) {
	s := scanner{text: text}
	if !s.accept('{') {
		return fields, errNotObject
	}
	if s.accept('}') {
		return fields, s.end()
	}
	for {
		key, err := s.key()
		if err != nil {
			return fields, err
		}
		value, err := s.value()
		if err != nil {
			return fields, err
		}
		fields = append(fields, field{key, value})
		if s.accept('}') {
			return fields, s.end()
		}
		if !s.accept(',') {
			return fields, errBrokenJSON
		}
	}
}

// key takes a member's key and the colon behind it.
func (s *scanner) key() ([]byte, error) {
	key, err := s.value()
	if err != nil || !isString(key) || !s.accept(':') {
		return nil, errBrokenJSON
	}
	if slices.Contains(key, '\\') {
		return unquote(nil, key)
	}
	return key[1 : len(key)-1], nil
}

// elements calls use with each element of an array, up to the first error.
func elements(text []byte, use func(value []byte) error) error {
	s := scanner{text: text}
	if !s.accept('[') {
		return errBrokenJSON
	}
	if s.accept(']') {
		return s.end()
	}
	for {
		value, err := s.value()
		if err != nil {
			return err
		}
		if err := use(value); err != nil {
			return err
		}
		if s.accept(']') {
			return s.end()
		}
		if !s.accept(',') {
			return errBrokenJSON
		}
	}
}

// end reports an error unless nothing but white space is left.
func (s *scanner) end() error {
	if s.space(); s.at != len(s.text) {
		return errBrokenJSON
	}
	return nil
}

// find gives the value of a key; nil: there is none. Of several the last counts, as in encoding/json.
func find(fields []field, key string) []byte {
	for i := len(fields) - 1; i >= 0; i-- {
		if string(fields[i].key) == key {
			return fields[i].value
		}
	}
	return nil
}

func isString(value []byte) bool {
	return len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"'
}

// unquote appends the text of a JSON string. A string without escapes is copied and nothing else.
func unquote(b, value []byte) ([]byte, error) {
	if !isString(value) {
		return b, errBrokenJSON
	}
	if inner := value[1 : len(value)-1]; !slices.Contains(inner, '\\') {
		return append(b, inner...), nil
	}
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return b, errBrokenJSON
	}
	return append(b, text...), nil
}

// appendQuoted appends text as the inside of a JSON string: without the quotes around it.
func appendQuoted[T string | []byte](b []byte, text T) []byte {
	const hex = "0123456789abcdef"
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20:
			b = append(b, c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return b
}
