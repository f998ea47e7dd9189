package ingest

import (
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func renewal(incarnation uint64) *pb.PushWindowsRequest {
	return pb.PushWindowsRequest_builder{Renew: pb.RenewRequest_builder{Agent: "a1", Incarnation: incarnation}.Build()}.Build()
}

// answers lists which of the messages down a stream answer a renewal, and what they acknowledge.
func (c *conversation) answers() (granted []uint64, messages int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.down {
		if m.HasRenewed() {
			granted = append(granted, m.GetAcknowledged())
		}
	}
	return granted, len(c.down)
}

// A grant that says nothing else goes with the acknowledgement of the window that it came with: one message for both.
func TestABareGrantGoesWithTheAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		c, _ := talk(t, j)
		c.up <- hello()
		c.up <- renewal(7)
		c.up <- window(1)
		synctest.Wait()
		if granted, n := c.answers(); len(granted) != 0 || n != 1 {
			t.Fatalf("before the window is durable: %v in %d messages", granted, n)
		}
		j.sync()
		synctest.Wait()
		if granted, n := c.answers(); len(granted) != 1 || granted[0] != 1 || n != 2 {
			t.Errorf("once it is: %v in %d messages", granted, n)
		}
		c.up <- renewal(7) // and no window is ever synced
		time.Sleep(bareWait + time.Millisecond)
		synctest.Wait()
		if granted, _ := c.answers(); len(granted) != 2 {
			t.Errorf("without a window the grant does not come: %v", granted)
		}
		close(c.up)
	})
}

func TestWhatMustNotWaitIsNotBare(t *testing.T) {
	for name, r := range map[string]*pb.RenewResponse{
		"a refusal":  {},
		"a proposal": pb.RenewResponse_builder{Granted: true, Proposed: &pb.Change{}}.Build(),
		"a change":   pb.RenewResponse_builder{Granted: true, Committed: []*pb.Change{{}}}.Build(),
		"a stop":     pb.RenewResponse_builder{Granted: true, Stop: pb.StopMode_STOP_MODE_DRAIN}.Build(),
		"a question": pb.RenewResponse_builder{Granted: true, Introduce: true}.Build(),
	} {
		if bare(r) {
			t.Errorf("%s waits for an acknowledgement", name)
		}
	}
}
