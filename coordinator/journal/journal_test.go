package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func window(n uint64) *pb.JournalRecord {
	return pb.JournalRecord_builder{Window: pb.Window_builder{Agent: "a1", Sequence: n}.Build()}.Build()
}

func sequences(t testing.TB, folder string) (got []uint64, torn int64, err error) {
	t.Helper()
	torn, err = Replay(folder, func(r *pb.JournalRecord) error {
		got = append(got, r.GetWindow().GetSequence())
		return nil
	})
	return got, torn, err
}

// fill writes n windows, each in a commit of its own when separate, and returns the folder.
func fill(t testing.TB, n int, separate bool) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "journal")
	j, err := Create(folder, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		done := make(chan struct{})
		if err := j.Append(t.Context(), window(uint64(i+1)), func() { close(done) }); err != nil {
			t.Fatal(err)
		}
		if separate {
			<-done
		}
	}
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return folder
}

func wantUpTo(t testing.TB, got []uint64, n int) {
	t.Helper()
	if len(got) != n {
		t.Fatalf("replayed %d records, want %d", len(got), n)
	}
	for i, s := range got {
		if s != uint64(i+1) {
			t.Fatalf("record %d has number %d", i, s)
		}
	}
}

func TestEverythingDurableIsReplayedInOrder(t *testing.T) {
	for _, separate := range []bool{true, false} {
		got, torn, err := sequences(t, fill(t, 300, separate))
		if err != nil || torn != 0 {
			t.Fatalf("torn %d, error %v", torn, err)
		}
		wantUpTo(t, got, 300)
	}
}

func TestDurableIsCalledAfterTheSyncAndInOrder(t *testing.T) {
	file := &faultyFile{}
	j, err := New(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var order []int
	for i := range 100 {
		at := i
		err := j.Append(t.Context(), window(uint64(i)), func() {
			if file.dirty() {
				t.Error("called durable before the sync")
			}
			order = append(order, at)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, at := range order {
		if i != at {
			t.Fatalf("order %v", order)
		}
	}
	if len(order) != 100 {
		t.Errorf("%d durable, want 100", len(order))
	}
}

// A commit may be interrupted at any byte: what was synced before is replayed, the rest left out.
func TestATornTailIsLeftOutWhereverItIsTorn(t *testing.T) {
	whole, err := os.ReadFile(filepath.Join(fill(t, 4, true), fileName(1)))
	if err != nil {
		t.Fatal(err)
	}
	ends := []int{len(fileHeader)}
	for rest := whole[len(fileHeader):]; len(rest) > 0; {
		body, after, err := readFrame(rest)
		if err != nil {
			t.Fatal(err)
		}
		ends, rest = append(ends, ends[len(ends)-1]+frameHeader+len(body)), after
	}
	for cut := len(fileHeader); cut <= len(whole); cut++ {
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, fileName(1)), whole[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		frames := 0
		for frames+1 < len(ends) && ends[frames+1] <= cut {
			frames++
		}
		got, torn, err := sequences(t, folder)
		if err != nil || torn != int64(cut-ends[frames]) {
			t.Fatalf("cut at %d: torn %d, error %v", cut, torn, err)
		}
		wantUpTo(t, got, frames)
	}
}

// Any flipped byte before the last frame is damage; within the last frame it is a torn tail.
func TestDamageBeforeTheEndIsAnError(t *testing.T) {
	whole, err := os.ReadFile(filepath.Join(fill(t, 3, true), fileName(1)))
	if err != nil {
		t.Fatal(err)
	}
	last := strings.LastIndex(string(whole), frameMagic)
	for at := range whole {
		data := []byte(string(whole))
		data[at] ^= 0x41
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, fileName(1)), data, 0o644); err != nil {
			t.Fatal(err)
		}
		got, torn, err := sequences(t, folder)
		if at < last && !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d flipped: error %v, torn %d, want damage", at, err, torn)
		}
		if at >= last && (err != nil || torn == 0 || len(got) != 2) {
			t.Fatalf("byte %d of the last frame flipped: error %v, torn %d, %d records", at, err, torn, len(got))
		}
	}
}

func TestAFullDiskIsReportedAndWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := &faultyFile{}
		var log []string
		j, err := New(file, Options{
			Failed:    func(err error) { log = append(log, "failed: "+err.Error()) },
			Recovered: func() { log = append(log, "recovered") },
		})
		if err != nil {
			t.Fatal(err)
		}
		file.fail(syscall.ENOSPC)
		durable := 0
		for i := range 5 {
			if err := j.Append(t.Context(), window(uint64(i+1)), func() { durable++ }); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if durable != 0 || len(log) != 1 || !strings.Contains(log[0], "no space left") {
			t.Fatalf("durable %d, log %q", durable, log)
		}
		file.fail(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if durable != 5 || len(log) != 2 || log[1] != "recovered" {
			t.Fatalf("after recovery: durable %d, log %q", durable, log)
		}
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		var got []uint64
		if _, err := replay(strings.NewReader(file.data()), int64(len(file.data())), eachRecord, func(_ int64, r *pb.JournalRecord) error {
			got = append(got, r.GetWindow().GetSequence())
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		wantUpTo(t, got, 5)
	})
}

func TestCloseSaysWhatWasNeverWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := &faultyFile{}
		j, err := New(file, Options{})
		if err != nil {
			t.Fatal(err)
		}
		file.fail(syscall.ENOSPC)
		if err := j.Append(t.Context(), window(1), func() { t.Error("called durable") }); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		err = j.Close(ctx)
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "1 journal records") {
			t.Errorf("error = %v", err)
		}
		if err := j.Append(t.Context(), window(2), nil); !errors.Is(err, ErrClosed) {
			t.Errorf("append after close: %v", err)
		}
	})
}

