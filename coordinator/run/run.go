// Package run is one run's state machine: Step(event, now) → commands. It does no I/O and knows
// no clock; now is coordinator time in nanoseconds and never runs backwards.
//
//	preparing ──all ready──► running ──load over, or stopped──► draining ──all accounted for──► ended
//
// It keeps three promises in every sequence of events: no run starts before every agent is ready,
// no run ends complete while anything is missing, and no stop is forgotten.
package run

import (
	"fmt"
	"slices"
	"strings"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Config fixes the waits of a run. All are lengths of time.
type Config struct {
	// Prepare bounds the wait for every agent to be ready; then the run is given up.
	Prepare time.Duration
	// StartAhead is how far the common start lies ahead of the moment when all are ready.
	StartAhead time.Duration
	// Load is the length of the whole load; 0: unknown, the agents say when it is over.
	Load time.Duration
	// Drain is the time that sessions have after the load.
	Drain time.Duration
	// Grace bounds the wait for the last windows after load and drain; then agents that have not
	// reported are given up as lost.
	Grace time.Duration
	// JournalPatience is how long the journal may fail before the run is stopped.
	JournalPatience time.Duration
}

// State is where a run is.
type State int

// The states, in the order in which a run passes through them.
const (
	Preparing State = iota + 1
	Running
	Draining
	// Reconciling waits for the ledger's answer.
	Reconciling
	Ended
)

// member is one agent of the run.
type member struct {
	ready, started, done, totals, lost bool
	// told is the hardest stop that the agent was told of.
	told pb.StopMode
}

// accounted reports whether nothing more is to come from the agent.
func (m *member) accounted() bool { return m.lost || m.done && m.totals }

// Machine is one run. The zero value is not usable; New makes one. It is not safe for concurrent use.
type Machine struct {
	config  Config
	state   State
	names   []string
	members map[string]*member

	began    int64 // when the run began to prepare
	start    int64 // the common instant; valid from Running on
	deadline int64 // of the present state
	stop     pb.StopMode
	aborted  bool   // ended before its plan was, by decision or for want of a start
	detail   string // why, in plain words

	journalFailing int64 // since when; 0: it is fine
}

// New makes a run of the named agents that begins to prepare at now, and the commands that begin it.
func New(config Config, agents []string, now int64) (*Machine, []Command) {
	m := &Machine{config: config, names: slices.Sorted(slices.Values(agents)), members: map[string]*member{}}
	m.names = slices.Compact(m.names)
	m.state, m.began, m.deadline = Preparing, now, now+int64(config.Prepare)
	var commands []Command
	for _, name := range m.names {
		m.members[name] = &member{}
		commands = append(commands, Assign{Agent: name})
	}
	if len(m.names) == 0 {
		return m, m.giveUp("no agent is there to play the run", now)
	}
	return m, commands
}

// State is the present state.
func (m *Machine) State() State { return m.state }

// Stopped is the hardest stop asked for so far.
func (m *Machine) Stopped() pb.StopMode { return m.stop }

// Detail says in plain words what the run waits for, or why it ended.
func (m *Machine) Detail() string {
	if m.detail != "" {
		return m.detail
	}
	if m.journalFailing != 0 && m.state != Ended {
		return "the journal cannot be written; results wait on the agents"
	}
	switch m.state {
	case Preparing:
		return "waiting until ready: " + strings.Join(m.pending(func(a *member) bool { return a.ready }), ", ")
	case Draining:
		return "waiting for the last results of: " + strings.Join(m.pending((*member).accounted), ", ")
	default:
		return ""
	}
}

// Deadline is when the machine wants a Tick at the latest; 0: it has no deadline.
func (m *Machine) Deadline() int64 {
	if m.state == Ended || m.state == Reconciling {
		return 0
	}
	if m.journalFailing != 0 {
		patience := m.journalFailing + int64(m.config.JournalPatience)
		if m.deadline == 0 || patience < m.deadline {
			return patience
		}
	}
	return m.deadline
}

func (m *Machine) pending(done func(*member) bool) []string {
	var names []string
	for _, name := range m.names {
		if !done(m.members[name]) {
			names = append(names, name)
		}
	}
	return names
}

func (m *Machine) all(done func(*member) bool) bool { return len(m.pending(done)) == 0 }

// Step takes one event and says what must be done about it, in this order. Events about agents
// that are not of the run, late ones and repeated ones change nothing.
func (m *Machine) Step(event Event, now int64) []Command {
	if m.state == Ended {
		return nil
	}
	switch e := event.(type) {
	case Assigned:
		return m.assigned(e, now)
	case Ready:
		return m.readied(e, now)
	case Failed:
		return m.failed(e.Agent, e.Why, now)
	case Started:
		return m.started(e, now)
	case Lost:
		return m.lost(e, now)
	case Totals:
		return m.mark(e.Agent, now, func(a *member) { a.totals = true })
	case Done:
		return m.mark(e.Agent, now, func(a *member) { a.done = true })
	case Stop:
		return m.stopAll(e, now)
	case Abort:
		return m.abort(e, now)
	case JournalFailed:
		return m.journalFailed(e, now)
	case JournalRecovered:
		m.journalFailing = 0
		return nil
	case Reconciled:
		return m.reconciled(e, now)
	case Tick:
		return m.tick(now)
	default:
		panic(fmt.Sprintf("run: event %T is not known", event))
	}
}

func (m *Machine) assigned(e Assigned, now int64) []Command {
	if e.Refusal == "" {
		return nil // taken on; Ready or Failed follows
	}
	return m.failed(e.Agent, e.Refusal, now)
}

func (m *Machine) readied(e Ready, now int64) []Command {
	agent := m.members[e.Agent]
	if agent == nil || m.state != Preparing {
		return nil
	}
	agent.ready = true
	if !m.all(func(a *member) bool { return a.ready }) {
		return nil
	}
	m.state, m.start, m.deadline = Running, now+int64(m.config.StartAhead), 0
	if m.config.Load > 0 {
		m.deadline = m.start + int64(m.config.Load)
	}
	commands := []Command{Note{Event: pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_STARTED}.Build(), At: m.start}}
	for _, name := range m.names {
		commands = append(commands, Start{Agent: name, At: m.start})
	}
	return commands
}

