// Package journal is a run's append-only, synced log: the truth from which every report can be
// computed again. Records are written in groups, one sync a group, and only then called durable.
//
// The folder of a journal holds numbered files, of which the one with the highest number is the
// journal. File 1 begins with the run's header. When a file has grown enough, the next one is written
// beside it, under a temporary name: it begins with the header and a checkpoint that stands for
// everything in the file before. It is synced, renamed, and from then on the journal. So a replay
// reads one checkpoint and what came after it, however long the run was. What is left of the file
// before are the records of single requests, which no checkpoint holds: they are moved to a file of
// their own and thinned as they grow old (see compact).
package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const (
	// queueLength bounds the records that wait for a commit; Append waits when it is full.
	queueLength = 1024
	// groupBytes is the size at which a group is committed although more records wait.
	groupBytes = 8 << 20
	// retryEvery is the pause after a commit that failed.
	retryEvery = 500 * time.Millisecond
	// checkpointAfter is how many bytes follow a checkpoint before the next is made, at least; as many
	// as the checkpoint has where that is more. So what is written doubles at most, and a replay reads
	// no more than twice the checkpoint.
	checkpointAfter = 32 << 20
)

// ErrClosed is returned by Append after Close.
var ErrClosed = errors.New("the journal is closed")

// File is what a journal needs of its file; *os.File has it.
type File interface {
	WriteAt(p []byte, off int64) (n int, err error)
	Truncate(size int64) error
	Sync() error
	Close() error
}

// Options say what a journal is made of and who hears of trouble. All functions may be nil. They are
// called from the journal's goroutines and must not call the journal.
type Options struct {
	// Failed is called once when commits begin to fail, with the reason.
	Failed func(error)
	// Recovered is called when a commit works again after Failed.
	Recovered func()
	// Checkpoint yields the records that stand for everything that was called durable so far: the
	// header first. nil: no checkpoints are made.
	Checkpoint func() iter.Seq[*pb.JournalRecord]
	// CheckpointAfter is how many bytes follow a checkpoint before the next is made, at least; 0: 32 MiB.
	CheckpointAfter int64
	// NotCompacted is called when a checkpoint or a compaction failed; the journal goes on without it
	// and tries again later.
	NotCompacted func(error)
	// Point is called at every point at which a crash must do no harm; tests crash there.
	Point func(Point)
}

// Point names a moment of a journal's life.
type Point string

// The points, in the order in which they are passed.
const (
	// Written: a frame is written and not synced.
	Written Point = "append"
	// Synced: it is synced, and nobody has been told.
	Synced Point = "sync"
	// Told: its records were called durable.
	Told Point = "acknowledge"
	// CheckpointWritten: a checkpoint stands under its temporary name, not synced.
	CheckpointWritten Point = "checkpoint written"
	// CheckpointSynced: it is synced.
	CheckpointSynced Point = "checkpoint synced"
	// CheckpointRenamed: it has its name; the folder is not synced.
	CheckpointRenamed Point = "checkpoint renamed"
	// Switched: the journal goes on in the new file.
	Switched Point = "checkpoint"
	// CompactedWritten: the kept records of an older file have their name; the older file is still there.
	CompactedWritten Point = "compaction written"
	// Compacted: the older file is gone.
	Compacted Point = "compaction"
	// Ended: everything is committed; the file is not closed.
	Ended Point = "end"
)

// Journal appends records. It is safe for concurrent use.
type Journal struct {
	file    File
	options Options
	queue   chan entry
	closing chan struct{} // closed by Close: commit what waits and end
	abandon chan struct{} // closed when Close gives up waiting: do not retry any more
	ended   chan struct{} // closed when the writer has ended
	once    sync.Once
	quit    sync.Once
	gate    sync.RWMutex // held for reading while appending, so that Close finds nobody under way
	closed  bool

	// The writer's own.
	folder  string // empty: the file stands alone
	number  uint64
	size    int64
	base    int64 // end of the checkpoint that the file begins with
	notYet  int64 // size below which no checkpoint is tried again
	lastUS  int64 // end of the latest window
	failing bool
	broken  bool  // nothing may be appended any more
	err     error // what the writer ended with
	left    int   // records never committed
	compact compactor
}

