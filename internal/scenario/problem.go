package scenario

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Problem is one thing that is wrong with a scenario.
type Problem struct {
	// File is the name of the document, or "--set path=value" for an override; empty for a message.
	File string
	// Line and Column count from 1, columns in characters; 0 where there is no place.
	Line, Column int
	// Path of the field, as load[1].open.rate; empty: the document.
	Path string
	// Message says what is wrong.
	Message string
	// Hint says how to mend it; empty where that goes without saying.
	Hint string
	// Excerpt is the offending line and, below it, a line with a caret; empty where there is no place.
	Excerpt string
}

// String is the problem as people read it, over several lines and without a line end.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
		}
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	for line := range strings.Lines(p.Excerpt) {
		b.WriteString("\n    " + strings.TrimRight(line, "\n"))
	}
	if p.Hint != "" {
		b.WriteString("\n    hint: " + p.Hint)
	}
	return b.String()
}

// Problems is everything that is wrong with a scenario, sorted by position. Past MaxProblems the
// last entry gives the number of those left out.
type Problems []Problem

// Error prints all problems, separated by line ends.
func (ps Problems) Error() string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
	}
	return b.String()
}

// noted is a problem before its place has been looked up.
type noted struct {
	at      spot
	path    *path
	message string
	hint    string
	seq     int
}

// report collects problems and remembers where each field stands.
type report struct {
	// driven: phases are appended while the scenario is played, so its load may be empty and their names are not known.
	driven bool
	src    *text
	sets   []string
	spots  map[string]fieldSpot
	notes  []noted
	// noted holds what was noted at a place.
	noted map[onceKey]bool
	// dropped counts the problems past maxNoted.
	dropped int
	// broken holds the paths at which something is wrong, and within their ancestors; a problem
	// that only follows from another is left out.
	broken, within map[string]bool
	// secrets are masked in excerpts; masks holds the lines masked already.
	secrets []string
	masks   map[string]string
}

type onceKey struct {
	at      spot
	message string
}

func newReport(src Source) *report {
	return &report{
		src:    newText(src),
		spots:  map[string]fieldSpot{},
		noted:  map[onceKey]bool{},
		broken: map[string]bool{},
		within: map[string]bool{},
	}
}

// spot is a place in the document (set 0) or in override number set.
type spot struct {
	line, column, set int
}

// fieldSpot is where a field stands: its key and its value.
type fieldSpot struct {
	key, value spot
	// raw is the value's text as the user wrote it, for positions within it.
	raw string
}

// at notes a problem at a given place.
func (r *report) at(s spot, p *path, message, hint string) {
	r.markBroken(p)
	once := onceKey{s, message}
	if s.line > 0 && r.noted[once] {
		return // an anchor's problem, seen again where it is used
	}
	if len(r.notes) >= maxNoted {
		r.dropped++
		return
	}
	r.noted[once] = true
	r.notes = append(r.notes, noted{at: s, path: p, message: message, hint: hint, seq: len(r.notes)})
}

// value notes a problem with the value of a field, unless the field is known to be broken.
func (r *report) value(p *path, message, hint string) { r.unless(p, message, hint, p) }

// unless notes a problem at a path, unless one of the fields it follows from is broken.
func (r *report) unless(p *path, message, hint string, from ...*path) {
	if r.isBroken(from...) {
		return
	}
	r.at(r.find(p).value, p, message, hint)
}

// key notes a problem that has to do with a field's name, at the name.
func (r *report) key(p *path, message, hint string) {
	if !r.isBroken(p) {
		r.at(r.find(p).key, p, message, hint)
	}
}

// beside notes a problem with a whole block at its name, beside any problems within the block,
// which it neither follows from nor brings about.
func (r *report) beside(p *path, message, hint string) {
	for q := p; q != nil; q = q.up {
		if r.broken[q.text] {
			return
		}
	}
	before := r.broken[p.text]
	r.at(r.find(p).key, p, message, hint)
	r.broken[p.text] = before
}

