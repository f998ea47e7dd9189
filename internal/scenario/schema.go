package scenario

import (
	"encoding/json"
	"math"
	"strings"
	"time"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Patterns of the schema for what is written as text.
const (
	durationPattern = `^([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d))*$`
	kiloPattern     = `^([0-9]+(\.[0-9]*)?|\.[0-9]+)k$`
	percentPattern  = `^([0-9]+(\.[0-9]*)?|\.[0-9]+)%$`
)

// object is a JSON object; encoding/json writes its members sorted by name.
type object = map[string]any

// Schema is the JSON schema (2020-12) of a scenario, for editors. It is made from the descriptor
// of the message and refuses what the reader refuses of single fields: unknown names, wrong types,
// unknown choices, numbers out of range, missing fields, two choices where one is allowed. What
// fields must be together (names that exist, objectives that parse) only Parse can tell.
func Schema() []byte {
	b := schemaBuilder{defs: object{}}
	md := (&pb.Scenario{}).ProtoReflect().Descriptor()
	root := b.message(md)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "loadline scenario"
	root["$defs"] = b.defs
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("scenario: a schema of plain maps does not marshal: " + err.Error())
	}
	return append(text, '\n')
}

type schemaBuilder struct {
	defs object
}

// ref is a reference to a message's schema, which is built on first use.
func (b *schemaBuilder) ref(md protoreflect.MessageDescriptor) object {
	name := string(md.Name())
	if _, ok := b.defs[name]; !ok {
		b.defs[name] = nil // ends the recursion
		b.defs[name] = b.message(md)
	}
	return object{"$ref": "#/$defs/" + name}
}

func (b *schemaBuilder) message(md protoreflect.MessageDescriptor) object {
	form := messageForm(md)
	if form.GetExpression() {
		return object{"type": "string", "minLength": 1, "maxLength": MaxExpression}
	}
	properties, required := object{}, []string{}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		if fieldForm(fd).GetLater() {
			continue
		}
		properties[string(fd.Name())] = b.field(fd)
		if rules := fieldRules(fd); rules.GetRequired() || rules.GetRepeated().GetMinItems() > 0 {
			required = append(required, string(fd.Name()))
		}
	}
	s := object{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		s["required"] = required
	}
	if all := oneofs(md); len(all) > 0 {
		s["allOf"] = all
	}
	if name := form.GetScalarField(); name != "" {
		return object{"anyOf": []any{b.field(md.Fields().ByName(protoreflect.Name(name))), s}}
	}
	if word := form.GetZeroWord(); word != "" {
		return object{"anyOf": []any{object{"const": word}, s}}
	}
	return s
}

// oneofs are the conditions that at most one, or exactly one, member of each oneof is there.
func oneofs(md protoreflect.MessageDescriptor) []any {
	var all []any
	for i := range md.Oneofs().Len() {
		od := md.Oneofs().Get(i)
		var each []any
		for _, name := range oneofNames(od) {
			each = append(each, object{"required": []string{name}})
		}
		if !oneofRequired(od) {
			each = append(each, object{"not": object{"anyOf": each[:len(each):len(each)]}})
		}
		all = append(all, object{"oneOf": each})
	}
	return all
}

func (b *schemaBuilder) field(fd protoreflect.FieldDescriptor) object {
	rules := fieldRules(fd)
	switch {
	case fd.IsMap():
		s := object{"type": "object", "additionalProperties": b.single(fd.MapValue(), rules.GetMap().GetValues())}
		if rules.GetMap().HasMaxPairs() {
			s["maxProperties"] = rules.GetMap().GetMaxPairs()
		}
		return s
	case fd.IsList():
		r := rules.GetRepeated()
		s := object{"type": "array", "items": b.single(fd, r.GetItems())}
		if r.HasMinItems() {
			s["minItems"] = r.GetMinItems()
		}
		if r.HasMaxItems() {
			s["maxItems"] = r.GetMaxItems()
		}
		if r.GetUnique() {
			s["uniqueItems"] = true
		}
		return s
	}
	return b.single(fd, rules)
}

func (b *schemaBuilder) single(fd protoreflect.FieldDescriptor, rules *validate.FieldRules) object {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return stringSchema(rules.GetString())
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.EnumKind:
		return object{"enum": choices(fd.Enum())}
	case protoreflect.DoubleKind:
		return numberSchema("number", doubleBounds(rules), fieldForm(fd))
	case protoreflect.Uint32Kind:
		bounds := uintBounds(rules)
		if most := float64(math.MaxUint32); bounds.lte == nil {
			bounds.lte = &most
		}
		return numberSchema("integer", bounds, fieldForm(fd))
	case protoreflect.Uint64Kind:
		return numberSchema("integer", uintBounds(rules), fieldForm(fd))
	}
	switch fd.Message().FullName() {
	case nameDuration:
		return durationSchema(durationBounds(rules))
	case nameStruct:
		return object{"type": "object"}
	case nameValue:
		return object{}
	}
	return b.ref(fd.Message())
}

func stringSchema(rules *validate.StringRules) object {
	s := object{"type": "string"}
	if rules.GetMinLen() > 0 {
		s["minLength"] = rules.GetMinLen()
	}
	if rules.HasMaxLen() {
		s["maxLength"] = rules.GetMaxLen()
	}
	switch {
	case rules.HasPattern():
		s["pattern"] = rules.GetPattern()
	case rules.HasPrefix():
		s["pattern"] = "^" + rules.GetPrefix()
	case rules.HasNotContains():
		s["pattern"] = "^[^" + rules.GetNotContains() + "]*$"
	}
	return s
}

// numberSchema allows the number itself and its spellings with a suffix. The range of those is
// left to the reader.
func numberSchema(kind string, b bounds, form *pb.FieldForm) object {
	n := object{"type": kind}
	if b.gt != nil {
		n["exclusiveMinimum"] = *b.gt
	}
	if b.gte != nil {
		n["minimum"] = *b.gte
	} else if kind == "integer" {
		n["minimum"] = 0
	}
	if b.lte != nil {
		n["maximum"] = *b.lte
	} else if kind == "integer" {
		n["maximum"] = uint64(math.MaxUint64)
	}
	either := []any{n, object{"type": "string", "pattern": kiloPattern}}
	if form.GetPercent() {
		either = append(either, object{"type": "string", "pattern": percentPattern})
	}
	if form.GetCountOrAll() {
		either = append(either, object{"const": "all"})
	}
	return object{"anyOf": either}
}

func durationSchema(b bounds) object {
	s := object{"type": "string", "pattern": durationPattern}
	var parts []string
	for _, p := range []struct {
		words string
		v     *float64
	}{{"greater than ", b.gt}, {"at least ", b.gte}, {"at most ", b.lte}} {
		if p.v != nil {
			parts = append(parts, p.words+formatDuration(time.Duration(*p.v)))
		}
	}
	s["description"] = "a duration such as 90s, 1m30s, 250ms or 2d"
	if len(parts) > 0 {
		s["description"] = "a duration such as 90s, 1m30s, 250ms or 2d, " + strings.Join(parts, " and ")
	}
	return s
}
