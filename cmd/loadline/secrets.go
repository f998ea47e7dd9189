package main

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// checkSecrets names every environment variable that the scenario refers to and that is not set, before load starts.
// The agents look the values up themselves; here they are not kept.
func checkSecrets(s *pb.Scenario, env func(string) (string, bool)) error {
	var missing []string
	eachReference(s.ProtoReflect(), func(name string) {
		if value, ok := env(name); (!ok || value == "") && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	})
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return badInput("the scenario takes secrets from the environment, and these variables are not set or empty: %s\nSet them, for example: export %s=…",
		strings.Join(missing, ", "), missing[0])
}

// eachReference calls found with the variable of every secret or header value that is taken from the environment.
func eachReference(m protoreflect.Message, found func(name string)) {
	switch v := m.Interface().(type) {
	case *pb.SecretRef:
		if v.HasEnv() {
			found(v.GetEnv())
		}
		return
	case *pb.HeaderValue:
		if v.HasEnv() {
			found(v.GetEnv())
		}
		return
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap() && field.MapValue().Message() != nil:
			value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				eachReference(v.Message(), found)
				return true
			})
		case field.IsList() && field.Message() != nil:
			for i := range value.List().Len() {
				eachReference(value.List().Get(i).Message(), found)
			}
		case !field.IsMap() && field.Message() != nil:
			eachReference(value.Message(), found)
		}
		return true
	})
}
