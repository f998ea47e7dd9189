package uplink

import (
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// asking counts renewals.
type asking struct{ asked int }

func (a *asking) Renewal() (*pb.RenewRequest, func(*pb.RenewResponse)) {
	a.asked++
	return &pb.RenewRequest{}, func(*pb.RenewResponse) {}
}

func (*asking) Stopped(*pb.StopRequest) {}

// order remembers what was sent.
type order struct{ sent []string }

func (o *order) Send(q *pb.PushWindowsRequest) error {
	if q.HasRenew() {
		o.sent = append(o.sent, "renewal")
	} else {
		o.sent = append(o.sent, "window")
	}
	return nil
}

// A window takes a renewal along, which goes first; windows that are sent one after the other take one between them.
func TestARenewalRidesOnAWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, o, lease := New(nil, hello(), merge, quiet()), &order{}, &asking{}
		u.Keep(lease)
		turns := newTurns()
		defer turns.timer.Stop()
		for range 3 {
			for range 2 {
				if err := u.sendWindow(o, &pb.Window{}, turns); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second)
			u.heard(pb.PushWindowsResponse_builder{Renewed: &pb.RenewResponse{}}.Build())
			select {
			case <-turns.timer.C:
				t.Error("a turn of its own comes although windows go every second")
			default:
			}
		}
		if lease.asked != 3 || len(o.sent) != 9 || o.sent[0] != "renewal" || o.sent[1] != "window" {
			t.Errorf("%d renewals, sent: %v", lease.asked, o.sent)
		}
		time.Sleep(renewEvery)
		select {
		case <-turns.timer.C:
		default:
			t.Error("without windows nothing renews")
		}
	})
}
