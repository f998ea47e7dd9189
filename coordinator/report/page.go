package report

import (
	"io"
	"strings"
)

// Widths of a page, in columns.
const (
	defaultWidth = 80
	minWidth     = 60
	maxWidth     = 160
	// wideWidth and more shows more columns of every table.
	wideWidth = 110
	// titleColumns is the width of the titles of sections.
	titleColumns = 13
)

// style is a way to set text off; the codes are those of every terminal, which keeps its own
// colours for light and dark.
type style string

const (
	plain  style = ""
	bold   style = "1"
	faint  style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
)

// page gathers lines of text.
type page struct {
	b     strings.Builder
	width int
	color bool
	ascii bool
}

func newPage(width int, color, ascii bool) *page {
	if width <= 0 {
		width = defaultWidth
	}
	return &page{width: min(max(width, minWidth), maxWidth), color: color, ascii: ascii}
}

func (p *page) wide() bool { return p.width >= wideWidth }

// styled sets text off, where colours are wanted.
func (p *page) styled(s style, text string) string {
	if !p.color || s == plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

func (p *page) line(text string) {
	p.b.WriteString(strings.TrimRight(text, " "))
	p.b.WriteByte('\n')
}

// gap writes an empty line.
func (p *page) gap() { p.b.WriteByte('\n') }

// item writes a title in its column and the text beside it, wrapped.
func (p *page) item(title string, s style, text string) {
	room := p.width - titleColumns - 1
	for i, l := range wrap(text, room) {
		if i > 0 {
			title = ""
		}
		p.line(p.styled(bold, pad(title, titleColumns)) + p.styled(s, l))
	}
}

// flush writes the page out. A page in ASCII spells out what it cannot show.
func (p *page) flush(w io.Writer) error {
	text := p.b.String()
	if p.ascii {
		text = toASCII(text)
	}
	_, err := io.WriteString(w, text)
	return err
}

func toASCII(text string) string {
	text = strings.NewReplacer("µ", "u", "·", "-", "…", "~", "✓", "+", "✗", "x", "−", "-", "–", "-", "×", "x").Replace(text)
	return strings.Map(func(r rune) rune {
		if r > 0x7e {
			return '?'
		}
		return r
	}, text)
}

// pad fills a text up to width with spaces after it; padLeft with spaces before it.
func pad(s string, width int) string { return s + strings.Repeat(" ", max(0, width-columns(s))) }

func padLeft(s string, width int) string { return strings.Repeat(" ", max(0, width-columns(s))) + s }

// cell is one cell of a table.
type cell struct {
	text  string
	style style
}

// table sets rows under a heading: the first column to the left, the others to the right.
type table struct {
	head []string
	rows [][]cell
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

// write lays the table out with at least two spaces between columns, as wide as the page at
// most: the first column is clipped where need be.
func (t *table) write(p *page) {
	widths := make([]int, len(t.head))
	for i, h := range t.head {
		widths[i] = max(columns(h), 7)
	}
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], columns(c.text))
		}
	}
	rest := 0
	for _, w := range widths[1:] {
		rest += w + 2
	}
	widths[0] = min(max(widths[0], titleColumns-2), max(8, p.width-1-rest))
	var b strings.Builder
	for i, h := range t.head {
		b.WriteString(align(i, h, widths[i]))
	}
	name, others := t.head[0], b.String()[len(pad(t.head[0], widths[0])):]
	p.line(p.styled(bold, pad(name, widths[0])) + p.styled(faint, others))
	for _, row := range t.rows {
		b.Reset()
		for i, c := range row {
			b.WriteString(p.styled(c.style, align(i, clip(c.text, widths[i]), widths[i])))
		}
		p.line(b.String())
	}
}

func align(column int, text string, width int) string {
	if column == 0 {
		return pad(text, width)
	}
	return "  " + padLeft(text, width)
}
