package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/loadline/loadline/internal/badrequest"
	"github.com/loadline/loadline/internal/content"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Limits of what is fetched.
const (
	// maxRunFiles bounds the files of a run folder.
	maxRunFiles = 10_000
	// fetchChunk is the length of one chunk, in bytes.
	fetchChunk = 256 << 10
)

// ended finds a run whose folder is written.
func (s *control) ended(id string) (*liveRun, error) {
	run, err := s.find(id)
	if err == nil && !run.over() {
		err = status.Errorf(codes.FailedPrecondition, "run %s has not ended", id)
	}
	return run, err
}

// GetRunFiles implements ControlService.
func (s *control) GetRunFiles(ctx context.Context, q *pb.GetRunFilesRequest) (*pb.GetRunFilesResponse, error) {
	run, err := s.ended(q.GetRunId())
	if err != nil {
		return nil, err
	}
	files, err := digestFolder(ctx, run.folder)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "read the folder of run %s: %v", q.GetRunId(), err)
	}
	return pb.GetRunFilesResponse_builder{Files: files}.Build(), nil
}

// digestFolder lists the plain files below a folder, by path. Links are left out: they may lead anywhere.
func digestFolder(ctx context.Context, folder string) (files []*pb.FileDigest, err error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case !fetchable(name, entry.Type()):
			return nil
		case len(files) == maxRunFiles:
			return fmt.Errorf("there are more than %d files", maxRunFiles)
		}
		digest, err := digestFile(ctx, root, name)
		if err == nil {
			files = append(files, digest)
		}
		return err
	})
	return files, err
}

// fetchable reports whether a file of a run folder is for others: plain, and not one that is being written.
func fetchable(name string, mode fs.FileMode) bool {
	return mode.IsRegular() && !strings.HasPrefix(path.Base(name), ".")
}

func digestFile(ctx context.Context, root *os.Root, name string) (*pb.FileDigest, error) {
	file, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	digest, err := content.Describe(ctx, name, file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return digest, nil
}

// FetchRun implements ControlService.
func (s *control) FetchRun(q *pb.FetchRunRequest, stream pb.ControlService_FetchRunServer) error {
	run, err := s.ended(q.GetRunId())
	if err != nil {
		return err
	}
	file, err := openFetched(run.folder, q.GetPath())
	if err != nil {
		return err
	}
	err = sendFile(file, q.GetOffset(), stream)
	return errors.Join(err, file.Close())
}

// openFetched opens a plain file within a run folder. The root refuses every way out of it, by name or by link.
func openFetched(folder, name string) (*os.File, error) {
	missing := status.Errorf(codes.NotFound, "the run has left no file %q", strings.ToValidUTF8(name, "?"))
	if !fs.ValidPath(name) {
		return nil, missing
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "open the run folder: %v", err)
	}
	defer func() { _ = root.Close() }() // nothing was written
	info, err := root.Lstat(name)
	if err != nil || !fetchable(name, info.Mode()) {
		return nil, missing
	}
	file, err := root.Open(name)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "open %s of the run folder: %v", name, errors.Unwrap(err))
	}
	return file, nil
}

func sendFile(file *os.File, offset int64, stream pb.ControlService_FetchRunServer) error {
	if offset < 0 {
		return badrequest.Field("offset", "it is below 0")
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return status.Errorf(codes.Internal, "read the run folder: %v", err)
	}
	for {
		buffer := make([]byte, fetchChunk) // a message must not change once it has been sent
		n, err := io.ReadFull(file, buffer)
		if n > 0 {
			if err := stream.Send(pb.FetchRunResponse_builder{Chunk: buffer[:n]}.Build()); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return status.Errorf(codes.Internal, "read the run folder: %v", err)
		}
	}
}
