// Package content keeps files by the SHA-256 of what is in them, and moves them by it.
//
// A scenario names files; clients, coordinator and agents know them by their digest alone. So a name
// never becomes a path on another machine, a file that is there already is not sent again, and what
// arrives is what was meant or is refused. Coordinator and agents keep files in the same kind of
// folder, of bounded size, from which what nobody needs any more goes first.
package content

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits of a store.
const (
	// MaxFile bounds one file, in bytes: 64 GiB, as for a data set of a scenario.
	MaxFile = 64 << 30
	// partSuffix ends the name of a file that is not whole yet.
	partSuffix = ".part"
)

// ErrFull is wrapped by the error for a file for which there is no room.
var ErrFull = errors.New("no room for the file")

// ErrDigest is wrapped by the error for bytes that are not those of their digest.
var ErrDigest = errors.New("the bytes are not those of the digest")

// ErrBusy is wrapped by the error for a file that somebody else is writing at the moment.
var ErrBusy = errors.New("the file is being written already")

// Digest is the SHA-256 of a file.
type Digest [sha256.Size]byte

// DigestOf reads a digest of exactly 32 bytes.
func DigestOf(b []byte) (d Digest, err error) {
	if len(b) != len(d) {
		return d, fmt.Errorf("a digest has %d bytes, not %d", len(d), len(b))
	}
	copy(d[:], b)
	return d, nil
}

// String is the digest in hexadecimal, which is the file's name in a store.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Store is a folder of files by digest. It is safe for concurrent use by one process.
type Store struct {
	dir string
	max int64

	mu      sync.Mutex
	pins    map[Digest]int
	writing map[Digest]int64 // size that is reserved
}

// Open makes the folder where it is missing. max bounds its size in bytes. Files that are not whole
// stay, so that they can be taken up again.
func Open(dir string, max int64) (*Store, error) {
	if max <= 0 {
		return nil, fmt.Errorf("a folder for files needs a size above 0, not %d", max)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder for files: %w", err)
	}
	return &Store{dir: dir, max: max, pins: map[Digest]int{}, writing: map[Digest]int64{}}, nil
}

func (s *Store) path(d Digest) string { return filepath.Join(s.dir, d.String()) }

// Present is how many bytes of a file are there, and whether those are all of it.
func (s *Store) Present(d Digest) (bytes int64, whole bool) {
	if info, err := os.Lstat(s.path(d)); err == nil && info.Mode().IsRegular() {
		return info.Size(), true
	}
	if info, err := os.Lstat(s.path(d) + partSuffix); err == nil && info.Mode().IsRegular() {
		return info.Size(), false
	}
	return 0, false
}

// Open opens a file that is there; the error wraps fs.ErrNotExist where it is not. The file counts as
// used now.
func (s *Store) Open(d Digest) (*os.File, int64, error) {
	if _, whole := s.Present(d); !whole {
		return nil, 0, fmt.Errorf("file %s: %w", d, fs.ErrNotExist)
	}
	file, err := os.Open(s.path(d))
	if err != nil {
		return nil, 0, fmt.Errorf("file %s: %w", d, err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("file %s: %w", d, errors.Join(err, file.Close()))
	}
	now := time.Now()
	_ = os.Chtimes(s.path(d), now, now) // only the order of eviction hangs on it
	return file, info.Size(), nil
}

// Pin keeps files from being evicted until release is called, whether they are there yet or not.
func (s *Store) Pin(files ...Digest) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range files {
		s.pins[d]++
	}
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, d := range files {
			if s.pins[d]--; s.pins[d] == 0 {
				delete(s.pins, d)
			}
		}
	})
}

// Remove removes a file, as one that was found damaged.
func (s *Store) Remove(d Digest) error {
	err := os.Remove(s.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// stored is a file of the folder.
type stored struct {
	digest Digest
	size   int64
	used   time.Time
	part   bool
}

// list reads the folder. What is not a file of ours is not looked at.
func (s *Store) list() ([]stored, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("folder for files: %w", err)
	}
	var out []stored
	for _, e := range entries {
		name, part := strings.CutSuffix(e.Name(), partSuffix)
		b, err := hex.DecodeString(name)
		d, err2 := DigestOf(b)
		info, err3 := e.Info()
		if err != nil || err2 != nil || err3 != nil || !info.Mode().IsRegular() {
			continue
		}
		out = append(out, stored{d, info.Size(), info.ModTime(), part})
	}
	return out, nil
}

// reserve makes room for a file of a size; s.mu is held. What is pinned or being written stays; of the
// rest, files that are not whole go first, then what was not used for longest.
func (s *Store) reserve(d Digest, size int64) error {
	files, err := s.list()
	if err != nil {
		return err
	}
	sum := size
	for _, n := range s.writing {
		sum += n
	}
	var loose []stored
	for _, f := range files {
		_, written := s.writing[f.digest]
		if f.digest == d || f.part && written {
			continue // it is in the reservation
		}
		sum += f.size
		if s.pins[f.digest] == 0 {
			loose = append(loose, f)
		}
	}
	slices.SortFunc(loose, func(a, b stored) int {
		if a.part != b.part {
			if a.part {
				return -1
			}
			return 1
		}
		return a.used.Compare(b.used)
	})
	for _, f := range loose {
		if sum <= s.max {
			break
		}
		name := s.path(f.digest)
		if f.part {
			name += partSuffix
		}
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("make room for a file: %w", err)
		}
		sum -= f.size
	}
	if sum > s.max {
		return fmt.Errorf("%w: it has %d bytes and the folder may hold %d, of which live runs need %d; give it more, or wait for a run to end",
			ErrFull, size, s.max, sum-size)
	}
	return nil
}
