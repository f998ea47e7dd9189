package wire

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/loadline/loadline/internal/measure"
)

func TestClean(t *testing.T) {
	sent := []Header{
		{"Authorization", "Bearer sk-secret-1"}, {"X-Api-Key", "plainkey"}, {"Content-Type", "application/json"},
		{"X-Loadline-Run", "run-123456"}, {"X-Short", "no"},
	}
	for in, want := range map[string]string{
		"key sk-secret-1 is wrong":                         "key *** is wrong",
		"got Bearer sk-secret-1":                           "got ***",
		"plainkeyplainkey":                                 "******",
		"no application/json in run-123456":                "no application/json in run-123456",
		"\x1b[31mred\x00\n\xff\u0085 end\t":                "[31mred     end",
		strings.Repeat("é", measure.MaxErr):                strings.Repeat("é", measure.MaxErr/2),
		strings.Repeat("x", 1<<20):                         strings.Repeat("x", measure.MaxErr),
		strings.Repeat("x", measure.MaxErr-4) + "plainkey": strings.Repeat("x", measure.MaxErr-4) + "***",
	} {
		got := Clean(in, sent)
		if got != want || !utf8.ValidString(got) {
			t.Errorf("%.60q: got %.80q, want %.80q", in, got, want)
		}
	}
}

func TestCutText(t *testing.T) {
	for n, want := range []string{"", "a", "a", "aé", "aé", "aé", "aé日"} {
		if got := string(CutText([]byte("aé日"), n)); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
