package agent

import (
	"testing"
	"time"

	"github.com/loadline/loadline/agent/guard"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// A roster in short says the same as the list that a coordinator of the version before sends.
func TestARosterInShortSaysTheSame(t *testing.T) {
	members := []*pb.Member{{}, {}, {}}
	for i, m := range members {
		m.SetWeight(uint32(i + 1))
		m.SetMaxInFlight(uint32(10 * (i + 1)))
	}
	for name, a := range map[string]*pb.Assignment{
		"listed":   pb.Assignment_builder{Members: members, Member: 1}.Build(),
		"in short": pb.Assignment_builder{Self: members[1], Member: 1, Roster: 3, RosterWeight: 6}.Build(),
	} {
		n, weight := rosterOf(a)
		if own := (&part{assignment: a}).member(); n != 3 || weight != 6 || own.GetMaxInFlight() != 20 {
			t.Errorf("%s: %d members of weight %d, own %v", name, n, weight, own)
		}
	}
}

// The bus is left out only while the results stream answers.
func TestTheBusIsSparedOnlyWhileTheStreamAnswers(t *testing.T) {
	now := int64(time.Minute)
	a := &Agent{time: guard.NewClock(func() int64 { return now })}
	if a.spares() {
		t.Error("no stream has answered")
	}
	granted := pb.RenewResponse_builder{Granted: true}.Build()
	a.heardOverStream(granted, a.leaseNow())
	if !a.spares() {
		t.Error("the stream has just answered")
	}
	a.heardOverStream(granted, a.leaseNow()-int64(streamFresh))
	if a.spares() {
		t.Error("the stream has fallen silent")
	}
	a.heardOverStream(granted, a.leaseNow())
	a.owed = 1
	if a.spares() || !a.spares() {
		t.Error("a coordinator that asks who this is gets a clock first")
	}
	a.heardOverStream(&pb.RenewResponse{}, a.leaseNow())
	if a.spares() {
		t.Error("the stream has refused the lease")
	}
}
