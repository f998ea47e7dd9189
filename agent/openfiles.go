package agent

import (
	"fmt"
	"math"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// ownFiles is how many open files are reckoned with beside one for each request under way: files of the
// scenario, connections to the coordinator, what the runtime holds.
const ownFiles = 64

// defaultStreams is how many requests share a connection where a target's protocol lets them and nothing else is said;
// those of gRPC do so always.
const defaultStreams = scenario.DefaultStreams

// sockets is how many sockets a load needs at once.
type sockets struct {
	// certain are those that it needs whatever the target does: one for each user of closed load, those opened before
	// the start, and those that the scenario asks for by giving every target a number of connections.
	certain uint64
	// possible are those that it needs if the target answers slowly: of open load up to the ceiling.
	possible uint64
}

// checkOpenFiles finds out before the load starts whether the system lets the agent hold as many sockets as
// the load needs at once. The warning is empty unless it may need more than the agent can have.
func (p *part) checkOpenFiles() (warning string, err error) {
	limit, ok := raiseOpenFiles()
	if !ok {
		return "", nil
	}
	return p.sockets().within(limit)
}

// sockets reckons with this agent's share: of open load its arrivals, up to its ceiling, of closed load its users; not
// more than the connections that the targets are given, where all are given a number.
func (p *part) sockets() sockets {
	var open, users uint64
	member := int(p.assignment.GetMember())
	for i, phase := range p.course.Phases() {
		if phase.Users == 0 {
			open += p.course.Count(i, member, phase.Arrivals)
		} else {
			users += p.course.Count(i, member, uint64(phase.Users))
		}
	}
	ceiling, _ := p.ceiling(p.course)
	open = min(open, uint64(ceiling))
	targets := p.assignment.GetScenario().GetTargets() // addresses that stand in for them open as many
	most, shared := mostConnections(targets), sharing(targets)
	n := sockets{certain: min(ceilDiv(users, shared), most), possible: min(ceilDiv(open+users, shared), most)}
	if most < math.MaxUint64 {
		n.certain = n.possible
	}
	n.certain = max(n.certain, warmed(targets))
	n.possible = max(n.possible, n.certain)
	return n
}

// mostConnections is how many connections the scenario gives all targets together; math.MaxUint64: one has no bound.
func mostConnections(targets []*pb.Target) (n uint64) {
	for _, t := range targets {
		if t.GetConnections().GetMax() == 0 {
			return math.MaxUint64
		}
		n += uint64(t.GetConnections().GetMax())
	}
	return n
}

// sharing is how many requests a connection carries at once, at least: more than one where all targets are spoken to
// by HTTP/2.
func sharing(targets []*pb.Target) uint64 {
	least := uint64(math.MaxUint64)
	for _, t := range targets {
		c := t.GetConnections()
		kept := c.GetPolicy() <= pb.ConnectionPolicy_CONNECTION_POLICY_REUSE
		switch {
		case t.GetProtocol() == pb.Protocol_PROTOCOL_GRPC:
			least = min(least, defaultStreams)
		case c.GetHttp() == pb.HttpVersion_HTTP_VERSION_HTTP2 && kept && c.GetStreams() > 0:
			least = min(least, uint64(c.GetStreams()))
		case c.GetHttp() == pb.HttpVersion_HTTP_VERSION_HTTP2 && kept:
			least = min(least, defaultStreams)
		default:
			return 1
		}
	}
	return least
}

func ceilDiv(n, by uint64) uint64 {
	if n == 0 {
		return 0
	}
	return (n-1)/by + 1
}

func warmed(targets []*pb.Target) (n uint64) {
	for _, t := range targets {
		n += uint64(t.GetConnections().GetWarm())
	}
	return n
}

// within compares what is needed with the limit on open files.
func (n sockets) within(limit uint64) (warning string, err error) {
	need := n.certain + ownFiles
	if need > limit {
		return "", fmt.Errorf("the load needs %d connections at once, and this agent may open %d files: run `ulimit -n %d` before starting the agent "+
			"(for a service, LimitNOFILE=%d), or ask for fewer users or connections", n.certain, limit, need, need)
	}
	if need = n.possible + ownFiles; need > limit {
		return fmt.Sprintf("if the targets answer slowly, the load may have %d connections at once, and this agent may open %d files: requests beyond that "+
			"will fail with the class connect; run `ulimit -n %d` before starting the agent (for a service, LimitNOFILE=%d), or lower limits.max_in_flight",
			n.possible, limit, need, need), nil
	}
	return "", nil
}
