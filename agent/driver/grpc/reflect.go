package grpcdriver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	rpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// The two versions of reflection have the same messages.
const (
	reflectionV1      = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
	reflectionV1Alpha = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
)

var errNoReflection = errors.New("the server has no reflection: give descriptor_set: FILE " +
	"(protoc --include_imports --descriptor_set_out=FILE …) or proto_files: [FILE, …] at the target")

// reflector asks a server for the descriptors of its services.
type reflector struct {
	stream grpc.ClientStream
	bytes  int
	list   []*descriptorpb.FileDescriptorProto
	have   map[string]bool
}

// reflectSchema reads what describes the services named. One that the server does not have is left out.
func reflectSchema(ctx context.Context, conn *grpc.ClientConn, services []string) (*schema, error) {
	s, err := reflectBy(ctx, conn, reflectionV1, services)
	if status.Code(err) == codes.Unimplemented {
		s, err = reflectBy(ctx, conn, reflectionV1Alpha, services)
	}
	switch {
	case status.Code(err) == codes.Unimplemented:
		return nil, errNoReflection
	case err != nil:
		return nil, fmt.Errorf("the service's description could not be read by reflection: %w", err)
	}
	return s, nil
}

func reflectBy(ctx context.Context, conn *grpc.ClientConn, method string, services []string) (*schema, error) {
	ctx, cancel := context.WithCancel(ctx) // ends the stream
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method,
		grpc.ForceCodecV2(encoding.GetCodecV2("proto")), grpc.MaxCallRecvMsgSize(MaxSchema))
	if err != nil {
		return nil, err
	}
	r := &reflector{stream: stream, have: map[string]bool{}}
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
	if err := r.stream.SendMsg(question); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var answer rpb.ServerReflectionResponse
	if err := r.stream.RecvMsg(&answer); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the server ended the reflection early")
		}
		return nil, err
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
