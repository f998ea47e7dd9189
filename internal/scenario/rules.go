package scenario

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// ruleChecker checks the constraints that the schema itself bears (buf.validate options). It does
// so from the descriptor, without protovalidate: that compiles its rules on first use, which takes
// about 30 ms, and its words are not for people. A test holds the two against each other on random
// messages, and another fails when the schema uses a constraint that is not known here.
type ruleChecker struct {
	*report
	patterns map[string]*regexp.Regexp
}

func fieldRules(fd protoreflect.FieldDescriptor) *validate.FieldRules {
	rules, _ := proto.GetExtension(fd.Options(), validate.E_Field).(*validate.FieldRules)
	return rules
}

func oneofRequired(od protoreflect.OneofDescriptor) bool {
	rules, _ := proto.GetExtension(od.Options(), validate.E_Oneof).(*validate.OneofRules)
	return rules.GetRequired()
}

// message checks the fields of m and of the messages within it. Lists and maps are within their
// limits already (excess).
func (c *ruleChecker) message(p *path, m protoreflect.Message) {
	if len(m.GetUnknown()) > 0 {
		c.value(p, "holds fields that this version does not know", "the sender is newer than this program")
	}
	if m.Descriptor().FullName() == nameStruct || m.Descriptor().FullName() == nameValue {
		c.free(p, m)
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		c.field(p.field(string(fd.Name())), m, fd)
	}
	oneofs := m.Descriptor().Oneofs()
	for i := range oneofs.Len() {
		c.oneof(p, m, oneofs.Get(i))
	}
}

// free bounds a free value that came through the API; documents are bounded as they are read.
func (c *ruleChecker) free(p *path, m protoreflect.Message) {
	if proto.Size(m.Interface()) > MaxSource {
		c.value(p, "is larger than 1 MiB", "")
		return
	}
	if !depthWithin(m, MaxDepth) {
		c.value(p, fmt.Sprintf("is nested deeper than %d levels", MaxDepth), "")
		return
	}
	if !finite(m) {
		c.value(p, "holds a number that is not finite, which JSON cannot carry", "")
	}
}

// finite reports whether every number in a free value is one.
func finite(m protoreflect.Message) bool {
	switch v := m.Interface().(type) {
	case *structpb.Struct:
		for _, member := range v.GetFields() {
			if !finite(member.ProtoReflect()) {
				return false
			}
		}
	case *structpb.Value:
		for _, element := range v.GetListValue().GetValues() {
			if !finite(element.ProtoReflect()) {
				return false
			}
		}
		x := v.GetNumberValue()
		return !math.IsNaN(x) && !math.IsInf(x, 0) && finite(v.GetStructValue().ProtoReflect())
	}
	return true
}

// depthWithin reports whether messages are nested in m at most n deep, counting two messages a level.
func depthWithin(m protoreflect.Message, n int) bool {
	if n < 0 {
		return false
	}
	ok := true
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				ok = ok && depthWithin(v.Message(), n-1)
				return ok
			})
		case fd.IsList() && fd.Message() != nil:
			for i := range v.List().Len() {
				ok = ok && depthWithin(v.List().Get(i).Message(), n-1)
			}
		case !fd.IsMap() && fd.Message() != nil:
			ok = ok && depthWithin(v.Message(), n)
		}
		return ok
	})
	return ok
}

func (c *ruleChecker) oneof(p *path, m protoreflect.Message, od protoreflect.OneofDescriptor) {
	if !oneofRequired(od) || m.WhichOneof(od) != nil {
		return
	}
	var from []*path
	for i := range od.Fields().Len() {
		from = append(from, p.field(string(od.Fields().Get(i).Name())))
	}
	c.unless(p, "needs "+list(oneofNames(od), "or"), "", from...)
}

