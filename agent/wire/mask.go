package wire

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/loadline/loadline/internal/measure"
)

// maxClean bounds the text that Clean looks at, in bytes.
const maxClean = 16 << 10

// minSecret is the shortest header value that is looked for in a text, in bytes.
const minSecret = 6

// Mask replaces, in a text that came from a target, the values of the headers that were sent to
// it, because a server may quote the key that it was given. The headers that loadline makes itself
// are left as they are. It works in place and returns the text, which may be shorter.
func Mask(text []byte, sent []Header) []byte {
	for i := range sent {
		h := &sent[i]
		if harmless(h.Name) {
			continue
		}
		text = cover(text, h.Value)
		// The key alone may be quoted, without the scheme before it.
		if _, key, ok := strings.Cut(h.Value, " "); ok {
			text = cover(text, key)
		}
	}
	return text
}

func harmless(name string) bool {
	return strings.EqualFold(name, "Content-Type") || strings.EqualFold(name, "Accept") ||
		strings.EqualFold(name, "User-Agent") || len(name) > 11 && strings.EqualFold(name[:11], "X-Loadline-")
}

func cover(text []byte, secret string) []byte {
	if len(secret) < minSecret {
		return text
	}
	key := []byte(secret)
	for from := 0; ; {
		i := bytes.Index(text[from:], key)
		if i < 0 {
			return text
		}
		from += i
		n := copy(text[from:], "***")
		text = append(text[:from+n], text[from+len(key):]...)
		from += n
	}
}

// CutText shortens a text to at most n bytes, at a character's end.
func CutText(b []byte, n int) []byte {
	if len(b) <= n {
		return b
	}
	for n > 0 && !utf8.RuneStart(b[n]) {
		n--
	}
	return b[:n]
}

// Clean makes a text from a target fit for an outcome: the values of the headers that were sent are
// masked, control characters become blanks, and it has at most measure.MaxErr bytes of valid UTF-8.
func Clean(text string, sent []Header) string {
	b := Mask([]byte(text[:min(len(text), maxClean)]), sent)
	b = bytes.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, b)
	return string(CutText(bytes.TrimSpace(b), measure.MaxErr))
}
