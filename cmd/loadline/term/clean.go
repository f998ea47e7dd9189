package term

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes text from outside safe to print: every control character, escape, direction mark and byte that is not
// UTF-8 becomes U+FFFD. Line ends and tabs are control characters too; a caller that wants lines splits first.
func Clean(s string) string {
	if !dirty(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if unsafe(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// CleanLines is Clean for text of several lines: line ends stay, tabs become spaces.
func CleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = Clean(strings.ReplaceAll(strings.TrimSuffix(line, "\r"), "\t", "    "))
	}
	return strings.Join(lines, "\n")
}

func dirty(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, unsafe)
}

// unsafe holds what could move the cursor, change colours or turn the reading direction: C0, C1, DEL, format
// characters and the line and paragraph separators.
func unsafe(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}
