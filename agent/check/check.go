// Package check judges the answer of a target by the checks of a workload: contains, not_contains,
// json_path and max_body. It is pure and knows nothing of protocols; drivers give it the text of
// the answer and the length of its body.
package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// MaxText bounds the text that checks look at, in bytes. A longer answer is oversized.
const MaxText = 1 << 20

// Failure is a check that an answer did not pass.
type Failure struct {
	// Class is check_ and the name of the check.
	Class string
	// Text says what was wrong; it quotes the scenario, never the answer.
	Text string
}

// NeedText reports whether one of the checks looks at the text of the answer.
func NeedText(checks []*pb.Check) bool {
	for _, c := range checks {
		if c.WhichRule() != pb.Check_MaxBody_case {
			return true
		}
	}
	return false
}

// MaxBody is the smallest bound that the checks put on the body, in bytes; 0: none.
func MaxBody(checks []*pb.Check) uint64 {
	var most uint64
	for _, c := range checks {
		if n := c.GetMaxBody(); c.HasMaxBody() && (most == 0 || n < most) {
			most = n
		}
	}
	return most
}

// TooLong is the failure of a body longer than the bound that MaxBody gave.
func TooLong(most uint64) *Failure {
	return failure("max_body", "the body is longer than "+strconv.FormatUint(most, 10)+" bytes")
}

// Run returns the first check that the answer does not pass, or nil. body is the length of the
// answer's body in bytes.
func Run(checks []*pb.Check, text []byte, body uint64) *Failure {
	if len(checks) == 0 {
		return nil // before doc, which takes memory
	}
	var doc document
	for _, c := range checks {
		var f *Failure
		switch c.WhichRule() {
		case pb.Check_Contains_case:
			if !bytes.Contains(text, []byte(c.GetContains())) {
				f = failure("contains", "the answer does not contain "+quote(c.GetContains()))
			}
		case pb.Check_NotContains_case:
			if bytes.Contains(text, []byte(c.GetNotContains())) {
				f = failure("not_contains", "the answer contains "+quote(c.GetNotContains()))
			}
		case pb.Check_JsonPath_case:
			f = jsonPath(c.GetJsonPath(), doc.of(text))
		case pb.Check_MaxBody_case:
			if body > c.GetMaxBody() {
				f = TooLong(c.GetMaxBody())
			}
		default:
			f = failure("unknown", "this check is not in this version")
		}
		if f != nil {
			return f
		}
	}
	return nil
}

// document decodes a text once, for as many checks as need it.
type document struct {
	done  bool
	value any
	err   error
}

func (d *document) of(text []byte) *document {
	if !d.done {
		d.done = true
		d.err = json.Unmarshal(text, &d.value)
	}
	return d
}

func jsonPath(c *pb.JsonPathCheck, doc *document) *Failure {
	if doc.err != nil {
		return failure("json_path", "the answer is not JSON")
	}
	path, err := scenario.ParseJSONPath(c.GetPath())
	if err != nil {
		return failure("json_path", fmt.Sprintf("path %s: %v", quote(c.GetPath()), err))
	}
	got, ok := follow(path, doc.value)
	if !ok {
		return failure("json_path", "the answer has nothing at "+quote(c.GetPath()))
	}
	if !equal(got, c.GetEquals()) {
		return failure("json_path", "the value at "+quote(c.GetPath())+" is another one")
	}
	return nil
}

// equal compares a decoded JSON value with one of the scenario. Numbers are compared as float64.
func equal(got any, want *structpb.Value) bool {
	switch w := want.GetKind().(type) {
	case *structpb.Value_NullValue:
		return got == nil
	case *structpb.Value_BoolValue:
		return got == w.BoolValue
	case *structpb.Value_NumberValue:
		return got == w.NumberValue
	case *structpb.Value_StringValue:
		return got == w.StringValue
	case *structpb.Value_ListValue:
		list, ok := got.([]any)
		values := w.ListValue.GetValues()
		if !ok || len(list) != len(values) {
			return false
		}
		for i := range list {
			if !equal(list[i], values[i]) {
				return false
			}
		}
		return true
	case *structpb.Value_StructValue:
		members, ok := got.(map[string]any)
		fields := w.StructValue.GetFields()
		if !ok || len(members) != len(fields) {
			return false
		}
		for name, v := range fields {
			if m, ok := members[name]; !ok || !equal(m, v) {
				return false
			}
		}
		return true
	}
	return false
}

func failure(name, text string) *Failure { return &Failure{measure.CheckClass(name), text} }

// quote quotes a string of the scenario, shortened.
func quote(s string) string {
	const most = 128
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}
