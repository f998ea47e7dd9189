package agent

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/loadline/loadline/agent/run"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// closing is a driver that counts how often it is closed.
type closing struct{ closed atomic.Int64 }

func (c *closing) Do(context.Context, *workload.Request, *measure.Outcome) {}

func (c *closing) Close() error {
	c.closed.Add(1)
	return nil
}

// A part that will not be played gives back its files and connections, once, whoever asks.
func TestAForgottenPartIsReleased(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data.jsonl")
	if err := os.WriteFile(path, []byte("{}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	driver := &closing{}
	p := &part{id: "r", assignment: &pb.Assignment{}, closers: []Driver{driver}, loaded: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancelCause(t.Context())
	if _, _, err := p.files.Open(path); err != nil {
		t.Fatal(err)
	}
	file := p.files.opened[0]
	id := run.Part{Run: "r"}
	a := &Agent{parts: map[run.Part]*part{id: p}, log: slog.New(slog.DiscardHandler)}
	a.carryOut([]run.Command{run.Forget{Part: id}})
	close(p.loaded) // what was still being loaded has ended
	a.release(p)
	a.tasks.Wait()
	if driver.closed.Load() != 1 || file.Close() == nil || p.ctx.Err() == nil || len(a.parts) > 0 {
		t.Errorf("driver closed %d times, file closed %v", driver.closed.Load(), file.Close() != nil)
	}
}
