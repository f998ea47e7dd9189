package report

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes text from outside safe to show on a terminal: escape sequences are taken out, and
// control characters, turns of the writing direction and invalid bytes become spaces, of which
// several are one. The result is one line.
func Clean(s string) string {
	plain := true
	for _, r := range s {
		if harmful(r) {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		if n := sequence(s); n > 0 {
			s = s[n:]
			continue
		}
		r, size := utf8.DecodeRuneInString(s)
		if harmful(r) {
			r = ' '
		}
		b.WriteRune(r)
		s = s[size:]
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func harmful(r rune) bool {
	return unicode.IsControl(r) || isBidi(r) || r == 0x2028 || r == 0x2029 || r == utf8.RuneError || r == 0xfeff ||
		r >= 0x200b && r <= 0x200d
}

// sequence is the length of the terminal escape sequence that s begins with; 0: none. Of one
// without an end only the introducer is taken.
func sequence(s string) int {
	introducer := 1
	var kind byte
	switch {
	case strings.HasPrefix(s, "\x1b"):
		if len(s) == 1 {
			return 1
		}
		introducer, kind = 2, s[1]
	case strings.HasPrefix(s, "\u009b"):
		introducer, kind = 2, '['
	case strings.HasPrefix(s, "\u009d"):
		introducer, kind = 2, ']'
	default:
		return 0
	}
	switch kind {
	case '[':
		return introducer + controlLength(s[introducer:])
	case ']', 'P', 'X', '^', '_':
		return introducer + stringLength(s[introducer:])
	default:
		if kind >= 0x20 && kind < 0x7f {
			return introducer
		}
		return 1
	}
}

// controlLength is how long the parameters and the final byte of a control sequence are.
func controlLength(s string) int {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 0x40 && c <= 0x7e:
			return i + 1
		case c < 0x20 || c > 0x3f:
			return i
		}
	}
	return len(s)
}

// stringLength is how long a string up to its terminator is; 0 when it has none.
func stringLength(s string) int {
	for i := range len(s) {
		switch {
		case s[i] == 0x07:
			return i + 1
		case strings.HasPrefix(s[i:], "\x1b\\"), strings.HasPrefix(s[i:], "\u009c"):
			return i + 2
		}
	}
	return 0
}

// columns is how many columns of a terminal a cleaned text takes: East Asian wide characters and
// most emoji take two, marks that combine with the one before none.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf && r != 0x303f, r >= 0xac00 && r <= 0xd7a3,
		r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60,
		r >= 0xffe0 && r <= 0xffe6, r >= 0x1f300 && r <= 0x1faff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	default:
		return 1
	}
}

// clip shortens a text to so many columns, with … at its end when something is left out.
func clip(s string, width int) string {
	if columns(s) <= width {
		return s
	}
	n := 0
	for i, r := range s {
		if n += runeColumns(r); n > width-1 {
			return strings.TrimRight(s[:i], " ") + "…"
		}
	}
	return s
}

// wrap breaks a text into lines of at most width columns, at spaces where there are any.
func wrap(s string, width int) []string {
	width = max(width, 8)
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		for columns(word) > width {
			if line != "" {
				lines, line = append(lines, line), ""
			}
			head := headOf(word, width)
			lines, word = append(lines, head), word[len(head):]
		}
		switch {
		case line == "":
			line = word
		case columns(line)+1+columns(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// headOf is the longest beginning of a word that fits.
func headOf(word string, width int) string {
	n := 0
	for i, r := range word {
		if n += runeColumns(r); n > width && i > 0 {
			return word[:i]
		}
	}
	return word
}
