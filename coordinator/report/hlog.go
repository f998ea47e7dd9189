package report

import (
	"bufio"
	"fmt"
	"io"

	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/internal/hist"
)

// WriteHlog writes the run over time as a log that HdrHistogram's tools open: one interval for
// each second and series. The tag is the series' name, or phase/workload/name where the scenario
// has several of either. Durations are in microseconds.
func WriteHlog(w io.Writer, r *merge.Run) error {
	start, ok := r.Started()
	if !ok {
		start = r.Header().GetCreatedTime().AsTime()
	}
	buffered := bufio.NewWriter(w)
	log, err := hist.NewLogWriter(buffered, start.UnixMilli(),
		"loadline "+Clean(r.Header().GetVersion()), "run "+Clean(r.Header().GetRunId()), "durations in microseconds")
	if err != nil {
		return fmt.Errorf("write the histograms: %w", err)
	}
	for e := range r.Timeline() {
		if err := writeEntry(log, r, e); err != nil {
			return fmt.Errorf("write the histograms: %w", err)
		}
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write the histograms: %w", err)
	}
	return nil
}

func writeEntry(log *hist.LogWriter, r *merge.Run, e *merge.Entry) error {
	s := r.Scenario()
	several := len(s.GetLoad()) > 1 || len(s.GetWorkloads()) > 1
	from, to := int64(e.Second)*1_000_000, int64(e.Second+e.Seconds)*1_000_000
	var h hist.Histogram
	for _, k := range e.Keys() {
		for _, series := range e.Series(k) {
			tag := hist.LogTag(merge.SeriesName(series))
			if several {
				tag = hist.LogTag(s.GetLoad()[k.Phase].GetName(), s.GetWorkloads()[k.Workload].GetName(), merge.SeriesName(series))
			}
			h.Reset()
			e.AddSeries(k, series, &h)
			if err := log.Interval(tag, from, to, &h); err != nil {
				return err
			}
		}
	}
	return nil
}
