package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
)

// column is one column of windows.csv.
type column struct {
	name  string
	value func(*rowData) string
}

// rowData is what the cells of one row are made from.
type rowData struct {
	run       *merge.Run
	entry     *merge.Entry
	counters  merge.Counters
	now, most uint64
	series    [measure.NumSeries]hist.Histogram
}

// windowColumns are the columns of windows.csv, in their order. Empty cells have no value.
//
//	second                     first second of the row, from the run's start; seconds is its length (1, in runs of hours more)
//	phases                     phases with load
//	due … canceled             arrivals and requests, as counted in the row
//	good                       succeeded requests that met every bound of good
//	input_tokens, output_tokens  of succeeded requests
//	…_per_second               the same by the length of the row
//	in_flight, in_flight_max   requests open at the end; sum over agents of each one's most
//	ttft_p50_us … lateness_p99_us  quantiles in microseconds of what was measured in the row
//	errors                     failed requests / (failed + succeeded), 0 to 1
//	cpu_process … open_sockets worst of any agent; shares from 0 to 1
//	windows                    agents' windows in the row
func windowColumns() []column {
	cols := []column{
		{"second", func(d *rowData) string { return whole64(d.entry.Second) }},
		{"seconds", func(d *rowData) string { return whole64(d.entry.Seconds) }},
		{"phases", func(d *rowData) string { return disarm(d.phases()) }},
	}
	counts := []struct {
		name string
		c    merge.Counter
	}{
		{"due", merge.Due}, {"started", merge.Started}, {"missed", merge.Missed}, {"shed", merge.Shed},
		{"sent", merge.RequestsSent}, {"succeeded", merge.RequestsSucceeded}, {"failed", merge.RequestsFailed},
		{"canceled", merge.RequestsCanceled}, {"good", merge.Good}, {"input_tokens", merge.InputTokens}, {"output_tokens", merge.OutputTokens},
	}
	for _, c := range counts {
		cols = append(cols, column{c.name, func(d *rowData) string { return whole64(d.counters[c.c]) }})
	}
	for _, c := range counts {
		switch c.c {
		case merge.Due, merge.Started, merge.RequestsSucceeded, merge.OutputTokens:
			cols = append(cols, column{c.name + "_per_second", func(d *rowData) string {
				return float(float64(d.counters[c.c]) / float64(d.entry.Seconds))
			}})
		}
	}
	cols = append(cols, column{"in_flight", func(d *rowData) string { return whole64(d.now) }},
		column{"in_flight_max", func(d *rowData) string { return whole64(d.most) }})
	for _, s := range rowSeries() {
		for _, p := range []float64{0.5, 0.9, 0.99} {
			name := fmt.Sprintf("%s_p%.0f_us", merge.SeriesName(s), p*100)
			cols = append(cols, column{name, func(d *rowData) string { return quantile(&d.series[s], p) }})
		}
	}
	return append(cols, healthColumns()...)
}

// rowSeries are the series with quantiles in a row.
func rowSeries() []measure.Series {
	return []measure.Series{measure.TTFT, measure.ITL, measure.E2E, measure.Lateness}
}

func healthColumns() []column {
	share := func(v float64) string {
		if v < 0 {
			return ""
		}
		return float(v)
	}
	return []column{
		{"errors", func(d *rowData) string { return errorShare(&d.counters) }},
		{"cpu_process", func(d *rowData) string { return share(d.entry.Health.CPUProcess) }},
		{"cpu_machine", func(d *rowData) string { return share(d.entry.Health.CPUMachine) }},
		{"sched_latency_p99_us", func(d *rowData) string { return whole64(d.entry.Health.SchedLatencyP99US) }},
		{"gc_pause_max_us", func(d *rowData) string { return whole64(d.entry.Health.GCPauseMaxUS) }},
		{"clock_error_bound_us", func(d *rowData) string { return whole64(d.entry.Health.ClockErrorUS) }},
		{"goroutines", func(d *rowData) string { return whole64(d.entry.Health.Goroutines) }},
		{"open_sockets", func(d *rowData) string { return whole64(d.entry.Health.OpenSockets) }},
		{"windows", func(d *rowData) string { return whole64(d.entry.Windows) }},
	}
}

func whole64(n uint64) string { return strconv.FormatUint(n, 10) }

func quantile(h *hist.Histogram, p float64) string {
	if h.Count() == 0 {
		return ""
	}
	return whole64(h.Quantile(p))
}

func errorShare(c *merge.Counters) string {
	ended := c[merge.RequestsFailed] + c[merge.RequestsSucceeded]
	if ended == 0 {
		return ""
	}
	return float(float64(c[merge.RequestsFailed]) / float64(ended))
}

// phases names the phases of the row.
func (d *rowData) phases() string {
	var names []string
	last := -1
	for _, k := range d.entry.Keys() {
		if k.Phase != last {
			names = append(names, Clean(d.run.Scenario().GetLoad()[k.Phase].GetName()))
			last = k.Phase
		}
	}
	return strings.Join(names, " ")
}

// disarm keeps a spreadsheet from taking text for a formula.
func disarm(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}

// WriteWindows writes the run over time as CSV: a heading, and one row a merged second (several
// seconds where the run is long past, see merge.FineSeconds). Seconds without a window have no row.
func WriteWindows(w io.Writer, r *merge.Run) error {
	out := csv.NewWriter(w)
	cols := windowColumns()
	cells := make([]string, len(cols))
	for i, c := range cols {
		cells[i] = c.name
	}
	out.Write(cells) // the writer keeps its first error
	for e := range r.Timeline() {
		d := rowOf(r, e)
		for i, c := range cols {
			cells[i] = c.value(d)
		}
		if out.Write(cells) != nil {
			break
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("write the windows as CSV: %w", err)
	}
	return nil
}

func rowOf(r *merge.Run, e *merge.Entry) *rowData {
	d := &rowData{run: r, entry: e}
	d.now, d.most = r.OpenIn(e)
	for _, k := range e.Keys() {
		c := e.Counters(k)
		d.counters.Add(&c)
		for _, s := range rowSeries() {
			e.AddSeries(k, s, &d.series[s])
		}
	}
	return d
}
