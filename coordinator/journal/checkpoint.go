package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// checkpoint begins the next file of the journal when this one has grown enough. Until the new file
// has its name everything goes on in this one; a failure until then is told and forgotten.
func (j *Journal) checkpoint() {
	if j.options.Checkpoint == nil || j.folder == "" || j.size < j.notYet ||
		j.size-j.base < max(j.options.CheckpointAfter, j.base) {
		return
	}
	file, size, err := j.writeCheckpoint()
	if err != nil {
		j.notYet = j.size + j.options.CheckpointAfter/4
		if j.options.NotCompacted != nil {
			j.options.NotCompacted(fmt.Errorf("checkpoint of the journal: %w", err))
		}
		return
	}
	j.options.pass(CheckpointRenamed)
	// The new file has its name, so a replay may find it: nothing may be appended to the old one any
	// more, and nothing to the new one before its name is sure to last.
	if !j.insist(func() error { return syncFolder(j.folder) }) {
		j.broken = true
		j.err = errors.Join(j.err, file.Close())
		return
	}
	if err := j.file.Close(); err != nil && j.options.NotCompacted != nil {
		j.options.NotCompacted(fmt.Errorf("close the journal's last file: %w", err))
	}
	j.file, j.size, j.base, j.notYet = file, size, size, 0
	j.number++
	j.options.pass(Switched)
	j.compact.ask(j.number, j.lastUS)
}

// writeCheckpoint writes the next file and gives it its name.
func (j *Journal) writeCheckpoint() (file *os.File, size int64, err error) {
	name := filepath.Join(j.folder, fileName(j.number+1))
	temporary := filepath.Join(j.folder, temporaryName(fileName(j.number+1)))
	file, err = os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o644)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close(), os.Remove(temporary))
		}
	}()
	w := &frameWriter{file: file}
	for record := range j.options.Checkpoint() {
		if err := w.append(record); err != nil {
			return nil, 0, err
		}
	}
	if err := w.flush(); err != nil {
		return nil, 0, err
	}
	j.options.pass(CheckpointWritten)
	if err := file.Sync(); err != nil {
		return nil, 0, err
	}
	j.options.pass(CheckpointSynced)
	return file, w.size, os.Rename(temporary, name)
}

// frameWriter writes records into a new file, in frames of moderate size.
type frameWriter struct {
	file  File
	body  []byte
	frame []byte
	size  int64
}

func (w *frameWriter) append(record *pb.JournalRecord) (err error) {
	if w.body, err = appendRecord(w.body, record); err != nil {
		return err
	}
	if len(w.body) < groupBytes {
		return nil
	}
	return w.flush()
}

func (w *frameWriter) flush() error {
	w.frame = w.frame[:0]
	if w.size == 0 {
		w.frame = append(w.frame, fileHeader...)
	}
	w.frame = appendFrame(w.frame, w.body)
	w.body = w.body[:0]
	n, err := w.file.WriteAt(w.frame, w.size)
	w.size += int64(n)
	return err
}
