package scenario

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

type kind uint8

const (
	kindScalar kind = iota + 1
	kindList
	kindMap
)

// Tags of scalars, in YAML's short form.
const (
	tagNull  = "!!null"
	tagBool  = "!!bool"
	tagInt   = "!!int"
	tagFloat = "!!float"
	tagStr   = "!!str"
	tagTime  = "!!timestamp"
)

// node is a YAML node whose anchors and merge keys have been filled in, so that an override
// changes one place only.
type node struct {
	kind  kind
	tag   string
	value string
	// quoted says that a scalar stands in quotes or as a block.
	quoted bool
	at     spot
	items  []*node
	pairs  []pair
}

// pair is an entry of a mapping.
type pair struct {
	key, value *node
	// merged says that the entry came in through a merge key; the mapping's own entries win.
	merged bool
}

// get returns the entry with the key, or nil.
func (n *node) get(key string) *node {
	for _, p := range n.pairs {
		if p.key.value == key {
			return p.value
		}
	}
	return nil
}

// describe says what a node is, for "expected X, got Y".
func (n *node) describe() string {
	switch {
	case n.kind == kindMap:
		return "a mapping"
	case n.kind == kindList:
		return "a list"
	case n.tag == tagNull:
		return "nothing"
	case n.tag == tagBool:
		return "the truth value " + n.value
	case n.tag == tagInt || n.tag == tagFloat:
		return "the number " + n.value
	case n.tag == tagStr || n.tag == tagTime:
		return "the text " + quote(n.value)
	}
	return "a value with the tag " + n.tag
}

// expander copies a YAML tree with a bound on nodes and depth.
type expander struct {
	*report
	place func(line, column int) spot
	nodes int
	// failed says that a limit was met; the rest is not looked at.
	failed bool
}

// expand fills in anchors and merge keys. It returns nil when a limit was met.
func expand(r *report, doc *yaml.Node) *node {
	e := &expander{report: r, place: r.src.place}
	n := e.node(doc, 0)
	if e.failed {
		return nil
	}
	return n
}

func (e *expander) node(y *yaml.Node, depth int) *node {
	e.nodes++
	if e.failed || e.limits(y, depth) {
		return nil
	}
	switch y.Kind {
	case yaml.DocumentNode:
		if len(y.Content) == 0 {
			return &node{kind: kindScalar, tag: tagNull, at: e.place(y.Line, y.Column)}
		}
		return e.node(y.Content[0], depth)
	case yaml.AliasNode:
		return e.alias(y, depth)
	case yaml.SequenceNode:
		n := &node{kind: kindList, at: e.place(y.Line, y.Column)}
		for _, c := range y.Content {
			n.items = append(n.items, e.node(c, depth+1))
		}
		return n
	case yaml.MappingNode:
		return e.mapping(y, depth)
	}
	return &node{
		kind: kindScalar, tag: y.ShortTag(), value: y.Value, at: e.place(y.Line, y.Column),
		quoted: y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0,
	}
}

func (e *expander) limits(y *yaml.Node, depth int) bool {
	at := e.place(y.Line, y.Column)
	switch {
	case depth > MaxDepth:
		e.at(at, nil, fmt.Sprintf("nested deeper than %d levels", MaxDepth), "flatten it; an anchor that holds itself nests without end")
	case e.nodes > MaxNodes:
		e.at(at, nil, fmt.Sprintf("more than %s values once anchors are filled in", thousands(MaxNodes)), "use fewer aliases (*name)")
	default:
		return false
	}
	e.failed = true
	return true
}

// alias stands where it is used, so that a problem shows the use and not the anchor; what is
// within it stands where it was written.
func (e *expander) alias(y *yaml.Node, depth int) *node {
	n := e.node(y.Alias, depth+1)
	if n != nil && n.kind == kindScalar {
		n.at = e.place(y.Line, y.Column)
	}
	return n
}

func (e *expander) mapping(y *yaml.Node, depth int) *node {
	n := &node{kind: kindMap, at: e.place(y.Line, y.Column)}
	var merges []*node
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := e.node(y.Content[i], depth+1), e.node(y.Content[i+1], depth+1)
		if e.failed {
			return n
		}
		if k.kind == kindScalar && k.tag == "!!merge" {
			merges = append(merges, v)
			continue
		}
		n.pairs = append(n.pairs, pair{key: k, value: v})
	}
	for _, m := range merges {
		e.merge(n, m)
	}
	return n
}

// merge adds the entries that a merge key (<<) brings in, where the mapping has none of its own.
func (e *expander) merge(n, from *node) {
	switch from.kind {
	case kindMap:
		have := map[string]bool{}
		for _, p := range n.pairs {
			have[p.key.value] = true
		}
		for _, p := range from.pairs {
			e.nodes++
			if !have[p.key.value] {
				p.merged = true
				n.pairs = append(n.pairs, p)
			}
		}
	case kindList:
		for _, m := range from.items {
			e.merge(n, m)
		}
	default:
		e.at(from.at, nil, "a merge key (<<) needs a mapping, got "+from.describe(), "write <<: *name, where name is the anchor of a mapping")
	}
}

// quote puts a text in quotes and cuts it to a length that fits a message.
func quote(s string) string { return `"` + short(s) + `"` }

// short cuts a text to a length that fits a message.
func short(s string) string {
	const most = 60
	if chars := []rune(s); len(chars) > most {
		s = string(chars[:most]) + "…"
	}
	return strings.Map(printable, s)
}

// printable replaces what would move a terminal's cursor.
func printable(c rune) rune {
	if c < ' ' || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x2029 {
		return '·'
	}
	return c
}
