package content

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Describe reads a file to its end in a stream, closes it, and gives its length and SHA-256 under a
// name. It ends with ctx.
func Describe(ctx context.Context, name string, file io.ReadCloser) (*pb.FileDigest, error) {
	hash := sha256.New()
	size, err := io.Copy(hash, untilDone{ctx, file})
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return pb.FileDigest_builder{Path: name, Sha256: hash.Sum(nil), Size: size}.Build(), nil
}

// untilDone ends a long read with its context.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (u untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}
