package scenario

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"regexp"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Our reading of the schema's constraints is that of protovalidate: on random messages both find
// fault with the same fields.
func TestRulesAgreeWithProtovalidate(t *testing.T) {
	validator, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := &pb.Scenario{}
		fillMessage(t, s.ProtoReflect(), 0)
		ours, theirs := ourFaults(s), theirFaults(t, validator, s)
		if !slices.Equal(ours, theirs) {
			t.Fatalf("ours   %v\ntheirs %v\n%v", ours, theirs, s)
		}
	})
}

func ourFaults(s *pb.Scenario) []string {
	r := newReport(Source{})
	c := ruleChecker{report: r, patterns: map[string]*regexp.Regexp{}}
	c.message(nil, s.ProtoReflect())
	paths := map[string]bool{}
	twice := regexp.MustCompile(`^(load\[\d+\]\.workloads)\[\d+\]$`) // we point at the second of two equal elements
	for p := range r.broken {
		paths[twice.ReplaceAllString(p, "$1")] = true
	}
	return slices.Sorted(maps.Keys(paths))
}

// theirFaults are the paths of protovalidate's violations; a oneof counts as the message that holds it.
func theirFaults(t *rapid.T, validator protovalidate.Validator, s *pb.Scenario) []string {
	paths := map[string]bool{}
	var ve *protovalidate.ValidationError
	err := validator.Validate(s)
	if err != nil && !errors.As(err, &ve) {
		t.Fatal(err)
	}
	if ve != nil {
		for _, v := range ve.Violations {
			p := protovalidate.FieldPathString(v.Proto.GetField())
			elements := v.Proto.GetField().GetElements()
			if elements[len(elements)-1].GetFieldNumber() == 0 { // a oneof
				p = p[:max(0, strings.LastIndexByte(p, '.'))]
			}
			paths[bracketless(p)] = true
		}
	}
	return slices.Sorted(maps.Keys(paths))
}

// bracketless writes the key of a map as we do: headers["a"] as headers.a.
func bracketless(p string) string {
	return regexp.MustCompile(`\["([a-z]+)"\]`).ReplaceAllString(p, ".$1")
}

// fillMessage draws values around the bounds of every rule. It keeps to what both check alike: no
// choices and fields of later versions, no lists beyond their limits, finite numbers.
func fillMessage(t *rapid.T, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fieldForm(fd).GetLater() || depth > 5 || !rapid.Bool().Draw(t, string(fd.Name())) {
			continue
		}
		switch {
		case fd.IsMap():
			v := m.Mutable(fd).Map().NewValue()
			if fd.MapValue().Message() != nil {
				fillMessage(t, v.Message(), depth+1)
			}
			m.Mutable(fd).Map().Set(protoreflect.ValueOfString("a").MapKey(), v)
		case fd.IsList():
			l := m.Mutable(fd).List()
			for range rapid.IntRange(0, 2).Draw(t, "length") {
				l.Append(fillSingle(t, fd, l.NewElement, depth))
			}
		default:
			m.Set(fd, fillSingle(t, fd, func() protoreflect.Value { return m.NewField(fd) }, depth))
		}
	}
}

func fillSingle(t *rapid.T, fd protoreflect.FieldDescriptor, fresh func() protoreflect.Value, depth int) protoreflect.Value {
	number := rapid.SampledFrom([]float64{0, 0.05, 0.1, 0.5, 1, 10, 11, 64, 99, 100, 599, 600, 1e6, 1e6 + 1, 1e7, 1e7 + 1, 1e12, 2e12})
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.SampledFrom([]string{"", "a", "GET", "/a", "a:b", "é", "-x", "a b", strings.Repeat("é", 64), strings.Repeat("x", 65),
			strings.Repeat("x", 257), strings.Repeat("/", 8193)}).Draw(t, "text"))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		most := fd.Enum().Values().Len()
		if fieldRules(fd).GetEnum().GetDefinedOnly() {
			most++
		}
		n := rapid.IntRange(0, most-1).Draw(t, "choice")
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(number.Draw(t, "number") - rapid.SampledFrom([]float64{0, 1}).Draw(t, "less"))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(min(number.Draw(t, "number"), 1<<32-1)))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(number.Draw(t, "number")))
	}
	v := fresh()
	switch fd.Message().FullName() {
	case nameDuration:
		d := rapid.SampledFrom([]int64{-1, 0, 1, 60, 61, 3600, 3601, 86400, 86401, 2592000, 2592001}).Draw(t, "seconds")
		return protoreflect.ValueOfMessage((&durationpb.Duration{Seconds: d}).ProtoReflect())
	case nameStruct, nameValue:
		return v
	}
	fillMessage(t, v.Message(), depth+1)
	return v
}

// The schema uses no constraint that the checker does not know: those would be ignored in silence.
func TestRulesAreAllKnown(t *testing.T) {
	known := map[string][]string{
		"FieldRules":  {"required", "string", "repeated", "map", "enum", "double", "uint32", "uint64", "duration"},
		"StringRules": {"min_len", "max_len", "max_bytes", "prefix", "not_contains", "pattern"}, "RepeatedRules": {"min_items", "max_items", "unique", "items"},
		"MapRules": {"max_pairs"}, "EnumRules": {"defined_only", "not_in"}, "DoubleRules": {"gt", "gte", "lte"}, "UInt32Rules": {"gte", "lte"},
		"UInt64Rules": {"gte", "lte"}, "DurationRules": {"gt", "gte", "lte"}, "Duration": {"seconds", "nanos"},
	}
	seen := map[protoreflect.FullName]bool{}
	var walk func(md protoreflect.MessageDescriptor)
	walk = func(md protoreflect.MessageDescriptor) {
		if seen[md.FullName()] {
			return
		}
		seen[md.FullName()] = true
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			if rules := fieldRules(fd); rules != nil {
				protorangeRules(t, fd.FullName(), rules.ProtoReflect(), known)
			}
			if fd.Message() != nil {
				walk(fd.Message())
			}
		}
		if md.Options().ProtoReflect().IsValid() && strings.Contains(md.Options().(interface{ String() string }).String(), "buf.validate.message") {
			t.Errorf("%s has a rule of the whole message", md.FullName())
		}
	}
	walk((&pb.Scenario{}).ProtoReflect().Descriptor())
	if len(seen) < 40 {
		t.Errorf("saw %d messages only", len(seen))
	}
}

func protorangeRules(t *testing.T, at protoreflect.FullName, m protoreflect.Message, known map[string][]string) {
	t.Helper()
	name := string(m.Descriptor().Name())
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if !slices.Contains(known[name], string(fd.Name())) {
			t.Errorf("%s: the rule %s.%s is not known", at, name, fd.Name())
		}
		if fd.Message() != nil && !fd.IsList() && !fd.IsMap() {
			protorangeRules(t, at, v.Message(), known)
		}
		return true
	})
}
