package journal

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const journalSuffix = ".journal"

// fileName is the name of a file of the journal; the one with the highest number is the journal.
func fileName(number uint64) string { return fmt.Sprintf("%08d%s", number, journalSuffix) }

// temporaryName is what a file is called until it is whole.
func temporaryName(name string) string { return "." + name + ".tmp" }

// kept names a file with the request records that are left of a file of the journal.
type kept struct {
	number  uint64
	seconds uint64 // of the windows that stand in it together
	last    uint64 // the second in which its latest window ended
}

func (k kept) name() string { return fmt.Sprintf("%08d.%02d-%d.records", k.number, k.seconds, k.last) }

// contents is what the folder of a journal holds.
type contents struct {
	journals []uint64 // ascending; at least one
	records  []kept   // ascending by number, and the coarsest of each number first
	remains  []string // what an interrupted process left behind
}

func (c *contents) newest() uint64 { return c.journals[len(c.journals)-1] }

// list reads the folder of a journal.
func list(folder string) (*contents, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	c := &contents{}
	for _, e := range entries {
		name := e.Name()
		var number uint64
		var k kept
		switch {
		case strings.HasPrefix(name, ".") && strings.HasSuffix(name, ".tmp"):
			c.remains = append(c.remains, name)
		case scans(name, "%d.journal", &number) && name == fileName(number):
			c.journals = append(c.journals, number)
		case scans(name, "%d.%d-%d.records", &k.number, &k.seconds, &k.last) && name == k.name():
			c.records = append(c.records, k)
		}
	}
	if len(c.journals) == 0 {
		return nil, fmt.Errorf("open the journal: %w", &os.PathError{Op: "open", Path: filepath.Join(folder, fileName(1)), Err: os.ErrNotExist})
	}
	slices.Sort(c.journals)
	slices.SortFunc(c.records, func(a, b kept) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(b.seconds, a.seconds))
	})
	return c, nil
}

func scans(name, format string, into ...any) bool {
	n, err := fmt.Sscanf(name, format, into...)
	return err == nil && n == len(into)
}

// removeRemains removes the files that were never finished.
func (c *contents) removeRemains(folder string) error {
	var errs []error
	for _, name := range c.remains {
		errs = append(errs, os.Remove(filepath.Join(folder, name)))
	}
	return errors.Join(errs...)
}

// older are the files before the newest, in order, each in the coarsest form that is there.
func (c *contents) older() []older {
	var out []older
	for _, k := range c.records {
		if len(out) == 0 || out[len(out)-1].number != k.number {
			out = append(out, older{kept: k, path: k.name()})
		}
	}
	for _, n := range c.journals[:len(c.journals)-1] {
		if !slices.ContainsFunc(out, func(o older) bool { return o.number == n }) {
			out = append(out, older{kept: kept{number: n}, path: fileName(n)})
		}
	}
	slices.SortFunc(out, func(a, b older) int { return cmp.Compare(a.number, b.number) })
	return out
}

// older is a file before the newest; seconds is 0 while it is whole.
type older struct {
	kept
	path string
}