// offset notes a problem within the string value of a field, pos bytes from its beginning.
func (r *report) offset(p *path, pos int, message, hint string) {
	if r.isBroken(p) {
		return
	}
	f := r.find(p)
	r.at(r.within1(f, pos), p, message, hint)
}

// within1 is the place of a byte within a string value, or the value's own place where its
// spelling (a block, escapes) does not show the text as it is.
func (r *report) within1(f fieldSpot, pos int) spot {
	s := f.value
	if len(r.notes) > maxExact {
		return s
	}
	line := []rune(r.line(s))
	start := s.column - 1
	if start < 0 || start > len(line) || pos > len(f.raw) {
		return s
	}
	rest := line[start:]
	if len(rest) > 0 && (rest[0] == '"' || rest[0] == '\'') {
		rest = rest[1:]
		start++
	}
	if !strings.HasPrefix(string(rest), f.raw) {
		return s
	}
	s.column = start + len([]rune(f.raw[:pos])) + 1
	return s
}

func (r *report) line(s spot) string {
	if s.set > 0 {
		return r.sets[s.set-1]
	}
	return r.src.line(s.line)
}

// find is the place of a field or, where it was not written, of the nearest one around it.
func (r *report) find(p *path) fieldSpot {
	for ; p != nil; p = p.up {
		if f, ok := r.spots[p.text]; ok {
			return f
		}
	}
	return r.spots[""]
}

func (r *report) markBroken(p *path) {
	r.broken[p.String()] = true
	for ; p != nil; p = p.up {
		r.within[p.text] = true
	}
}

// isBroken reports whether something is known to be wrong at one of the paths, within it or around it.
func (r *report) isBroken(paths ...*path) bool {
	for _, p := range paths {
		if r.within[p.String()] {
			return true
		}
		for ; p != nil; p = p.up {
			if r.broken[p.text] {
				return true
			}
		}
	}
	return false
}

// problems sorts what was noted and looks the places up.
func (r *report) problems() Problems {
	slices.SortStableFunc(r.notes, func(a, b noted) int {
		return cmp.Or(cmp.Compare(a.at.set, b.at.set), cmp.Compare(a.at.line, b.at.line),
			cmp.Compare(a.at.column, b.at.column), cmp.Compare(a.seq, b.seq))
	})
	var ps Problems
	r.masks = map[string]string{}
	for _, n := range r.notes[:min(len(r.notes), MaxProblems)] {
		ps = append(ps, r.problem(n))
	}
	if more := len(r.notes) + r.dropped - len(ps); more > 0 {
		ps = append(ps, Problem{File: r.src.name, Message: strconv.Itoa(more) + " more problems are not shown"})
	}
	return ps
}

func (r *report) problem(n noted) Problem {
	p := Problem{File: r.src.name, Line: n.at.line, Column: n.at.column, Path: n.path.String(), Message: n.message, Hint: n.hint}
	if n.at.set > 0 {
		p.File, p.Line, p.Column = "--set "+r.mask(r.sets[n.at.set-1]), 0, 0
	}
	if line := r.line(n.at); n.at.column > 0 && strings.TrimSpace(line) != "" {
		p.Excerpt = excerpt(r.mask(line), n.at.column)
	}
	return p
}

// mask hides secrets, character for character, so that columns stay right.
func (r *report) mask(line string) string {
	if len(r.secrets) == 0 {
		return line
	}
	masked, ok := r.masks[line]
	if !ok {
		// The longest first, so that a secret within another leaves nothing of it to see.
		slices.SortFunc(r.secrets, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
		var pairs []string
		for _, s := range slices.Compact(r.secrets) {
			pairs = append(pairs, s, strings.Repeat("*", utf8.RuneCountInString(s)))
		}
		masked = strings.NewReplacer(pairs...).Replace(line)
		r.masks[line] = masked
	}
	return masked
}
