package term

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"charm.land/lipgloss/v2"
)

// Micros writes a duration of whole microseconds with three significant digits: "850 µs", "41.2 ms", "1.23 s", "2m03s".
func Micros(us uint64) string {
	switch v := float64(us); {
	case us < 1_000:
		return fmt.Sprintf("%d µs", us)
	case v < 999_500:
		return digits(v/1e3) + " ms"
	case v < 59_950_000:
		return digits(v/1e6) + " s"
	default:
		return Clock(int64(us))
	}
}

// Clock writes microseconds as a clock does: "00:12", "1:02:03", "2d 03:04:05".
func Clock(us int64) string {
	s := max(us, 0) / 1_000_000
	switch {
	case s < 3600:
		return fmt.Sprintf("%02d:%02d", s/60, s%60)
	case s < 86_400:
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	default:
		return fmt.Sprintf("%dd %02d:%02d:%02d", s/86_400, s/3600%24, s/60%60, s%60)
	}
}

// Rate writes a number per second with three significant digits, thousands apart from 1,000 on.
func Rate(perSecond float64) string {
	if perSecond >= 999.5 {
		return Count(uint64(math.Round(perSecond)))
	}
	return digits(perSecond)
}

// Count writes a whole number with commas between thousands.
func Count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Percent writes a share of 0 to 1.
func Percent(share float64) string {
	if share > 0 && share < 0.0995 {
		return strconv.FormatFloat(share*100, 'g', 2, 64) + " %"
	}
	return strconv.FormatFloat(share*100, 'f', 0, 64) + " %"
}

// Quantity writes a value in one of the units of the schema.
func Quantity(unit string, v float64) string {
	switch unit {
	case "us":
		return Micros(uint64(max(v, 0)))
	case "share":
		return Percent(v)
	case "per_second":
		return Rate(v) + "/s"
	default:
		return Rate(v)
	}
}

// digits writes three significant digits of a value below 1,000.
func digits(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

// fit cuts plain text to a number of columns, with an ellipsis where something was cut off, and pads it on the right.
func fit(s string, columns int) string {
	if w := lipgloss.Width(s); w <= columns {
		return s + strings.Repeat(" ", columns-w)
	}
	used, end := 0, 0
	for i, r := range s {
		w := lipgloss.Width(string(r))
		if used+w > columns-1 {
			end = i
			break
		}
		used += w
	}
	if columns <= 0 {
		return ""
	}
	return s[:end] + "…" + strings.Repeat(" ", columns-used-1)
}

// right puts plain text at the right end of a number of columns.
func right(s string, columns int) string {
	if w := lipgloss.Width(s); w < columns {
		return strings.Repeat(" ", columns-w) + s
	}
	return fit(s, columns)
}
