package record

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func objective(metric string, sign pb.Comparison, value float64) *pb.Objective {
	return pb.Objective_builder{Metric: proto.String(metric), Comparison: sign.Enum(), Bound: proto.Float64(value)}.Build()
}

const (
	lt = pb.Comparison_COMPARISON_LT
	le = pb.Comparison_COMPARISON_LE
	gt = pb.Comparison_COMPARISON_GT
	ge = pb.Comparison_COMPARISON_GE
)

// The request has ttft 500 µs, gaps of 100 and 300 µs, 4 output tokens.
func TestGood(t *testing.T) {
	for _, c := range []struct {
		name        string
		common, own []*pb.Objective
		change      func(*measure.Outcome)
		want        uint64
	}{
		{name: "no bounds: every success is good", want: 1},
		{name: "below", common: []*pb.Objective{objective("ttft", lt, 501)}, want: 1},
		{name: "not below", common: []*pb.Objective{objective("ttft", lt, 500)}, want: 0},
		{name: "at most", common: []*pb.Objective{objective("ttft", le, 500)}, want: 1},
		{name: "at least", common: []*pb.Objective{objective("output_tokens", ge, 4)}, want: 1},
		{name: "not above", common: []*pb.Objective{objective("output_tokens", gt, 4)}, want: 0},
		{name: "one of two", common: []*pb.Objective{objective("ttft", lt, 501), objective("tpot", lt, 1)}, want: 0},
		{name: "both", common: []*pb.Objective{objective("ttft", lt, 501), objective("tpot", lt, 134)}, want: 1},
		{name: "every gap", common: []*pb.Objective{objective("itl", le, 300)}, want: 1},
		{name: "some gap is too long", common: []*pb.Objective{objective("itl", lt, 300)}, want: 0},
		{name: "the workload's own bounds count instead", common: []*pb.Objective{objective("ttft", lt, 1)}, own: []*pb.Objective{objective("e2e", le, 1000)}, want: 1},
		{name: "a series that the request does not have", common: []*pb.Objective{objective("ttft", lt, 501)},
			change: func(o *measure.Outcome) { o.Streamed = false }, want: 0},
		{name: "a name that is no series", common: []*pb.Objective{objective("nothing", lt, 501)}, want: 0},
		{name: "a bound without a sign", common: []*pb.Objective{objective("ttft", pb.Comparison_COMPARISON_UNSPECIFIED, 501)}, want: 0},
		{name: "a failure is never good", change: failed, want: 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := scenario(1, 2, func(s *pb.Scenario) {
				s.SetGood(c.common)
				s.GetWorkloads()[1].SetGood(c.own)
			})
			r := New(Config{Scenario: s, Spans: []Span{{0, 10_000_000}}, Shards: 1})
			o := answered(1, func(o *measure.Outcome) { o.Workload = 1 })
			if c.change != nil {
				c.change(o)
			}
			r.Record(o)
			got := r.Swap(2 * ms).GetGroups()[0].GetCounters()
			if got.GetGood() != c.want || got.GetSpanGood() != c.want {
				t.Errorf("good %d, within the span %d, want %d", got.GetGood(), got.GetSpanGood(), c.want)
			}
		})
	}
}
