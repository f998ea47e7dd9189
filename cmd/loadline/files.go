package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/loadline/loadline/agent"
	grpcdriver "github.com/loadline/loadline/agent/driver/grpc"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// digestFiles reads every file that the scenario names or that one of its .proto files imports, in a stream, and returns
// length and SHA-256 of each, one entry a path. The error lists every file that cannot be read.
func digestFiles(ctx context.Context, s *pb.Scenario, baseDir string) ([]*pb.FileDigest, error) {
	var digests []*pb.FileDigest
	var problems []error
	files := agent.Files{Base: baseDir}
	defer func() { _ = files.Close() }() // only read from
	seen := map[string]bool{}
	for _, f := range append(scenario.Files(s), importsOf(ctx, s, &files)...) {
		if seen[f.Path] {
			continue
		}
		seen[f.Path] = true
		digest, err := files.Digest(ctx, f.Path)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			problems = append(problems, fmt.Errorf("%s: %w", f.Field, err))
		default:
			digests = append(digests, digest)
		}
	}
	if len(problems) > 0 {
		return nil, badInput("files that the scenario names cannot be read (relative names are taken from %s)\n%w", baseDir, errors.Join(problems...))
	}
	return digests, nil
}

// importsOf lists what the .proto files of the targets import. One that does not compile has none: its driver says what is wrong.
func importsOf(ctx context.Context, s *pb.Scenario, files *agent.Files) []scenario.File {
	var imports []scenario.File
	for i, t := range s.GetTargets() {
		if len(t.GetProtoFiles()) == 0 {
			continue
		}
		names, err := grpcdriver.Sources(ctx, t, files.Open)
		if err != nil {
			continue
		}
		for _, name := range names {
			imports = append(imports, scenario.File{Field: fmt.Sprintf("targets[%d].proto_files", i), Path: name})
		}
	}
	return imports
}

// checkWorkloads makes the workloads as an agent would, so that a broken line of a data set or a secret that cannot be
// used is told with its place before anything is started.
func checkWorkloads(s *pb.Scenario, baseDir string, secrets workload.Secrets) error {
	files := agent.Files{Base: baseDir}
	defer func() { _ = files.Close() }() // only read from
	if _, err := workload.Compile(s, files.Open, secrets); err != nil {
		return badInput("%w", err)
	}
	return nil
}
