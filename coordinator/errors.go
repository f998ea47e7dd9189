package coordinator

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/loadline/loadline/internal/badrequest"
	"github.com/loadline/loadline/internal/scenario"
)

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
	return badrequest.Of(problems.Error(), violations...)
}
