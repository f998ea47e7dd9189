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

// FuzzApply: whatever change comes in over the wire, there is an error that names it, or a course whose members share it.
func FuzzApply(f *testing.F) {
	base := NewCourse(compiled(f, scenario(1, []uint32{1, 2},
		at(0, open("a", poisson(rate(5)), 10)), at(0, closedPhase("b", 3, 10)), at(0, open("c", sineLoad(5, 5, 3), 10)))), []uint32{1, 1})
	appended := change(base, 2, []uint32{1, 1}, end(0))
	appended.SetAppended([]*pb.Phase{open("d", gammaOf(2, rate(5)), 3), sessionsOf(5, closedPhase("e", 2, 0))})
	for _, ch := range []*pb.Change{
		change(base, 1, []uint32{1, 0}), change(base, 1, []uint32{0, 1, 3}, toRate(0, 7), pause(2), toUsers(1, 9)), appended,
	} {
		data, err := proto.Marshal(ch)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var ch pb.Change
		if proto.Unmarshal(data, &ch) != nil || expensive(&ch) {
			return
		}
		c, err := base.Apply(&ch)
		if err != nil {
			return
		}
		for i, p := range c.Phases() {
			shared := uint64(0)
			numbers := p.Arrivals
			if p.Users > 0 {
				numbers = uint64(p.Users)
			}
			for m := range c.Members() {
				shared += c.Count(i, m, numbers)
				w := c.Walk(i, m, 0)
				take(&w, 20)
			}
			if shared != numbers {
				t.Fatalf("phase %d: the members share %d of %d", i, shared, numbers)
			}
		}
	})
}

// expensive tells changes that take long by their size alone.
func expensive(ch *pb.Change) bool {
	if len(ch.GetWeights()) > 100 || len(ch.GetRevisions()) > 20 || len(ch.GetAppended()) > 5 {
		return true
	}
	for _, r := range ch.GetRevisions() {
		if r.GetRate() > 1e4 {
			return true
		}
	}
	c := checker{}
	for _, p := range ch.GetAppended() {
		c.outline(p)
	}
	return c.random > 1e5
}
