package scenario

import (
	"sort"
	"strings"
	"unicode"
)

// text is a document cut into lines, for excerpts.
type text struct {
	name  string
	data  []byte
	lines []string
	// shifts are the places where preparing the document for the YAML parser moved columns.
	shifts []shift
	// json says that the document is JSON, where fewer characters end a line.
	json bool
}

// shift says that on a line, columns past a character stand for columns by further right in the
// document; by counts the shifts before it on that line as well.
type shift struct {
	line, column, by int
}

func newText(src Source) *text { return &text{name: src.Name, data: src.Data} }

// line is a line of the document, counted from 1, without its end; empty when there is none.
func (t *text) line(n int) string {
	if t.lines == nil && len(t.data) <= MaxSource {
		s := strings.TrimPrefix(string(t.data), "\ufeff")
		ends := []string{"\r\n", "\n", "\r", "\n"}
		if !t.json { // the YAML parser ends a line at these too
			ends = append(ends, "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")
		}
		t.lines = strings.Split(strings.NewReplacer(ends...).Replace(s), "\n")
	}
	if n < 1 || n > len(t.lines) {
		return ""
	}
	return t.lines[n-1]
}

// place is the column of the document for a column that the YAML parser reported.
func (t *text) place(line, column int) spot {
	after := sort.Search(len(t.shifts), func(i int) bool {
		s := t.shifts[i]
		return s.line > line || s.line == line && s.column >= column
	})
	if after > 0 && t.shifts[after-1].line == line {
		column += t.shifts[after-1].by
	}
	return spot{line: line, column: column}
}

// excerpt shows a line, cut to maxExcerpt characters around the column, and a caret below it.
// Characters without a width of one column (tabs, controls) are shown as a blank or a dot.
func excerpt(line string, column int) string {
	chars := []rune(line)
	for i, c := range chars {
		switch {
		case c == '\t':
			chars[i] = ' '
		case !unicode.IsPrint(c):
			chars[i] = '·'
		}
	}
	at := min(column-1, len(chars))
	from := 0
	if len(chars) > maxExcerpt && at > maxExcerpt*3/4 {
		from = min(at-maxExcerpt*3/4, len(chars)-maxExcerpt)
	}
	to := min(from+maxExcerpt, len(chars))
	shown, caret := string(chars[from:to]), at-from
	if from > 0 {
		shown, caret = "…"+shown, caret+1
	}
	if to < len(chars) {
		shown += "…"
	}
	return strings.TrimRight(shown, " ") + "\n" + strings.Repeat(" ", caret) + "^"
}
