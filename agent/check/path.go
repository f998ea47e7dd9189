package check

import (
	"fmt"
	"strconv"
)

// Path is a place within a JSON value: members and indexes, one after the other.
type Path []step

// step is a member, or an index where member is empty and index is not negative.
type step struct {
	member string
	index  int
}

// Limits on paths and what they are followed through.
const (
	// MaxSteps bounds the steps of a path.
	MaxSteps = 64
	maxIndex = 1 << 20
)

// PathError says where a path is wrong.
type PathError struct {
	// Pos is the place in the path, in bytes from 0.
	Pos int
	// Message says what is wrong and what would be right.
	Message string
}

func (e *PathError) Error() string { return fmt.Sprintf("at %d: %s", e.Pos, e.Message) }

// ParsePath reads a path: $ for the whole value, then .member, ["member"], ['member'] or [index],
// as in $.choices[0].message["content"]. Within quotes, a backslash takes the next character as it is.
func ParsePath(s string) (Path, error) {
	if s == "" || s[0] != '$' {
		return nil, &PathError{0, "a path begins with $, as in $.items[0].name"}
	}
	var p Path
	for i := 1; i < len(s); {
		st, next, err := parseStep(s, i)
		if err != nil {
			return nil, err
		}
		if p = append(p, st); len(p) > MaxSteps {
			return nil, &PathError{i, "a path has at most 64 steps"}
		}
		i = next
	}
	return p, nil
}

func parseStep(s string, i int) (step, int, error) {
	switch {
	case s[i] == '.':
		end := i + 1
		for end < len(s) && s[end] != '.' && s[end] != '[' {
			if c := s[end]; c == ']' || c == '*' || c == '"' || c == '\'' || c <= ' ' {
				return step{}, 0, &PathError{end, `write such a name as ["name"]`}
			}
			end++
		}
		if end == i+1 {
			return step{}, 0, &PathError{end, "a name is missing after the dot"}
		}
		return step{s[i+1 : end], -1}, end, nil
	case s[i] == '[' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\''):
		return parseQuoted(s, i+1)
	case s[i] == '[':
		end := i + 1
		for end < len(s) && s[end] >= '0' && s[end] <= '9' {
			end++
		}
		n, err := strconv.Atoi(s[i+1 : end])
		if err != nil || n > maxIndex || end >= len(s) || s[end] != ']' {
			return step{}, 0, &PathError{end, "an index is a number from 0 to 1048576 in brackets, as in [0]"}
		}
		return step{"", n}, end + 1, nil
	}
	return step{}, 0, &PathError{i, "a step begins with . or ["}
}

// parseQuoted reads a quoted member that begins at i and the bracket after it.
func parseQuoted(s string, i int) (step, int, error) {
	quote, name := s[i], []byte(nil)
	for j := i + 1; j < len(s); j++ {
		switch {
		case s[j] == '\\' && j+1 < len(s):
			j++
			name = append(name, s[j])
		case s[j] == quote:
			if j+1 >= len(s) || s[j+1] != ']' {
				return step{}, 0, &PathError{j + 1, "] is missing"}
			}
			return step{string(name), -1}, j + 2, nil
		default:
			name = append(name, s[j])
		}
	}
	return step{}, 0, &PathError{len(s), "the closing quote is missing"}
}

// Find follows the path through a value decoded by encoding/json. It reports whether it leads anywhere.
func (p Path) Find(v any) (any, bool) {
	for _, st := range p {
		if st.index >= 0 {
			list, ok := v.([]any)
			if !ok || st.index >= len(list) {
				return nil, false
			}
			v = list[st.index]
			continue
		}
		members, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = members[st.member]; !ok {
			return nil, false
		}
	}
	return v, true
}
