package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// read turns the document and the overrides into a message. It returns nil where nothing could be
// read at all; what was wrong stands in the report either way.
func read(r *report, set []string) *pb.Scenario {
	root := load(r)
	if root == nil {
		return nil
	}
	if len(set) > MaxOverrides {
		r.at(spot{}, nil, fmt.Sprintf("there are %d overrides; the most is %d", len(set), MaxOverrides), "")
		return nil
	}
	r.sets = set
	for i, s := range set {
		override(r, root, i+1, s)
	}
	s := &pb.Scenario{}
	d := newDecoder(r)
	r.spots[""] = fieldSpot{key: root.at, value: root.at}
	d.message(nil, root, s.ProtoReflect())
	if root.kind != kindMap {
		return nil // everything else would only follow from that
	}
	return s
}

// load reads the one YAML document into a tree without anchors.
func load(r *report) *node {
	if !checkText(r) {
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(r.src.prepare()))
	if err != nil {
		r.syntax(err)
		return nil
	}
	var doc yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		r.at(spot{line: 1, column: 1}, nil, "the scenario is empty", "see docs/scenario.md for the smallest one")
		return nil
	case err != nil:
		r.syntax(err)
		return nil
	}
	r.secondDocument(loader)
	root := expand(r, &doc)
	if root != nil && root.kind == kindScalar && root.tag == tagNull {
		r.at(root.at, nil, "the scenario is empty", "see docs/scenario.md for the smallest one")
		return nil
	}
	return root
}

// checkText refuses what is not text of a bearable size.
func checkText(r *report) bool {
	data := r.src.data
	if len(data) > MaxSource {
		r.at(spot{}, nil, fmt.Sprintf("the file has %s bytes; the most is %s (1 MiB)", thousands(float64(len(data))), thousands(MaxSource)),
			"prompts belong in a data set of their own, named by dataset.file")
		return false
	}
	if at := bytes.IndexByte(data, 0); at >= 0 {
		r.at(spot{}, nil, fmt.Sprintf("the file is not text: byte %d is zero", at), "a scenario is YAML or JSON in UTF-8")
		return false
	}
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		if c == utf8.RuneError && size == 1 {
			begin := bytes.LastIndexByte(data[:i], '\n') + 1
			at := spot{line: 1 + bytes.Count(data[:i], []byte("\n")), column: 1 + utf8.RuneCount(data[begin:i])}
			r.at(at, nil, fmt.Sprintf("byte %d is not UTF-8", i), "save the file as UTF-8")
			return false
		}
		i += size
	}
	return true
}

// syntax notes an error of the YAML parser.
func (r *report) syntax(err error) {
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		r.at(spot{}, nil, "not YAML: "+err.Error(), "")
		return
	}
	message := "not YAML: " + le.Message
	if le.ContextMsg != "" {
		message += ", " + le.ContextMsg
		if le.ContextMark.Line > 0 && le.ContextMark.Line != le.Mark.Line {
			message += fmt.Sprintf(" that began on line %d", le.ContextMark.Line)
		}
	}
	r.at(r.src.place(le.Mark.Line, le.Mark.Column), nil, message, syntaxHint(le.Message))
}

// syntaxHint says how to mend the commonest errors of syntax.
func syntaxHint(message string) string {
	switch {
	case strings.Contains(message, "cannot start any token"):
		return "indent with spaces, not tabs; put a value that begins with one of @ ` % & * ! | > { [ in quotes"
	case strings.Contains(message, "mapping values are not allowed"):
		return "put a value that holds a colon and a blank in quotes, and check the indentation"
	case strings.Contains(message, "',' or"):
		return "close the bracket or put a comma between the elements"
	case strings.Contains(message, "did not find expected key"):
		return "check the indentation of this line and the ones before it"
	case strings.Contains(message, "end of stream"):
		return "close the quotes"
	case strings.Contains(message, "incompatible YAML"):
		return "leave the line with %YAML out"
	case strings.Contains(message, "unknown anchor"):
		return "an anchor (&name) must stand before its use (*name)"
	}
	return ""
}

// secondDocument refuses a second document: half a scenario would be dropped in silence.
func (r *report) secondDocument(loader *yaml.Loader) {
	var doc yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
	case err != nil:
		r.syntax(err)
	default:
		r.at(r.src.place(doc.Line, doc.Column), nil, "a second document begins here; a scenario is one document", "remove the line with --- and what follows it, or keep it in a file of its own")
	}
}
