package report

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// T10: text from outside is shown, never obeyed.
func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"plain text":                             "plain text",
		"  two  spaces ":                         "  two  spaces ",
		"größer 日本":                              "größer 日本",
		"\x1b[31mred\x1b[0m":                     "red",
		"\x1b[38;5;1mred\x1b[?25l":               "red",
		"\x1b]0;title\x07text":                   "text",
		"\x1b]8;;http://x\x1b\\link\x1b]8;;\x07": "link",
		"\x1bPq#0\x1b\\sixel":                    "sixel",
		"\x1b]0;never ends":                      "0;never ends",
		"\x1b[":                                  "",
		"\x1b":                                   "",
		"\x1bc reset":                            "reset",
		"\u009b2J clear":                         "clear",
		"a\r\nb\tc\x00d\x7fe":                    "a b c d e",
		"user\u202etxt.exe":                      "user txt.exe",
		"bad \xff byte":                          "bad byte",
		"zero\u200bwidth":                        "zero width",
	} {
		if got := Clean(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOf(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
			"\x1b", "[", "]", "0;", "\x07", "\x1b\\", "\u009b", "\u009d", "m", "\xff", "\x90", "\n",
		}))).Draw(t, "parts")
		got := Clean(strings.Join(parts, ""))
		if !utf8.ValidString(got) || strings.ContainsFunc(got, harmful) {
			t.Fatalf("%q becomes %q", parts, got)
		}
		if Clean(got) != got {
			t.Fatalf("%q, cleaned again, becomes %q", got, Clean(got))
		}
	})
}

// Lines fit, and no word is lost.
func TestWrap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`([a-zß日]{0,20} ?){0,12}`).Draw(t, "text")
		width := rapid.IntRange(8, 40).Draw(t, "width")
		lines := wrap(text, width)
		for _, l := range lines {
			if columns(l) > width || l == "" {
				t.Fatalf("%q in %d columns: %q", text, width, lines)
			}
		}
		squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
		if squeeze(strings.Join(lines, "")) != squeeze(text) {
			t.Fatalf("%q becomes %q", text, lines)
		}
		if c := clip(text, width); columns(c) > width {
			t.Fatalf("%q is clipped to %q", text, c)
		}
	})
}
