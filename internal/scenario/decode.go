package scenario

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Full names of the well-known messages that are written in a form of their own.
const (
	nameDuration protoreflect.FullName = "google.protobuf.Duration"
	nameLoad     protoreflect.FullName = "loadline.v1.Scenario.load"
	nameStruct   protoreflect.FullName = "google.protobuf.Struct"
	nameValue    protoreflect.FullName = "google.protobuf.Value"
)

// decoder fills a message from a tree of nodes, guided by the message's descriptor.
type decoder struct {
	*report
}

func newDecoder(r *report) *decoder { return &decoder{report: r} }

// fieldForm is the option that says how a field may be written; never nil.
func fieldForm(fd protoreflect.FieldDescriptor) *pb.FieldForm {
	return proto.GetExtension(fd.Options(), pb.E_Form).(*pb.FieldForm)
}

// messageForm is the option that says how a message may be written; never nil.
func messageForm(md protoreflect.MessageDescriptor) *pb.MessageForm {
	return proto.GetExtension(md.Options(), pb.E_Written).(*pb.MessageForm)
}

// message fills m from a node: a mapping, or a scalar where the message has a short form.
func (d *decoder) message(p *path, n *node, m protoreflect.Message) {
	form := messageForm(m.Descriptor())
	switch {
	case form.GetExpression():
		d.expression(p, n, m)
	case n.kind == kindScalar && form.GetScalarField() != "":
		fd := m.Descriptor().Fields().ByName(protoreflect.Name(form.GetScalarField()))
		d.field(p, n, m, fd)
	case n.kind == kindScalar && n.tag == tagStr && form.GetZeroWord() != "" && n.value == form.GetZeroWord():
		fd := m.Descriptor().Fields().Get(0)
		m.Set(fd, m.NewField(fd))
	case n.kind != kindMap:
		d.wrongType(p, n, expectedMapping(m.Descriptor(), form))
	default:
		d.fields(p, n, m)
	}
}

func expectedMapping(md protoreflect.MessageDescriptor, form *pb.MessageForm) string {
	s := "a mapping with " + list(knownFields(md), "and")
	if form.GetScalarField() != "" {
		s = "a value or " + s
	}
	if word := form.GetZeroWord(); word != "" {
		s = `"` + word + `" or ` + s
	}
	return s
}

// fields fills m from the entries of a mapping.
func (d *decoder) fields(p *path, n *node, m protoreflect.Message) {
	seen := map[string]spot{}
	members := map[protoreflect.Name]pair{}
	for _, e := range n.pairs {
		if !d.mapKey(p, e, seen) {
			continue
		}
		name := protoreflect.Name(e.key.value)
		fd := m.Descriptor().Fields().ByName(name)
		if fd == nil {
			d.unknown(p, n, e.key, m.Descriptor())
			continue
		}
		at := p.field(string(name))
		d.remember(at, e)
		if fieldForm(fd).GetLater() {
			d.at(e.key.at, at, "is not in this version", "leave it out; it is refused so that nothing is ignored in silence")
			continue
		}
		if od := fd.ContainingOneof(); od != nil && !od.IsSynthetic() {
			if other, ok := members[od.Name()]; ok {
				d.at(e.key.at, at, fmt.Sprintf("%s and %s (line %d) exclude each other", name, other.key.value, other.key.at.line), "keep one of "+list(oneofNames(od), "and"))
				continue
			}
			members[od.Name()] = e
		}
		d.field(at, e.value, m, fd)
	}
}

// remember notes where a field stands.
func (d *decoder) remember(p *path, e pair) {
	d.spots[p.text] = fieldSpot{key: e.key.at, value: e.value.at, raw: e.value.value}
}

