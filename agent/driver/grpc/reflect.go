package grpcdriver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	rpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/loadline/loadline/agent/wire/rpc"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/measure"
)

// The two versions of reflection have the same messages.
const (
	reflectionV1      = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
	reflectionV1Alpha = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
)

var errNoReflection = errors.New("the server has no reflection: give descriptor_set: FILE " +
	"(protoc --include_imports --descriptor_set_out=FILE …) or proto_files: [FILE, …] at the target")

// asker makes the calls of reflection, with the headers of a request, which may hold the key that the server wants.
type asker struct {
	d      *Driver
	header []workload.Header
}

// one keeps the single message of an answer.
type one struct{ data []byte }

func (s *one) Message(data []byte, _ int, _ measure.Instant) error {
	s.data = append([]byte{}, data...)
	return nil
}

// ask makes one call with one message and returns the last one of the answer. The tags are left out: it is
// no request of the scenario.
func (a *asker) ask(ctx context.Context, path string, message []byte) ([]byte, error) {
	m := &method{path: path}
	bare := &workload.Request{Call: &workload.Call{}}
	for _, h := range a.header {
		if !strings.HasPrefix(strings.ToLower(h.Name), "x-loadline-") {
			bare.Header = append(bare.Header, h)
		}
	}
	if err := m.address(a.d.authority, a.d.tls != nil, bare); err != nil {
		return nil, err
	}
	var got one
	c := rpc.Call{Messages: [][]byte{message}, Keep: true, MaxMessage: MaxSchema, Sink: &got, Deadline: SchemaTimeout}
	var err error
	if c.Steady, c.Vary, err = m.headers(bare.Header, nil); err != nil {
		return nil, err
	}
	switch err := a.d.pool.Do(ctx, &c); {
	case err != nil:
		return nil, err
	case c.Code != 0:
		return nil, status.Error(codes.Code(c.Code), c.Text)
	case got.data == nil:
		return nil, errors.New("the server ended the reflection early")
	}
	return got.data, nil
}

// reflector asks a server for the descriptors of its services.
type reflector struct {
	ctx    context.Context
	asker  *asker
	method string
	bytes  int
	list   []*descriptorpb.FileDescriptorProto
	have   map[string]bool
}

// reflectSchema reads what describes the services named. One that the server does not have is left out.
func reflectSchema(ctx context.Context, a *asker, services []string) (*schema, error) {
	s, err := reflectBy(ctx, a, reflectionV1, services)
	if status.Code(err) == codes.Unimplemented {
		s, err = reflectBy(ctx, a, reflectionV1Alpha, services)
	}
	switch {
	case status.Code(err) == codes.Unimplemented:
		return nil, errNoReflection
	case err != nil:
		return nil, fmt.Errorf("the service's description could not be read by reflection: %w", err)
	}
	return s, nil
}

func reflectBy(ctx context.Context, a *asker, method string, services []string) (*schema, error) {
	r := &reflector{ctx: ctx, asker: a, method: method, have: map[string]bool{}}
	answer, err := r.ask(&rpb.ServerReflectionRequest{
		MessageRequest: &rpb.ServerReflectionRequest_ListServices{ListServices: "*"},
	})
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, service := range answer.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	slices.Sort(names)
	for _, service := range services {
		if !slices.Contains(names, service) {
			continue // named later, with the nearest
		}
		err := r.files(&rpb.ServerReflectionRequest{
			MessageRequest: &rpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service},
		})
		if err != nil {
			return nil, err
		}
	}
	if err := r.imports(); err != nil {
		return nil, err
	}
	s, err := assemble(r.list)
	if err != nil {
		return nil, err
	}
	s.services = names
	return s, nil
}

// ask sends a question and waits for its answer.
func (r *reflector) ask(question *rpb.ServerReflectionRequest) (*rpb.ServerReflectionResponse, error) {
	message, err := proto.Marshal(question)
	if err != nil {
		return nil, err
	}
	data, err := r.asker.ask(r.ctx, r.method, message)
	if err != nil {
		return nil, err
	}
	var answer rpb.ServerReflectionResponse
	if err := proto.Unmarshal(data, &answer); err != nil {
		return nil, fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	if r.bytes += proto.Size(&answer); r.bytes > MaxSchema {
		return nil, errTooLarge
	}
	if e := answer.GetErrorResponse(); e != nil {
		// Not as a status: an error within reflection says nothing of its version.
		return nil, fmt.Errorf("%s: %s", codes.Code(e.GetErrorCode()), e.GetErrorMessage())
	}
	return &answer, nil
}

// files adds the files of an answer.
func (r *reflector) files(question *rpb.ServerReflectionRequest) error {
	answer, err := r.ask(question)
	if err != nil {
		return err
	}
	for _, data := range answer.GetFileDescriptorResponse().GetFileDescriptorProto() {
		var f descriptorpb.FileDescriptorProto
		if err := proto.Unmarshal(data, &f); err != nil {
			return fmt.Errorf("a descriptor cannot be read: %w", err)
		}
		if r.have[f.GetName()] {
			continue
		}
		if len(r.list) == MaxSchemaFiles {
			return errTooLarge
		}
		r.have[f.GetName()] = true
		r.list = append(r.list, &f)
	}
	return nil
}

// imports asks for what the files import and did not come along; protobuf's own files are known here.
func (r *reflector) imports() error {
	for i := 0; i < len(r.list); i++ {
		for _, name := range r.list[i].GetDependency() {
			if _, err := wellKnown(name); r.have[name] || err == nil {
				continue
			}
			err := r.files(&rpb.ServerReflectionRequest{
				MessageRequest: &rpb.ServerReflectionRequest_FileByFilename{FileByFilename: name},
			})
			if err != nil {
				return fmt.Errorf("import %s: %w", name, err)
			}
			if !r.have[name] {
				return fmt.Errorf("import %s: the server gave another file", name)
			}
		}
	}
	return nil
}
