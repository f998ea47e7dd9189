package agent

import (
	"fmt"
	"math"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// ownFiles is how many open files are reckoned with beside one for each request under way: files of the
// scenario, connections to the coordinator, what the runtime holds.
const ownFiles = 64

// checkOpenFiles finds out before the load starts whether the system lets the agent hold as many sockets as
// the load may need at once.
func (p *part) checkOpenFiles() error {
	limit, ok := raiseOpenFiles()
	if !ok {
		return nil
	}
	return enoughFiles(p.sockets(), limit)
}

// sockets is the most that this agent's share may have open at once: of open load its arrivals, up to its
// ceiling, of closed load its users; not more than the connections that the targets are given, where all are
// given a number.
func (p *part) sockets() uint64 {
	var open, users uint64
	member := int(p.assignment.GetMember())
	for i, phase := range p.course.Phases() {
		if phase.Users == 0 {
			open += p.course.Count(i, member, phase.Arrivals)
		} else {
			users += p.course.Count(i, member, uint64(phase.Users))
		}
	}
	open = min(open, uint64(p.ceiling(p.course)))
	var most uint64
	for _, t := range p.scenario().GetTargets() {
		c := t.GetConnections()
		if c.GetMax() == 0 {
			most = math.MaxUint64
			break
		}
		most += uint64(c.GetMax())
	}
	return max(min(open+users, most), warmed(p.scenario()))
}

func warmed(s *pb.Scenario) (n uint64) {
	for _, t := range s.GetTargets() {
		n += uint64(t.GetConnections().GetWarm())
	}
	return n
}

// enoughFiles compares what is needed with the limit on open files.
func enoughFiles(sockets, limit uint64) error {
	if need := sockets + ownFiles; need > limit {
		return fmt.Errorf("the load may have %d requests under way at once, and this agent may open %d files: "+
			"run `ulimit -n %d` before starting the agent (for a service, LimitNOFILE=%d), or lower limits.max_in_flight", sockets, limit, need, need)
	}
	return nil
}
