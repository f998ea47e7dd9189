package term

import (
	"strings"

	"github.com/loadline/loadline/coordinator/report"
)

// CleanLines makes text of several lines from outside safe to print, as report.Clean does for one: line ends and
// indents stay, tabs become spaces.
func CleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		line = strings.ReplaceAll(strings.TrimSuffix(line, "\r"), "\t", "    ")
		text := strings.TrimLeft(line, " ")
		lines[i] = line[:len(line)-len(text)] + report.Clean(text)
	}
	return strings.Join(lines, "\n")
}
