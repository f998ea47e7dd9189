package coordinator

import (
	"testing"
	"time"

	"github.com/loadline/loadline/coordinator/fleet"
	"github.com/loadline/loadline/coordinator/ingest"
	"github.com/loadline/loadline/coordinator/run"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Agents of the version before get the list of all members; the others themselves, the number and the sum of the weights.
func TestTheRosterOfAnAssignment(t *testing.T) {
	c := &Coordinator{fleet: fleet.New(fleet.Config{Lease: time.Second})}
	r := &liveRun{coordinator: c, members: members{places: map[run.ID]int{}, inboxes: map[run.ID]*ingest.Inbox{}, windows: map[run.ID]int64{}}}
	for i, name := range []string{"old", "new", "late"} {
		info := pb.AgentInfo_builder{Name: name, Protocol: fleet.Protocol, Capacity: uint32(i + 1), TakesRosterInShort: name != "old"}.Build()
		incarnation, refusal := c.fleet.Register(info, 1, 0, 1)
		if refusal != "" {
			t.Fatal(refusal)
		}
		if name != "late" {
			r.join(pb.Member_builder{Agent: name, Incarnation: incarnation, Weight: uint32(i + 1)}.Build())
		}
	}
	var old, short, late pb.Assignment
	r.seat(&old, run.ID{Agent: "old", Incarnation: 1})
	r.seat(&short, run.ID{Agent: "new", Incarnation: 2})
	r.seat(&late, run.ID{Agent: "late", Incarnation: 3})
	if len(old.GetMembers()) != 2 || old.GetMember() != 0 || old.HasSelf() {
		t.Errorf("an agent of the version before: %v", &old)
	}
	if len(short.GetMembers()) != 0 || short.GetMember() != 1 || short.GetSelf().GetAgent() != "new" || short.GetRoster() != 2 || short.GetRosterWeight() != 3 {
		t.Errorf("in short: %v", &short)
	}
	if late.GetMember() != 2 || late.GetSelf().GetWeight() != 3 || late.GetRoster() != 3 || late.GetRosterWeight() != 6 {
		t.Errorf("one that is about to join: %v", &late)
	}
}

func TestTheStartOfMoreAgentsLiesFurtherAhead(t *testing.T) {
	c := &Coordinator{config: Config{StartAhead: time.Second}}
	if one, many := c.startAhead(1), c.startAhead(2001); one != time.Second || many != 2*time.Second {
		t.Errorf("%v for one agent, %v for 2001", one, many)
	}
}
