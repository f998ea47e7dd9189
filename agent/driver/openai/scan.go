package openai

import "unicode/utf8"

// chunk is what matters of one chunk of a streamed answer, or of a whole answer.
type chunk struct {
	answer    bool // text, refusal or tool-call arguments that are not empty
	reasoning bool // reasoning text that is not empty
	call      bool // a tool is called, be it without arguments
	finish    bool // a finish reason
	in, out   count
	failed    bool // the chunk is an error object; only the full decoder sets it
}

// count is a number that may be absent.
type count struct {
	n  uint64
	ok bool
}

// shape says how a protocol writes its chunks.
type shape struct {
	// part is the member of a choice that holds the message: delta or message.
	part string
	// first says that text is taken from the choice with index 0 alone. Completions count tokens
	// with it, so all of theirs is text.
	first bool
}

// maxDepth bounds the nesting that the scanner follows; deeper values go to the full decoder.
const maxDepth = 32

// scanner reads a chunk in one pass over its bytes, in any order of members, without allocating.
// It accepts a part of JSON and says so when it is not sure: then the full decoder decides. It is
// not sure of escaped names, names that come twice, values of another kind than usual, errors,
// deep nesting and whatever is not valid.
type scanner struct {
	b     []byte
	i     int
	shape shape
	c     *chunk
	text  []byte
	want  bool // text is wanted
	texts int  // texts of the choice under way that were wanted and not empty
}

// scan reads a chunk. Text is appended to text when want is set. When it is not sure, what it
// returns besides is of no use.
func scan(b []byte, sh shape, c *chunk, text []byte, want bool) (_ []byte, sure bool) {
	s := scanner{b: b, shape: sh, c: c, text: text, want: want}
	sure = s.members(s.top) && s.atEnd()
	return s.text, sure
}

func (s *scanner) atEnd() bool {
	s.blank()
	return s.i == len(s.b)
}

func (s *scanner) blank() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\n', '\t', '\r':
			s.i++
		default:
			return
		}
	}
}

// next passes over blanks and returns the byte there, or 0 at the end.
func (s *scanner) next() byte {
	if s.i < len(s.b) && s.b[s.i] > ' ' {
		return s.b[s.i]
	}
	s.blank()
	if s.i == len(s.b) {
		return 0
	}
	return s.b[s.i]
}

func (s *scanner) eat(c byte) bool {
	if s.next() != c {
		return false
	}
	s.i++
	return true
}

// seen is a set of members of interest, one bit each.
type seen uint16

// members reads an object and calls f for each member, with the place after the colon. f reads
// the value, and returns the member's bit if it is one of interest: such a one must not come twice.
func (s *scanner) members(f func(name []byte) (seen, bool)) bool {
	if !s.eat('{') {
		return false
	}
	if s.next() == '}' {
		s.i++
		return true
	}
	var n seen
	for {
		name, plain, ok := s.str()
		if !ok || !plain || !s.eat(':') {
			return false
		}
		bit, ok := f(name)
		if !ok || n&bit != 0 {
			return false
		}
		n |= bit
		switch s.next() {
		case ',':
			s.i++
		case '}':
			s.i++
			return true
		default:
			return false
		}
	}
}

// items reads an array and calls f for each element.
func (s *scanner) items(f func() bool) bool {
	if !s.eat('[') {
		return false
	}
	if s.next() == ']' {
		s.i++
		return true
	}
	for {
		if !f() {
			return false
		}
		switch s.next() {
		case ',':
			s.i++
		case ']':
			s.i++
			return true
		default:
			return false
		}
	}
}

func (s *scanner) top(name []byte) (seen, bool) {
	switch string(name) {
	case "choices":
		return 1, s.null() || s.items(s.choice)
	case "usage":
		return 2, s.null() || s.members(s.usage)
	case "error":
		return 4, s.null()
	case "object":
		v, plain, ok := s.str()
		return 8, ok && plain && string(v) != "error"
	}
	return 0, s.skip(maxDepth)
}

func (s *scanner) usage(name []byte) (seen, bool) {
	switch string(name) {
	case "prompt_tokens":
		return 1, s.number(&s.c.in)
	case "completion_tokens":
		return 2, s.number(&s.c.out)
	}
	return 0, s.skip(maxDepth)
}

func (s *scanner) choice() bool {
	begin, index := len(s.text), count{}
	s.texts = 0
	ok := s.members(func(name []byte) (seen, bool) {
		switch string(name) {
		case "index":
			return 1, s.number(&index)
		case s.shape.part:
			return 2, s.null() || s.members(s.message)
		case "text":
			return 4, s.content(&s.c.answer)
		case "finish_reason":
			return 8, s.flag(&s.c.finish)
		}
		return 0, s.skip(maxDepth)
	})
	if s.shape.first && index.n != 0 {
		s.text = s.text[:begin]
	}
	// Several texts are joined in the order that the full decoder has.
	return ok && s.texts <= 1
}

