package measure

import (
	"encoding/json"
	"io"
	"strings"
	"unicode/utf8"
)

// Width of the text of `loadline metrics`: it fits a terminal of 80 columns.
const (
	nameWidth = 26
	textWidth = 78
)

// WriteMetrics writes every series, rate, counter and class of failure for people, in two
// aligned columns of at most 80 characters together.
func WriteMetrics(w io.Writer) error {
	var p printer
	p.text("Durations are recorded in whole microseconds (us), rounded down, up to one hour, with three significant digits. "+
		"Instants are those of one request: due, dispatched, connected, sent, first byte, every content event (a token), end.", 0)
	p.head("series", "formula")
	for _, s := range All() {
		p.definition(s.Definition())
	}
	p.head("rates and shares", "formula")
	for _, d := range Rates() {
		p.definition(d)
	}
	p.head("counters", "what is counted")
	for _, d := range Counts() {
		p.row(d.Name, d.Formula)
		if d.Notes != "" {
			p.row("", d.Notes)
		}
	}
	p.head("classes of failure", "meaning")
	for _, c := range Classes() {
		p.row(c.Name, c.Meaning)
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

// WriteMetricsJSON writes the same as one JSON object with the members series, rates, counters
// and classes.
func WriteMetricsJSON(w io.Writer) error {
	var all struct {
		Series   []Definition `json:"series"`
		Rates    []Definition `json:"rates"`
		Counters []Definition `json:"counters"`
		Classes  []Class      `json:"classes"`
	}
	for _, s := range All() {
		all.Series = append(all.Series, s.Definition())
	}
	all.Rates, all.Counters, all.Classes = Rates(), Counts(), Classes()
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(all)
}

// printer lays out two columns.
type printer struct{ b strings.Builder }

func (p *printer) head(left, right string) {
	p.b.WriteByte('\n')
	p.row(strings.ToUpper(left), strings.ToUpper(right))
}

func (p *printer) row(name, text string) {
	p.b.WriteString(name)
	p.b.WriteString(strings.Repeat(" ", max(nameWidth-utf8.RuneCountInString(name), 1)))
	p.text(text, nameWidth)
}

func (p *printer) definition(d Definition) {
	p.row(d.Name, d.Formula)
	about := d.Unit
	if d.Per != "" {
		about += ", per " + d.Per
	}
	if d.Notes != "" {
		about += ". " + d.Notes
	}
	p.row("", about)
}

// text writes words from column indent on and breaks the line before textWidth.
func (p *printer) text(text string, indent int) {
	column := indent
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+n > textWidth:
			p.b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			p.b.WriteByte(' ')
			column++
		}
		p.b.WriteString(word)
		column += n
	}
	p.b.WriteByte('\n')
}
