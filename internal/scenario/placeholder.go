package scenario

import (
	"strconv"
	"strings"
)

// PlaceholderKind says what a placeholder stands for. The zero value is none.
type PlaceholderKind uint8

// The placeholders.
const (
	// PlaceholderArrival is {{arrival}}, the number of the arrival within its phase.
	PlaceholderArrival PlaceholderKind = iota + 1
	// PlaceholderTurn is {{turn}}, the number of the request within its session.
	PlaceholderTurn
	// PlaceholderSeed is {{seed}}, the scenario's seed.
	PlaceholderSeed
	// PlaceholderField is {{row.FIELD}}, a member of the data set's row.
	PlaceholderField
	// PlaceholderUUID is {{uuid}}, a random UUID.
	PlaceholderUUID
	// PlaceholderRandom is {{random A B}}, a random whole number from A to B.
	PlaceholderRandom
)

// Placeholder is one {{…}} of a text.
type Placeholder struct {
	// Start and End say where it stands, in bytes: text[Start:End], its braces included.
	Start, End int
	// Kind says what it stands for.
	Kind PlaceholderKind
	// Field is the FIELD of {{row.FIELD}}, never empty.
	Field string
	// Low and High are the A and B of {{random A B}}; Low is at most High.
	Low, High int64
}

// simplePlaceholders are those without an argument.
func simplePlaceholders() map[string]PlaceholderKind {
	return map[string]PlaceholderKind{
		"arrival": PlaceholderArrival, "turn": PlaceholderTurn, "seed": PlaceholderSeed, "uuid": PlaceholderUUID,
	}
}

// ParsePlaceholders finds the placeholders of a text, in order; at most MaxPlaceholders. rows says that
// there is a data set for {{row.FIELD}}. The checks of a scenario and the agents that fill a text in
// both read it by this function. The error is of type *ExprError and names the first mistake.
func ParsePlaceholders(text string, rows bool) ([]Placeholder, error) {
	var found []Placeholder
	simple := simplePlaceholders()
	for at := 0; ; {
		open := strings.Index(text[at:], "{{")
		if open < 0 {
			return found, nil
		}
		at += open
		length := strings.Index(text[at:], "}}")
		switch {
		case length < 0:
			return nil, &ExprError{at, "the placeholder is not closed", "end it with }}"}
		case len(found) == MaxPlaceholders:
			return nil, &ExprError{at, "more than " + strconv.Itoa(MaxPlaceholders) + " placeholders", "put a body of that size into a body_file"}
		}
		p, err := parsePlaceholder(text[at+len("{{"):at+length], rows, simple)
		if err != nil {
			err.Pos = at
			return nil, err
		}
		p.Start, p.End = at, at+length+len("}}")
		found, at = append(found, p), p.End
	}
}

// parsePlaceholder reads what stands between the braces.
func parsePlaceholder(inside string, rows bool, simple map[string]PlaceholderKind) (Placeholder, *ExprError) {
	name := strings.TrimSpace(inside)
	if kind, ok := simple[name]; ok {
		return Placeholder{Kind: kind}, nil
	}
	if field, ok := strings.CutPrefix(name, "row."); ok {
		return rowPlaceholder(field, rows)
	}
	if words := strings.Fields(name); len(words) > 0 && words[0] == "random" {
		return randomPlaceholder(words[1:])
	}
	hint := "there are {{arrival}}, {{turn}}, {{seed}}, {{row.FIELD}}, {{uuid}} and {{random A B}}"
	if near := nearest(name, []string{"arrival", "turn", "seed", "uuid"}); near != "" {
		hint = "did you mean {{" + near + "}}? " + hint
	}
	return Placeholder{}, &ExprError{Message: "unknown placeholder " + quote("{{"+name+"}}"), Hint: hint}
}

func rowPlaceholder(field string, rows bool) (Placeholder, *ExprError) {
	switch {
	case field == "":
		return Placeholder{}, &ExprError{Message: "{{row.FIELD}} needs the name of a field", Hint: "as in {{row.question}}"}
	case !rows:
		return Placeholder{}, &ExprError{Message: "{{row." + short(field) + "}} needs a data set", Hint: "add dataset: {file: …} beside the path"}
	}
	return Placeholder{Kind: PlaceholderField, Field: field}, nil
}

func randomPlaceholder(bounds []string) (Placeholder, *ExprError) {
	wrong := &ExprError{Message: "{{random A B}} needs two whole numbers", Hint: "as in {{random 1 100}}"}
	if len(bounds) != 2 {
		return Placeholder{}, wrong
	}
	low, err1 := strconv.ParseInt(bounds[0], 10, 64)
	high, err2 := strconv.ParseInt(bounds[1], 10, 64)
	switch {
	case err1 != nil || err2 != nil:
		return Placeholder{}, wrong
	case low > high:
		return Placeholder{}, &ExprError{Message: "{{random A B}} needs A to be at most B"}
	}
	return Placeholder{Kind: PlaceholderRandom, Low: low, High: high}, nil
}

// ParseRequestPath finds the placeholders of a request's path, as ParsePlaceholders does, and checks
// what stands between them: no space, no control character, no # and, once its letters beyond ASCII
// are percent-encoded, at most MaxPath bytes. The error is of type *ExprError.
func ParseRequestPath(text string, rows bool) ([]Placeholder, error) {
	found, err := ParsePlaceholders(text, rows)
	if err != nil {
		return nil, err
	}
	size, from := 0, 0
	for i := 0; i <= len(found); i++ {
		to := len(text)
		if i < len(found) {
			to = found[i].Start
		}
		for at := from; at < to; at++ {
			switch c := text[at]; {
			case c <= ' ' || c == 0x7f || c == '#':
				return nil, &ExprError{at, "holds a space, a control character or #", "percent-encode it, a space as %20"}
			case c >= 0x80:
				size += len("%00")
			default:
				size++
			}
		}
		if i < len(found) {
			from = found[i].End
		}
	}
	if size > MaxPath {
		return nil, &ExprError{0, "is longer than " + thousands(MaxPath) + " bytes once its letters are percent-encoded", ""}
	}
	return found, nil
}

// slots says which placeholders a text may hold; nil: none.
type slots struct {
	// row: there is a data set behind {{row.FIELD}}.
	row bool
}

// placeholders checks every {{…}} of a text.
func (c *checker) placeholders(p *path, text string, s *slots) {
	if s != nil {
		_, err := ParsePlaceholders(text, s.row)
		c.expression(p, err)
	} else if at := strings.Index(text, "{{"); at >= 0 {
		c.offset(p, at, "placeholders are for workloads", "move the header to the workload's headers")
	}
}