// mapKey checks one key of a mapping: text, and not there before.
func (d *decoder) mapKey(p *path, e pair, seen map[string]spot) bool {
	if e.key.kind != kindScalar || e.key.tag == tagNull {
		d.at(e.key.at, p, "a key must be text, got "+e.key.describe(), placeholderHint(e.key))
		return false
	}
	if first, ok := seen[e.key.value]; ok {
		d.at(e.key.at, p.key(e.key.value), fmt.Sprintf("duplicate key %s: it stands on line %d already", quote(e.key.value), first.line), "keep one of the two")
		return false
	}
	seen[e.key.value] = e.key.at
	return true
}

// placeholderHint helps with {{arrival}} outside quotes, which YAML reads as two mappings.
func placeholderHint(n *node) string {
	if n.kind == kindMap {
		return "put a text with a placeholder in quotes: '{{arrival}}'"
	}
	return ""
}

// unknown notes a field that the message does not have.
func (d *decoder) unknown(p *path, n, key *node, md protoreflect.MessageDescriptor) {
	at := p.field(key.value)
	if len(d.notes) > maxExact { // nobody reads that far
		d.at(key.at, at, "unknown field "+quote(key.value), "")
		return
	}
	known := knownFields(md)
	hint := "known here: " + list(known, "and")
	if near := nearest(key.value, known); near != "" {
		hint = "did you mean " + near + "? " + hint
		if n.get(near) == nil { // what is missing there is missing because of this
			d.markBroken(p.field(near))
		}
	}
	if more, meant := misplaced(md, key.value); more != "" {
		hint = more
		if n.get(meant) == nil {
			d.markBroken(p.field(meant))
		}
	}
	d.at(key.at, at, "unknown field "+quote(key.value), hint)
}

// misplaced explains fields that exist, but elsewhere, and names the field that is missing because of it.
func misplaced(md protoreflect.MessageDescriptor, name string) (hint, meant string) {
	switch {
	case md.Name() == "ClosedLoad" && (name == "arrivals" || name == "cv"):
		return "a closed load has no arrivals: a user starts a session when the last one has ended; use open, or think for pauses", ""
	case (md.Name() == "ClosedLoad" || md.Name() == "OpenLoad") && slices.Contains([]string{"duration", "sessions", "at", "discard", "workloads"}, name):
		return name + " belongs to the phase, beside " + strings.ToLower(strings.TrimSuffix(string(md.Name()), "Load")), ""
	case md.Name() == "Phase" && slices.Contains([]string{"rate", "ramp", "steps", "spike", "sine", "arrivals", "cv"}, name):
		return name + " belongs into open: {" + name + ": …}", "open"
	case md.Name() == "Phase" && slices.Contains([]string{"users", "think", "ramp_up"}, name):
		return name + " belongs into closed: {" + name + ": …}", "closed"
	}
	return "", ""
}

// field fills one field of m.
func (d *decoder) field(p *path, n *node, m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	switch {
	case fd.IsMap():
		d.mapField(p, n, m.Mutable(fd).Map(), fd)
	case fd.IsList():
		d.listField(p, n, m.Mutable(fd).List(), fd)
	default:
		if v, ok := d.single(p, n, fd, m.NewField); ok {
			m.Set(fd, v)
		}
	}
}

// single reads one value: a message or a scalar. It returns false after a problem that leaves no value.
func (d *decoder) single(p *path, n *node, fd protoreflect.FieldDescriptor, fresh func(protoreflect.FieldDescriptor) protoreflect.Value) (protoreflect.Value, bool) {
	if fd.Message() == nil {
		return d.scalar(p, n, fd)
	}
	if n.kind == kindScalar && n.tag == tagNull && fd.Message().FullName() != nameValue {
		d.noValue(p, n)
		return protoreflect.Value{}, false
	}
	v := fresh(fd)
	switch fd.Message().FullName() {
	case nameDuration:
		return v, d.duration(p, n, v.Message())
	case nameStruct:
		return v, d.structure(p, n, v.Message())
	case nameValue:
		return v, d.anyValue(p, n, v.Message())
	}
	d.message(p, n, v.Message())
	return v, true
}

