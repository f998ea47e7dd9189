package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/parquet-go/parquet-go"

	"github.com/loadline/loadline/coordinator/report"
	"github.com/loadline/loadline/internal/sim"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// steady is a load at a rate, from the command line.
const steady = `name: steady
targets:
  - {url: TARGET/v1, protocol: openai-chat, model: m}
workloads:
  - synthetic: {input_tokens: {fixed: 20}, output_tokens: {fixed: 4}}
load:
  - {name: hold, open: {rate: 50}, duration: 2s}
capture: {records: all}
` + everyArrival

func steadyFor(g *target) string { return strings.ReplaceAll(steady, "TARGET", g.root) }

// reported runs report and returns the exit status and summary.json, which must also be what was printed.
func reported(t *testing.T, dir string) (int, []byte) {
	t.Helper()
	p := execLoadline(t, dir, nil, "report", "r", "--json")
	data := read(t, dir, "r", "summary.json")
	if p.out.String() != string(data) || p.err.String() != "" {
		t.Errorf("report printed something else than summary.json; standard error: %q", &p.err)
	}
	return p.status, data
}

// TestReportIsTheSameAgain: report computes the same bytes from the journal, and every file of the folder can be read
// by the tools it is meant for.
func TestReportIsTheSameAgain(t *testing.T) {
	t.Parallel()
	text := steadyFor(serveSim(t, nil))
	p := playThrough(t, files{"s.yaml": text}, "--quiet", "--agents", "2")
	p.wantVerdict(t, 0)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	if a := p.summary.GetArrivals(); a.GetDue() != 100 || a.GetStarted() != 100 {
		t.Errorf("arrivals: %v", a)
	}
	before := map[string][]byte{}
	for _, name := range []string{"summary.json", "windows.csv", "histograms.hlog", "requests.parquet"} {
		before[name] = read(t, p.folder, name)
		if err := os.Remove(filepath.Join(p.folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	status, _ := reported(t, p.dir)
	if status != p.status {
		t.Errorf("report ended with %d, the run with %d", status, p.status)
	}
	for name, data := range before {
		if name != "requests.parquet" && !bytes.Equal(read(t, p.folder, name), data) {
			t.Errorf("%s is not the same again", name)
		}
	}
	checkNoRemains(t, p.folder)
	checkHistograms(t, p)
	checkRequests(t, p, 100)
	checkWindows(t, p, "due", 100)
	checkWindows(t, p, "succeeded", p.summary.GetRequests().GetSucceeded())
	if string(read(t, p.folder, "scenario.yaml")) != text {
		t.Error("scenario.yaml is not as it was given")
	}
	if !json.Valid(read(t, p.folder, "plan.json")) {
		t.Error("plan.json is not JSON")
	}
	if v := execLoadline(t, p.dir, nil, "validate", "r/scenario.resolved.yaml"); v.status != 0 {
		t.Errorf("scenario.resolved.yaml is refused: %s", &v.err)
	}
}

// checkHistograms reads histograms.hlog as other tools do and compares the counts with the summary's.
func checkHistograms(t *testing.T, p *played) {
	t.Helper()
	log := hdrhistogram.NewHistogramLogReader(bytes.NewReader(read(t, p.folder, "histograms.hlog")))
	counts := map[string]int64{}
	for {
		h, err := log.NextIntervalHistogram()
		if err != nil {
			t.Fatal(err)
		}
		if h == nil {
			break
		}
		counts[h.Tag()] += h.TotalCount()
	}
	for _, name := range []string{"lateness", "ttft", "ttft_service", "itl", "tpot", "e2e"} {
		if got, want := uint64(counts[name]), seriesCounts(p.summary)[name+"   "]; got != want || want == 0 {
			t.Errorf("histograms.hlog has %d values of %s, the summary %d", got, name, want)
		}
	}
}

// checkRequests reads requests.parquet, which must hold so many requests, each once.
func checkRequests(t *testing.T, p *played, want int) {
	t.Helper()
	rows, err := parquet.ReadFile[report.Row](filepath.Join(p.folder, "requests.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	for _, r := range rows {
		seen[r.Arrival] = true
		if r.Outcome == "succeeded" && (r.EndUS == nil || r.FirstTokenUS == nil || r.OutputTokens != 4 || r.Status != 200) {
			t.Errorf("row of arrival %d: %+v", r.Arrival, r)
		}
	}
	if len(rows) != want || len(seen) != want {
		t.Errorf("requests.parquet has %d rows of %d arrivals, want %d", len(rows), len(seen), want)
	}
}

// checkWindows adds a column of windows.csv up.
func checkWindows(t *testing.T, p *played, column string, want uint64) {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(read(t, p.folder, "windows.csv"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.Index(rows[0], column)
	if at < 0 {
		t.Fatalf("windows.csv has no column %s: %v", column, rows[0])
	}
	var sum uint64
	for _, row := range rows[1:] {
		n, err := strconv.ParseUint(row[at], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	if sum != want {
		t.Errorf("column %s sums to %d, want %d", column, sum, want)
	}
}

// acknowledged sums up what a journal holds.
type acknowledged struct {
	windows                       int
	due, started, sent, succeeded uint64
	ended                         bool
}

func acknowledgedIn(t *testing.T, folder string) (a acknowledged) {
	t.Helper()
	for _, r := range records(t, folder) {
		switch {
		case r.HasEvent():
			a.ended = a.ended || r.GetEvent().GetKind() == pb.RunEventKind_RUN_EVENT_KIND_ENDED
		case r.HasWindow():
			a.windows++
			for _, g := range r.GetWindow().GetGroups() {
				c := g.GetCounters()
				a.due, a.started = a.due+c.GetDue(), a.started+c.GetStarted()
				a.sent, a.succeeded = a.sent+c.GetRequestsSent(), a.succeeded+c.GetRequestsSucceeded()
			}
		}
	}
	return a
}

// TestKilledRun: after kill -9 report makes a partial summary of everything that had been acknowledged, and makes it
// again byte for byte, also where the last write was cut off.
func TestKilledRun(t *testing.T) {
	t.Parallel()
	g := serveSim(t, nil)
	dir := files{"s.yaml": steadyFor(g)}.write(t)
	folder := filepath.Join(dir, "r")
	p := start(t, dir, nil, "run", "s.yaml", "--out", "r", "--agents", "2", "--set", "load[0].duration=5m")
	var seen acknowledged
	p.until(t, "two windows of each agent in the journal", func() bool {
		seen = acknowledgedIn(t, folder)
		return seen.windows >= 4
	})
	p.signal(t, syscall.SIGKILL)
	p.wait()

	kept := acknowledgedIn(t, folder)
	if kept.windows < seen.windows || kept.started < seen.started || kept.ended {
		t.Fatalf("the journal held %+v before the kill, and holds %+v", seen, kept)
	}
	status, data := reported(t, dir)
	s := summaryOf(t, folder)
	if status != 97 && (status != 98 || s.GetValidity().GetValid()) {
		t.Errorf("exit status %d of a run that was killed: %v", status, s.GetReasons())
	}
	checkLedger(t, s)
	checkNoRemains(t, folder)
	var windows int
	for _, a := range s.GetAgents() {
		windows += int(a.GetWindows())
	}
	a, r := s.GetArrivals(), s.GetRequests()
	if s.GetState() != pb.SummaryState_SUMMARY_STATE_PARTIAL || windows != kept.windows || a.GetStarted() != kept.started ||
		r.GetSent() != kept.sent || r.GetSucceeded() != kept.succeeded || a.GetDue() < kept.due {
		t.Errorf("the journal holds %+v; the summary: %v, %d windows, %v, %v", kept, s.GetState(), windows, a, r)
	}
	if kept.started == 0 || g.begun() < kept.sent {
		t.Errorf("the target saw %d requests, the journal has %d", g.begun(), kept.sent)
	}
	if again, same := reported(t, dir); again != status || !bytes.Equal(same, data) {
		t.Error("the second report differs from the first")
	}

	tornTail(t, folder)
	if again, same := reported(t, dir); again != status || !bytes.Equal(same, data) {
		t.Error("the report differs when the journal's last write was cut off")
	}
}

// tornTail appends the beginning of a frame to the journal, as a write that was cut off leaves it.
func tornTail(t *testing.T, folder string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(folder, "journal", "*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("files of the journal: %v, %v", names, err)
	}
	data := read(t, names[0])
	magic := data[bytes.IndexByte(data, '\n')+1:][:4]
	file, err := os.OpenFile(names[0], os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(append(magic[:4:4], 0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedJournal: damage before the end is told, never reported around.
func TestDamagedJournal(t *testing.T) {
	t.Parallel()
	p := playThrough(t, files{"s.yaml": steadyFor(serveSim(t, nil))}, "--quiet", "--set", "load[0].duration=200ms")
	names, err := filepath.Glob(filepath.Join(p.folder, "journal", "*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("files of the journal: %v, %v", names, err)
	}
	data := read(t, names[0])
	data[len("loadline journal 1\n")+100] ^= 0x40
	if err := os.WriteFile(names[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	broken := execLoadline(t, p.dir, nil, "report", "r")
	if broken.status != 1 || !strings.Contains(broken.err.String(), "damaged") {
		t.Errorf("report of a damaged journal ended with %d: %s", broken.status, &broken.err)
	}
}

// slow answers only after a while, so that requests are in flight when a signal comes.
func slow(c *sim.Config) { c.Fixed.TTFT = sim.Fixed(300 * time.Millisecond) }
