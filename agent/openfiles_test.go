package agent

import (
	"strings"
	"testing"
)

// A limit on open files that is too low is told before the load starts, with what to do about it.
func TestEnoughFiles(t *testing.T) {
	for _, c := range []struct {
		sockets, limit uint64
		says           string
	}{
		{100, 1024, ""},
		{1024 - ownFiles, 1024, ""},
		{1025 - ownFiles, 1024, "ulimit -n 1025"},
		{10_000, 4096, "ulimit -n 10064"},
	} {
		err := enoughFiles(c.sockets, c.limit)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%d sockets of %d files: %v, want %q", c.sockets, c.limit, err, c.says)
		}
	}
	if n, ok := raiseOpenFiles(); ok && n == 0 {
		t.Error("no file may be opened")
	}
}