// failed handles an agent that cannot play its part. Before the start the run is given up: a load
// that is not the one asked for would be measured. Later it is a loss.
func (m *Machine) failed(name, why string, now int64) []Command {
	if m.members[name] == nil {
		return nil
	}
	if m.state != Preparing {
		return m.lost(Lost{Agent: name, Why: why}, now)
	}
	note := Note{Event: pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_AGENT_FAILED, Agent: name, Detail: why}.Build(), At: now}
	return append([]Command{note}, m.giveUp(fmt.Sprintf("agent %s cannot play its part: %s", name, why), now)...)
}

// giveUp ends a run that has not started.
func (m *Machine) giveUp(why string, now int64) []Command {
	m.aborted, m.detail = true, why
	var commands []Command
	for _, name := range m.names {
		commands = append(commands, StopAgent{Agent: name, Mode: pb.StopMode_STOP_MODE_NOW, Reason: why})
	}
	return append(commands, m.end(pb.RunState_RUN_STATE_ABORTED, now)...)
}

func (m *Machine) started(e Started, now int64) []Command {
	agent := m.members[e.Agent]
	if agent == nil || m.state == Preparing {
		return nil
	}
	if e.Refusal != "" {
		return m.lost(Lost{Agent: e.Agent, Why: "did not start: " + e.Refusal}, now)
	}
	agent.started = true
	return nil
}

func (m *Machine) lost(e Lost, now int64) []Command {
	agent := m.members[e.Agent]
	if agent == nil || agent.accounted() {
		return nil
	}
	if m.state == Preparing {
		return m.failed(e.Agent, e.Why, now)
	}
	agent.lost = true
	note := Note{Event: pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_AGENT_LOST, Agent: e.Agent, Detail: e.Why}.Build(), At: now}
	return append([]Command{note}, m.settle(now)...)
}

// mark notes progress of one agent and ends the run when it was the last.
func (m *Machine) mark(name string, now int64, set func(*member)) []Command {
	agent := m.members[name]
	if agent == nil || m.state == Preparing {
		return nil
	}
	set(agent)
	return m.settle(now)
}

// settle asks for the ledger once every agent is accounted for.
func (m *Machine) settle(now int64) []Command {
	if m.state == Reconciling || !m.all((*member).accounted) {
		return nil
	}
	m.state, m.deadline = Reconciling, 0
	return []Command{Reconcile{}}
}

