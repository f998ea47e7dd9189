package wire

import (
	"bytes"
	"strings"
)

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
