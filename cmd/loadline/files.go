package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/loadline/loadline/agent"
	"github.com/loadline/loadline/agent/guard"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// digestFiles reads every file that the scenario names, in a stream, and returns length and SHA-256 of each, one entry
// a path. The error lists every file that cannot be read.
func digestFiles(ctx context.Context, s *pb.Scenario, baseDir string) ([]*pb.FileDigest, error) {
	var digests []*pb.FileDigest
	var problems []error
	files := agent.Files{Base: baseDir}
	seen := map[string]bool{}
	for _, f := range scenario.Files(s) {
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

// checkWorkloads makes the workloads as an agent would, so that a broken line of a data set or a secret that cannot be
// used is told with its place before anything is started.
func checkWorkloads(s *pb.Scenario, baseDir string, env func(string) (string, bool)) error {
	files := agent.Files{Base: baseDir}
	defer func() { _ = files.Close() }() // only read from
	if _, err := workload.Compile(s, files.Open, guard.Secrets(env, guard.ReadFile, &guard.Redactor{})); err != nil {
		return badInput("%w", err)
	}
	return nil
}
