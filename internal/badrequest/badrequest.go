// Package badrequest makes the errors with which the services of the API refuse a request for what is wrong with its fields. Programs
// find the path of each in a google.rpc.BadRequest, people in the text.
package badrequest

import (
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Field refuses a request for one of its fields.
func Field(field, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	return Of(field+": "+text, &errdetails.BadRequest_FieldViolation{Field: field, Description: text})
}

// Of refuses a request for so many violations; the text tells all of them.
func Of(text string, violations ...*errdetails.BadRequest_FieldViolation) error {
	s := status.New(codes.InvalidArgument, text)
	if detailed, err := s.WithDetails(&errdetails.BadRequest{FieldViolations: violations}); err == nil {
		s = detailed
	}
	return s.Err()
}
