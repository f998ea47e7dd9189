package content

import (
	"errors"
	"fmt"
	"io/fs"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// invalid refuses a request for one of its fields, whose path programs find in a google.rpc.BadRequest.
func invalid(field, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	s := status.New(codes.InvalidArgument, field+": "+text)
	violation := &errdetails.BadRequest_FieldViolation{Field: field, Description: text}
	if detailed, err := s.WithDetails(&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{violation}}); err == nil {
		s = detailed
	}
	return s.Err()
}

// statusOf gives an error of a store its code; one that has a code keeps it.
func statusOf(err error) error {
	code := codes.Internal
	switch {
	case errors.Is(err, fs.ErrNotExist):
		code = codes.NotFound
	case errors.Is(err, ErrFull):
		code = codes.ResourceExhausted
	case errors.Is(err, ErrDigest):
		return invalid("data", "%v", err)
	case errors.Is(err, ErrBusy):
		code = codes.Aborted
	default:
		if s, ok := status.FromError(err); ok {
			return s.Err()
		}
	}
	return status.Error(code, err.Error())
}
