package grpcdriver

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/loadline/loadline/internal/scenario"
)

// schema is what a service looks like.
type schema struct {
	files *protoregistry.Files
	types *dynamicpb.Types
	// services are the names that the server lists; nil: those of files.
	services []string
}

// assemble links files into a schema. Those of protobuf itself are added where they are missing.
func assemble(list []*descriptorpb.FileDescriptorProto) (*schema, error) {
	have := map[string]bool{}
	for _, f := range list {
		have[f.GetName()] = true
	}
	for i := 0; i < len(list); i++ {
		for _, name := range list[i].GetDependency() {
			known, err := wellKnown(name)
			if have[name] || err != nil {
				continue // NewFiles names what is missing
			}
			have[name] = true
			list = append(list, known)
		}
	}
	files, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: list})
	if err != nil {
		return nil, fmt.Errorf("the service's description does not hold together: %w", err)
	}
	return &schema{files: files, types: dynamicpb.NewTypes(files)}, nil
}

// wellKnown is a file of protobuf itself.
func wellKnown(name string) (*descriptorpb.FileDescriptorProto, error) {
	if !strings.HasPrefix(name, "google/protobuf/") {
		return nil, protoregistry.NotFound
	}
	f, err := protoregistry.GlobalFiles.FindFileByPath(name)
	if err != nil {
		return nil, err
	}
	return protodesc.ToFileDescriptorProto(f), nil
}

// parseSet reads a FileDescriptorSet.
func parseSet(data []byte) (*schema, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("no FileDescriptorSet (write it with protoc --include_imports --descriptor_set_out=FILE): %w", err)
	}
	if len(set.GetFile()) == 0 || len(set.GetFile()) > MaxSchemaFiles {
		return nil, fmt.Errorf("a FileDescriptorSet has 1 to %d files, this one %d", MaxSchemaFiles, len(set.GetFile()))
	}
	return assemble(set.GetFile())
}

func serviceOf(method string) string {
	service, _, _ := strings.Cut(method, "/")
	return service
}

// find finds a method by its full name, or names the nearest.
func (s *schema) find(full string) (protoreflect.MethodDescriptor, error) {
	service, name, _ := strings.Cut(full, "/")
	found, _ := s.files.FindDescriptorByName(protoreflect.FullName(service))
	sd, ok := found.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil, missing("service", service, s.serviceNames())
	}
	if md := sd.Methods().ByName(protoreflect.Name(name)); md != nil {
		return md, nil
	}
	var known []string
	for i := range sd.Methods().Len() {
		known = append(known, string(sd.Methods().Get(i).Name()))
	}
	return nil, missing("method", full, known)
}

// missing says that a name does not exist, and which do.
func missing(what, name string, known []string) error {
	const most = 10
	hint := scenario.DidYouMean(name[strings.LastIndex(name, "/")+1:], known)
	if len(known) > most {
		known = append(known[:most:most], "…")
	}
	return fmt.Errorf("there is no %s %q: %s%ss are %s", what, name, hint, what, strings.Join(known, ", "))
}

func (s *schema) serviceNames() []string {
	if s.services != nil {
		return s.services
	}
	var names []string
	s.files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			names = append(names, string(f.Services().Get(i).FullName()))
		}
		return true
	})
	slices.Sort(names)
	return names
}
