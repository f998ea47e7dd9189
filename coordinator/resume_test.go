package coordinator

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loadline/loadline/coordinator/ingest"
	"github.com/loadline/loadline/coordinator/journal"
	"github.com/loadline/loadline/coordinator/merge/mergetest"
	"github.com/loadline/loadline/coordinator/run"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// left is the journal of a short run, as far as a coordinator that was killed had come.
func left(t *testing.T, runs, id string, keep func(*pb.JournalRecord) bool) {
	t.Helper()
	s := mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", 5, 4*time.Second)})
	h := mergetest.Header(s, "a1", "a2")
	digest := scenario.Digest(s, nil)
	h.SetRequestId("left")
	h.SetScenarioDigest(hex.EncodeToString(digest[:]))
	sent, err := mergetest.Play(h, 4*time.Second, func(mergetest.Arrival) mergetest.Answer {
		return mergetest.Answer{TTFT: 100 * time.Millisecond, E2E: 300 * time.Millisecond, OutputTokens: 7}
	})
	if err != nil {
		t.Fatal(err)
	}
	records := []*pb.JournalRecord{
		pb.JournalRecord_builder{Header: h}.Build(),
		pb.JournalRecord_builder{Event: mergetest.Event(pb.RunEventKind_RUN_EVENT_KIND_STARTED, 0)}.Build(),
	}
	for _, w := range sent.All() {
		records = append(records, pb.JournalRecord_builder{Window: w}.Build())
	}
	for _, totals := range sent.Totals {
		records = append(records, pb.JournalRecord_builder{Totals: totals}.Build())
	}
	records = append(records, pb.JournalRecord_builder{Event: mergetest.Ended(5*time.Second, pb.RunState_RUN_STATE_COMPLETE)}.Build())
	leave(t, filepath.Join(runs, id), slices.DeleteFunc(records, func(r *pb.JournalRecord) bool { return !keep(r) })...)
}