type entry struct {
	record  *pb.JournalRecord
	durable func()
}

// Create makes folder with an empty journal in it. There must be none yet.
func Create(folder string, options Options) (*Journal, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("create the journal: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(folder, fileName(1)), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create the journal: %w", err)
	}
	if err := begin(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if err := errors.Join(syncFolder(folder), syncFolder(filepath.Dir(folder))); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return start(&Journal{file: file, options: options, folder: folder, number: 1, size: int64(len(fileHeader))}), nil
}

// Open takes a journal up again that was left by a process which is no more. It hands every record to
// visit, as Replay does, cuts a torn tail off, and goes on at its end.
func Open(folder string, options Options, visit func(*pb.JournalRecord) error) (j *Journal, torn int64, err error) {
	found, err := list(folder)
	if err != nil {
		return nil, 0, err
	}
	file, err := os.OpenFile(filepath.Join(folder, fileName(found.newest())), os.O_RDWR, 0o644)
	if err != nil {
		return nil, 0, fmt.Errorf("open the journal: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	j = &Journal{file: file, options: options, folder: folder, number: found.newest()}
	if torn, err = j.takeUp(file, visit); err != nil {
		return nil, 0, err
	}
	if err := found.removeRemains(folder); err != nil {
		return nil, 0, err
	}
	return start(j), torn, nil
}

// takeUp replays the file and cuts its torn tail off.
func (j *Journal) takeUp(file *os.File, visit func(*pb.JournalRecord) error) (torn int64, err error) {
	info, err := file.Stat()
	if err != nil {
		return 0, fmt.Errorf("read the journal: %w", err)
	}
	torn, err = replay(file, info.Size(), eachRecord, func(at int64, record *pb.JournalRecord) error {
		if record.HasCheckpoint() {
			j.base = at
		}
		j.lastUS = max(j.lastUS, record.GetWindow().GetEndUs(), record.GetCheckpoint().GetBegin().GetLastEndUs())
		return visit(record)
	})
	if err != nil {
		return 0, err
	}
	j.size = info.Size() - torn
	if torn > 0 {
		if err := errors.Join(file.Truncate(j.size), file.Sync()); err != nil {
			return 0, fmt.Errorf("cut the torn tail of the journal off: %w", err)
		}
	}
	return torn, nil
}

// syncFolder makes the names within a folder durable.
func syncFolder(folder string) error {
	dir, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("sync the journal's folder: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// New begins a journal in an empty file, which it then owns. Close ends it. It makes no checkpoints.
func New(file File, options Options) (*Journal, error) {
	if err := begin(file); err != nil {
		return nil, err
	}
	return start(&Journal{file: file, options: options, size: int64(len(fileHeader))}), nil
}

// begin writes what every file begins with.
func begin(file File) error {
	if _, err := file.WriteAt([]byte(fileHeader), 0); err != nil {
		return fmt.Errorf("begin the journal: %w", err)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("begin the journal: %w", err)
	}
	return nil
}

// start begins the goroutines of a journal whose file is ready to be appended to.
func start(j *Journal) *Journal {
	j.queue, j.closing, j.abandon = make(chan entry, queueLength), make(chan struct{}), make(chan struct{})
	j.ended = make(chan struct{})
	if j.options.CheckpointAfter == 0 {
		j.options.CheckpointAfter = checkpointAfter
	}
	if j.folder != "" {
		j.compact.start(j.folder, j.options, j.abandon)
		j.compact.ask(j.number, j.lastUS)
	}
	go j.write()
	return j
}

// pass tells of a point.
func (o *Options) pass(p Point) {
	if o.Point != nil {
		o.Point(p)
	}
}

// Append queues a record. durable, which may be nil, is called once the record has been written
// and synced, in the order of the appends, from the journal's goroutine. Append waits while the
// queue is full; it returns ctx's error, ErrClosed, or what is wrong with the record.
func (j *Journal) Append(ctx context.Context, record *pb.JournalRecord, durable func()) error {
	j.gate.RLock()
	defer j.gate.RUnlock()
	if j.closed {
		return ErrClosed
	}
	select {
	case j.queue <- entry{record, durable}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-j.closing:
		return ErrClosed
	}
}

// Close commits what is queued and closes the file. It retries failing commits until ctx ends;
// the error then says how many records were never written. Closing again returns the same.
func (j *Journal) Close(ctx context.Context) error {
	j.once.Do(func() {
		close(j.closing)
		j.gate.Lock()
		j.closed = true
		j.gate.Unlock()
		close(j.queue)
	})
	select {
	case <-j.ended:
	case <-ctx.Done():
		j.quit.Do(func() { close(j.abandon) })
		<-j.ended
	}
	return j.err
}

// write is the journal's goroutine: it gathers what waits into one frame, commits it, and calls
// the records durable.
func (j *Journal) write() {
	defer close(j.ended)
	var frame, body []byte
	for first := range j.queue {
		group := []entry{first}
		var bad []error
		body, bad = j.gather(body[:0], &group)
		if len(bad) > 0 {
			j.err = errors.Join(j.err, errors.Join(bad...))
		}
		frame = appendFrame(frame[:0], body)
		if j.broken || !j.commit(frame) {
			j.left += len(group)
			continue
		}
		for _, e := range group {
			j.lastUS = max(j.lastUS, e.record.GetWindow().GetEndUs())
			if e.durable != nil {
				e.durable()
			}
		}
		j.options.pass(Told)
		j.checkpoint()
	}
	j.options.pass(Ended)
	if j.left > 0 {
		j.err = errors.Join(j.err, fmt.Errorf("%d journal records could not be written", j.left))
	}
	j.compact.wait()
	j.err = errors.Join(j.err, j.file.Close())
}

// gather appends the group's first record and everything else that waits, up to a group's size.
// A record that is too large is left out of group; its sender never hears that it is durable.
func (j *Journal) gather(body []byte, group *[]entry) ([]byte, []error) {
	next := (*group)[0]
	*group = (*group)[:0]
	var bad []error
	for {
		longer, err := appendRecord(body, next.record)
		if err != nil {
			bad = append(bad, err)
		} else {
			body = longer
			*group = append(*group, next)
		}
		if len(body) >= groupBytes {
			return body, bad
		}
		var open bool
		select {
		case next, open = <-j.queue:
			if !open {
				return body, bad
			}
		default:
			return body, bad
		}
	}
}

// commit writes and syncs one frame, again and again until it works or Close has given up.
func (j *Journal) commit(frame []byte) bool {
	if !j.insist(func() error { return j.try(frame) }) {
		return false
	}
	j.size += int64(len(frame))
	return true
}

// insist does something again and again until it works or Close has given up.
func (j *Journal) insist(do func() error) bool {
	for {
		err := do()
		if err == nil {
			if j.failing && j.options.Recovered != nil {
				j.options.Recovered()
			}
			j.failing = false
			return true
		}
		if !j.failing && j.options.Failed != nil {
			j.options.Failed(err)
		}
		j.failing = true
		select {
		case <-j.abandon:
			j.err = errors.Join(j.err, err)
			return false
		case <-time.After(retryEvery):
		}
	}
}

// try writes one frame at the end. After a failure the file is cut back, so that the next try
// begins where the last durable frame ends.
func (j *Journal) try(frame []byte) error {
	_, err := j.file.WriteAt(frame, j.size)
	if err == nil {
		j.options.pass(Written)
		err = j.file.Sync()
	}
	if err == nil {
		j.options.pass(Synced)
		return nil
	}
	return errors.Join(fmt.Errorf("append to the journal: %w", err), j.file.Truncate(j.size))
}
