package scenario

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// scalar reads a text, a truth value, a choice or a number.
func (d *decoder) scalar(p *path, n *node, fd protoreflect.FieldDescriptor) (protoreflect.Value, bool) {
	none := protoreflect.Value{}
	switch fd.Kind() {
	case protoreflect.StringKind:
		if n.kind != kindScalar || n.tag != tagStr && n.tag != tagTime {
			d.wrongType(p, n, "text")
			return none, false
		}
		return protoreflect.ValueOfString(n.value), true
	case protoreflect.BoolKind:
		if n.kind != kindScalar || n.tag != tagBool {
			d.wrongType(p, n, "true or false")
			return none, false
		}
		return protoreflect.ValueOfBool(strings.EqualFold(n.value, "true")), true
	case protoreflect.EnumKind:
		return d.choice(p, n, fd.Enum())
	}
	return d.number(p, n, fd)
}

// choiceName is how a value of an enum is written: lower case, hyphens, without the enum's own name.
func choiceName(v protoreflect.EnumValueDescriptor) string {
	prefix := string(v.Parent().(protoreflect.EnumDescriptor).Values().ByNumber(0).Name())
	prefix = strings.TrimSuffix(prefix, "UNSPECIFIED")
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(string(v.Name()), prefix)), "_", "-")
}

// choices lists the values of an enum that may be written.
func choices(ed protoreflect.EnumDescriptor) []string {
	var names []string
	for i := range ed.Values().Len() {
		if v := ed.Values().Get(i); v.Number() != 0 {
			names = append(names, choiceName(v))
		}
	}
	return names
}

func (d *decoder) choice(p *path, n *node, ed protoreflect.EnumDescriptor) (protoreflect.Value, bool) {
	known := choices(ed)
	if n.kind != kindScalar || n.tag == tagNull {
		d.wrongType(p, n, "one of "+list(known, "and"))
		return protoreflect.Value{}, false
	}
	for i := range ed.Values().Len() {
		v := ed.Values().Get(i)
		switch {
		case v.Number() == 0 || choiceName(v) != n.value:
		default:
			return protoreflect.ValueOfEnum(v.Number()), true
		}
	}
	hint := "choose one of " + list(known, "and")
	if near := nearest(n.value, known); near != "" {
		hint = "did you mean " + near + "? " + hint
	}
	d.at(n.at, p, "unknown choice "+quote(n.value), hint)
	return protoreflect.Value{}, false
}

// number reads a number into the field's type. Counts and rates may be written in thousands
// ("1k"), shares as percentages, and some counts as "all".
func (d *decoder) number(p *path, n *node, fd protoreflect.FieldDescriptor) (protoreflect.Value, bool) {
	form := fieldForm(fd)
	if form.GetCountOrAll() && n.kind == kindScalar && n.value == "all" {
		return protoreflect.ValueOfUint32(math.MaxUint32), true
	}
	if fd.Kind() == protoreflect.DoubleKind {
		f, why := n.float(form.GetPercent())
		if why != "" {
			d.badNumber(p, n, form, why)
			return protoreflect.Value{}, false
		}
		return protoreflect.ValueOfFloat64(f), true
	}
	most := uint64(math.MaxUint64)
	if fd.Kind() == protoreflect.Uint32Kind {
		most = math.MaxUint32
	}
	u, why := n.whole(most)
	if why != "" {
		d.badNumber(p, n, form, why)
		return protoreflect.Value{}, false
	}
	if fd.Kind() == protoreflect.Uint32Kind {
		return protoreflect.ValueOfUint32(uint32(u)), true
	}
	return protoreflect.ValueOfUint64(u), true
}

func (d *decoder) badNumber(p *path, n *node, form *pb.FieldForm, want string) {
	hint := ""
	_, err := strconv.ParseFloat(n.value, 64)
	switch {
	case n.kind == kindScalar && n.tag == tagStr && err == nil:
		hint = "remove the quotes around the number"
	case n.kind == kindScalar && strings.HasSuffix(n.value, "%") && !form.GetPercent():
		hint = "a percentage is for shares only"
	case form.GetPercent():
		hint = "write a share as 0.05 or 5%"
	case form.GetCountOrAll():
		hint = "write a number, or all"
	}
	d.wrongTypeHint(p, n, want, hint)
}

func (d *decoder) wrongTypeHint(p *path, n *node, want, hint string) {
	if n.kind == kindScalar && n.tag == tagNull {
		d.noValue(p, n)
		return
	}
	d.at(n.at, p, "must be "+want+", got "+n.describe(), hint)
}