// stopAll asks every agent to stop. A softer stop after a harder one changes nothing.
func (m *Machine) stopAll(e Stop, now int64) []Command {
	mode := max(e.Mode, pb.StopMode_STOP_MODE_DRAIN)
	if mode <= m.stop {
		return nil
	}
	m.stop, m.aborted = mode, true
	if m.detail == "" {
		m.detail = e.Reason
	}
	note := Note{Event: pb.RunEvent_builder{
		Kind: pb.RunEventKind_RUN_EVENT_KIND_STOP_REQUESTED, Detail: e.Reason, Mode: mode,
	}.Build(), At: now}
	return append([]Command{note}, m.halt(mode, e.Reason, now)...)
}

func (m *Machine) abort(e Abort, now int64) []Command {
	if m.state != Running || m.stop != pb.StopMode_STOP_MODE_UNSPECIFIED {
		return nil
	}
	m.stop, m.aborted = pb.StopMode_STOP_MODE_DRAIN, true
	m.detail = "abort condition fired: " + e.Expression
	note := Note{Event: pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_ABORTED, Detail: e.Expression}.Build(), At: now}
	return append([]Command{note}, m.halt(m.stop, m.detail, now)...)
}

// halt tells the agents of m.stop and sets the last deadline.
func (m *Machine) halt(mode pb.StopMode, reason string, now int64) []Command {
	switch m.state {
	case Preparing:
		return m.giveUp(reason, now)
	case Reconciling:
		return nil
	}
	m.state, m.deadline = Draining, now+int64(m.config.Grace)
	if mode == pb.StopMode_STOP_MODE_DRAIN {
		m.deadline += int64(m.config.Drain)
	}
	var commands []Command
	for _, name := range m.names {
		if agent := m.members[name]; !agent.accounted() && agent.told < mode {
			agent.told = mode
			commands = append(commands, StopAgent{Agent: name, Mode: mode, Reason: reason})
		}
	}
	return commands
}

func (m *Machine) journalFailed(e JournalFailed, now int64) []Command {
	if m.journalFailing != 0 {
		return nil
	}
	m.journalFailing = max(now, 1)
	return []Command{Note{Event: pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_DEGRADED, Detail: e.Why}.Build(), At: now}}
}

func (m *Machine) reconciled(e Reconciled, now int64) []Command {
	if m.state != Reconciling {
		return nil
	}
	switch whole := e.Complete && !m.any(func(a *member) bool { return a.lost }); {
	case m.aborted:
		return m.end(pb.RunState_RUN_STATE_ABORTED, now)
	case whole:
		return m.end(pb.RunState_RUN_STATE_COMPLETE, now)
	}
	if m.detail == "" && len(e.Missing) > 0 {
		m.detail = "missing: " + strings.Join(e.Missing, "; ")
	}
	return m.end(pb.RunState_RUN_STATE_PARTIAL, now)
}

func (m *Machine) any(is func(*member) bool) bool {
	return slices.ContainsFunc(m.names, func(name string) bool { return is(m.members[name]) })
}

func (m *Machine) end(state pb.RunState, now int64) []Command {
	m.state, m.deadline = Ended, 0
	note := Note{Event: pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_ENDED, State: state, Detail: m.detail}.Build(), At: now}
	return []Command{note, Finish{State: state}}
}

// tick acts on deadlines that have passed.
func (m *Machine) tick(now int64) []Command {
	var commands []Command
	if m.journalFailing != 0 && now >= m.journalFailing+int64(m.config.JournalPatience) && m.stop < pb.StopMode_STOP_MODE_NOW {
		m.journalFailing = 0
		commands = m.stopAll(Stop{Mode: pb.StopMode_STOP_MODE_NOW, Reason: "the journal cannot be written"}, now)
	}
	if m.deadline == 0 || now < m.deadline {
		return commands
	}
	switch m.state {
	case Preparing:
		late := m.pending(func(a *member) bool { return a.ready })
		return append(commands, m.giveUp(fmt.Sprintf("not ready within %v: %s", m.config.Prepare, strings.Join(late, ", ")), now)...)
	case Running:
		m.state, m.deadline = Draining, now+int64(m.config.Drain+m.config.Grace)
	case Draining:
		for _, name := range m.pending((*member).accounted) {
			commands = append(commands, m.lost(Lost{Agent: name, Why: fmt.Sprintf("its last results did not come within %v", m.config.Grace)}, now)...)
		}
	}
	return commands
}
