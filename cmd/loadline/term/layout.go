package term

import (
	"strings"

	"charm.land/lipgloss/v2"
)

// stack puts blocks under each other within a number of lines. Where they do not fit, the empty lines between them go
// first, then blocks are cut to their least size, then the block of the lowest rank goes, and so on.
func stack(room int, blocks ...block) []string {
	kept := make([]block, 0, len(blocks))
	for _, b := range blocks {
		if len(b.lines) > 0 {
			kept = append(kept, b)
		}
	}
	gap := true
	if height(kept, gap) > room {
		gap = false
	}
	for height(kept, gap) > room && shrink(kept) {
	}
	for height(kept, gap) > room && len(kept) > 0 {
		kept = dropLowest(kept)
	}
	var lines []string
	for _, b := range kept {
		if gap {
			lines = append(lines, "")
		}
		lines = append(lines, b.lines...)
	}
	if gap && len(kept) > 0 && len(lines) < room {
		lines = append(lines, "")
	}
	return lines
}

func height(blocks []block, gap bool) int {
	n := 0
	for _, b := range blocks {
		n += len(b.lines)
		if gap {
			n++
		}
	}
	return n
}

// shrink takes one line from the block of the lowest rank that has one to spare.
func shrink(blocks []block) bool {
	at := -1
	for i, b := range blocks {
		if len(b.lines) > max(b.least, 1) && (at < 0 || b.rank < blocks[at].rank) {
			at = i
		}
	}
	if at < 0 {
		return false
	}
	blocks[at].lines = blocks[at].lines[:len(blocks[at].lines)-1]
	return true
}

func dropLowest(blocks []block) []block {
	at := 0
	for i, b := range blocks {
		if b.rank < blocks[at].rank {
			at = i
		}
	}
	return append(blocks[:at:at], blocks[at+1:]...)
}

// beside puts two columns next to each other; the left one is padded to the given width.
func beside(left, rightColumn []string, width int) []string {
	lines := make([]string, max(len(left), len(rightColumn)))
	for i := range lines {
		l, r := "", ""
		if i < len(left) {
			l = left[i]
		}
		if i < len(rightColumn) {
			r = rightColumn[i]
		}
		lines[i] = l + strings.Repeat(" ", max(width-lipgloss.Width(l), 0)+columnGap) + r
	}
	return lines
}