func TestAJournalIsNeverOverwritten(t *testing.T) {
	folder := fill(t, 1, true)
	if _, err := Create(folder, Options{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("error = %v, want that it exists", err)
	}
}

func TestOversizedRecordIsRefusedAndTheRestKept(t *testing.T) {
	j, err := New(&faultyFile{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	huge := pb.JournalRecord_builder{Event: pb.RunEvent_builder{Detail: strings.Repeat("x", MaxRecord)}.Build()}.Build()
	kept := make(chan struct{})
	if err := errors.Join(
		j.Append(t.Context(), huge, func() { t.Error("the huge record was called durable") }),
		j.Append(t.Context(), window(1), func() { close(kept) }),
	); err != nil {
		t.Fatal(err)
	}
	<-kept
	if err := j.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("error = %v, want one that names the limit", err)
	}
}

func TestConcurrentAppendsAreAllKept(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "journal")
	j, err := Create(folder, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := range 200 {
				if err := j.Append(t.Context(), window(uint64(worker*200+i)), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, _, err := sequences(t, folder)
	seen := map[uint64]bool{}
	for _, s := range got {
		seen[s] = true
	}
	if err != nil || len(seen) != 1600 {
		t.Errorf("%d different records, error %v", len(seen), err)
	}
}

func FuzzReplayNeverPanicsAndKeepsItsBounds(f *testing.F) {
	body, _ := appendRecord(nil, window(1))
	f.Add([]byte(fileHeader))
	f.Add(appendFrame([]byte(fileHeader), body))
	f.Add(appendFrame(appendFrame([]byte(fileHeader), body), body)[:60])
	f.Fuzz(func(t *testing.T, data []byte) {
		torn, err := replay(strings.NewReader(string(data)), int64(len(data)), eachRecord, func(int64, *pb.JournalRecord) error { return nil })
		if torn < 0 || torn > int64(len(data)) || err != nil && torn != 0 {
			t.Errorf("torn %d of %d, error %v", torn, len(data), err)
		}
	})
}

// Those who look at request records alone get header and windows as they are, without groups, and nothing else.
func TestLeanRecordsAreTheSameWithoutGroups(t *testing.T) {
	var body []byte
	var want, got []*pb.JournalRecord
	for i := range 3 {
		w := window(uint64(i + 1))
		w.GetWindow().SetGroups([]*pb.Group{pb.Group_builder{Workload: 3}.Build(), pb.Group_builder{Phase: 1}.Build()})
		w.GetWindow().SetRecords([]*pb.RequestRecord{pb.RequestRecord_builder{Arrival: 5}.Build()})
		w.GetWindow().SetRecordsLeftOut(9)
		w.GetWindow().SetEndUs(12)
		header := pb.JournalRecord_builder{Header: pb.RunHeader_builder{RunId: "r"}.Build()}.Build()
		for _, r := range []*pb.JournalRecord{header, w, pb.JournalRecord_builder{Event: &pb.RunEvent{}}.Build()} {
			body, _ = appendRecord(body, r)
			if r.HasWindow() {
				r.GetWindow().SetGroups(nil)
			}
			if !r.HasEvent() {
				want = append(want, r)
			}
		}
	}
	err := eachLean(body, func(r *pb.JournalRecord) error { got = append(got, r); return nil })
	if err != nil || !slices.EqualFunc(got, want, func(a, b *pb.JournalRecord) bool { return proto.Equal(a, b) }) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}

func FuzzLeanNeverPanics(f *testing.F) {
	body, _ := appendRecord(nil, window(1))
	f.Add(body)
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = eachLean(data, func(*pb.JournalRecord) error { return nil })
	})
}

func TestRecordsSurviveTheRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var body []byte
		var want []*pb.JournalRecord
		for i := range rapid.IntRange(0, 10).Draw(t, "records") {
			r := window(rapid.Uint64().Draw(t, fmt.Sprintf("sequence %d", i)))
			want = append(want, r)
			body, _ = appendRecord(body, r)
		}
		read, rest, err := readFrame(appendFrame(nil, body))
		if err != nil || len(rest) != 0 {
			t.Fatal(err)
		}
		i := 0
		err = eachRecord(read, func(r *pb.JournalRecord) error {
			if !proto.Equal(r, want[i]) {
				t.Fatalf("record %d differs", i)
			}
			i++
			return nil
		})
		if err != nil || i != len(want) {
			t.Fatalf("%d of %d records, error %v", i, len(want), err)
		}
	})
}

