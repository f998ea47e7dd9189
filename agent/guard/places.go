package guard

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// reference names a secret: a variable, or a file.
type reference struct{ env, file string }

// placesOf finds where a scenario sends each of its secrets: the hosts and ports of the targets that name it themselves
// or have a workload that does. Every message of the scenario is looked into, so a new field that names a secret is found.
func placesOf(s *pb.Scenario) func(*pb.SecretRef) []Rule {
	rules := map[string]Rule{}
	places := map[reference][]Rule{}
	for _, t := range s.GetTargets() {
		rule, err := ruleFor(t.GetUrl())
		if err != nil {
			continue // it has been refused, and a secret without a place is not resolved
		}
		rules[t.GetName()] = rule
		walk(t.ProtoReflect(), func(r reference) { places[r] = append(places[r], rule) })
	}
	for _, w := range s.GetWorkloads() {
		if rule, ok := rules[w.GetTarget()]; ok {
			walk(w.ProtoReflect(), func(r reference) { places[r] = append(places[r], rule) })
		}
	}
	return func(ref *pb.SecretRef) []Rule { return places[reference{ref.GetEnv(), ref.GetFile()}] }
}

// walk calls found for each secret that a message names.
func walk(m protoreflect.Message, found func(reference)) {
	switch v := m.Interface().(type) {
	case *pb.SecretRef:
		found(reference{v.GetEnv(), v.GetFile()})
		return
	case *pb.HeaderValue:
		if v.HasEnv() || v.HasFile() {
			found(reference{v.GetEnv(), v.GetFile()})
		}
		return
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap():
			if field.MapValue().Message() != nil {
				value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					walk(v.Message(), found)
					return true
				})
			}
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				walk(value.List().Get(i).Message(), found)
			}
		default:
			walk(value.Message(), found)
		}
		return true
	})
}
