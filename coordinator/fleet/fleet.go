// Package fleet knows which agents are alive: registrations, leases and clock offsets. It is a
// state machine without I/O; now is coordinator time in nanoseconds and never runs backwards.
//
// Invariant: an agent counts its lease from the moment it sent the renewal, the fleet from the
// moment it granted it plus a margin; so an agent has stopped before it is declared lost.
package fleet

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Limits of the fleet.
const (
	// Protocol is the version of the protocol between coordinator and agent. 2: changes in two steps, leases over two ways.
	Protocol = 2
	// MaxAgents bounds the registered agents.
	MaxAgents = 4000
	// maxLabels bounds the labels of one agent, maxLabel the length of a label's key or value.
	maxLabels = 32
	maxLabel  = 128
	// maxHeld bounds the incarnation that an agent may say it held.
	maxHeld = 1 << 48
	// margin and slack are added to a lease before its agent counts as lost: a tick of the other
	// clock's rate (1 %) and time for a message under way.
	margin = time.Second
	slack  = 100 // 1/100 of the lease
)

// names are those that fit a subject, a file name and a label.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Config sets the pace of the leases.
type Config struct {
	// Lease is the length of a lease as the agent counts it; design §4: 5 s.
	Lease time.Duration
}

// Agent is one registered agent.
type Agent struct {
	// Info is what the agent said of itself.
	Info *pb.AgentInfo
	// Incarnation numbers its registration, rising over the whole fleet.
	Incarnation uint64
	// Leaving: it has said that it wants to go; it gets no new work.
	Leaving bool
	nonce   uint64 // 0: not known yet, after a restart of the coordinator
	granted int64
	hold    time.Duration // how much longer than its lease it may go on
	denied  string        // why it is not renewed any more; empty: it is
	clock   clock
}

// Weight is the agent's share of the load relative to the others: its declared capacity, else its cores.
func (a *Agent) Weight() uint32 {
	if capacity := a.Info.GetCapacity(); capacity > 0 {
		return capacity
	}
	return max(1, a.Info.GetCores())
}

// Denied reports whether the agent's lease is not renewed any more.
func (a *Agent) Denied() bool { return a.denied != "" }

// Fleet holds the agents. It is not safe for concurrent use.
type Fleet struct {
	config Config
	agents map[string]*Agent
	last   uint64
}

// New makes an empty fleet.
func New(config Config) *Fleet {
	return &Fleet{config: config, agents: map[string]*Agent{}}
}

// Register admits an agent and grants its first lease, or says why not. Repeating a registration (same name, same
// nonce) gives the same incarnation. held is the incarnation that the process has held until now, 0 for none: it is
// given again while its lease may still be valid, so that a coordinator which was restarted takes its agents back. A
// second agent of a living one's name is refused, and of one whose lease has lapsed until Expire has named it: runs must
// hear first that it is lost.
func (f *Fleet) Register(info *pb.AgentInfo, nonce, held uint64, now int64) (incarnation uint64, refusal string) {
	if refusal := f.refuse(info, nonce, held); refusal != "" {
		return 0, refusal
	}
	if known := f.agents[info.GetName()]; known != nil && known.is(nonce, held) {
		known.Info, known.nonce, known.granted = info, nonce, now
		return known.Incarnation, ""
	}
	if held < maxHeld {
		f.last = max(f.last, held) // numbers rise over restarts too
	}
	f.last++
	f.agents[info.GetName()] = &Agent{Info: info, Incarnation: f.last, nonce: nonce, granted: now}
	return f.last, ""
}

// is reports whether a process with that nonce, which has held that incarnation, is the agent.
func (a *Agent) is(nonce, held uint64) bool {
	return a.nonce == nonce || a.nonce == 0 && a.Incarnation == held
}

// Restore takes up an agent that a run of an earlier coordinator counts on. Nothing is known of its lease but that it
// was granted before now; so it counts as alive until a lease of now would have lapsed.
func (f *Fleet) Restore(name string, incarnation uint64, hold time.Duration, now int64) {
	f.last = max(f.last, incarnation)
	info := pb.AgentInfo_builder{Name: name, Protocol: Protocol}.Build()
	f.agents[name] = &Agent{Info: info, Incarnation: incarnation, granted: now, hold: hold}
}

func (f *Fleet) refuse(info *pb.AgentInfo, nonce, held uint64) string {
	name := info.GetName()
	switch known := f.agents[name]; {
	case !names.MatchString(name):
		return fmt.Sprintf("agent name %q: use 1 to 64 letters, digits, dots, hyphens or underscores", strings.ToValidUTF8(name, "?"))
	case info.GetProtocol() != Protocol:
		return refuseProtocol(name, info.GetProtocol())
	case known != nil && known.denied != "":
		return fmt.Sprintf("agent %s gets no new lease until the old one has lapsed: %s", name, known.denied)
	case known != nil && !known.is(nonce, held):
		return fmt.Sprintf("an agent named %s is alive: give each agent a name of its own (--name)", name)
	case known == nil && len(f.agents) >= MaxAgents:
		return fmt.Sprintf("there are %d agents, the limit", MaxAgents)
	}
	return refuseLabels(info)
}

// refuseProtocol says who speaks what, and which of the two is the older: that one is to be replaced.
func refuseProtocol(name string, theirs uint32) string {
	mend := "install the coordinator's build of loadline on the agent's machine"
	if theirs > Protocol {
		mend = "install the agent's build of loadline on the coordinator's machine, before the agents"
	}
	return fmt.Sprintf("agent %s speaks protocol %d, this coordinator speaks protocol %d: %s", name, theirs, Protocol, mend)
}

