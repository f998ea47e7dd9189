package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/coordinator/merge/mergetest"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// book is what a coordinator keeps beside a journal: everything that was called durable.
type book struct {
	mu     sync.Mutex
	merged *merge.Run
	events []*pb.RunEvent
}

// add takes a record that is durable, or replayed.
func (b *book) add(record *pb.JournalRecord) (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case record.HasHeader():
		b.merged, err = merge.New(record.GetHeader())
		return err
	case record.HasEvent():
		b.events = append(b.events, record.GetEvent())
	}
	return b.merged.AddRecord(record)
}

func (b *book) checkpoint() iter.Seq[*pb.JournalRecord] {
	b.mu.Lock()
	defer b.mu.Unlock()
	records := slices.Collect(b.merged.Records())
	for _, e := range b.events {
		records = append(records, pb.JournalRecord_builder{Event: e}.Build())
	}
	return slices.Values(records)
}

// state is everything that a book holds, as text that can be compared.
func (b *book) state(t testing.TB) string {
	t.Helper()
	var out []byte
	for record := range b.checkpoint() {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, data...)
	}
	return string(out)
}

// story is a run of two agents with records of requests, from header to end.
func story(t testing.TB) []*pb.JournalRecord {
	t.Helper()
	s := mergetest.Scenario([]*pb.Phase{mergetest.Open("hold", 5, 6*time.Second)})
	s.SetCapture(pb.Capture_builder{Records: new(uint32(2))}.Build())
	h := mergetest.Header(s, "a1", "a2")
	sent, err := mergetest.Play(h, 6*time.Second, func(mergetest.Arrival) mergetest.Answer {
		return mergetest.Answer{TTFT: 100 * time.Millisecond, E2E: 300 * time.Millisecond, OutputTokens: 7}
	})
	if err != nil {
		t.Fatal(err)
	}
	records := []*pb.JournalRecord{
		pb.JournalRecord_builder{Header: h}.Build(),
		pb.JournalRecord_builder{Event: mergetest.Event(pb.RunEventKind_RUN_EVENT_KIND_STARTED, 0)}.Build(),
	}
	for i, w := range sent.All() {
		shift := int64(i/6) * 40_000_000_000 // hours go by, so that records are thinned
		w.SetStartUs(w.GetStartUs() + shift)
		w.SetEndUs(w.GetEndUs() + shift)
		w.SetRecords([]*pb.RequestRecord{pb.RequestRecord_builder{Arrival: uint64(2 * i)}.Build(), pb.RequestRecord_builder{Arrival: uint64(2*i + 1)}.Build()})
		w.SetRecordsLeftOut(1)
		records = append(records, pb.JournalRecord_builder{Window: w}.Build())
	}
	for _, totals := range sent.Totals {
		records = append(records, pb.JournalRecord_builder{Totals: totals}.Build())
	}
	return append(records, pb.JournalRecord_builder{Event: mergetest.Ended(6*time.Second, pb.RunState_RUN_STATE_COMPLETE)}.Build())
}

// crash is the folder of a journal as it was at a point.
type crash struct {
	point  Point
	folder string
	told   int // records called durable until then
}

// copyFolder copies a folder whose files may be removed meanwhile.
func copyFolder(from, to string) error {
	for {
		err := os.CopyFS(to, os.DirFS(from))
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.RemoveAll(to); err != nil {
			return err
		}
	}
}

