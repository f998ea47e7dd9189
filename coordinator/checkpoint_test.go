package coordinator

import (
	"bytes"
	"context"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/loadline/loadline/coordinator/journal"
	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/coordinator/merge/mergetest"
	"github.com/loadline/loadline/internal/hist"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// soak is the journal of a run of so many seconds on two agents: sessions, distributions, records of
// requests, and validity that hangs on single seconds.
type soak struct {
	seconds int
	every   int // seconds from one window of an agent to the next
	records int // of requests, a window
	merged  *merge.Run
	events  []*pb.RunEvent
}

func (s *soak) header() *pb.RunHeader {
	scenario := mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", 2, time.Duration(s.seconds)*time.Second)}, mergetest.Chat("short"))
	scenario.SetDrain(durationpb.New(time.Second))
	scenario.SetCapture(pb.Capture_builder{Records: new(uint32(s.records))}.Build())
	h := mergetest.Header(scenario, "a1", "a2")
	h.SetRoofline(pb.Roofline_builder{RequestsPerSecond: 50, EventsPerSecond: 1000, Streams: 30}.Build())
	return h
}

// window is what an agent sends for one second: now and then a second of many requests.
func (s *soak) window(agent string, second int) *pb.Window {
	n := uint64(1)
	if second/s.every%1000 == 17 {
		n = 20
	}
	group := pb.Group_builder{
		Counters: pb.Counters_builder{
			Due: n, Started: n, SessionsSucceeded: n, RequestsSent: n, RequestsSucceeded: n, Good: n, ContentEvents: 7 * n, OutputTokens: 7 * n,
			SpanSucceeded: n, SpanGood: n, SpanOutputTokens: 7 * n, TokensFromServer: n,
		}.Build(),
	}
	for _, series := range []pb.Series{pb.Series_SERIES_LATENESS, pb.Series_SERIES_TTFT, pb.Series_SERIES_ITL, pb.Series_SERIES_E2E, pb.Series_SERIES_SESSION} {
		var h hist.Histogram
		for i := range n {
			h.Record(uint64(second*37%900)*uint64(series) + i*100)
		}
		group.Series = append(group.Series, pb.SeriesData_builder{Series: series, Histogram: h.AppendBinary(nil)}.Build())
	}
	w := pb.Window_builder{
		RunId: mergetest.RunID, Agent: agent, Incarnation: 1, Sequence: uint64(second/s.every + 1),
		StartUs: int64(second) * 1e6, EndUs: int64(second+1) * 1e6, Groups: []*pb.Group{group.Build()},
		InFlight: []*pb.InFlight{pb.InFlight_builder{Max: n, Now: n / 2, OpenUs: 300_000 * n}.Build()},
		Health:   pb.Health_builder{CpuProcess: 0.1, CpuMachine: float64(second%97) / 100, Goroutines: 9}.Build(),
	}
	for i := range s.records {
		w.Records = append(w.Records, pb.RequestRecord_builder{Arrival: uint64(second*s.records + i), DueUs: int64(second) * 1e6, EndUs: 300_000}.Build())
	}
	return w.Build()
}

// add takes what is durable, as a coordinator does.
func (s *soak) add(record *pb.JournalRecord) (err error) {
	if record.HasHeader() {
		s.merged, err = merge.New(record.GetHeader())
		return err
	}
	if record.HasEvent() {
		s.events = append(s.events, record.GetEvent())
	}
	return s.merged.AddRecord(record)
}

func (s *soak) checkpoint() iter.Seq[*pb.JournalRecord] {
	records := slices.Collect(s.merged.Records())
	for _, e := range s.events {
		records = append(records, pb.JournalRecord_builder{Event: e}.Build())
	}
	return slices.Values(records)
}

// write writes the journal of the run into a run folder; after 0: without checkpoints.
func (s *soak) write(t testing.TB, after int64) (folder string) {
	t.Helper()
	folder = t.TempDir()
	options := journal.Options{NotCompacted: func(err error) { t.Error(err) }}
	if after > 0 {
		options.Checkpoint, options.CheckpointAfter = s.checkpoint, after
	}
	j, err := journal.Create(journalFolder(folder), options)
	if err != nil {
		t.Fatal(err)
	}
	add := func(record *pb.JournalRecord) {
		if err := j.Append(t.Context(), record, func() {
			if err := s.add(record); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	add(pb.JournalRecord_builder{Header: s.header()}.Build())
	add(pb.JournalRecord_builder{Event: mergetest.Event(pb.RunEventKind_RUN_EVENT_KIND_STARTED, 0)}.Build())
	for second := 0; second < s.seconds; second += s.every {
		for _, agent := range []string{"a1", "a2"} {
			add(pb.JournalRecord_builder{Window: s.window(agent, second)}.Build())
		}
	}
	add(pb.JournalRecord_builder{Event: mergetest.Ended(time.Duration(s.seconds)*time.Second, pb.RunState_RUN_STATE_PARTIAL)}.Build())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := j.Close(ctx); err != nil {
		t.Fatal(err)
	}
	return folder
}

func sizeOf(t testing.TB, folder string) (size int64) {
	t.Helper()
	err := filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		size += info.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// A journal that was compacted many times over hours gives the same summary, rows and histograms,
// byte for byte, as one that was never compacted.
func TestACompactedJournalTellsTheSame(t *testing.T) {
	const seconds, every, kept = 12 * 3600, 61, 2
	var files [2]map[string][]byte
	for i, after := range []int64{0, 100 << 10} {
		folder := (&soak{seconds: seconds, every: every, records: kept}).write(t, after)
		if _, err := os.Stat(filepath.Join(journalFolder(folder), "00000001.journal")); (err == nil) != (after == 0) {
			t.Errorf("after %d bytes: the first file: %v", after, err)
		}
		summary, err := Recompute(folder)
		if err != nil {
			t.Fatal(err)
		}
		if len(summary.GetAgents()) != 2 || summary.GetRoofline().GetShare() == 0 {
			t.Errorf("summary: %v", summary)
		}
		files[i] = map[string][]byte{}
		for _, name := range []string{summaryFile, windowsFile, hlogFile} {
			if files[i][name], err = os.ReadFile(filepath.Join(folder, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, want := range files[0] {
		if !bytes.Equal(files[1][name], want) {
			t.Errorf("%s differs once the journal was compacted", name)
		}
	}
}

// BenchmarkRestart measures how long a coordinator needs to read the journal of a soak of 24 hours.
func BenchmarkRestart(b *testing.B) {
	folder := (&soak{seconds: 24 * 3600, every: 1, records: 2}).write(b, 32<<20)
	for b.Loop() {
		replayed := &replayed{}
		if _, err := journal.Replay(journalFolder(folder), replayed.add); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(sizeOf(b, journalFolder(folder)))/48, "B/agent·hour")
}
