package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Limits of what is fetched.
const (
	// maxFetchFiles bounds the files of a run, maxFetchPath the length of a name.
	maxFetchFiles = 10_000
	maxFetchPath  = 1024
	// fetchTries bounds the attempts at one file; each goes on where the last one broke off.
	fetchTries = 10
	// fetchPause is the time between two of them.
	fetchPause = time.Second
)

// fetchRun brings the folder of an ended run here. It appears under its name when all of it is there and has the digests
// that the coordinator gave; before, it is a folder beside it with a name of its own.
func fetchRun(ctx context.Context, client pb.ControlServiceClient, id, folder string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("the folder of run %s was not fetched: %w\nTry again with: loadline watch %s", id, plainError(err), id)
		}
	}()
	var listed *pb.GetRunFilesResponse
	err = persist(ctx, func() (err error) {
		listed, err = client.GetRunFiles(ctx, pb.GetRunFilesRequest_builder{RunId: id}.Build())
		return err
	})
	if err != nil {
		return err
	}
	if err := checkListed(listed.GetFiles()); err != nil {
		return err
	}
	parent := filepath.Dir(filepath.Clean(folder))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	partial, err := os.MkdirTemp(parent, "."+filepath.Base(folder)+".*")
	if err != nil {
		return err
	}
	if err := fetchInto(ctx, client, id, listed.GetFiles(), partial); err != nil {
		return errors.Join(err, os.RemoveAll(partial))
	}
	// An empty folder may be there; nothing else is replaced.
	if err := os.Remove(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, os.RemoveAll(partial))
	}
	return errors.Join(os.Chmod(partial, 0o755), os.Rename(partial, folder))
}

// checkListed refuses names that lead out of the folder, and more than a run can have left.
func checkListed(files []*pb.FileDigest) error {
	if len(files) > maxFetchFiles {
		return fmt.Errorf("the coordinator lists %d files, more than %d", len(files), maxFetchFiles)
	}
	for _, f := range files {
		if !fs.ValidPath(f.GetPath()) || !filepath.IsLocal(filepath.FromSlash(f.GetPath())) || len(f.GetPath()) > maxFetchPath || f.GetSize() < 0 {
			return fmt.Errorf("the coordinator lists a file %q, which does not belong into a run folder", f.GetPath())
		}
	}
	return nil
}

func fetchInto(ctx context.Context, client pb.ControlServiceClient, id string, files []*pb.FileDigest, folder string) (err error) {
	root, err := os.OpenRoot(folder) // nothing that is written leaves the folder
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for _, f := range files {
		if err := root.MkdirAll(path.Dir(f.GetPath()), 0o755); err != nil {
			return err
		}
		if err := fetchFile(ctx, client, id, f, root); err != nil {
			return fmt.Errorf("%s: %w", f.GetPath(), plainError(err))
		}
	}
	return nil
}

// fetchFile fetches one file and holds it against its digest.
func fetchFile(ctx context.Context, client pb.ControlServiceClient, id string, want *pb.FileDigest, root *os.Root) (err error) {
	file, err := root.OpenFile(want.GetPath(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	hash, got := sha256.New(), int64(0)
	both := io.MultiWriter(file, hash)
	err = persist(ctx, func() error {
		stream, err := client.FetchRun(ctx, pb.FetchRunRequest_builder{RunId: id, Path: want.GetPath(), Offset: got}.Build())
		for err == nil {
			var m *pb.FetchRunResponse
			if m, err = stream.Recv(); err != nil {
				break
			}
			if got += int64(len(m.GetChunk())); got > want.GetSize() {
				return fmt.Errorf("it is longer than the %d bytes that were announced", want.GetSize())
			}
			if _, err := both.Write(m.GetChunk()); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	})
	if err == nil && (got != want.GetSize() || !bytes.Equal(hash.Sum(nil), want.GetSha256())) {
		err = errors.New("it is not what was announced: the digests differ")
	}
	return errors.Join(err, file.Sync())
}

// persist repeats what failed on its way, a few times.
func persist(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || !unreachable(err) || try == fetchTries || !pause(ctx, fetchPause) {
			return err
		}
	}
}
