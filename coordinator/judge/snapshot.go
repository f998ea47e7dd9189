package judge

import (
	"cmp"
	"maps"
	"slices"

	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Snapshot is the live view of one merged second: counts of that second, quantiles over the last
// five, totals since the start, and the objectives as they stand. What is open counts as neither
// good nor bad. It is meant to be called once a second.
func Snapshot(r *merge.Run, second uint64) *pb.Snapshot {
	e := evidence{run: r, book: r.LiveLedger()}
	total := e.book.Sum(func(merge.Key) bool { return true })
	total.Lost = r.LostSoFar()
	total.Due += total.Lost
	b := pb.Snapshot_builder{
		Second: second, ElapsedUs: int64(second+1) * 1_000_000, Arrivals: arrivals(total),
		Errors: liveErrors(r), Slo: e.liveObjectives(),
		Health: pb.Health_builder{CpuProcess: -1, CpuMachine: -1}.Build(),
	}
	b.Series, b.LatenessP99Us = liveSeries(r, second)
	if entry := r.At(second); entry != nil {
		c := all(entry)
		b.Due, b.Started, b.Missed, b.Shed = c[merge.Due], c[merge.Started], c[merge.Missed], c[merge.Shed]
		b.Succeeded, b.Failed = c[merge.RequestsSucceeded], c[merge.RequestsFailed]
		b.OutputTokens = c[merge.OutputTokens]
		b.Health = healthMessage(entry.Health)
		b.AgentsReporting = uint32(min(entry.Windows, uint64(len(r.Agents()))))
		b.Phases, b.InFlight = livePhases(r, entry)
	}
	return b.Build()
}

// all sums the counters of an entry up.
func all(e *merge.Entry) merge.Counters {
	var sum merge.Counters
	for _, k := range e.Keys() {
		c := e.Counters(k)
		sum.Add(&c)
	}
	return sum
}

func healthMessage(h merge.Health) *pb.Health {
	return pb.Health_builder{
		CpuProcess: h.CPUProcess, CpuMachine: h.CPUMachine, SchedLatencyP99Us: h.SchedLatencyP99US,
		GcPauseMaxUs: h.GCPauseMaxUS, Goroutines: h.Goroutines, OpenSockets: h.OpenSockets,
		ClockErrorBoundUs: h.ClockErrorUS, WindowsWaiting: h.WindowsWaiting,
	}.Build()
}

// livePhases lists the phases that had load in the second, and sums what was open.
func livePhases(r *merge.Run, entry *merge.Entry) ([]*pb.LivePhase, uint64) {
	started := make(map[int]uint64)
	for _, k := range entry.Keys() {
		c := entry.Counters(k)
		started[k.Phase] += c[merge.Started]
	}
	var out []*pb.LivePhase
	var open uint64
	for i, p := range r.Scenario().GetLoad() {
		now := r.InFlight(entry.Second, i).Now
		open += now
		if started[i] > 0 || now > 0 {
			out = append(out, pb.LivePhase_builder{Name: p.GetName(), Started: started[i], InFlight: now}.Build())
		}
	}
	return out, open
}

// liveSeries are the quantiles over the last seconds of the series that the view shows.
func liveSeries(r *merge.Run, second uint64) (series []*pb.LiveSeries, latenessP99 uint64) {
	for _, s := range []measure.Series{measure.TTFT, measure.ITL, measure.E2E, measure.Lateness} {
		h := lastSeconds(r, second, s)
		if h.Count() == 0 {
			continue
		}
		series = append(series, pb.LiveSeries_builder{
			Name: merge.SeriesName(s), Count: h.Count(), P50: h.Quantile(0.5), P99: h.Quantile(0.99),
		}.Build())
		if s == measure.Lateness {
			latenessP99 = h.Quantile(0.99)
		}
	}
	return series, latenessP99
}

func lastSeconds(r *merge.Run, second uint64, s measure.Series) *hist.Histogram {
	h := &hist.Histogram{}
	for at := second - min(second, liveSeconds-1); at <= second; at++ {
		entry := r.At(at)
		if entry == nil {
			continue
		}
		for _, k := range entry.Keys() {
			entry.AddSeries(k, s, h)
		}
	}
	return h
}

// liveErrors are the failures since the start, discarded phases included.
func liveErrors(r *merge.Run) []*pb.ErrorSummary {
	classes := make(map[string]merge.ErrorCount)
	for _, g := range r.Groups() {
		for _, e := range g.Errors() {
			old := classes[e.Class]
			if old.Count == 0 || e.Hash < old.Hash {
				old.Example, old.Hash = e.Example, e.Hash
			}
			old.Class, old.Count = e.Class, old.Count+e.Count
			classes[e.Class] = old
		}
	}
	list := slices.SortedFunc(maps.Values(classes), func(a, b merge.ErrorCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Class, b.Class))
	})
	return errorList(list[:min(len(list), maxLiveErrors)])
}

func (e evidence) liveObjectives() []*pb.ObjectiveResult {
	out := make([]*pb.ObjectiveResult, 0, len(e.run.Scenario().GetSlo()))
	for _, o := range e.run.Scenario().GetSlo() {
		out = append(out, e.judge(o).message(o))
	}
	return out
}