// decimal returns the digits of a number as strconv reads them: without a suffix of thousands or
// percent, which becomes an exponent, so that the value is the nearest one to what was written.
func (n *node) decimal(percent bool) (string, bool) {
	if n.kind != kindScalar {
		return "", false
	}
	if n.tag == tagInt || n.tag == tagFloat {
		return n.value, true
	}
	digits, exponent := strings.TrimSuffix(n.value, "k"), "e3"
	if percent && strings.HasSuffix(n.value, "%") {
		digits, exponent = strings.TrimSuffix(n.value, "%"), "e-2"
	}
	if n.tag != tagStr || digits == n.value || digits == "" || strings.Trim(digits, "0123456789.") != "" {
		return "", false
	}
	return digits + exponent, true
}

// float is the node as a finite number; otherwise it says what the node should be.
func (n *node) float(percent bool) (float64, string) {
	want := "a number"
	if percent {
		want = "a share"
	}
	s, ok := n.decimal(percent)
	if !ok {
		return 0, want
	}
	if n.tag == tagInt {
		if u, err := strconv.ParseUint(strings.TrimPrefix(s, "+"), 0, 64); err == nil {
			return float64(u), ""
		}
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, want
	}
	return f + 0, "" // −0 becomes 0
}

// whole is the node as a whole number up to most; otherwise it says what the node should be.
func (n *node) whole(most uint64) (uint64, string) {
	s, ok := n.decimal(false)
	if !ok {
		return 0, "a whole number"
	}
	if u, err := strconv.ParseUint(strings.TrimPrefix(s, "+"), 0, 64); err == nil && u <= most {
		return u, ""
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
	switch {
	case err == nil && f < 0:
		return 0, "at least 0"
	case err == nil && f > float64(most):
		return 0, "at most " + thousands(float64(most))
	case err != nil || f != math.Trunc(f) || f >= 1<<53: // past 2^53 the digits written are not those kept
		return 0, "a whole number"
	}
	return uint64(f), ""
}

// duration reads a duration with units into m.
func (d *decoder) duration(p *path, n *node, m protoreflect.Message) bool {
	if n.kind == kindScalar && (n.tag == tagInt || n.tag == tagFloat) {
		d.at(n.at, p, "a duration needs a unit, got the number "+n.value, fmt.Sprintf("write %ss, %sms or %sm", n.value, n.value, n.value))
		return false
	}
	if n.kind != kindScalar || n.tag != tagStr {
		d.wrongTypeHint(p, n, "a duration", "write it as 90s, 1m30s, 250ms or 2d")
		return false
	}
	v, err := parseDuration(n.value)
	if err != nil {
		d.at(n.at, p, err.Error()+": "+quote(n.value), "write it as 90s, 1m30s, 250ms or 2d; units are ns, us, ms, s, m, h and d")
		return false
	}
	pd := durationpb.New(v)
	fields := m.Descriptor().Fields()
	m.Set(fields.ByName("seconds"), protoreflect.ValueOfInt64(pd.GetSeconds()))
	m.Set(fields.ByName("nanos"), protoreflect.ValueOfInt32(pd.GetNanos()))
	return true
}

// structure reads a free mapping as it is.
func (d *decoder) structure(p *path, n *node, m protoreflect.Message) bool {
	if n.kind != kindMap {
		d.wrongType(p, n, "a mapping")
		return false
	}
	fd := m.Descriptor().Fields().ByName("fields")
	d.mapField(p, n, m.Mutable(fd).Map(), fd)
	return true
}

// anyValue reads a free value as it is.
func (d *decoder) anyValue(p *path, n *node, m protoreflect.Message) bool {
	f := m.Descriptor().Fields()
	switch {
	case n.kind == kindMap:
		return d.structure(p, n, m.Mutable(f.ByName("struct_value")).Message())
	case n.kind == kindList:
		l := m.Mutable(f.ByName("list_value")).Message()
		values := l.Descriptor().Fields().ByName("values")
		d.listField(p, n, l.Mutable(values).List(), values)
	case n.tag == tagNull:
		m.Set(f.ByName("null_value"), protoreflect.ValueOfEnum(0))
	case n.tag == tagBool:
		m.Set(f.ByName("bool_value"), protoreflect.ValueOfBool(strings.EqualFold(n.value, "true")))
	case n.tag == tagInt || n.tag == tagFloat:
		v, why := n.float(false)
		if why != "" || n.tag == tagInt && math.Abs(v) > 1<<53 {
			d.at(n.at, p, "the number "+n.value+" cannot be kept exactly", "numbers here are 64-bit floating point; put it in quotes")
			return false
		}
		m.Set(f.ByName("number_value"), protoreflect.ValueOfFloat64(v))
	case n.tag == tagStr || n.tag == tagTime:
		m.Set(f.ByName("string_value"), protoreflect.ValueOfString(n.value))
	default:
		d.wrongType(p, n, "a plain value")
		return false
	}
	return true
}
