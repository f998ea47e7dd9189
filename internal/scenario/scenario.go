// Package scenario reads the document that a user writes. Reading, filling in defaults and
// checking are three steps that do not know each other:
//
//	read       YAML or JSON → message, with the place of every field
//	Normalize  fills in what was left out
//	Check      says what is wrong, all of it at once
//
// The decoder is our own: it walks YAML nodes beside the descriptor of the message, so that every
// problem has a file, a line and a column, and a word on how to mend it. JSON takes the same way,
// since JSON is YAML. The package does no I/O.
package scenario

import (
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Limits on what is read from outside.
const (
	// MaxSource is the largest document, in bytes.
	MaxSource = 1 << 20
	// MaxDepth is the deepest nesting of a document.
	MaxDepth = 32
	// MaxNodes is the most YAML nodes of a document, counted after anchors have been filled in.
	MaxNodes = 200_000
	// MaxProblems is the most problems that are told apart; of the others only the number is given.
	MaxProblems = 100
	// MaxOverrides is the most overrides of one scenario.
	MaxOverrides = 256
	// MaxExpression is the longest objective, in bytes.
	MaxExpression = 256
	// MaxPlaceholders is the most placeholders of one text.
	MaxPlaceholders = 10_000
	// MaxHeaderValue is the longest value of a header, its placeholders filled in, in bytes.
	MaxHeaderValue = 64 << 10
	// MaxPath is the longest path of a request, its placeholders filled in and percent-encoded, in bytes.
	MaxPath = 64 << 10
	// MaxJSONSteps is the most steps of a JSON path.
	MaxJSONSteps = 64

	// maxJSONIndex is the largest index in a JSON path.
	maxJSONIndex = 1 << 20
	// maxNoted bounds the problems held before they are sorted; the rest is only counted.
	maxNoted = 10_000
	// maxExact bounds the problems whose place within a text is looked up to the character.
	maxExact = 1_000
	// maxExcerpt is the widest excerpt of a line, in characters.
	maxExcerpt = 100
)

// Source is a document and the name by which problems refer to it.
type Source struct {
	// Name of the file, for messages only.
	Name string
	// Data is YAML or JSON in UTF-8; at most MaxSource bytes.
	Data []byte
}

// Parse reads a scenario, fills in its defaults and checks it. Each element of set overrides one
// field, as "load[1].open.rate=80"; "slo[+]=…" appends to a list. The error is of type Problems.
func Parse(src Source, set ...string) (*pb.Scenario, error) {
	r := newReport(src)
	s := read(r, set)
	if s != nil {
		judge(r, s)
	}
	if ps := r.problems(); len(ps) > 0 {
		return nil, ps
	}
	return s, nil
}

// Check runs the checks of Parse on a message that came through the API. The message is not
// changed; defaults count as filled in. Problems carry paths and no places.
func Check(s *pb.Scenario) Problems {
	r := newReport(Source{})
	if s == nil {
		s = &pb.Scenario{}
	}
	judge(r, clone(s))
	return r.problems()
}

// judge fills in defaults and checks. What is beyond its limit goes first, so that neither reads it.
func judge(r *report, s *pb.Scenario) {
	excess(r, nil, s.ProtoReflect())
	Normalize(s)
	check(r, s)
}
