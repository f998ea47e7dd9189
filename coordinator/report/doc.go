// Package report writes what a run found out, for people and for machines, into an io.Writer.
//
//   - WriteJSON and ReadJSON: summary.json and plan.json, the same bytes every time.
//   - WriteText: the block at the end of a run.
//   - WritePlanText: the schedule before a run.
//   - WriteWindows: windows.csv, one row a second.
//   - WriteHlog: histograms.hlog, for HdrHistogram's tools.
//   - WriteRequests: requests.parquet, the records of single requests.
//
// Text that came from outside (names, failures of a target, details of agents) is shown and
// never obeyed: control characters are replaced, and spreadsheet formulas are disarmed.
package report

// MaxSummary is the largest summary that ReadJSON reads, in bytes.
const MaxSummary = 64 << 20
