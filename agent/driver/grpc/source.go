package grpcdriver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/loadline/loadline/agent/workload"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// source reads the files that describe a service, all together at most MaxSchema bytes.
type source struct {
	open workload.Files

	mu    sync.Mutex // the compiler reads from several goroutines
	bytes int64
	files int
}

var errTooLarge = errors.New("what describes the service is larger than 16 MiB")

// read reads a whole file.
func (s *source) read(name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return nil, errors.New("no files can be opened here")
	}
	file, size, err := s.open(name)
	if err != nil {
		return nil, err
	}
	s.files++
	if s.bytes += size; s.bytes > MaxSchema || s.files > MaxSchemaFiles {
		return nil, errTooLarge
	}
	return io.ReadAll(io.NewSectionReader(file, 0, size))
}

// descriptorSet reads a FileDescriptorSet.
func (s *source) descriptorSet(name string) (*schema, error) {
	data, err := s.read(name)
	if err != nil {
		return nil, fmt.Errorf("descriptor_set: %w", err)
	}
	sc, err := parseSet(data)
	if err != nil {
		return nil, fmt.Errorf("descriptor_set: %s: %w", name, err)
	}
	return sc, nil
}

// protoFiles compiles .proto files. Imports are looked for in the import paths, without any in the
// scenario's folder; a file within an import path is known by its name below it, as protoc has it.
func (s *source) protoFiles(ctx context.Context, names, imports []string) (*schema, error) {
	if len(imports) == 0 {
		imports = []string{"."}
	}
	outside := map[string]string{} // by the name that the compiler knows it by
	var roots []string
	for _, name := range names {
		root := relative(name, imports)
		if _, twice := outside[root]; twice {
			return nil, fmt.Errorf("proto_files: %s is there twice", name)
		}
		outside[root] = name
		roots = append(roots, root)
	}
	access := func(name string) (io.ReadCloser, error) {
		data, err := s.read(name)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(strings.NewReader(string(data))), nil
	}
	named := protocompile.ResolverFunc(func(name string) (protocompile.SearchResult, error) {
		file, ok := outside[name]
		if !ok {
			return protocompile.SearchResult{}, errors.New("not one of proto_files")
		}
		source, err := access(file)
		return protocompile.SearchResult{Source: source}, err
	})
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(protocompile.CompositeResolver{
			named, &protocompile.SourceResolver{ImportPaths: imports, Accessor: access},
		}),
		MaxParallelism: 1,
	}
	linked, err := compiler.Compile(ctx, roots...)
	if err != nil {
		return nil, fmt.Errorf("proto_files: %w", err)
	}
	var list []*descriptorpb.FileDescriptorProto
	seen := map[string]bool{}
	for _, f := range linked {
		list = withImports(f, seen, list)
	}
	return assemble(list)
}

// Sources lists the files that describe a target's service, those that its .proto files import too, by the names under which
// they are opened; none where the server itself is asked. protobuf's own files are not among them.
func Sources(ctx context.Context, t *pb.Target, open workload.Files) ([]string, error) {
	if t.HasDescriptorSet() {
		return []string{t.GetDescriptorSet()}, nil
	}
	if len(t.GetProtoFiles()) == 0 {
		return nil, nil
	}
	var names []string
	noting := &source{open: func(name string) (io.ReaderAt, int64, error) {
		file, size, err := open(name)
		if err == nil {
			names = append(names, name)
		}
		return file, size, err
	}}
	_, err := noting.protoFiles(ctx, t.GetProtoFiles(), t.GetImportPaths())
	return names, err
}

// relative is the name of a file below the longest import path that holds it, or its own.
func relative(name string, imports []string) string {
	name = path.Clean(filepath.ToSlash(name))
	best := name
	for _, folder := range imports {
		if rest, ok := strings.CutPrefix(name, path.Clean(filepath.ToSlash(folder))+"/"); ok && len(rest) < len(best) {
			best = rest
		}
	}
	return best
}

// withImports lists a file after everything that it imports.
func withImports(f protoreflect.FileDescriptor, seen map[string]bool, list []*descriptorpb.FileDescriptorProto) []*descriptorpb.FileDescriptorProto {
	if seen[f.Path()] {
		return list
	}
	seen[f.Path()] = true
	for i := range f.Imports().Len() {
		list = withImports(f.Imports().Get(i).FileDescriptor, seen, list)
	}
	return append(list, protodesc.ToFileDescriptorProto(f))
}