func (c *ruleChecker) field(p *path, m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	rules := fieldRules(fd)
	if !m.Has(fd) {
		if c.driven && fd.FullName() == nameLoad {
			return
		}
		if rules.GetRequired() || rules.GetRepeated().GetMinItems() > 0 {
			c.value(p, "is missing", "")
		}
		return
	}
	if fieldForm(fd).GetLater() {
		c.value(p, "is not in this version", "leave it out; it is refused so that nothing is ignored in silence")
		return
	}
	switch v := m.Get(fd); {
	case fd.IsMap():
		c.mapField(p, fd, rules.GetMap(), v.Map())
	case fd.IsList():
		c.list(p, fd, rules.GetRepeated(), v.List())
	default:
		c.single(p, fd, rules, v)
	}
}

func (c *ruleChecker) mapField(p *path, fd protoreflect.FieldDescriptor, rules *validate.MapRules, m protoreflect.Map) {
	for _, k := range sortedKeys(m) {
		c.single(p.key(k), fd.MapValue(), rules.GetValues(), m.Get(protoreflect.ValueOfString(k).MapKey()))
	}
}

func (c *ruleChecker) list(p *path, fd protoreflect.FieldDescriptor, rules *validate.RepeatedRules, l protoreflect.List) {
	if uint64(l.Len()) < rules.GetMinItems() {
		c.value(p, fmt.Sprintf("needs at least %d elements", rules.GetMinItems()), "")
		return
	}
	seen := map[any]int{}
	for i := range l.Len() {
		v := l.Get(i)
		if rules.GetUnique() {
			if first, ok := seen[v.Interface()]; ok {
				c.value(p.index(i), fmt.Sprintf("%s stands in the list already, as element %d", quote(v.String()), first), "keep one of the two")
				continue
			}
			seen[v.Interface()] = i
		}
		c.single(p.index(i), fd, rules.GetItems(), v)
	}
}

// single checks one value against the rules of its type.
func (c *ruleChecker) single(p *path, fd protoreflect.FieldDescriptor, rules *validate.FieldRules, v protoreflect.Value) {
	switch fd.Kind() {
	case protoreflect.StringKind:
		c.text(p, rules.GetString(), v.String())
	case protoreflect.EnumKind:
		c.enum(p, fd, rules.GetEnum(), v.Enum())
	case protoreflect.DoubleKind:
		b := doubleBounds(rules)
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			c.value(p, "must be a finite number", "")
		} else {
			c.bounds(p, b, f, thousands)
		}
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		c.bounds(p, uintBounds(rules), float64(v.Uint()), thousands)
	case protoreflect.MessageKind:
		if fd.Message().FullName() == nameDuration {
			c.duration(p, rules, v.Message())
			return
		}
		c.message(p, v.Message())
	}
}

func (c *ruleChecker) duration(p *path, rules *validate.FieldRules, m protoreflect.Message) {
	d := m.Interface().(*durationpb.Duration)
	if d.CheckValid() != nil {
		c.value(p, "is not a duration", "")
		return
	}
	c.bounds(p, durationBounds(rules), float64(d.AsDuration()), func(f float64) string { return formatDuration(time.Duration(f)) })
}

func (c *ruleChecker) enum(p *path, fd protoreflect.FieldDescriptor, rules *validate.EnumRules, n protoreflect.EnumNumber) {
	v := fd.Enum().Values().ByNumber(n)
	known := "choose one of " + list(choices(fd.Enum()), "and")
	switch {
	case v == nil:
		c.value(p, "unknown choice "+strconv.Itoa(int(n)), known)
	case len(rules.GetNotIn()) > 0 && n == 0:
		c.value(p, "is missing", known)
	}
}

