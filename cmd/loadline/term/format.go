package term

import (
	"fmt"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/loadline/loadline/coordinator/judge"
)

// micros writes a duration of whole microseconds as the final block does.
func micros(us uint64) string { return judge.Quantity(float64(us), judge.UnitMicros) }

// rate writes a number per second likewise.
func rate(perSecond float64) string { return judge.Quantity(perSecond, judge.UnitPerSecond) }

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
