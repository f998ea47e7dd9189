package judge

import (
	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// seriesList describes every distribution that has values: the whole run's first, then those of
// each phase and workload in the order of the scenario.
func seriesList(r *merge.Run) []*pb.SeriesSummary {
	out := ofGroup(nil, r.Whole(), "", "", "")
	for k, g := range r.Groups() {
		s := r.Scenario()
		out = ofGroup(out, g, s.GetLoad()[k.Phase].GetName(), s.GetWorkloads()[k.Workload].GetName(), targetOf(s, k.Workload))
	}
	return out
}

func ofGroup(out []*pb.SeriesSummary, g *merge.Group, phase, workload, target string) []*pb.SeriesSummary {
	for s := measure.Series(1); s < measure.NumSeries; s++ {
		if h := g.Histogram(s); h.Count() > 0 {
			out = append(out, describe(h, s, phase, workload, target))
		}
	}
	return out
}

func describe(h *hist.Histogram, s measure.Series, phase, workload, target string) *pb.SeriesSummary {
	ps := []float64{0.5, 0.9, 0.95, 0.99, 0.999}
	// A quantile is printed when n ≥ 1/(1−p).
	least := []uint64{2, 10, 20, 100, 1000}
	values := make([]uint64, len(ps))
	h.Quantiles(ps, values)
	printed := func(i int) *uint64 {
		if h.Count() < least[i] {
			return nil
		}
		return &values[i]
	}
	return pb.SeriesSummary_builder{
		Name: merge.SeriesName(s), Unit: merge.SeriesUnit(s), Phase: phase, Workload: workload, Target: target,
		Count: h.Count(), Min: h.Min(), Max: h.Max(), Mean: h.Mean(),
		P50: printed(0), P90: printed(1), P95: printed(2), P99: printed(3), P999: printed(4),
	}.Build()
}
