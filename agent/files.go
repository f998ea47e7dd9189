package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/loadline/loadline/internal/content"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Files opens the files that a scenario names. It is used by one goroutine at a time.
//
// On the machine of the scenario they are read where they are. An agent of a cluster has them by their
// digest: a name is looked up among those that came with the assignment, and never becomes a path.
type Files struct {
	// Base is the scenario's folder, from which relative names are taken; not looked at with a Store.
	Base string
	// Store holds the files by digest; nil: they are read where they are.
	Store *content.Store
	// Named are the files of the scenario with their digests.
	Named []*pb.FileDigest

	opened []*os.File
	unpin  func()
}

// Fetch gets what the store does not have, and keeps it there until Close. Without a store it does
// nothing.
func (f *Files) Fetch(ctx context.Context, client pb.FileServiceClient) error {
	if f.Store == nil || len(f.Named) == 0 {
		return nil
	}
	if client == nil {
		return errors.New("this agent knows nobody to fetch the scenario's files from")
	}
	digests := make([]content.Digest, len(f.Named))
	for i, named := range f.Named {
		var err error
		if digests[i], err = content.DigestOf(named.GetSha256()); err != nil {
			return fmt.Errorf("%s: %w", named.GetPath(), err)
		}
	}
	f.unpin = f.Store.Pin(digests...)
	return content.Fetch(ctx, client, f.Store, f.Named)
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
	if f.Store != nil {
		return f.openStored(name)
	}
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

func (f *Files) openStored(name string) (*os.File, int64, error) {
	for _, named := range f.Named {
		if named.GetPath() == name {
			d, err := content.DigestOf(named.GetSha256())
			if err != nil {
				return nil, 0, fmt.Errorf("%s: %w", name, err)
			}
			return f.Store.Open(d)
		}
	}
	return nil, 0, fmt.Errorf("%s is not among the files that came with the scenario: %w", name, fs.ErrNotExist)
}

// Damaged removes a file from the store, so that it is fetched anew the next time.
func (f *Files) Damaged(named *pb.FileDigest) error {
	if f.Store == nil {
		return nil
	}
	d, err := content.DigestOf(named.GetSha256())
	if err != nil {
		return err
	}
	return f.Store.Remove(d)
}

// Digest reads a whole file in a stream and gives its length and SHA-256, until ctx ends.
func (f *Files) Digest(ctx context.Context, name string) (*pb.FileDigest, error) {
	file, _, err := f.open(name)
	if err != nil {
		return nil, err
	}
	return content.Describe(ctx, name, file)
}

// Close closes what Open opened.
func (f *Files) Close() error {
	var errs []error
	for _, file := range f.opened {
		errs = append(errs, file.Close())
	}
	f.opened = nil
	if f.unpin != nil {
		f.unpin()
	}
	return errors.Join(errs...)
}