// keep appends records until the first that is not asked for, one commit each, and counts what was told.
func keep(t testing.TB, j *Journal, b *book, records []*pb.JournalRecord, told func()) {
	t.Helper()
	for _, record := range records {
		done := make(chan struct{})
		if err := j.Append(t.Context(), record, func() {
			if err := b.add(record); err != nil {
				t.Error(err)
			}
			told()
			close(done)
		}); err != nil {
			t.Fatal(err)
		}
		<-done
	}
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Wherever a coordinator is killed, a replay shows everything that was acknowledged, and a journal that
// is taken up there and brought to its end cannot be told from one that was never interrupted.
func TestACrashAtAnyPointLosesNothing(t *testing.T) {
	records := story(t)
	folder := filepath.Join(t.TempDir(), "journal")
	var mu sync.Mutex
	var crashes []crash
	told := 0
	b := &book{}
	random := rand.New(rand.NewPCG(1, 2))
	j, err := Create(folder, Options{Checkpoint: b.checkpoint, CheckpointAfter: 2000, NotCompacted: func(err error) { t.Error(err) }, Point: func(p Point) {
		mu.Lock()
		defer mu.Unlock()
		c := crash{p, filepath.Join(t.TempDir(), fmt.Sprint("crash ", len(crashes))), told}
		if err := copyFolder(folder, c.folder); err != nil {
			t.Error(err)
		}
		if p == Written { // what was not synced may be there in part
			tear(t, c.folder, random)
		}
		crashes = append(crashes, c)
	}})
	if err != nil {
		t.Fatal(err)
	}
	keep(t, j, b, records, func() { mu.Lock(); told++; mu.Unlock() })
	want, seen := b.state(t), map[Point]int{}
	for _, c := range crashes {
		seen[c.point]++
		checkCrash(t, c, records, want)
	}
	for _, p := range []Point{
		Written, Synced, Told, CheckpointWritten, CheckpointSynced, CheckpointRenamed, Switched, CompactedWritten, Compacted, Ended,
	} {
		if seen[p] == 0 {
			t.Errorf("the point %q was never passed", p)
		}
	}
	checkKept(t, folder, records)
}

// tear cuts up to 200 bytes off the newest file, but for what it begins with.
func tear(t testing.TB, folder string, random *rand.Rand) {
	t.Helper()
	found, err := list(folder)
	if err != nil {
		t.Error(err)
		return
	}
	path := filepath.Join(folder, fileName(found.newest()))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	last := -1
	for at := range data {
		if _, rest, err := readFrame(data[at:]); err == nil && len(rest) == 0 {
			last = at
		}
	}
	if last >= 0 {
		if err := os.Truncate(path, int64(last)+random.Int64N(int64(len(data)-last))); err != nil {
			t.Error(err)
		}
	}
}

// checkCrash takes a journal up where it was interrupted and brings it to its end.
func checkCrash(t *testing.T, c crash, records []*pb.JournalRecord, want string) {
	t.Helper()
	b := &book{}
	replayed := 0
	j, _, err := Open(c.folder, Options{Checkpoint: b.checkpoint, CheckpointAfter: 2000}, b.add)
	if err != nil {
		t.Fatalf("%s: %v", c.point, err)
	}
	if b.merged != nil {
		replayed = 1 + len(b.events)
		for _, a := range b.merged.Agents() {
			replayed += int(a.Windows())
		}
		for record := range b.merged.Records() {
			if record.HasTotals() {
				replayed++
			}
		}
	}
	if replayed < c.told || replayed > c.told+1 {
		t.Fatalf("%s: %d records are there, %d were acknowledged", c.point, replayed, c.told)
	}
	keep(t, j, b, records[replayed:], func() {})
	if got := b.state(t); got != want {
		t.Fatalf("%s after %d records: the run that was taken up differs", c.point, c.told)
	}
	again := &book{}
	if torn, err := Replay(c.folder, again.add); err != nil || torn != 0 || again.state(t) != want {
		t.Fatalf("%s: replayed again it differs: torn %d, error %v", c.point, torn, err)
	}
	checkKept(t, c.folder, records)
}

// checkKept: every request has its record, or is counted among those that have none.
func checkKept(t *testing.T, folder string, records []*pb.JournalRecord) {
	t.Helper()
	var want, got, left uint64
	for _, r := range records {
		want += uint64(len(r.GetWindow().GetRecords())) + r.GetWindow().GetRecordsLeftOut()
	}
	if err := Windows(folder, func(w *pb.Window) error {
		got += uint64(len(w.GetRecords()))
		left += w.GetRecordsLeftOut()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got+left != want || got == 0 {
		t.Fatalf("%d records kept and %d left out, of %d requests", got, left, want)
	}
}

// Whatever stands in a file before the newest, reading and thinning its records never panics; a file
// that is damaged stays as it is.
func FuzzOlderFiles(f *testing.F) {
	w := &memory{}
	frames := &frameWriter{file: w}
	for _, r := range story(f) {
		if err := frames.append(r); err != nil {
			f.Fatal(err)
		}
	}
	if err := frames.flush(); err != nil {
		f.Fatal(err)
	}
	whole := w.bytes
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte(fileHeader))
	f.Fuzz(func(t *testing.T, data []byte) {
		folder := t.TempDir()
		for name, content := range map[string][]byte{fileName(1): data, fileName(2): []byte(fileHeader)} {
			if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		before := Windows(folder, func(*pb.Window) error { return nil })
		c := &compactor{folder: folder}
		err := c.pass(request{newest: 2, lastUS: 1 << 40}, make(chan struct{}))
		if (err == nil) != (before == nil) {
			t.Fatalf("read: %v, compacted: %v", before, err)
		}
		after := Windows(folder, func(*pb.Window) error { return nil })
		if (after == nil) != (before == nil) {
			t.Fatalf("before: %v, after: %v", before, after)
		}
	})
}

// memory is a file that only grows.
type memory struct {
	faultyFile
	bytes []byte
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.bytes = append(m.bytes[:off], p...)
	return len(p), nil
}