func refuseLabels(info *pb.AgentInfo) string {
	if len(info.GetLabels()) > maxLabels {
		return fmt.Sprintf("agent %s has %d labels, more than the limit of %d", info.GetName(), len(info.GetLabels()), maxLabels)
	}
	for key, value := range info.GetLabels() {
		if len(key) > maxLabel || len(value) > maxLabel {
			return fmt.Sprintf("agent %s: a label is longer than %d bytes", info.GetName(), maxLabel)
		}
	}
	return ""
}

// Renew grants another lease, or says why not: the agent must then stop and register again.
// sample may be nil.
func (f *Fleet) Renew(name string, incarnation uint64, sample *pb.ClockSample, now int64) (refusal string) {
	agent := f.agents[name]
	switch {
	case agent == nil:
		return fmt.Sprintf("no agent %q is registered", strings.ToValidUTF8(name, "?"))
	case agent.Incarnation != incarnation:
		return fmt.Sprintf("incarnation %d of agent %s has been replaced by %d", incarnation, name, agent.Incarnation)
	case agent.denied != "":
		return agent.denied
	case f.lapsed(agent, now):
		return fmt.Sprintf("the lease of agent %s has lapsed", name)
	}
	agent.granted = now
	if sample != nil {
		agent.clock.add(sample)
	}
	return ""
}

// Remaining is how long the agent holds its lease from now on, as it counts itself at the latest; below 0: it has lapsed there.
func (f *Fleet) Remaining(a *Agent, now int64) time.Duration {
	return f.config.Lease + a.hold - time.Duration(now-a.granted)
}

// Stranger reports whether nothing is known of the agent but its name, as after a restart of the coordinator.
func (a *Agent) Stranger() bool { return a.nonce == 0 && a.Info.GetCores() == 0 }

// Introduce takes on what an agent says of itself. It says whether it may; its name and protocol stay.
func (f *Fleet) Introduce(name string, incarnation uint64, info *pb.AgentInfo) (refusal string) {
	agent := f.agents[name]
	switch {
	case agent == nil || agent.Incarnation != incarnation || !agent.Stranger():
		return ""
	case info.GetName() != name || info.GetProtocol() != Protocol:
		return fmt.Sprintf("agent %s says that it is another", name)
	}
	if refusal := refuseLabels(info); refusal != "" {
		return refusal
	}
	agent.Info = info
	return ""
}

// lapsed reports whether the agent has provably stopped.
func (f *Fleet) lapsed(a *Agent, now int64) bool {
	length := f.config.Lease + a.hold
	return now-a.granted > int64(length+length/slack+margin)
}

// Deny ends the renewal of an incarnation: its lease lapses, whatever it asks for.
func (f *Fleet) Deny(name string, incarnation uint64, why string) {
	if agent := f.agents[name]; agent != nil && agent.Incarnation == incarnation {
		agent.denied = why
	}
}

// Hold says for how long after its lease an incarnation may go on (0: not at all). It must be known here before the agent learns of it.
func (f *Fleet) Hold(name string, incarnation uint64, hold time.Duration) {
	if agent := f.agents[name]; agent != nil && agent.Incarnation == incarnation {
		agent.hold = hold
	}
}

// Leave notes that an incarnation wants to go. Once it is gone it holds no lease and its name is free.
func (f *Fleet) Leave(name string, incarnation uint64, gone bool) {
	agent := f.agents[name]
	switch {
	case agent == nil || agent.Incarnation != incarnation:
	case gone:
		delete(f.agents, name)
	default:
		agent.Leaving = true
	}
}

// Select lists the agents that a run may use, sorted by name: those that carry every label of match and do not leave.
// At most limit of them, 0: all.
func (f *Fleet) Select(match map[string]string, limit int) []*Agent {
	agents := slices.DeleteFunc(f.Agents(), func(a *Agent) bool { return a.Leaving || a.denied != "" || !a.Carries(match) })
	if limit > 0 && len(agents) > limit {
		agents = agents[:limit]
	}
	return agents
}

// Carries reports whether the agent carries every label of match.
func (a *Agent) Carries(match map[string]string) bool {
	for key, value := range match {
		if got, ok := a.Info.GetLabels()[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// Stood tells that nobody listened to the agents for a time up to now, because the coordinator's process or machine stood still.
// What they asked for meanwhile is still under way, so every lease counts as so much younger. That only makes it lapse later, so a
// share is never given away too soon.
func (f *Fleet) Stood(still time.Duration, now int64) {
	for _, agent := range f.agents {
		agent.granted = min(now, agent.granted+int64(still))
	}
}

// Expire removes the agents whose lease has provably lapsed and returns them, sorted by name.
func (f *Fleet) Expire(now int64) []*Agent {
	var lost []*Agent
	for name, agent := range f.agents {
		if f.lapsed(agent, now) {
			lost = append(lost, agent)
			delete(f.agents, name)
		}
	}
	sortByName(lost)
	return lost
}

// Agents lists the registered agents, sorted by name: the roster of a run.
func (f *Fleet) Agents() []*Agent {
	agents := make([]*Agent, 0, len(f.agents))
	for _, agent := range f.agents {
		agents = append(agents, agent)
	}
	sortByName(agents)
	return agents
}

// Agent is the registered agent of that name; nil: there is none.
func (f *Fleet) Agent(name string) *Agent { return f.agents[name] }

// Clock is the offset of an agent's clock: coordinator time − agent time in nanoseconds, with the
// bound of its error at now (M17). ok is false while no exchange is known.
func (f *Fleet) Clock(name string, now int64) (offset, bound int64, ok bool) {
	agent := f.agents[name]
	if agent == nil {
		return 0, 0, false
	}
	return agent.clock.offset(now)
}

func sortByName(agents []*Agent) {
	slices.SortFunc(agents, func(a, b *Agent) int { return strings.Compare(a.Info.GetName(), b.Info.GetName()) })
}
