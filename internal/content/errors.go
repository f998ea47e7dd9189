package content

import (
	"errors"
	"io/fs"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/loadline/loadline/internal/badrequest"
)

// statusOf gives an error of a store its code; one that has a code keeps it.
func statusOf(err error) error {
	code := codes.Internal
	switch {
	case errors.Is(err, fs.ErrNotExist):
		code = codes.NotFound
	case errors.Is(err, ErrFull):
		code = codes.ResourceExhausted
	case errors.Is(err, ErrDigest):
		return badrequest.Field("data", "%v", err)
	case errors.Is(err, ErrBusy):
		code = codes.Aborted
	default:
		if s, ok := status.FromError(err); ok {
			return s.Err()
		}
	}
	return status.Error(code, err.Error())
}
