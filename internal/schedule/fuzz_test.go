package schedule

import (
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// FuzzCheck: whatever message comes in through the API, Check tells problems or the shapes can be walked.
func FuzzCheck(f *testing.F) {
	for _, p := range []*pb.Phase{
		open("a", rate(5), 10), open("a", poisson(ramp(0, 5)), 10), open("a", steps(1, 5, 1, 1), 0),
		open("a", spike(0, 5, 1, 1, 1), 10), open("a", gammaOf(2, sineLoad(5, 5, 3)), 10), sessionsOf(5, closedPhase("a", 3, 10)),
	} {
		data, err := proto.Marshal(scenario(1, nil, p))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s pb.Scenario
		if proto.Unmarshal(data, &s) != nil {
			return
		}
		c := checker{}
		outlines := c.outlines(&s)
		if len(c.problems) > 0 || len(outlines) > 100 {
			return
		}
		for i, o := range outlines {
			if o.curve == nil {
				continue
			}
			before := int64(0)
			for k := range 50 {
				due := o.curve.due(o.curve.total() * float64(k) / 50)
				if due < before || due > int64(MaxPhase) {
					t.Fatalf("phase %d: due at %d after %d", i, due, before)
				}
				before = due
			}
		}
	})
}