// faultyFile is a file in memory that can be told to fail.
type faultyFile struct {
	mu     sync.Mutex
	bytes  []byte
	synced bool
	err    error
}

func (f *faultyFile) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *faultyFile) dirty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.synced
}

func (f *faultyFile) data() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(f.bytes)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(p)
	if f.err != nil {
		n /= 2 // a full disk takes a part
	}
	f.bytes = append(f.bytes[:off], p[:n]...)
	f.synced = false
	return n, f.err
}

func (f *faultyFile) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bytes = f.bytes[:size]
	return nil
}

func (f *faultyFile) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.synced = f.err == nil
	return f.err
}

func (f *faultyFile) Close() error { return nil }

// TestFirst reads the first frame alone, whatever became of those behind it.
func TestFirst(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "journal")
	j, err := Create(folder, Options{})
	if err != nil {
		t.Fatal(err)
	}
	count := func() (n int) {
		t.Helper()
		if err := First(folder, func(*pb.JournalRecord) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(); n != 0 {
		t.Errorf("%d records of an empty journal", n)
	}
	for range 2 {
		synced := make(chan struct{})
		if err := j.Append(t.Context(), pb.JournalRecord_builder{Header: &pb.RunHeader{}}.Build(), func() { close(synced) }); err != nil {
			t.Fatal(err)
		}
		<-synced
	}
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 1 {
		t.Errorf("%d records in the first frame, want 1", n)
	}
}
