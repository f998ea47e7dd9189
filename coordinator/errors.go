package coordinator

import (
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/loadline/loadline/internal/scenario"
)

// invalid refuses a request for one of its fields, whose path programs find in a google.rpc.BadRequest.
func invalid(field, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	return badRequest(field+": "+text, &errdetails.BadRequest_FieldViolation{Field: field, Description: text})
}

// invalidScenario refuses a request for what is wrong with its scenario, all of it. The text is that of the problems alone.
func invalidScenario(field string, problems scenario.Problems) error {
	violations := make([]*errdetails.BadRequest_FieldViolation, 0, len(problems))
	for _, p := range problems {
		path := field
		if p.Path != "" {
			path += "." + p.Path
		}
		text := p.Message
		if p.Hint != "" {
			text += "; " + p.Hint
		}
		violations = append(violations, &errdetails.BadRequest_FieldViolation{Field: path, Description: text})
	}
	return badRequest(problems.Error(), violations...)
}

func badRequest(text string, violations ...*errdetails.BadRequest_FieldViolation) error {
	s := status.New(codes.InvalidArgument, text)
	if detailed, err := s.WithDetails(&errdetails.BadRequest{FieldViolations: violations}); err == nil {
		s = detailed
	}
	return s.Err()
}
