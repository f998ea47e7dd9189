package content

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// Writer writes one file into a store. Commit or Suspend must be called.
type Writer struct {
	store  *Store
	digest Digest
	size   int64
	at     int64
	file   *os.File
	hash   hash.Hash
}

// Write begins a file of a digest and a size, or takes it up again at an offset: 0, or as many bytes as
// Present says. It makes room first. The error wraps ErrBusy or ErrFull.
func (s *Store) Write(d Digest, size, offset int64) (*Writer, error) {
	if size < 0 || size > MaxFile {
		return nil, fmt.Errorf("a file has 0 to %d bytes, not %d", int64(MaxFile), size)
	}
	if err := s.admit(d, size); err != nil {
		return nil, fmt.Errorf("file %s: %w", d, err)
	}
	w := &Writer{store: s, digest: d, size: size, hash: sha256.New()}
	if err := w.open(offset); err != nil {
		w.release()
		return nil, fmt.Errorf("file %s: %w", d, err)
	}
	return w, nil
}

// admit makes room for a file and lets nobody else write it.
func (s *Store) admit(d Digest, size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, busy := s.writing[d]; busy {
		return ErrBusy
	}
	if err := s.reserve(d, size); err != nil {
		return err
	}
	s.writing[d] = size
	return nil
}

// open opens the part and reads what is there of it again, for the digest is over everything.
func (w *Writer) open(offset int64) (err error) {
	w.file, err = os.OpenFile(w.store.path(w.digest)+partSuffix, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.file.Close())
		}
	}()
	if offset < 0 || offset > w.size {
		return fmt.Errorf("offset %d does not lie within its %d bytes", offset, w.size)
	}
	if w.at, err = io.CopyN(w.hash, w.file, offset); errors.Is(err, io.EOF) {
		return fmt.Errorf("only %d bytes are there, %d were said to be", w.at, offset)
	}
	return errors.Join(err, w.file.Truncate(offset))
}

// Offset is how many bytes are there.
func (w *Writer) Offset() int64 { return w.at }

// Write implements io.Writer. More bytes than the file has are an error.
func (w *Writer) Write(p []byte) (int, error) {
	if int64(len(p)) > w.size-w.at {
		return 0, fmt.Errorf("file %s: %w: there are more than %d", w.digest, ErrDigest, w.size)
	}
	n, err := w.file.Write(p)
	w.hash.Write(p[:n])
	w.at += int64(n)
	return n, err
}

// Suspend leaves what is there, to be taken up again.
func (w *Writer) Suspend() error {
	defer w.release()
	return w.file.Close()
}

// Commit checks the digest, syncs the file and gives it its name. Bytes that are not those of the
// digest are removed; the error wraps ErrDigest.
func (w *Writer) Commit() error {
	defer w.release()
	part := w.store.path(w.digest) + partSuffix
	if Digest(w.hash.Sum(nil)) != w.digest || w.at != w.size {
		err := fmt.Errorf("file %s: %w: %d of %d bytes came", w.digest, ErrDigest, w.at, w.size)
		return errors.Join(err, w.file.Close(), os.Remove(part))
	}
	if err := errors.Join(w.file.Sync(), w.file.Close()); err != nil {
		return fmt.Errorf("file %s: %w", w.digest, err)
	}
	if err := os.Rename(part, w.store.path(w.digest)); err != nil {
		return fmt.Errorf("file %s: %w", w.digest, err)
	}
	dir, err := os.Open(w.store.dir)
	if err != nil {
		return fmt.Errorf("folder for files: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (w *Writer) release() {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	delete(w.store.writing, w.digest)
}
