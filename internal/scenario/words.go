package scenario

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Errors of durations.
var (
	errDuration     = errors.New("not a duration")
	errDurationLong = errors.New("a duration too long to count")
)

// parseDuration reads a duration as Go writes it, with days (d) besides: 90s, 1m30s, 1d12h. A bare
// number is refused, zero included.
func parseDuration(s string) (time.Duration, error) {
	const most = 100
	rest := strings.TrimLeft(s, "+-")
	if len(s) > most || rest == "" || len(s)-len(rest) > 1 {
		return 0, errDuration
	}
	var total time.Duration
	for rest != "" {
		digits := leading(rest, func(c rune) bool { return c >= '0' && c <= '9' || c == '.' })
		unit := leading(rest[len(digits):], func(c rune) bool { return c >= 'a' && c <= 'z' || c == 'µ' || c == 'μ' })
		rest = rest[len(digits)+len(unit):]
		v, err := component(digits, unit)
		if err != nil {
			return 0, err
		}
		if total += v; total < 0 {
			return 0, errDurationLong
		}
	}
	if s[0] == '-' {
		total = -total
	}
	return total, nil
}

// component reads one number with its unit.
func component(digits, unit string) (time.Duration, error) {
	factor := time.Duration(1)
	if unit == "d" {
		unit, factor = "h", 24
	}
	if digits == "" || unit == "" {
		return 0, errDuration
	}
	v, err := time.ParseDuration(digits + unit)
	if err != nil {
		if strings.Trim(digits, "0123456789") == "" && len(digits) > 9 {
			return 0, errDurationLong
		}
		return 0, errDuration
	}
	if v > math.MaxInt64/factor {
		return 0, errDurationLong
	}
	return v * factor, nil
}

// formatDuration writes a duration so that parseDuration reads it back: 1m30s, 10m, 1d12h, 0s.
func formatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d < 0 || d < day {
		return trimZero(d.String())
	}
	s := strconv.FormatInt(int64(d/day), 10) + "d"
	if d%day != 0 {
		s += trimZero((d % day).String())
	}
	return s
}

// trimZero cuts the parts of a duration that are nought: 10m0s is 10m.
func trimZero(s string) string {
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// leading is the longest beginning of s whose characters all satisfy ok.
func leading(s string, ok func(rune) bool) string {
	for i, c := range s {
		if !ok(c) {
			return s[:i]
		}
	}
	return s
}

// list joins words as people do: a, b and c.
func list(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	n := len(words) - 1
	return strings.Join(words[:n], ", ") + " " + last + " " + words[n]
}

// thousands writes a number with commas between groups of three digits.
func thousands(f float64) string {
	s := strconv.FormatFloat(f, 'f', -1, 64)
	whole, fraction, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	return whole
}

// DidYouMean is a hint with the nearest of the known words, ready to be put before more of it; empty: none is near.
func DidYouMean(word string, known []string) string {
	if near := nearest(word, known); near != "" {
		return "did you mean " + near + "? "
	}
	return ""
}

// nearest is the known word that a person most likely meant, or "".
func nearest(word string, known []string) string {
	const longest = 64
	if word == "" || len(word) > longest {
		return ""
	}
	best, least, meant := "", 0, plain(word)
	for _, k := range known {
		far := distance(meant, plain(k))
		if far <= max(1, min(len(word), len(k))/3) && (best == "" || far < least) {
			best, least = k, far
		}
	}
	return best
}

// plain removes what people mix up between spellings of one name.
func plain(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '_' || c == '-' || c == ' ' {
			return -1
		}
		return unicode.ToLower(c)
	}, s)
}

// distance is the number of insertions, deletions, replacements and swaps of neighbours between
// two words (restricted Damerau–Levenshtein).
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			differ := 1
			if a[i] == b[j] {
				differ = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+differ)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
