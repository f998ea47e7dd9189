package scenario

import (
	"strconv"
	"strings"
)

// jsonPath checks a path of members and indexes, as $.choices[0].message["content"].
func (c *checker) jsonPath(p *path, s string) {
	if s == "" {
		return
	}
	rest, ok := strings.CutPrefix(s, "$")
	for ok && rest != "" {
		var next string
		if next, ok = jsonStep(rest); ok {
			rest = next
		}
	}
	if !ok {
		c.offset(p, len(s)-len(rest), "is not a path of members and indexes", `write it as $.choices[0].text or $["odd name"]`)
	}
}

// jsonStep cuts one step off a path: .member, [index], ["member"] or ['member'].
func jsonStep(s string) (rest string, ok bool) {
	switch {
	case s[0] == '.':
		member := leading(s[1:], func(r rune) bool { return r > ' ' && !strings.ContainsRune(`.[]*"'`, r) })
		rest = s[1+len(member):]
		return rest, member != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
	case strings.HasPrefix(s, `["`) || strings.HasPrefix(s, "['"):
		return quotedStep(s[2:], s[1])
	case s[0] == '[':
		index, after, closed := strings.Cut(s[1:], "]")
		_, err := strconv.ParseUint(index, 10, 31)
		return after, closed && err == nil
	}
	return "", false
}

// quotedStep reads up to the closing quote and bracket; a backslash takes the next character as it is.
func quotedStep(s string, quote byte) (rest string, ok bool) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case quote:
			return strings.CutPrefix(s[i+1:], "]")
		}
	}
	return "", false
}