func (s *scanner) message(name []byte) (seen, bool) {
	switch string(name) {
	case "content":
		return 1, s.content(&s.c.answer)
	case "refusal":
		return 2, s.content(&s.c.answer)
	case "reasoning":
		return 4, s.flag(&s.c.reasoning)
	case "reasoning_content":
		return 8, s.flag(&s.c.reasoning)
	case "tool_calls":
		return 16, s.null() || s.items(s.toolCall)
	case "function_call":
		return 32, s.null() || s.function()
	}
	return 0, s.skip(maxDepth)
}

func (s *scanner) toolCall() bool {
	return s.members(func(name []byte) (seen, bool) {
		if string(name) != "function" {
			return 0, s.skip(maxDepth)
		}
		return 1, s.null() || s.function()
	})
}

func (s *scanner) function() bool {
	return s.members(func(name []byte) (seen, bool) {
		switch string(name) {
		case "name":
			return 1, s.flag(&s.c.call)
		case "arguments":
			return 2, s.content(&s.c.answer)
		}
		return 0, s.skip(maxDepth)
	})
}

// content reads a string or null that is part of the answer.
func (s *scanner) content(has *bool) bool {
	if s.null() {
		return true
	}
	v, plain, ok := s.str()
	if !ok {
		return false
	}
	if len(v) == 0 {
		return true
	}
	*has = true
	if !s.want {
		return true
	}
	if !plain || !utf8.Valid(v) {
		return false
	}
	s.text = append(s.text, v...)
	s.texts++
	return true
}

// flag reads a string or null of which only matters whether it is empty.
func (s *scanner) flag(has *bool) bool {
	if s.null() {
		return true
	}
	v, _, ok := s.str()
	*has = *has || ok && len(v) > 0
	return ok
}

// number reads a whole number of at most 15 digits, or null.
func (s *scanner) number(c *count) bool {
	if s.null() {
		return true
	}
	begin, n := s.i, uint64(0)
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		n = n*10 + uint64(s.b[s.i]-'0')
		s.i++
	}
	digits := s.i - begin
	if digits == 0 || digits > 15 || digits > 1 && s.b[begin] == '0' {
		return false
	}
	if s.i < len(s.b) && (s.b[s.i] == '.' || s.b[s.i]|0x20 == 'e') {
		return false
	}
	*c = count{n, true}
	return true
}

// null passes over null and reports whether it stood there.
func (s *scanner) null() bool {
	return s.next() == 'n' && s.word("null")
}

func (s *scanner) word(w string) bool {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return false
	}
	s.i += len(w)
	return true
}

// str reads a string and returns what stands between its quotes; plain says that it has no escape.
func (s *scanner) str() (v []byte, plain, ok bool) {
	if !s.eat('"') {
		return nil, false, false
	}
	b, i, begin := s.b, s.i, s.i
	for plain = true; ; {
		for i < len(b) && !special[b[i]] {
			i++
		}
		switch {
		case i == len(b) || b[i] < ' ':
			return nil, false, false
		case b[i] == '"':
			s.i = i + 1
			return b[begin:i], plain, true
		}
		plain = false
		s.i = i
		if !s.escape() {
			return nil, false, false
		}
		i = s.i
	}
}

// special holds the bytes that do not simply stand for themselves within a string.
var special = func() (t [256]bool) {
	for c := range ' ' {
		t[c] = true
	}
	t['"'], t['\\'] = true, true
	return t
}()

func (s *scanner) escape() bool {
	if s.i+1 >= len(s.b) {
		return false
	}
	c := s.b[s.i+1]
	s.i += 2
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		if len(s.b)-s.i < 4 {
			return false
		}
		for range 4 {
			if h := s.b[s.i] | 0x20; s.b[s.i]-'0' > 9 && h-'a' > 5 {
				return false
			}
			s.i++
		}
		return true
	}
	return false
}

// skip passes over any value.
func (s *scanner) skip(depth int) bool {
	switch c := s.next(); {
	case c == '"':
		_, _, ok := s.str()
		return ok
	case c == '{' || c == '[':
		return depth > 0 && s.skipNested(c, depth-1)
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	}
	return s.skipNumber()
}

func (s *scanner) skipNested(open byte, depth int) bool {
	last := open + 2 // { } and [ ] are two apart
	s.i++
	if s.next() == last {
		s.i++
		return true
	}
	for {
		if open == '{' {
			if _, _, ok := s.str(); !ok || !s.eat(':') {
				return false
			}
		}
		if !s.skip(depth) {
			return false
		}
		switch s.next() {
		case ',':
			s.i++
		case last:
			s.i++
			return true
		default:
			return false
		}
	}
}

// skipNumber passes over a number as RFC 8259 has it.
func (s *scanner) skipNumber() bool {
	if s.i < len(s.b) && s.b[s.i] == '-' {
		s.i++
	}
	zero := s.i < len(s.b) && s.b[s.i] == '0'
	if n := s.digits(); n == 0 || zero && n > 1 {
		return false
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		if s.i++; s.digits() == 0 {
			return false
		}
	}
	if s.i < len(s.b) && s.b[s.i]|0x20 == 'e' {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		return s.digits() > 0
	}
	return true
}

func (s *scanner) digits() int {
	begin := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		s.i++
	}
	return s.i - begin
}
