package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

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
	seen := map[string]bool{}
	for _, f := range scenario.Files(s) {
		if seen[f.Path] {
			continue
		}
		seen[f.Path] = true
		digest, err := digestFile(ctx, baseDir, f.Path)
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

func digestFile(ctx context.Context, baseDir, path string) (*pb.FileDigest, error) {
	full := path
	if !filepath.IsAbs(path) {
		full = filepath.Join(baseDir, path)
	}
	info, err := os.Stat(full)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a plain file", full)
	}
	file, err := os.Open(full)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, contextReader{ctx, file})
	if err != nil {
		return nil, err
	}
	return pb.FileDigest_builder{Path: path, Sha256: hash.Sum(nil), Size: size}.Build(), nil
}

// checkWorkloads makes the workloads as an agent would, so that a broken line of a data set or a secret that cannot be
// used is told with its place before anything is started.
func checkWorkloads(s *pb.Scenario, baseDir string, env func(string) (string, bool)) error {
	var opened []*os.File
	defer func() {
		for _, file := range opened {
			_ = file.Close() // only read from
		}
	}()
	open := func(path string) (io.ReaderAt, int64, error) {
		if !filepath.IsAbs(path) {
			path = filepath.Join(baseDir, path)
		}
		file, err := os.Open(path)
		if err != nil {
			return nil, 0, err
		}
		opened = append(opened, file)
		info, err := file.Stat()
		if err != nil {
			return nil, 0, err
		}
		return file, info.Size(), nil
	}
	if _, err := workload.Compile(s, open, guard.Secrets(env, guard.ReadFile, &guard.Redactor{})); err != nil {
		return badInput("%w", err)
	}
	return nil
}

// contextReader ends a long read when the context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
