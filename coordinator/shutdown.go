package coordinator

import (
	"context"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Drain takes no new run, lets those that go on come to their end (no new arrivals, what is in flight may end) and waits
// for them, until ctx ends. It returns how many there were. Close must follow.
func (c *Coordinator) Drain(ctx context.Context, reason string) int {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	runs := c.live()
	for _, run := range runs {
		run.stop(pb.StopMode_STOP_MODE_DRAIN, reason)
	}
	for _, run := range runs {
		select {
		case <-run.ended:
		case <-ctx.Done():
			return len(runs)
		}
	}
	return len(runs)
}
