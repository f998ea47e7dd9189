package record

import (
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// bound is one bound under good.
type bound struct {
	series measure.Series // 0: a name that is no series, which no request can meet
	sign   pb.Comparison
	value  float64
}

func (b *bound) meets(v uint64) bool {
	x := float64(v)
	switch b.sign {
	case pb.Comparison_COMPARISON_LT:
		return x < b.value
	case pb.Comparison_COMPARISON_LE:
		return x <= b.value
	case pb.Comparison_COMPARISON_GT:
		return x > b.value
	case pb.Comparison_COMPARISON_GE:
		return x >= b.value
	default:
		return false
	}
}

// compileGood returns the bounds of each workload: its own, else the scenario's.
func compileGood(s *pb.Scenario) [][]bound {
	common := compileBounds(s.GetGood())
	out := make([][]bound, 0, len(s.GetWorkloads()))
	for _, w := range s.GetWorkloads() {
		bounds := common
		if len(w.GetGood()) > 0 {
			bounds = compileBounds(w.GetGood())
		}
		out = append(out, bounds)
	}
	return out
}

func compileBounds(objectives []*pb.Objective) []bound {
	out := make([]bound, 0, len(objectives))
	for _, o := range objectives {
		series, _ := measure.SeriesByName(o.GetMetric())
		out = append(out, bound{series: series, sign: o.GetComparison(), value: o.GetBound()})
	}
	return out
}

// goodness judges one request as its values come by. Where a series has several values (itl),
// all must meet the bound. A bound on a series that the request does not have is not met.
type goodness struct {
	bounds []bound
	met    uint64 // bounds with a value, one bit each; the schema allows 32
	broken bool   // some value did not meet its bound
}

func (g *goodness) see(s measure.Series, v uint64) {
	for i := range g.bounds {
		if b := &g.bounds[i]; b.series == s {
			if b.meets(v) {
				g.met |= 1 << i
			} else {
				g.broken = true
			}
		}
	}
}

func (g *goodness) good() bool { return !g.broken && g.met == 1<<len(g.bounds)-1 }
