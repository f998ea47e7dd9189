package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Files opens the files that a scenario names. Relative names are taken from Base. It is used by
// one goroutine at a time.
type Files struct {
	// Base is the scenario's folder.
	Base   string
	opened []*os.File
}

// Open implements workload.Files. What it opens stays open until Close.
func (f *Files) Open(name string) (io.ReaderAt, int64, error) {
	file, size, err := f.open(name)
	if err != nil {
		return nil, 0, err
	}
	f.opened = append(f.opened, file)
	return file, size, nil
}

// open opens a plain file; anything else, such as a pipe, could keep the caller waiting.
func (f *Files) open(name string) (*os.File, int64, error) {
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(f.Base, path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a plain file", path)
	}
	file, err := os.Open(path)
	return file, info.Size(), err
}

// Digest reads a whole file in a stream and gives its length and SHA-256, until ctx ends.
func (f *Files) Digest(ctx context.Context, name string) (*pb.FileDigest, error) {
	file, _, err := f.open(name)
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	size, err := io.Copy(hash, contextReader{ctx, file})
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return pb.FileDigest_builder{Path: name, Sha256: hash.Sum(nil), Size: size}.Build(), nil
}

// Close closes what Open opened.
func (f *Files) Close() error {
	var errs []error
	for _, file := range f.opened {
		errs = append(errs, file.Close())
	}
	f.opened = nil
	return errors.Join(errs...)
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
