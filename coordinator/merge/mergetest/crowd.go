package mergetest

import (
	"math"
	"math/rand/v2"

	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// CrowdWorkloads is how many workloads a window of a Crowd holds; each has five series.
const CrowdWorkloads = 4

// crowdVariants is how many different distributions there are of each series.
const crowdVariants = 64

// Crowd makes up what the windows of many busy agents hold: for each workload 25 requests with 40 token events each.
type Crowd struct{ series []crowdSeries }

type crowdSeries struct {
	series   measure.Series
	variants [][]byte
}

// NewCrowd draws the distributions, the same ones each time.
func NewCrowd() *Crowd {
	random := rand.New(rand.NewPCG(5, 7))
	c := &Crowd{}
	for _, law := range []struct {
		series         measure.Series
		median, spread float64 // of a log-normal law, µs
		values         int
	}{
		{measure.Lateness, 60, 0.6, 25}, {measure.TTFT, 180_000, 0.5, 25}, {measure.TTFTService, 179_000, 0.5, 25},
		{measure.ITL, 18_000, 0.25, 1000}, {measure.E2E, 1_400_000, 0.3, 25},
	} {
		drawn := crowdSeries{series: law.series}
		for range crowdVariants {
			var h hist.Histogram
			for range law.values {
				h.Record(uint64(law.median * math.Exp(law.spread*random.NormFloat64())))
			}
			drawn.variants = append(drawn.variants, h.AppendBinary(nil))
		}
		c.series = append(c.series, drawn)
	}
	return c
}

// Fill puts the groups of a made-up window in the place of those that w holds; of those that it holds it keeps counters and
// failures. number is that of the agent.
func (c *Crowd) Fill(w *pb.Window, number int) {
	var groups []*pb.Group
	for workload := range CrowdWorkloads {
		g := pb.Group_builder{Workload: uint32(workload)}
		for _, old := range w.GetGroups() {
			if old.GetWorkload() == uint32(workload) {
				g.Counters, g.Errors = old.GetCounters(), old.GetErrors()
			}
		}
		for i, s := range c.series {
			variant := (number*31 + int(w.GetSequence())*7 + workload*3 + i) % crowdVariants
			g.Series = append(g.Series, pb.SeriesData_builder{Series: pb.Series(s.series), Histogram: s.variants[variant]}.Build())
		}
		groups = append(groups, g.Build())
	}
	w.SetGroups(groups)
}
