package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const (
	// attempts bounds how often a transfer that makes no progress is tried again.
	attempts = 8
	// firstPause and lastPause bound the pause before the next attempt; it doubles.
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// Opener opens a file to be uploaded, by the path in its FileDigest. Whoever opened it closes it.
type Opener func(path string) (io.ReaderAt, int64, error)

// Upload sends the files that the coordinator does not have, each from where an earlier upload ended.
// A broken stream is opened again. The error names the file.
func Upload(ctx context.Context, client pb.FileServiceClient, files []*pb.FileDigest, open Opener) error {
	for _, f := range files {
		var before int64 // bytes that were there at the attempt before
		err := insist(ctx, func() (progressed bool, err error) {
			offset, err := uploadOne(ctx, client, f, open)
			progressed, before = offset > before, max(before, offset)
			return progressed, err
		})
		if err != nil {
			return fmt.Errorf("upload %s: %w", f.GetPath(), err)
		}
	}
	return nil
}

// uploadOne makes one attempt, from the offset on that it returns.
func uploadOne(ctx context.Context, client pb.FileServiceClient, f *pb.FileDigest, open Opener) (offset int64, err error) {
	has, err := client.HasFiles(ctx, pb.HasFilesRequest_builder{Files: []*pb.FileDigest{f}}.Build())
	if err != nil {
		return 0, err
	}
	if len(has.GetPresent()) != 1 {
		return 0, permanent{fmt.Errorf("the answer about one file speaks of %d", len(has.GetPresent()))}
	}
	if offset = has.GetPresent()[0]; offset == f.GetSize() && offset > 0 {
		return offset, nil
	}
	data, size, err := open(f.GetPath())
	if err != nil {
		return 0, permanent{err}
	}
	if size != f.GetSize() || offset < 0 || offset > size {
		return 0, permanent{fmt.Errorf("it has %d bytes now, not %d: it was changed", size, f.GetSize())}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.PutFile(ctx)
	if err != nil {
		return offset, err
	}
	// io.EOF of a Send says that there is an answer, which says why.
	if err := stream.Send(pb.PutFileRequest_builder{File: f, Offset: offset}.Build()); err != nil && !errors.Is(err, io.EOF) {
		return offset, err
	}
	err = chunks(io.NewSectionReader(data, offset, size-offset), func(chunk []byte) error {
		return stream.Send(pb.PutFileRequest_builder{Data: chunk}.Build())
	})
	if err != nil && !errors.Is(err, io.EOF) {
		return offset, err
	}
	_, err = stream.CloseAndRecv()
	return offset, err
}

// Fetch gets the files that a store does not have, each from where an earlier fetch ended, checked
// against its digest. A broken stream is opened again. The error names the file.
func Fetch(ctx context.Context, client pb.FileServiceClient, store *Store, files []*pb.FileDigest) error {
	for _, f := range files {
		d, err := DigestOf(f.GetSha256())
		if err == nil {
			err = insist(ctx, func() (progressed bool, err error) { return fetchOne(ctx, client, store, d, f.GetSize()) })
		}
		if err != nil {
			return fmt.Errorf("fetch %s: %w", f.GetPath(), err)
		}
	}
	return nil
}

// fetchOne makes one attempt. progressed says that bytes came.
func fetchOne(ctx context.Context, client pb.FileServiceClient, store *Store, d Digest, size int64) (progressed bool, err error) {
	offset, whole := store.Present(d)
	if whole && offset == size {
		return true, nil
	}
	if whole || offset > size {
		offset = 0
	}
	w, err := store.Write(d, size, offset)
	if err != nil {
		if errors.Is(err, ErrFull) {
			err = permanent{err}
		}
		return false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.GetFile(ctx, pb.GetFileRequest_builder{Sha256: d[:], Offset: offset}.Build())
	for err == nil {
		var m *pb.GetFileResponse
		if m, err = stream.Recv(); err == nil {
			_, err = w.Write(m.GetData())
		}
	}
	if errors.Is(err, io.EOF) {
		return false, forgetful(w.Commit(), offset)
	}
	if errors.Is(err, ErrDigest) {
		return false, errors.Join(permanent{err}, w.Suspend())
	}
	return w.Offset() > offset, errors.Join(err, w.Suspend())
}

// forgetful lets bytes that are not those of the digest be fetched once more where some of them were
// there before: it may be those that are wrong, and they are gone now.
func forgetful(err error, offset int64) error {
	if offset == 0 && errors.Is(err, ErrDigest) {
		return permanent{err}
	}
	return err
}

// permanent marks an error that another attempt would meet again.
type permanent struct{ error }

// Unwrap gives the error itself.
func (p permanent) Unwrap() error { return p.error }

// insist makes attempts until one works, until one fails for good, or until several in a row have made
// no progress.
func insist(ctx context.Context, attempt func() (progressed bool, err error)) error {
	pause := firstPause
	for failed := 0; ; {
		progressed, err := attempt()
		if err == nil {
			return nil
		}
		if progressed {
			failed, pause = 0, firstPause
		}
		if failed++; failed >= attempts || forGood(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// forGood says that another attempt would fail too.
func forGood(err error) bool {
	if p := (permanent{}); errors.As(err, &p) {
		return true
	}
	switch status.Code(err) {
	case codes.InvalidArgument, codes.ResourceExhausted, codes.NotFound, codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented:
		return true
	}
	return false
}
