package coordinator

import (
	"encoding/hex"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/loadline/loadline/coordinator/fleet"
	"github.com/loadline/loadline/coordinator/ingest"
	"github.com/loadline/loadline/coordinator/plan"
	"github.com/loadline/loadline/coordinator/run"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// members is who takes part in a run: those of the plan, and those that changes let in. It is guarded by liveRun.mu.
type members struct {
	roster  []*pb.Member
	places  map[run.ID]int // in the roster
	weight  uint64         // of the roster
	inboxes map[run.ID]*ingest.Inbox
	windows map[run.ID]int64 // end of its last merged window, µs since the run's start; absent: it is lost or done
	course  *schedule.Course // with every change on record
	tried   *pb.Change       // the last change that was proposed
	next    *schedule.Course // what it leads to: a new rate may take long to compute
	// newest is the highest incarnation that was there when the run was planned: who registered later may join.
	newest uint64
}

func idOf(m *pb.Member) run.ID { return run.ID{Agent: m.GetAgent(), Incarnation: m.GetIncarnation()} }

// newMembers makes the members of a plan.
func newMembers(p *pb.Plan, load *schedule.Schedule) members {
	m := members{places: map[run.ID]int{}, inboxes: map[run.ID]*ingest.Inbox{}, windows: map[run.ID]int64{}}
	weights := make([]uint32, 0, len(p.GetMembers()))
	for _, member := range p.GetMembers() {
		m.join(member)
		weights = append(weights, member.GetWeight())
	}
	m.course = schedule.NewCourse(load, weights)
	return m
}

func (m *members) join(member *pb.Member) {
	id := idOf(member)
	if _, there := m.places[id]; !there {
		m.places[id] = len(m.roster)
	}
	m.roster, m.weight = append(m.roster, member), m.weight+uint64(member.GetWeight())
	if m.inboxes[id] == nil {
		m.inboxes[id] = &ingest.Inbox{}
	}
	m.windows[id] = 0
}

// change takes a change that is on record on.
func (m *members) change(c *pb.Change) error {
	course := m.next
	if course == nil || course.Epoch() != m.course.Epoch()+1 || !proto.Equal(c, m.tried) {
		var err error
		if course, err = m.course.Apply(c); err != nil {
			return fmt.Errorf("change of epoch %d: %w", c.GetEpoch(), err)
		}
	}
	m.course, m.tried, m.next = course, nil, nil
	for _, joined := range c.GetJoined() {
		m.join(joined)
		m.windows[idOf(joined)] = c.GetAtNs() / int64(time.Microsecond)
	}
	return nil
}

// load is the length of a course; 0: only the agents know when its sessions are used up.
func load(c *schedule.Course) time.Duration {
	for _, phase := range c.Phases() {
		if _, known := phase.Lasts(); !known {
			return 0
		}
	}
	return time.Duration(c.End())
}

// length is that of the run's load; 0: only the agents know, or the program that drives the run. r.mu is held.
func (r *liveRun) length() time.Duration {
	if r.header.GetDriven() && !r.course.Closed() {
		return 0
	}
	return load(r.course)
}

// machineRoster is the roster of the plan as the machine wants it.
func machineRoster(p *pb.Plan) []run.Member {
	var out []run.Member
	for _, m := range p.GetMembers() {
		out = append(out, run.Member{ID: idOf(m), Weight: m.GetWeight()})
	}
	return out
}

// hold is how much longer than its lease an agent of the run may go on.
func (r *liveRun) hold() time.Duration {
	return r.header.GetScenario().GetOrphan().GetHold().AsDuration()
}

// assignment is what one agent must know, with the changes so far. One that is about to join stands last in the roster; its
// place the change says that lets it join.
func (r *liveRun) assignment(id run.ID, changes []*pb.Change) (*pb.Assignment, error) {
	digest, err := hex.DecodeString(r.header.GetScenarioDigest())
	if err != nil {
		return nil, err
	}
	a, err := plan.Assignment(r.header.GetPlan(), plan.Request{
		RunID: r.header.GetRunId(), Digest: digest, Scenario: r.header.GetScenario(), BaseDir: r.header.GetBaseDir(),
		Files: r.header.GetFiles(), Addresses: r.header.GetAddresses(), Expires: time.Now().Add(prepareWait),
	}, 0)
	if err != nil {
		return nil, err
	}
	r.seat(a, id)
	a.SetIncarnation(id.Incarnation)
	a.SetChanges(changes)
	a.SetOpenEnded(r.header.GetDriven())
	if hold := r.hold(); hold > 0 {
		a.SetHold(durationpb.New(hold))
	}
	return a, nil
}

// seat puts the roster and the agent's place in it into an assignment: in short where the agent takes that, for a list for each of n
// agents is n² entries.
func (r *liveRun) seat(a *pb.Assignment, id run.ID) {
	own, short := r.coordinator.weight(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	place, there := r.places[id]
	var self *pb.Member
	count, weight := len(r.roster), r.members.weight
	if there {
		self = r.roster[place]
	} else { // it is about to join
		place, count, weight = count, count+1, weight+uint64(own)
		self = pb.Member_builder{Agent: id.Agent, Incarnation: id.Incarnation, Weight: own, MaxInFlight: 1}.Build()
	}
	a.SetMember(uint32(place))
	if short {
		a.SetMembers(nil)
		a.SetSelf(self)
		a.SetRoster(uint32(count))
		a.SetRosterWeight(weight)
		return
	}
	roster := append([]*pb.Member{}, r.roster...)
	if !there {
		roster = append(roster, self)
	}
	a.SetMembers(roster)
}

// weight is an agent's share relative to the others, 1 for one that is not there, and whether it takes a roster in short.
func (c *Coordinator) weight(id run.ID) (weight uint32, short bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.fleet.Agent(id.Agent); a != nil && a.Incarnation == id.Incarnation {
		return a.Weight(), a.Info.GetTakesRosterInShort()
	}
	return 1, false
}

// offer lets an agent that plays nothing join a run that wants it; c.mu is not held.
func (c *Coordinator) offer(agent *fleet.Agent) {
	for _, r := range c.live() {
		if r.wants(agent) {
			r.mail.post(run.Joined{Member: run.Member{
				ID: run.ID{Agent: agent.Info.GetName(), Incarnation: agent.Incarnation}, Weight: agent.Weight(),
			}})
			return
		}
	}
}

// wants reports whether a run may use an agent that came after it was planned.
func (r *liveRun) wants(a *fleet.Agent) bool {
	selection := r.header.GetScenario().GetAgents()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.course == nil || a.Incarnation <= r.newest || !a.Carries(selection.GetMatch()) {
		return false
	}
	playing := 0
	for _, weight := range r.course.Weights() {
		if weight > 0 {
			playing++
		}
	}
	return selection.GetMax() == 0 || playing < int(selection.GetMax())
}
