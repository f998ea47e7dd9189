package scenario

import "strconv"

// JSONPath is a place within a JSON value: members and elements, one after the other. An empty one
// is the whole value.
type JSONPath []JSONStep

// JSONStep is one step of a path.
type JSONStep struct {
	// Member is the name of a member; it may be empty. It counts where Index is negative.
	Member string
	// Index is the number of an element, 0 to 1,048,576, or -1.
	Index int
}

// ParseJSONPath reads a path: $ for the whole value, then .member, ["member"], ['member'] or [index],
// as in $.choices[0].message["content"]. Within quotes, a backslash takes the next character as it is.
// The checks of a scenario and the agents that follow a path both read it by this function. The
// error is of type *ExprError.
func ParseJSONPath(s string) (JSONPath, error) {
	if s == "" || s[0] != '$' {
		return nil, pathError(0, "a path begins with $")
	}
	var p JSONPath
	for i := 1; i < len(s); {
		if len(p) == MaxJSONSteps {
			return nil, pathError(i, "a path has at most "+strconv.Itoa(MaxJSONSteps)+" steps")
		}
		step, next, err := jsonStep(s, i)
		if err != nil {
			return nil, err
		}
		p, i = append(p, step), next
	}
	return p, nil
}

func pathError(pos int, message string) *ExprError {
	return &ExprError{Pos: pos, Message: message, Hint: `write it as $.choices[0].text or $["odd name"]`}
}

// jsonStep reads the step that begins at i and gives the place after it.
func jsonStep(s string, i int) (JSONStep, int, *ExprError) {
	switch {
	case s[i] == '.':
		return jsonMember(s, i+1)
	case s[i] == '[' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\''):
		return jsonQuoted(s, i+1)
	case s[i] == '[':
		return jsonIndex(s, i+1)
	}
	return JSONStep{}, 0, pathError(i, "a step begins with . or [")
}

// jsonMember reads a bare name from i on.
func jsonMember(s string, i int) (JSONStep, int, *ExprError) {
	end := i
	for ; end < len(s) && s[end] != '.' && s[end] != '['; end++ {
		if c := s[end]; c == ']' || c == '*' || c == '"' || c == '\'' || c <= ' ' {
			return JSONStep{}, 0, pathError(end, `a name with such a character stands in brackets and quotes`)
		}
	}
	if end == i {
		return JSONStep{}, 0, pathError(end, "a name is missing after the dot")
	}
	return JSONStep{Member: s[i:end], Index: -1}, end, nil
}

// jsonIndex reads the number of an element, from i on, and the bracket after it.
func jsonIndex(s string, i int) (JSONStep, int, *ExprError) {
	end := i
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(s[i:end])
	if err != nil || n > maxJSONIndex || end == len(s) || s[end] != ']' {
		return JSONStep{}, 0, pathError(end, "an index is a number from 0 to "+strconv.Itoa(maxJSONIndex)+" in brackets, as in [0]")
	}
	return JSONStep{Index: n}, end + 1, nil
}

// jsonQuoted reads a name from its opening quote at i to the bracket after it.
func jsonQuoted(s string, i int) (JSONStep, int, *ExprError) {
	quote, name := s[i], []byte(nil)
	for j := i + 1; j < len(s); j++ {
		switch {
		case s[j] == '\\' && j+1 < len(s):
			j++
			name = append(name, s[j])
		case s[j] != quote:
			name = append(name, s[j])
		case j+1 == len(s) || s[j+1] != ']':
			return JSONStep{}, 0, pathError(j+1, "the closing bracket is missing")
		default:
			return JSONStep{Member: string(name), Index: -1}, j + 2, nil
		}
	}
	return JSONStep{}, 0, pathError(len(s), "the closing quote is missing")
}