func (c *ruleChecker) text(p *path, rules *validate.StringRules, s string) {
	chars := uint64(utf8.RuneCountInString(s))
	switch {
	case !utf8.ValidString(s):
		c.value(p, "is not UTF-8", "")
	case chars < rules.GetMinLen() && s == "":
		c.value(p, "must not be empty", "")
	case chars < rules.GetMinLen():
		c.value(p, fmt.Sprintf("must have at least %d characters", rules.GetMinLen()), "")
	case rules.HasMaxLen() && chars > rules.GetMaxLen():
		c.value(p, fmt.Sprintf("has %s characters; the most is %s", thousands(float64(chars)), thousands(float64(rules.GetMaxLen()))), "")
	case rules.HasMaxBytes() && uint64(len(s)) > rules.GetMaxBytes():
		c.value(p, fmt.Sprintf("has %s bytes; the most is %s", thousands(float64(len(s))), thousands(float64(rules.GetMaxBytes()))), "")
	case rules.HasPrefix() && !strings.HasPrefix(s, rules.GetPrefix()):
		c.value(p, "must begin with "+rules.GetPrefix()+", got "+quote(s), "")
	case rules.HasNotContains() && strings.Contains(s, rules.GetNotContains()):
		c.value(p, "must not hold "+quote(rules.GetNotContains()), "")
	case rules.HasPattern() && !c.pattern(rules.GetPattern()).MatchString(s):
		c.value(p, quote(s)+" is not allowed here", patternHint(rules.GetPattern()))
	}
}

func (c *ruleChecker) pattern(s string) *regexp.Regexp {
	re, ok := c.patterns[s]
	if !ok {
		re = regexp.MustCompile(s)
		c.patterns[s] = re
	}
	return re
}

// patternHint puts the patterns of the schema into words.
func patternHint(pattern string) string {
	switch pattern {
	case "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$":
		return "use up to 64 letters, digits, dots, underscores and hyphens, a letter or digit first"
	case "^[A-Z]{1,16}$":
		return "use capital letters, such as GET or POST"
	}
	return "it must match " + pattern
}

// bounds of a number: durations in nanoseconds. Absent ones are nil.
type bounds struct {
	gt, gte, lte *float64
}

func bound[T uint32 | uint64 | float64](has bool, v T) *float64 {
	if !has {
		return nil
	}
	f := float64(v)
	return &f
}

func doubleBounds(rules *validate.FieldRules) bounds {
	d := rules.GetDouble()
	return bounds{gt: bound(d.HasGt(), d.GetGt()), gte: bound(d.HasGte(), d.GetGte()), lte: bound(d.HasLte(), d.GetLte())}
}

func uintBounds(rules *validate.FieldRules) bounds {
	if u := rules.GetUint64(); u != nil {
		return bounds{gte: bound(u.HasGte(), u.GetGte()), lte: bound(u.HasLte(), u.GetLte())}
	}
	u := rules.GetUint32()
	return bounds{gte: bound(u.HasGte(), u.GetGte()), lte: bound(u.HasLte(), u.GetLte())}
}

func durationBounds(rules *validate.FieldRules) bounds {
	d := rules.GetDuration()
	ns := func(has bool, v *durationpb.Duration) *float64 { return bound(has, float64(v.AsDuration())) }
	return bounds{gt: ns(d.HasGt(), d.GetGt()), gte: ns(d.HasGte(), d.GetGte()), lte: ns(d.HasLte(), d.GetLte())}
}

// bounds checks a number and says the whole range when it is outside.
func (c *ruleChecker) bounds(p *path, b bounds, v float64, format func(float64) string) {
	if (b.gt == nil || v > *b.gt) && (b.gte == nil || v >= *b.gte) && (b.lte == nil || v <= *b.lte) {
		return
	}
	if b.gte != nil && b.lte != nil {
		c.value(p, "must be from "+format(*b.gte)+" to "+format(*b.lte)+", got "+format(v), "")
		return
	}
	var parts []string
	if b.gt != nil {
		parts = append(parts, "greater than "+format(*b.gt))
	}
	if b.gte != nil {
		parts = append(parts, "at least "+format(*b.gte))
	}
	if b.lte != nil {
		parts = append(parts, "at most "+format(*b.lte))
	}
	c.value(p, "must be "+list(parts, "and")+", got "+format(v), "")
}
