package coordinator

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/loadline/loadline/internal/content"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// startRun begins a run and keeps its files until it has ended; driven, which may be nil, says what becomes of one that a program
// drives. Errors carry a gRPC status.
func (c *Coordinator) startRun(ctx context.Context, q *pb.StartRunRequest, driven *pb.OnDisconnect) (*liveRun, error) {
	release, err := c.keepFiles(q.GetFiles())
	if err != nil {
		return nil, err
	}
	r, err := c.beginRun(ctx, q, driven)
	if err != nil {
		release()
		return nil, err
	}
	c.running.Go(func() {
		<-r.ended
		release()
	})
	return r, nil
}

// keepFiles keeps the files of a run in the store until release is called, and says which were not
// uploaded. Without a store agents read them where they are. Errors carry a gRPC status.
func (c *Coordinator) keepFiles(files []*pb.FileDigest) (release func(), err error) {
	if c.config.Files == nil {
		return func() {}, nil
	}
	digests := make([]content.Digest, len(files))
	for i, f := range files {
		if digests[i], err = content.DigestOf(f.GetSha256()); err != nil {
			return nil, invalid(fmt.Sprintf("files[%d].sha256", i), "%v", err)
		}
	}
	release = c.config.Files.Pin(digests...)
	for i, f := range files {
		if size, whole := c.config.Files.Present(digests[i]); !whole || size != f.GetSize() {
			release()
			return nil, status.Errorf(codes.FailedPrecondition, "files[%d]: %s is not here: upload it first (FileService.PutFile)", i, f.GetPath())
		}
	}
	return release, nil
}