func (d *decoder) listField(p *path, n *node, l protoreflect.List, fd protoreflect.FieldDescriptor) {
	if n.kind != kindList {
		d.wrongType(p, n, "a list")
		return
	}
	if most := fieldRules(fd).GetRepeated(); most.HasMaxItems() && uint64(len(n.items)) > most.GetMaxItems() {
		d.at(n.at, p, tooMany(len(n.items), most.GetMaxItems()), "")
		return
	}
	fresh := func(protoreflect.FieldDescriptor) protoreflect.Value { return l.NewElement() }
	for i, item := range n.items {
		at := p.index(i)
		d.spots[at.text] = fieldSpot{key: item.at, value: item.at, raw: item.value}
		v, ok := d.single(at, item, fd, fresh)
		if !ok { // an element in its place keeps the numbering of the others
			v = l.NewElement()
		}
		l.Append(v)
	}
}

// tooMany is what is wrong with a list beyond its limit.
func tooMany(n int, most uint64) string {
	return fmt.Sprintf("has %s elements; the most is %s", thousands(float64(n)), thousands(float64(most)))
}

func (d *decoder) mapField(p *path, n *node, m protoreflect.Map, fd protoreflect.FieldDescriptor) {
	if n.kind != kindMap {
		d.wrongType(p, n, "a mapping of names to values")
		return
	}
	seen := map[string]spot{}
	fresh := func(protoreflect.FieldDescriptor) protoreflect.Value { return m.NewValue() }
	for _, e := range n.pairs {
		if !d.mapKey(p, e, seen) {
			continue
		}
		at := p.key(e.key.value)
		d.remember(at, e)
		if v, ok := d.single(at, e.value, fd.MapValue(), fresh); ok {
			m.Set(protoreflect.ValueOfString(e.key.value).MapKey(), v)
		}
	}
}

// expression keeps the text of an objective; Normalize parses it, the checks say what is wrong with it.
func (d *decoder) expression(p *path, n *node, m protoreflect.Message) {
	if n.kind != kindScalar || n.tag != tagStr {
		d.wrongType(p, n, `an expression such as "p99(ttft) < 800ms"`)
		return
	}
	fd := m.Descriptor().Fields().ByName("expression")
	m.Set(fd, protoreflect.ValueOfString(n.value))
}

// wrongType notes a value that is not what the field needs.
func (d *decoder) wrongType(p *path, n *node, want string) {
	hint := ""
	switch {
	case n.kind == kindScalar && n.tag == tagNull:
		d.noValue(p, n)
		return
	case want == "a list" && n.kind == kindScalar:
		hint = "write it as a list: [" + n.value + "]"
		if strings.ContainsAny(n.value, ",{}[]:") {
			hint = "write it as a list, each element on a line of its own after a dash"
		}
	case want == "text":
		hint = textHint(n)
	case want == "true or false" && n.kind == kindScalar:
		hint = "write true or false without quotes"
	case strings.HasPrefix(want, "a mapping with fixed") && n.kind == kindScalar:
		hint = "write {fixed: " + n.value + "}"
	}
	d.at(n.at, p, "must be "+want+", got "+n.describe(), hint)
}

func textHint(n *node) string {
	if n.kind == kindScalar {
		return `put it in quotes: "` + n.value + `"`
	}
	return placeholderHint(n)
}

// noValue notes a key with nothing behind it.
func (d *decoder) noValue(p *path, n *node) {
	d.at(n.at, p, "has no value", "write one, or leave the whole line out to get the default")
}

// knownFields lists the fields that may be written.
func knownFields(md protoreflect.MessageDescriptor) []string {
	var names []string
	for i := range md.Fields().Len() {
		if fd := md.Fields().Get(i); !fieldForm(fd).GetLater() {
			names = append(names, string(fd.Name()))
		}
	}
	return names
}

// oneofNames lists the choices of a oneof that may be written.
func oneofNames(od protoreflect.OneofDescriptor) []string {
	var names []string
	for i := range od.Fields().Len() {
		if fd := od.Fields().Get(i); !fieldForm(fd).GetLater() {
			names = append(names, string(fd.Name()))
		}
	}
	return names
}
