package scenario

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// excess notes the lists and maps of m, and of the messages within it, that have more elements than
// the schema allows, and empties them. So what comes after never walks through a list of millions
// that a message from outside may hold.
func excess(r *report, p *path, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) || fieldForm(fd).GetLater() {
			continue
		}
		at := p.field(string(fd.Name()))
		switch v := m.Get(fd); {
		case fd.IsMap():
			if most := fieldRules(fd).GetMap(); most.HasMaxPairs() && uint64(v.Map().Len()) > most.GetMaxPairs() {
				r.value(at, fmt.Sprintf("has %d entries; the most is %d", v.Map().Len(), most.GetMaxPairs()), "")
				m.Clear(fd)
			}
		case fd.IsList():
			if most := fieldRules(fd).GetRepeated(); most.HasMaxItems() && uint64(v.List().Len()) > most.GetMaxItems() {
				r.value(at, tooMany(v.List().Len(), most.GetMaxItems()), "")
				m.Clear(fd)
				continue
			}
			for i := range v.List().Len() {
				excessWithin(r, at.index(i), fd, v.List().Get(i))
			}
		default:
			excessWithin(r, at, fd, v)
		}
	}
}

// excessWithin looks into one value, unless it is a scalar or free in its form.
func excessWithin(r *report, p *path, fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	if fd.Message() != nil && fd.Message().FullName() != nameStruct && fd.Message().FullName() != nameValue {
		excess(r, p, v.Message())
	}
}
