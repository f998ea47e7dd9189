package term

import "strings"

// historyLength bounds the seconds that a chart remembers; wider than any terminal's chart.
const historyLength = 240

// history remembers one value a second, the newest last. A value below 0 stands for "none".
type history struct {
	values []float64
}

func (h *history) add(v float64) {
	if len(h.values) == historyLength {
		copy(h.values, h.values[1:])
		h.values = h.values[:historyLength-1]
	}
	h.values = append(h.values, v)
}

// tail is the last n values; fewer when there are not so many.
func (h *history) tail(n int) []float64 {
	return h.values[max(0, len(h.values)-max(n, 0)):]
}

// mean is that of the last n values that are there; 0 without any.
func (h *history) mean(n int) float64 {
	var sum float64
	var count int
	for _, v := range h.tail(n) {
		if v >= 0 {
			sum += v
			count++
		}
	}
	if count == 0 {
		return 0
	}
	return sum / float64(count)
}

// spark draws values as a row of blocks on a scale from 0 to the largest of them, right-aligned in the given columns.
func spark(values []float64, columns int) string {
	const blocks = "▁▂▃▄▅▆▇█"
	steps := []rune(blocks)
	if len(values) > columns {
		values = values[len(values)-columns:]
	}
	top := 0.0
	for _, v := range values {
		top = max(top, v)
	}
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", columns-len(values)))
	for _, v := range values {
		switch {
		case v < 0:
			b.WriteByte(' ')
		case top == 0:
			b.WriteRune(steps[0])
		default:
			b.WriteRune(steps[min(len(steps)-1, int(v/top*float64(len(steps))))])
		}
	}
	return b.String()
}

// bar draws a share of 0 to 1 in eighths of a column: the full part and the rest apart, so that each has its colour.
func bar(share float64, columns int) (full, rest string) {
	const eighths = " ▏▎▍▌▋▊▉"
	share = min(max(share, 0), 1)
	n := int(share * float64(columns) * 8)
	full = strings.Repeat("█", n/8)
	if n%8 > 0 {
		full += string([]rune(eighths)[n%8])
	}
	return full, strings.Repeat("░", columns-(n+7)/8)
}
