package uplink

import (
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const (
	// renewEvery is how often the stream renews the lease while no window goes.
	renewEvery = 1250 * time.Millisecond
	// ridesAfter is how old the last renewal is when a window takes the next one along. Windows go every second, so each does: one
	// write for both here, one wake-up for both there, and one answer.
	ridesAfter = 500 * time.Millisecond
	// maxAsked bounds the renewals of one stream that wait for their answer: while so many do, no other is sent.
	maxAsked = 16
)

// Lease renews the agent's lease over the stream, beside the bus: either suffices.
type Lease interface {
	// Renewal makes the next request, and takes its answer; a nil request: there is nothing to renew.
	Renewal() (*pb.RenewRequest, func(*pb.RenewResponse))
	// Stopped takes an order to stop the run.
	Stopped(*pb.StopRequest)
}

// renewals is the state of the renewals of the present stream. Answers come in the order of the requests.
type renewals struct {
	lease Lease                     // nil: none is renewed here
	asked []func(*pb.RenewResponse) // guarded by Uplink.mu
}

// Keep lets the stream renew a lease too; to be called before Run.
func (u *Uplink) Keep(lease Lease) { u.lease = lease }

// turns says when the present stream renews the lease.
type turns struct {
	timer *time.Timer
	last  time.Time
}

// newTurns begins the turns of a stream: the first comes with its first window, or when it has been open for a while.
func newTurns() *turns { return &turns{timer: time.NewTimer(renewEvery)} }

// rides reports whether a window that is about to be sent takes a renewal along.
func (t *turns) rides() bool { return time.Since(t.last) >= ridesAfter }

// renew sends one request, unless there is none. The next turn is counted from here.
func (u *Uplink) renew(stream sender, t *turns) error {
	t.last = time.Now()
	t.timer.Reset(renewEvery)
	u.mu.Lock()
	full := len(u.asked) >= maxAsked
	u.mu.Unlock()
	if u.lease == nil || full {
		return nil
	}
	request, take := u.lease.Renewal()
	if request == nil {
		return nil
	}
	u.mu.Lock()
	u.asked = append(u.asked, take)
	u.mu.Unlock()
	return stream.Send(pb.PushWindowsRequest_builder{Renew: request}.Build())
}

// heard hands on what an answer says beside the acknowledgement.
func (u *Uplink) heard(answer *pb.PushWindowsResponse) {
	if u.lease == nil {
		return
	}
	if answer.HasStop() {
		u.lease.Stopped(answer.GetStop())
	}
	if !answer.HasRenewed() {
		return
	}
	u.mu.Lock()
	var take func(*pb.RenewResponse)
	if len(u.asked) > 0 {
		take, u.asked = u.asked[0], u.asked[1:]
	}
	u.mu.Unlock()
	if take != nil {
		take(answer.GetRenewed())
	}
}
