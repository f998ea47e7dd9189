package coordinator

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Data is the folder in which a coordinator keeps everything that outlives it. One coordinator at a
// time has it.
type Data struct {
	dir  string
	lock *os.File
}

// ErrInUse is wrapped by the error for a data folder that another coordinator has.
var ErrInUse = errors.New("another coordinator uses this data folder")

// lockFile is the file whose lock says that the folder is taken; the lock ends with the process.
const lockFile = "coordinator.lock"

// OpenData makes the folder where it is missing, takes it for this process, and makes sure that it can
// be written to. Close gives it back.
func OpenData(dir string) (*Data, error) {
	for _, sub := range []string{dir, filepath.Join(dir, "runs"), filepath.Join(dir, "files")} {
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return nil, fmt.Errorf("data folder %s cannot be used: %w; name another one, or change its owner", dir, err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder %s cannot be written to: %w; name another one, or change its owner", dir, err)
	}
	d := &Data{dir: dir, lock: lock}
	if err := d.take(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// take locks the folder, writes who has it, and tries a file of its runs.
func (d *Data) take() error {
	if err := lockWhole(d.lock); err != nil {
		return fmt.Errorf("data folder %s: %w; stop that one, or name another folder: %w", d.dir, ErrInUse, err)
	}
	probe, err := os.CreateTemp(d.Runs(), ".probe-*")
	if err != nil {
		return fmt.Errorf("data folder %s cannot be written to: %w", d.dir, err)
	}
	_, err = probe.WriteString("a file can be written here\n")
	if err := errors.Join(err, probe.Sync(), probe.Close(), os.Remove(probe.Name())); err != nil {
		return fmt.Errorf("data folder %s cannot be written to: %w", d.dir, err)
	}
	return nil
}

// Runs is the folder of the runs' folders.
func (d *Data) Runs() string { return filepath.Join(d.dir, "runs") }

// Files is the folder of the files that scenarios name.
func (d *Data) Files() string { return filepath.Join(d.dir, "files") }

// Close gives the folder back.
func (d *Data) Close() error { return d.lock.Close() }
