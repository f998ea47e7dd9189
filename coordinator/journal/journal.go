// Package journal is a run's append-only, synced log: the truth from which every report can be
// computed again. Records are written in groups, one sync a group, and only then called durable.
package journal

import (
	"context"
	"errors"
	"fmt"
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

// Options say who hears of trouble. Both functions may be nil; they are called from the journal's
// goroutine and must not call the journal.
type Options struct {
	// Failed is called once when commits begin to fail, with the reason.
	Failed func(error)
	// Recovered is called when a commit works again after Failed.
	Recovered func()
}

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
	size    int64
	failing bool
	err     error // what the writer ended with
	left    int   // records never committed
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
	file, err := os.OpenFile(filepath.Join(folder, fileName), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create the journal: %w", err)
	}
	j, err := New(file, options)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return j, errors.Join(syncFolder(folder), syncFolder(filepath.Dir(folder)))
}

// syncFolder makes the names within a folder durable.
func syncFolder(folder string) error {
	dir, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("sync the journal's folder: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// New begins a journal in an empty file, which it then owns. Close ends it.
func New(file File, options Options) (*Journal, error) {
	if _, err := file.WriteAt([]byte(fileHeader), 0); err != nil {
		return nil, fmt.Errorf("begin the journal: %w", err)
	}
	if err := file.Sync(); err != nil {
		return nil, fmt.Errorf("begin the journal: %w", err)
	}
	j := &Journal{
		file: file, options: options, size: int64(len(fileHeader)),
		queue: make(chan entry, queueLength), closing: make(chan struct{}), abandon: make(chan struct{}), ended: make(chan struct{}),
	}
	go j.write()
	return j, nil
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
		if !j.commit(frame) {
			j.left += len(group)
			continue
		}
		for _, e := range group {
			if e.durable != nil {
				e.durable()
			}
		}
	}
	if j.left > 0 {
		j.err = errors.Join(j.err, fmt.Errorf("%d journal records could not be written", j.left))
	}
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
	for {
		err := j.try(frame)
		if err == nil {
			j.size += int64(len(frame))
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
		err = j.file.Sync()
	}
	if err == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("append to the journal: %w", err), j.file.Truncate(j.size))
}
