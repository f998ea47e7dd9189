package coordinator

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/loadline/loadline/internal/badrequest"
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
	c.releaseAtEnd(r, release)
	return r, nil
}

func (c *Coordinator) releaseAtEnd(r *liveRun, release func()) {
	c.running.Go(func() {
		<-r.ended
		release()
	})
}

// keepFilesOf keeps the files of a run that is taken up again. The agents that play it have them; one that is missing here
// is missed only by agents that join.
func (c *Coordinator) keepFilesOf(r *liveRun) {
	if c.config.Files == nil {
		return
	}
	var digests []content.Digest
	for _, f := range r.header.GetFiles() {
		d, err := content.DigestOf(f.GetSha256())
		if err != nil {
			continue // as a run of a coordinator without a store may have
		}
		digests = append(digests, d)
		if size, whole := c.config.Files.Present(d); !whole || size != f.GetSize() {
			r.log.Warn("a file of the run is not here any more; agents without it cannot join", "file", f.GetPath())
		}
	}
	c.releaseAtEnd(r, c.config.Files.Pin(digests...))
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
			return nil, badrequest.Field(fmt.Sprintf("files[%d].sha256", i), "%v", err)
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
