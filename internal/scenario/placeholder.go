package scenario

import (
	"strconv"
	"strings"
)

// slots says which placeholders a text may hold.
type slots struct {
	// row: there is a data set behind {{row.FIELD}}.
	row bool
}

// known lists the placeholders for hints.
func placeholderForms() []string {
	return []string{"{{arrival}}", "{{turn}}", "{{seed}}", "{{row.FIELD}}", "{{uuid}}", "{{random A B}}"}
}

// placeholders checks every {{…}} of a text.
func (c *checker) placeholders(p *path, text string, s *slots) {
	for at := 0; ; {
		open := strings.Index(text[at:], "{{")
		if open < 0 {
			return
		}
		at += open
		end := strings.Index(text[at:], "}}")
		if end < 0 {
			c.placeholder(p, at, "the placeholder is not closed", "end it with }}")
			return
		}
		if message, hint := s.check(text[at+2 : at+end]); message != "" {
			c.placeholder(p, at, message, hint)
			return
		}
		at += end + 2
	}
}

// placeholder notes a problem at a place within the text.
func (c *checker) placeholder(p *path, pos int, message, hint string) {
	c.offset(p, pos, message, hint)
}

// check says what is wrong with the inside of a placeholder, and how to mend it.
func (s *slots) check(inside string) (message, hint string) {
	if s == nil {
		return "placeholders are for workloads", "move the header to the workload's headers"
	}
	words := strings.Fields(inside)
	if len(words) > 0 && words[0] == "random" {
		return checkRandom(words[1:])
	}
	inside = strings.TrimSpace(inside)
	switch {
	case inside == "arrival" || inside == "turn" || inside == "seed" || inside == "uuid":
		return "", ""
	case strings.HasPrefix(inside, "row."):
		return s.checkRow(inside[len("row."):])
	}
	hint = "there are " + list(placeholderForms(), "and")
	if near := nearest(inside, []string{"arrival", "turn", "seed", "uuid"}); near != "" {
		hint = "did you mean {{" + near + "}}? " + hint
	}
	return "unknown placeholder " + quote("{{"+inside+"}}"), hint
}

func (s *slots) checkRow(field string) (message, hint string) {
	switch {
	case field == "":
		return "{{row.FIELD}} needs the name of a field", "as in {{row.question}}"
	case !s.row:
		return "{{row." + field + "}} needs a data set", "add dataset: {file: …} beside the path"
	}
	return "", ""
}

func checkRandom(args []string) (message, hint string) {
	if len(args) != 2 {
		return "{{random A B}} needs two whole numbers", "as in {{random 1 100}}"
	}
	low, err1 := strconv.ParseInt(args[0], 10, 64)
	high, err2 := strconv.ParseInt(args[1], 10, 64)
	switch {
	case err1 != nil || err2 != nil:
		return "{{random A B}} needs two whole numbers", "as in {{random 1 100}}"
	case low > high:
		return "{{random A B}} needs A to be at most B", ""
	}
	return "", ""
}

// withoutSlots is a text with its placeholders cut out.
func withoutSlots(text string) string {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(text, "{{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		if _, text, ok = strings.Cut(after, "}}"); !ok {
			return b.String()
		}
	}
}
