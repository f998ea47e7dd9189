package journal

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// The resolution in which request records are kept, as merge keeps a run over time: those of the last
// hour as they came, then as many for ten seconds as before for one window, then for a minute.
const (
	fineSeconds   = 3600
	middleSeconds = 10 * 3600
)

// compactor keeps the files before the newest small, in a goroutine of its own.
type compactor struct {
	folder  string
	options Options
	asked   chan request
	group   sync.WaitGroup
}

// request says which file is the newest and where the run's clock is.
type request struct {
	newest uint64
	lastUS int64
}

// start begins the goroutine, which ends with wait, or between two files when abandon is closed.
func (c *compactor) start(folder string, options Options, abandon <-chan struct{}) {
	c.folder, c.options, c.asked = folder, options, make(chan request, 1)
	c.group.Go(func() {
		for q := range c.asked {
			if err := c.pass(q, abandon); err != nil && options.NotCompacted != nil {
				options.NotCompacted(fmt.Errorf("compact the journal: %w", err))
			}
		}
	})
}

// ask has the files looked at; while that goes on, only the last of several wishes stays.
func (c *compactor) ask(newest uint64, lastUS int64) {
	if c.asked == nil {
		return
	}
	select {
	case <-c.asked:
	default:
	}
	c.asked <- request{newest, lastUS}
}

// wait lets what was asked for come to its end.
func (c *compactor) wait() {
	if c.asked != nil {
		close(c.asked)
		c.group.Wait()
	}
}

// pass brings every older file into the form that its age asks for.
func (c *compactor) pass(q request, abandon <-chan struct{}) error {
	found, err := list(c.folder)
	if err != nil {
		return err
	}
	for _, o := range found.older() {
		select {
		case <-abandon:
			return nil
		default:
		}
		if o.number >= q.newest || o.seconds > 0 && wanted(o.last, q.lastUS) <= o.seconds {
			continue
		}
		if err := c.rewrite(o, q.lastUS); err != nil {
			return err
		}
	}
	return c.removeFiner()
}

// wanted is how many seconds stand together at an age.
func wanted(last uint64, nowUS int64) uint64 {
	switch age := nowUS/1_000_000 - int64(last); {
	case age > middleSeconds:
		return 60
	case age > fineSeconds:
		return 10
	default:
		return 1
	}
}

// rewrite writes the records that are to be kept of a file beside it.
func (c *compactor) rewrite(o older, nowUS int64) (err error) {
	path := filepath.Join(c.folder, o.path)
	to := o.kept
	if to.seconds == 0 {
		if to.last, err = lastSecond(path); err != nil {
			return err
		}
	}
	to.seconds = wanted(to.last, nowUS)
	temporary := filepath.Join(c.folder, temporaryName(to.name()))
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	t := &thinner{seconds: to.seconds, out: &frameWriter{file: file}}
	if err := errors.Join(t.file(path), file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, filepath.Join(c.folder, to.name())); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := syncFolder(c.folder); err != nil {
		return err
	}
	c.options.pass(CompactedWritten)
	return nil
}

// removeFiner removes the files of which a coarser form is there.
func (c *compactor) removeFiner() error {
	found, err := list(c.folder)
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range found.older() {
		if o.seconds == 0 {
			continue
		}
		for _, k := range found.records {
			if k.number == o.number && k != o.kept {
				errs = append(errs, os.Remove(filepath.Join(c.folder, k.name())))
			}
		}
		if slices.Contains(found.journals, o.number) {
			errs = append(errs, os.Remove(filepath.Join(c.folder, fileName(o.number))))
		}
	}
	errs = append(errs, syncFolder(c.folder))
	c.options.pass(Compacted)
	return errors.Join(errs...)
}

// lastSecond is the second in which the latest window of a file ended.
func lastSecond(path string) (last uint64, err error) {
	err = eachRecordOf(path, func(record *pb.JournalRecord) error {
		if end := record.GetWindow().GetEndUs(); end > 0 {
			last = max(last, uint64(end)/1_000_000)
		}
		return nil
	})
	return last, err
}

// eachRecordOf reads the header and the windows, as eachLean does, of a file that is no longer written to: it has no torn tail.
func eachRecordOf(path string, visit func(*pb.JournalRecord) error) error {
	torn, err := replayFile(path, eachLean, visit)
	if err == nil && torn > 0 {
		err = fmt.Errorf("%w: %s is cut off", ErrDamaged, filepath.Base(path))
	}
	return err
}

// thinner writes the request records of windows, of several windows together.
type thinner struct {
	seconds uint64
	out     *frameWriter
	seed    uint64
	limit   int // records of one window that is written
	spans   map[stretch]*pb.Window
}

// stretch is the windows of one agent that stand together.
type stretch struct {
	agent       string
	incarnation uint64
	number      int64
}

func (s stretch) compare(o stretch) int {
	return cmp.Or(cmp.Compare(s.number, o.number), cmp.Compare(s.agent, o.agent), cmp.Compare(s.incarnation, o.incarnation))
}

// file writes what is kept of the records in a file, in order.
func (t *thinner) file(path string) error {
	t.spans = map[stretch]*pb.Window{}
	if err := eachRecordOf(path, t.record); err != nil {
		return err
	}
	for _, s := range slices.SortedFunc(maps.Keys(t.spans), stretch.compare) {
		if err := t.write(t.spans[s]); err != nil {
			return err
		}
	}
	return t.out.flush()
}

func (t *thinner) record(record *pb.JournalRecord) error {
	if h := record.GetHeader(); h != nil {
		t.seed, t.limit = h.GetScenario().GetSeed(), math.MaxInt
		if n := h.GetScenario().GetCapture().GetRecords(); n != math.MaxUint32 {
			t.limit = int(n)
		}
		return t.out.append(record)
	}
	w := record.GetWindow()
	if len(w.GetRecords()) == 0 && w.GetRecordsLeftOut() == 0 {
		return nil
	}
	if t.seconds <= 1 || t.limit == math.MaxInt {
		return t.write(w)
	}
	s := stretch{w.GetAgent(), w.GetIncarnation(), w.GetStartUs() / int64(t.seconds*1_000_000)}
	t.spans[s] = t.join(t.spans[s], w)
	return nil
}

// write appends what is kept of a window.
func (t *thinner) write(w *pb.Window) error {
	return t.out.append(pb.JournalRecord_builder{Window: pb.Window_builder{
		RunId: w.GetRunId(), Agent: w.GetAgent(), Incarnation: w.GetIncarnation(), StartUs: w.GetStartUs(), EndUs: w.GetEndUs(),
		Records: w.GetRecords(), RecordsLeftOut: w.GetRecordsLeftOut(),
	}.Build()}.Build())
}

// join keeps the first records of both by the order of samples, and counts the others.
func (t *thinner) join(a, b *pb.Window) *pb.Window {
	if a == nil {
		return b
	}
	records, dropped := measure.Thin(t.seed, t.limit, a.GetRecords(), b.GetRecords())
	return pb.Window_builder{
		RunId: b.GetRunId(), Agent: b.GetAgent(), Incarnation: b.GetIncarnation(),
		StartUs: min(a.GetStartUs(), b.GetStartUs()), EndUs: max(a.GetEndUs(), b.GetEndUs()), Records: records,
		RecordsLeftOut: a.GetRecordsLeftOut() + b.GetRecordsLeftOut() + dropped,
	}.Build()
}
