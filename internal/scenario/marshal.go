package scenario

import (
	"bytes"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// flowWidth is the longest mapping or list that is written on one line, in characters.
const flowWidth = 72

// Marshal writes a scenario as YAML, in the order of the schema, as a person would: durations as
// 1m30s, choices by their short names, objectives as expressions. Parse reads it back to a scenario
// of the same digest, provided the scenario passes Check.
func Marshal(s *pb.Scenario) []byte {
	w := yamlWriter{plain: regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./+<>=()-]*(:?[A-Za-z0-9_./+<>=()%-])*( [A-Za-z0-9_./+<>=()%-]+)*$`)}
	root := w.message(s.ProtoReflect())
	var b bytes.Buffer
	for _, e := range root.entries {
		w.entry(&b, e, 0)
	}
	return b.Bytes()
}

// out is a value on its way to YAML: a scalar (text), a list or a mapping.
type out struct {
	kind kind
	text string
	// block is a text of several lines that is written as it is, below its key.
	block   bool
	entries []entry
}

// entry is a member of a mapping, or an element of a list, which has no key.
type entry struct {
	key string
	v   out
}

type yamlWriter struct {
	plain *regexp.Regexp
}

func scalarOut(s string) out { return out{kind: kindScalar, text: s} }

func (w *yamlWriter) message(m protoreflect.Message) out {
	form := messageForm(m.Descriptor())
	fields := m.Descriptor().Fields()
	if form.GetExpression() {
		return w.text(m.Get(fields.ByName("expression")).String())
	}
	if name := form.GetScalarField(); name != "" && m.Has(fields.ByName(protoreflect.Name(name))) {
		fd := fields.ByName(protoreflect.Name(name))
		return w.single(fd, m.Get(fd))
	}
	o := out{kind: kindMap}
	for i := range fields.Len() {
		if fd := fields.Get(i); m.Has(fd) {
			o.entries = append(o.entries, entry{string(fd.Name()), w.field(fd, m.Get(fd))})
		}
	}
	return o
}

func (w *yamlWriter) field(fd protoreflect.FieldDescriptor, v protoreflect.Value) out {
	switch {
	case fd.IsMap():
		o := out{kind: kindMap}
		for _, k := range sortedKeys(v.Map()) {
			o.entries = append(o.entries, entry{w.inline(k), w.single(fd.MapValue(), v.Map().Get(protoreflect.ValueOfString(k).MapKey()))})
		}
		return o
	case fd.IsList():
		o := out{kind: kindList}
		for i := range v.List().Len() {
			o.entries = append(o.entries, entry{"", w.single(fd, v.List().Get(i))})
		}
		return o
	}
	return w.single(fd, v)
}

func (w *yamlWriter) single(fd protoreflect.FieldDescriptor, v protoreflect.Value) out {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		switch fd.Message().FullName() {
		case nameDuration:
			return scalarOut(formatDuration(v.Message().Interface().(*durationpb.Duration).AsDuration()))
		case nameStruct:
			f := fd.Message().Fields().ByName("fields")
			return w.field(f, v.Message().Get(f))
		case nameValue:
			return w.anyValue(v.Message())
		}
		return w.message(v.Message())
	case protoreflect.StringKind:
		return w.text(v.String())
	case protoreflect.BoolKind:
		return scalarOut(strconv.FormatBool(v.Bool()))
	case protoreflect.EnumKind:
		if d := fd.Enum().Values().ByNumber(v.Enum()); d != nil {
			return scalarOut(choiceName(d))
		}
		return scalarOut(strconv.Itoa(int(v.Enum())))
	case protoreflect.DoubleKind:
		return scalarOut(formatFloat(v.Float()))
	}
	if fieldForm(fd).GetCountOrAll() && v.Uint() == math.MaxUint32 {
		return scalarOut("all")
	}
	return scalarOut(strconv.FormatUint(v.Uint(), 10))
}

// anyValue writes a free value.
func (w *yamlWriter) anyValue(m protoreflect.Message) out {
	fd := m.WhichOneof(m.Descriptor().Oneofs().Get(0))
	if fd == nil || fd.Name() == "null_value" {
		return scalarOut("null")
	}
	if fd.Name() == "list_value" {
		l := m.Get(fd).Message()
		f := l.Descriptor().Fields().ByName("values")
		return w.field(f, l.Get(f))
	}
	return w.single(fd, m.Get(fd))
}

// formatFloat writes a number without an exponent where that is short.
func formatFloat(f float64) string {
	if a := math.Abs(f); f == 0 || a >= 1e-6 && a < 1e15 {
		return strconv.FormatFloat(f+0, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'e', -1, 64)
}

// text is a string value: a block of lines where that reads best, else on one line.
func (w *yamlWriter) text(s string) out {
	if isBlock(s) {
		return out{kind: kindScalar, text: s, block: true}
	}
	return scalarOut(w.inline(s))
}

// isBlock reports whether a literal block gives a text back exactly: lines of printable
// characters, the first not indented, none empty or ending in a blank, one line end at the end.
func isBlock(s string) bool {
	body, ok := strings.CutSuffix(s, "\n")
	if !ok || !strings.Contains(body, "\n") || !utf8.ValidString(s) {
		return false
	}
	for i, line := range strings.Split(body, "\n") {
		if line == "" || strings.HasSuffix(line, " ") || strings.ContainsFunc(line, mustEscape) || i == 0 && line[0] == ' ' {
			return false
		}
	}
	return true
}

// mustEscape reports whether a character is only safe as an escape.
func mustEscape(c rune) bool {
	return c < ' ' || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x2029 || c == 0xfeff || c >= 0xfff0 && c <= 0xffff || c >= 0xd800 && c < 0xe000
}

// inline writes a text on one line: plain where no reader could take it for anything else.
func (w *yamlWriter) inline(s string) string {
	if w.plain.MatchString(s) && !reserved(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case mustEscape(c) && c < 0x100:
			b.WriteString(`\x` + hex(c, 2))
		case mustEscape(c):
			b.WriteString(`\u` + hex(c, 4))
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func hex(c rune, digits int) string {
	s := strconv.FormatInt(int64(c), 16)
	return strings.Repeat("0", digits-len(s)) + s
}

// reserved reports whether a plain word would be read as something other than text.
func reserved(s string) bool {
	words := []string{"null", "true", "false", "yes", "no", "on", "off", "y", "n", ".nan", ".inf", "nan", "inf"}
	return slices.Contains(words, strings.ToLower(s))
}

// flow writes a value on one line; it returns false where it does not fit there.
func flow(v out, width int) (string, bool) {
	if v.block {
		return "", false
	}
	if v.kind == kindScalar {
		if strings.ContainsAny(v.text, ",[]{}#") && v.text[0] != '"' {
			return "", false
		}
		return v.text, len(v.text) <= width
	}
	var parts []string
	for _, e := range v.entries {
		s, ok := flow(e.v, width)
		if !ok {
			return "", false
		}
		if v.kind == kindMap {
			s = e.key + ": " + s
		}
		parts = append(parts, s)
		if width -= len(s) + 2; width < 0 {
			return "", false
		}
	}
	s := strings.Join(parts, ", ")
	if v.kind == kindMap {
		return "{" + s + "}", true
	}
	return "[" + s + "]", true
}

// entry writes a member of a mapping at an indentation.
func (w *yamlWriter) entry(b *bytes.Buffer, e entry, indent int) {
	b.WriteString(strings.Repeat(" ", indent) + e.key + ":")
	w.value(b, e.v, indent)
}

// value writes what follows a key or a dash, and ends the line.
func (w *yamlWriter) value(b *bytes.Buffer, v out, indent int) {
	if v.block {
		b.WriteString(" |\n")
		for _, line := range strings.Split(strings.TrimSuffix(v.text, "\n"), "\n") {
			b.WriteString(strings.Repeat(" ", indent+2) + line + "\n")
		}
		return
	}
	if v.kind == kindScalar {
		b.WriteString(" " + v.text + "\n")
		return
	}
	if s, ok := flow(v, flowWidth); ok && (indent > 0 || len(v.entries) == 0) {
		b.WriteString(" " + s + "\n")
		return
	}
	b.WriteByte('\n')
	for _, child := range v.entries {
		if v.kind == kindMap {
			w.entry(b, child, indent+2)
			continue
		}
		w.element(b, child.v, indent+2)
	}
}

// element writes an element of a list; a mapping begins on the line of its dash.
func (w *yamlWriter) element(b *bytes.Buffer, v out, indent int) {
	if s, ok := flow(v, flowWidth); ok {
		b.WriteString(strings.Repeat(" ", indent) + "- " + s + "\n")
		return
	}
	if v.kind != kindMap {
		b.WriteString(strings.Repeat(" ", indent) + "-")
		w.value(b, v, indent)
		return
	}
	var inner bytes.Buffer
	for _, e := range v.entries {
		w.entry(&inner, e, indent+2)
	}
	b.WriteString(strings.Repeat(" ", indent) + "- ")
	b.Write(inner.Bytes()[indent+2:])
}