// leave writes the journal of a run.
func leave(t *testing.T, folder string, records ...*pb.JournalRecord) {
	t.Helper()
	j, err := journal.Create(journalFolder(folder), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := j.Append(t.Context(), r, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Whatever a coordinator that was killed left behind, the next one ends each run with a report, and
// calls none complete in which anything is missing.
func TestOpenRunsAreEndedAtTheNextStart(t *testing.T) {
	for name, test := range map[string]struct {
		keep   func(*pb.JournalRecord) bool
		state  pb.SummaryState
		reason string
	}{
		"in the middle": {func(r *pb.JournalRecord) bool {
			return r.HasHeader() || r.GetEvent().GetKind() == pb.RunEventKind_RUN_EVENT_KIND_STARTED || r.HasWindow() && r.GetWindow().GetSequence() < 3
		}, pb.SummaryState_SUMMARY_STATE_PARTIAL, "sent no totals"},
		"one window missing": {func(r *pb.JournalRecord) bool {
			return r.GetWindow().GetSequence() != 2 && r.GetEvent().GetKind() != pb.RunEventKind_RUN_EVENT_KIND_ENDED
		}, pb.SummaryState_SUMMARY_STATE_PARTIAL, "window 2 is missing"},
		"after everything had arrived": {func(r *pb.JournalRecord) bool {
			return r.GetEvent().GetKind() != pb.RunEventKind_RUN_EVENT_KIND_ENDED
		}, pb.SummaryState_SUMMARY_STATE_COMPLETE, ""},
		"after its end, before its report": {func(*pb.JournalRecord) bool { return true }, pb.SummaryState_SUMMARY_STATE_COMPLETE, ""},
		"before its start":                 {(*pb.JournalRecord).HasHeader, pb.SummaryState_SUMMARY_STATE_ABORTED, "never began"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := begin(t)
			runs := t.TempDir()
			left(t, runs, mergetest.RunID, test.keep)
			if err := c.takeUpAll(t.Context(), runs, nil); err != nil {
				t.Fatal(err)
			}
			live, ok := c.run(mergetest.RunID)
			if !ok || !live.over() {
				t.Fatal("the run cannot be asked about")
			}
			s := live.summary
			if s.GetState() != test.state || !strings.Contains(strings.Join(s.GetReasons(), "\n"), test.reason) {
				t.Errorf("state %v, reasons %q", s.GetState(), s.GetReasons())
			}
			again, err := Recompute(filepath.Join(runs, mergetest.RunID))
			if err != nil || again.GetState() != test.state {
				t.Errorf("computed again: %v, %v", again.GetState(), err)
			}
			if unfinished(filepath.Join(runs, mergetest.RunID)) {
				t.Error("the next start would take the run up once more")
			}
			_, stranger := live.Agent("a9", 1)
			window := live.Window(t.Context(), &pb.Window{}, nil)
			if !errors.Is(stranger, ingest.ErrEnded) || !errors.Is(window, ingest.ErrEnded) {
				t.Errorf("results after the end: %v, %v", stranger, window)
			}
			if err := live.appendResult(t.Context(), &pb.JournalRecord{}, nil); !errors.Is(err, ingest.ErrClosing) {
				t.Errorf("a closed journal: %v", err)
			}
		})
	}
}

// A run that is taken up knows how far every agent had come, and its journal goes on.
func TestAnOpenRunIsHandedOn(t *testing.T) {
	c, _ := begin(t)
	runs := t.TempDir()
	folder := filepath.Join(runs, mergetest.RunID)
	left(t, runs, mergetest.RunID, func(r *pb.JournalRecord) bool {
		return r.HasHeader() || r.GetEvent().GetKind() == pb.RunEventKind_RUN_EVENT_KIND_STARTED ||
			r.HasWindow() && (r.GetWindow().GetAgent() == "a1" || r.GetWindow().GetSequence() < 3) || r.GetTotals().GetAgent() == "a1"
	})
	if _, err := Recompute(folder); err != nil { // a person looks at what is there
		t.Fatal(err)
	}
	var got *openRun
	if err := c.takeUpAll(t.Context(), runs, func(o *openRun) bool { got = o; return true }); err != nil {
		t.Fatal(err)
	}
	if got == nil || len(got.events) != 1 || got.ended || got.run.header.GetRunId() != mergetest.RunID {
		t.Fatalf("handed on: %+v", got)
	}
	first, second := got.run.inboxes[run.ID{Agent: "a1", Incarnation: 1}], got.run.inboxes[run.ID{Agent: "a2", Incarnation: 1}]
	if n, totals := first.Durable(); n != 5 || !totals {
		t.Errorf("agent a1: window %d, totals %v", n, totals)
	}
	if n, totals := second.Durable(); n != 2 || totals {
		t.Errorf("agent a2: window %d, totals %v", n, totals)
	}
	if err := c.finishOpen(t.Context(), got); err != nil {
		t.Fatal(err)
	}
}

func TestFoldersThatAreNoOpenRunsAreLeftAlone(t *testing.T) {
	c, _ := begin(t)
	runs := t.TempDir()
	left(t, runs, "complete", func(*pb.JournalRecord) bool { return true })
	if _, err := Recompute(filepath.Join(runs, "complete")); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"foreign", "begun/journal"} {
		if err := os.MkdirAll(filepath.Join(runs, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(runs, "begun/journal/00000001.journal"), []byte("loadline journal 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.takeUpAll(t.Context(), runs, func(*openRun) bool { t.Error("something was handed on"); return true }); err != nil {
		t.Error(err)
	}
	if len(c.runs) != 0 {
		t.Errorf("%d runs were taken up", len(c.runs))
	}
}

func TestOneCoordinatorHasADataFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first, err := OpenData(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenData(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("the second one: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenData(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestADataFolderThatCannotBeWrittenIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenData(filepath.Join(file, "data")); err == nil || !strings.Contains(err.Error(), "cannot be used") {
		t.Errorf("error = %v", err)
	}
	if os.Geteuid() == 0 {
		return // nothing is closed to root
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenData(dir); err == nil {
		t.Error("a folder without write permission was taken")
	}
}

// The start looks once into each folder, and knows afterwards which runs are open and which have ended.
func TestRunsBelowAFolder(t *testing.T) {
	runs := t.TempDir()
	left(t, runs, "01-open", (*pb.JournalRecord).HasHeader)
	left(t, runs, "02-ended", func(*pb.JournalRecord) bool { return true })
	left(t, runs, "03-ended", func(*pb.JournalRecord) bool { return true })
	for _, name := range []string{"02-ended", "03-ended"} {
		if _, err := Recompute(filepath.Join(runs, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(runs, "04-no-run"), 0o700), os.WriteFile(filepath.Join(runs, "05-file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	open, ended, err := runsBelow(runs)
	for i, folder := range open {
		open[i] = filepath.Base(folder)
	}
	for i, folder := range ended {
		ended[i] = filepath.Base(folder)
	}
	if err != nil || !slices.Equal(open, []string{"01-open"}) || !slices.Equal(ended, []string{"02-ended", "03-ended"}) {
		t.Errorf("open %q, ended %q, %v", open, ended, err)
	}
	if open, ended, err := runsBelow(filepath.Join(runs, "gone")); err != nil || len(open)+len(ended) > 0 {
		t.Errorf("a folder that is not there: %q, %q, %v", open, ended, err)
	}
}
