package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// step is one part of an override's path: a member of a mapping or an element of a list.
type step struct {
	name string
	// index of the element, or appendIndex; noIndex for a member.
	index int
	// at is the part's place within the override, in characters from 1.
	at int
}

const (
	noIndex     = -1
	appendIndex = -2
)

// override changes the tree as "path=value" says. Everything that it adds bears the override's
// number as its place, so that problems name the override.
func override(r *report, root *node, number int, set string) {
	where, value, ok := strings.Cut(set, "=")
	if !ok {
		r.at(spot{set: number, column: 1}, nil, "an override needs a path, an equals sign and a value", "write it as load[1].open.rate=80")
		return
	}
	steps, err := parsePath(where)
	if err != nil {
		r.at(spot{set: number, column: 1}, nil, err.Error(), "write the path as load[1].open.rate, slo[0] or slo[+]")
		return
	}
	o := overrider{report: r, number: number}
	v := o.value(value, len([]rune(where))+2)
	if v == nil {
		return
	}
	o.put(root, steps, v)
}

// parsePath cuts a path such as targets[0].headers["x.y"] into its steps.
func parsePath(s string) ([]step, error) {
	var steps []step
	rest := s
	for rest != "" {
		at := len([]rune(s[:len(s)-len(rest)])) + 1
		switch {
		case rest[0] == '[':
			inside, after, err := bracket(rest)
			if err != nil {
				return nil, err
			}
			inside.at = at
			steps, rest = append(steps, inside), after
			continue
		case rest[0] == '.' && len(steps) > 0:
			rest, at = rest[1:], at+1
		case len(steps) > 0:
			return nil, fmt.Errorf("the path %s needs a dot before %s", quote(s), quote(rest))
		}
		name := leading(rest, func(c rune) bool { return c != '.' && c != '[' })
		if name == "" {
			return nil, fmt.Errorf("the path %s has an empty part", quote(s))
		}
		steps, rest = append(steps, step{name: name, index: noIndex, at: at}), rest[len(name):]
	}
	if len(steps) == 0 || len(steps) > MaxDepth {
		return nil, fmt.Errorf("the path %s must have 1 to %d parts", quote(s), MaxDepth)
	}
	return steps, nil
}

// bracket reads [3], [+] or ["key"] at the beginning of s.
func bracket(s string) (step, string, error) {
	if strings.HasPrefix(s, `["`) {
		quoted, err := strconv.QuotedPrefix(s[1:])
		if err == nil && strings.HasPrefix(s[1+len(quoted):], "]") {
			key, _ := strconv.Unquote(quoted)
			return step{name: key, index: noIndex}, s[len(quoted)+2:], nil
		}
		return step{}, "", fmt.Errorf("the quotes of %s are not closed", quote(s))
	}
	inside, after, ok := strings.Cut(s[1:], "]")
	if !ok {
		return step{}, "", fmt.Errorf("the bracket of %s is not closed", quote(s))
	}
	if inside == "+" {
		return step{index: appendIndex}, after, nil
	}
	i, err := strconv.ParseUint(inside, 10, 31)
	if err != nil {
		return step{}, "", fmt.Errorf("%s is not the number of an element", quote(inside))
	}
	return step{index: int(i)}, after, nil
}

// overrider writes one override into the tree.
type overrider struct {
	*report
	number int
}

// value reads the value as YAML; column is where it begins within the override.
func (o *overrider) value(s string, column int) *node {
	fail := func(message, hint string) *node {
		o.at(spot{set: o.number, column: column}, nil, message, hint)
		return nil
	}
	if len(s) > MaxSource {
		return fail("the value is longer than 1 MiB", "")
	}
	loader, err := yaml.NewLoader(bytes.NewReader([]byte(s)))
	if err != nil {
		return fail("the value is not YAML: "+err.Error(), "")
	}
	var doc yaml.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) {
		return fail("the override has no value", `an empty text is written "" in quotes`)
	} else if err != nil {
		return fail("the value is not YAML: "+yamlMessage(err), "put it in quotes")
	}
	e := expander{report: o.report, place: func(line, c int) spot {
		if line > 1 {
			c = 1
		}
		return spot{set: o.number, column: column + c - 1}
	}}
	n := e.node(&doc, 0)
	if e.failed {
		return nil
	}
	return n
}

func yamlMessage(err error) string {
	var le *yaml.LoadError
	if errors.As(err, &le) {
		return le.Message
	}
	return err.Error()
}

// put walks down the steps, makes what is not there yet, and sets the value.
func (o *overrider) put(n *node, steps []step, v *node) {
	p := (*path)(nil)
	for i, s := range steps {
		slot := o.slot(n, s, p)
		if slot == nil {
			return
		}
		if s.index == noIndex {
			p = p.key(s.name)
		} else {
			p = p.index(max(s.index, 0))
		}
		if i == len(steps)-1 {
			*slot = v
			return
		}
		if *slot == nil || (*slot).kind == kindScalar {
			*slot = &node{kind: kindMap, at: spot{set: o.number, column: s.at}}
			if steps[i+1].index != noIndex {
				(*slot).kind = kindList
			}
		}
		n = *slot
	}
}

// slot is where the child of n that the step names stands, made when it is missing.
func (o *overrider) slot(n *node, s step, p *path) **node {
	here := spot{set: o.number, column: s.at}
	switch {
	case s.index == noIndex && n.kind == kindMap:
		for i := range n.pairs {
			if n.pairs[i].key.value == s.name {
				n.pairs[i].key = &node{kind: kindScalar, tag: tagStr, value: s.name, at: here}
				return &n.pairs[i].value
			}
		}
		n.pairs = append(n.pairs, pair{key: &node{kind: kindScalar, tag: tagStr, value: s.name, at: here}})
		return &n.pairs[len(n.pairs)-1].value
	case s.index == noIndex:
		o.at(here, p, "is "+n.describe()+", so "+quote(s.name)+" cannot be set in it", "name an element first, as in load[0]")
	case n.kind != kindList:
		o.at(here, p, "is "+n.describe()+", not a list", "leave the brackets out")
	case s.index == appendIndex || s.index == len(n.items):
		n.items = append(n.items, nil)
		return &n.items[len(n.items)-1]
	case s.index > len(n.items):
		o.at(here, p.index(s.index), fmt.Sprintf("there is no element %d: the list has %d, counted from 0", s.index, len(n.items)), "append with [+]")
	default:
		return &n.items[s.index]
	}
	return nil
}
