package report

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// WriteJSON writes a summary: names and order of the fields as in the schema, choices in short
// lower case, numbers as numbers (64 bits too), null for what has no value, every list present,
// two spaces of indent, and a line end. The same summary gives the same bytes.
func WriteJSON(w io.Writer, s *pb.Summary) error { return writeMessage(w, s.ProtoReflect()) }

// WritePlan writes a plan in the form of WriteJSON; lengths of time are written as Go writes them.
func WritePlan(w io.Writer, p *pb.Plan) error { return writeMessage(w, p.ProtoReflect()) }

func writeMessage(w io.Writer, m protoreflect.Message) error {
	buffered := bufio.NewWriter(w)
	e := encoder{w: buffered}
	if err := e.message(m, 0); err != nil {
		return fmt.Errorf("write %s as JSON: %w", m.Descriptor().Name(), err)
	}
	buffered.WriteByte('\n')
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write %s as JSON: %w", m.Descriptor().Name(), err)
	}
	return nil
}

// encoder writes JSON. A bufio.Writer keeps its first error until Flush, so only errors of the
// values themselves are returned on the way.
type encoder struct{ w *bufio.Writer }

func (e encoder) line(depth int) {
	e.w.WriteByte('\n')
	for range depth {
		e.w.WriteString("  ")
	}
}

func (e encoder) message(m protoreflect.Message, depth int) error {
	fields := m.Descriptor().Fields()
	if fields.Len() == 0 {
		e.w.WriteString("{}")
		return nil
	}
	e.w.WriteByte('{')
	for i := range fields.Len() {
		if i > 0 {
			e.w.WriteByte(',')
		}
		e.line(depth + 1)
		e.text(string(fields.Get(i).Name()))
		e.w.WriteString(": ")
		if err := e.field(m, fields.Get(i), depth+1); err != nil {
			return fmt.Errorf("%s: %w", fields.Get(i).Name(), err)
		}
	}
	e.line(depth)
	e.w.WriteByte('}')
	return nil
}

func (e encoder) field(m protoreflect.Message, f protoreflect.FieldDescriptor, depth int) error {
	switch {
	case f.IsMap():
		return fmt.Errorf("maps have no form in JSON here")
	case f.IsList():
		return e.list(m.Get(f).List(), f, depth)
	case f.HasPresence() && !m.Has(f) && !isDuration(f):
		e.w.WriteString("null")
		return nil
	}
	return e.value(m.Get(f), f, depth)
}

func (e encoder) list(l protoreflect.List, f protoreflect.FieldDescriptor, depth int) error {
	if l.Len() == 0 {
		e.w.WriteString("[]")
		return nil
	}
	e.w.WriteByte('[')
	for i := range l.Len() {
		if i > 0 {
			e.w.WriteByte(',')
		}
		e.line(depth + 1)
		if err := e.value(l.Get(i), f, depth+1); err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
	}
	e.line(depth)
	e.w.WriteByte(']')
	return nil
}

func (e encoder) value(v protoreflect.Value, f protoreflect.FieldDescriptor, depth int) error {
	switch f.Kind() {
	case protoreflect.BoolKind:
		e.w.WriteString(strconv.FormatBool(v.Bool()))
	case protoreflect.StringKind:
		e.text(v.String())
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		e.w.WriteString(strconv.FormatUint(v.Uint(), 10))
	case protoreflect.Int32Kind, protoreflect.Int64Kind:
		e.w.WriteString(strconv.FormatInt(v.Int(), 10))
	case protoreflect.DoubleKind:
		e.w.WriteString(float(v.Float()))
	case protoreflect.EnumKind:
		e.text(choice(f.Enum(), v.Enum()))
	case protoreflect.MessageKind:
		if d, ok := v.Message().Interface().(*durationpb.Duration); ok {
			e.text(duration(d.AsDuration()))
			return nil
		}
		return e.message(v.Message(), depth)
	default:
		return fmt.Errorf("a %s has no form in JSON here", f.Kind())
	}
	return nil
}

// isDuration says that a field is a length of time, which is 0 where it is absent.
func isDuration(f protoreflect.FieldDescriptor) bool {
	return f.Message() != nil && f.Message().FullName() == "google.protobuf.Duration"
}

// float writes the shortest decimal that reads back as v, with an exponent only below 1e-6 and
// from 1e21 on; null for what JSON cannot say.
func float(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "null"
	case a == 0:
		return "0"
	case a < 1e-6 || a >= 1e21:
		return strconv.FormatFloat(v, 'e', -1, 64)
	default:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
}

// choice is the short name of an enum's value: VERDICT_PASS of Verdict is "pass".
func choice(d protoreflect.EnumDescriptor, n protoreflect.EnumNumber) string {
	v := d.Values().ByNumber(n)
	if v == nil {
		return strconv.Itoa(int(n))
	}
	return shortName(d, v)
}

// shortName leaves out the prefix that the first value, …_UNSPECIFIED, shows.
func shortName(d protoreflect.EnumDescriptor, v protoreflect.EnumValueDescriptor) string {
	prefix := strings.TrimSuffix(string(d.Values().Get(0).Name()), "UNSPECIFIED")
	return strings.ToLower(strings.TrimPrefix(string(v.Name()), prefix))
}

// duration writes a length of time as a scenario does.
func duration(d time.Duration) string { return d.String() }

// text writes a string. Beyond what JSON asks for it escapes everything that a terminal might
// obey and the two line separators that scripts stumble over.
func (e encoder) text(s string) {
	e.w.WriteByte('"')
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == '"' || r == '\\':
			e.w.WriteByte('\\')
			e.w.WriteByte(byte(r))
		case r == '\n':
			e.w.WriteString(`\n`)
		case r == '\t':
			e.w.WriteString(`\t`)
		case r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || isBidi(r):
			fmt.Fprintf(e.w, `\u%04x`, r)
		default:
			e.w.WriteRune(r) // an invalid byte becomes U+FFFD
		}
		s = s[size:]
	}
	e.w.WriteByte('"')
}

// isBidi says that r turns the direction of writing, which can make a text look like another.
func isBidi(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f
}
