// Package run is one run's state machine: Step(event, now) → commands. It does no I/O and knows
// no clock; now is coordinator time in nanoseconds and never runs backwards.
//
//	preparing ──all ready──► running ──load over, or stopped──► draining ──all accounted for──► ended
//	               changes of the running load: proposed ──all acknowledge──► on record ──► in force
//
// It keeps these promises in every sequence of events: no run starts before every agent is ready or left out by a
// change, no change is committed that a member which may start requests has not acknowledged, no run ends complete
// while anything is missing, and no stop is forgotten.
package run

import (
	"fmt"
	"slices"
	"strings"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Config fixes the waits of a run. All are lengths of time, unless said otherwise.
type Config struct {
	// Prepare bounds the wait for every agent to be ready; then the run is given up.
	Prepare time.Duration
	// Min is the fewest agents to start with; 0: all of them.
	Min int
	// Barrier is how long Min or more ready agents wait for another one; then they start without the rest.
	Barrier time.Duration
	// StartAhead is how far the common start lies ahead of the moment when all are ready.
	StartAhead time.Duration
	// Load is the length of the whole load; 0: unknown, the agents say when it is over.
	Load time.Duration
	// Drain is the time that sessions have after the load.
	Drain time.Duration
	// Grace bounds the wait for the last windows after load and drain; then agents that have not
	// reported are given up as lost.
	Grace time.Duration
	// Return is how long the run waits, once nobody is left to play it, for members that were lost to come back and hand
	// in what they have counted; 0: it does not.
	Return time.Duration
	// JournalPatience is how long the journal may fail before the run is stopped.
	JournalPatience time.Duration
	// Horizon is how far ahead the instant of a change lies when it is first proposed.
	Horizon time.Duration
	// AckPatience is how long a member may renew its lease without acknowledging; then it is not renewed any more.
	AckPatience time.Duration
	// Check says why a change does not fit the schedule; nil: every one fits. It must depend on the change alone and
	// on those committed before.
	Check func(*pb.Change) error
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

// member is one agent of the run, or one that is about to be.
type member struct {
	Member
	ready, done, totals, lost bool
	// sent: this machine has told it to start; told: that one or one before a restart may have.
	sent, told bool
	// out: it has never begun and never will.
	out bool
	// leaving: it wants to hand over; over: it plays nothing any more; denied: its lease is not renewed.
	leaving, over, denied bool
	// needs is the epoch that must be in force on it before it starts, applied the one that is.
	needs, applied uint32
	// stop is the hardest stop that the agent was told of.
	stop pb.StopMode
}

// accounted reports whether nothing more is to come from the agent.
func (a *member) accounted() bool { return a.lost || a.out || a.done && a.totals }

// Machine is one run. The zero value is not usable; New makes one. It is not safe for concurrent use.
type Machine struct {
	config  Config
	state   State
	members []*member      // in the order of the roster; only appended to
	index   map[ID]*member // of members, as far as find has come
	joining []*member      // have an assignment; a change will make them members

	start    int64 // the common instant; valid from Running on
	fixed    bool  // the start instant is on record
	deadline int64 // of the present state
	barrier  int64 // when the ready ones start without the rest; 0: not known yet
	await    int64 // until when lost members may hand in their results though nobody is left; 0: nobody was waited for yet
	stop     pb.StopMode
	aborted  bool   // ended before its plan was, by decision or for want of a start
	detail   string // why, in plain words

	changes
	journalFailing int64 // since when; 0: it is fine
}

// New makes a run of the members, in the order of the roster, that begins to prepare at now, and the commands that begin it.
func New(config Config, roster []Member, now int64) (*Machine, []Command) {
	m := &Machine{config: config, state: Preparing, deadline: now + int64(config.Prepare)}
	m.changes = newChanges(roster, 0)
	var commands []Command
	for _, r := range roster {
		m.members = append(m.members, &member{Member: r, needs: planned, applied: planned})
		commands = append(commands, Assign{r.ID})
	}
	if len(roster) == 0 {
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
		return "waiting until ready: " + names(m.without((*member).arrived))
	case Draining:
		if owing := m.owing(); m.await != 0 && len(owing) > 0 {
			return fmt.Sprintf("no agent is left to play it; waiting up to %v for results of those that were lost: %s", m.config.Return, names(owing))
		}
		return "waiting for the last results of: " + names(m.without((*member).accounted))
	default:
		return ""
	}
}

// Deadline is when the machine wants a Tick at the latest; 0: it has no deadline.
func (m *Machine) Deadline() int64 {
	if m.state == Ended || m.state == Reconciling {
		return 0
	}
	at := m.deadline
	for _, other := range []int64{m.patience(), m.barrierAt(), m.changeDeadline()} {
		if other != 0 && (at == 0 || other < at) {
			at = other
		}
	}
	return at
}

// patience is when a failing journal stops the run; 0: it does not.
func (m *Machine) patience() int64 {
	if m.journalFailing == 0 || m.stop == pb.StopMode_STOP_MODE_NOW {
		return 0
	}
	return m.journalFailing + int64(m.config.JournalPatience)
}

// without lists the members for which something does not hold.
func (m *Machine) without(holds func(*member) bool) []*member {
	var out []*member
	for _, a := range m.members {
		if !holds(a) {
			out = append(out, a)
		}
	}
	return out
}

// maxNames bounds the agents that a detail names.
const maxNames = 20

func names(members []*member) string {
	words := make([]string, min(len(members), maxNames))
	for i := range words {
		words[i] = members[i].Agent
	}
	text := strings.Join(words, ", ")
	if more := len(members) - len(words); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// find is the member of that id, or the joining one; nil: a stranger.
func (m *Machine) find(id ID) *member {
	if m.index == nil {
		m.index = make(map[ID]*member, len(m.members))
	}
	for _, a := range m.members[len(m.index):] {
		m.index[a.ID] = a
	}
	if a := m.index[id]; a != nil {
		return a
	}
	return m.findJoining(id)
}

func (m *Machine) findJoining(id ID) *member {
	for _, a := range m.joining {
		if a.ID == id {
			return a
		}
	}
	return nil
}

// Step takes one event and says what must be done about it, in this order. Events about agents
// that are not of the run, late ones and repeated ones change nothing.
func (m *Machine) Step(event Event, now int64) []Command {
	if m.state == Ended {
		return m.afterEnd(event)
	}
	switch e := event.(type) {
	case Assigned:
		return m.assigned(e, now)
	case Ready:
		return m.readied(e, now)
	case Failed:
		return m.failed(e.ID, e.Why, now)
	case StartDurable:
		m.fixed = m.state != Preparing
		return append(m.starts(), m.propose(now)...)
	case Started:
		return m.started(e)
	case Totals:
		return m.progress(e.ID, now, func(a *member) { a.totals = true })
	case Done:
		return m.progress(e.ID, now, func(a *member) { a.done, a.over = true, true })
	case Stop:
		return m.stopAll(e, now)
	case Abort:
		return m.abort(e, now)
	case JournalFailed:
		return m.journalFailed(e, now)
	case JournalRecovered:
		m.journalFailing = 0
		return m.propose(now)
	case Reconciled:
		return m.reconciled(e, now)
	case Tick:
		return m.tick(now)
	default:
		return m.stepChange(event, now)
	}
}

// stepChange takes the events about who plays what.
func (m *Machine) stepChange(event Event, now int64) []Command {
	switch e := event.(type) {
	case Lost:
		return m.lost(e, now)
	case Joined:
		return m.joined(e)
	case Leaving:
		return m.leaves(e, now)
	case Adjust:
		return m.adjust(e, now)
	case Mark:
		return m.mark(e, now)
	case Acknowledged:
		return m.acknowledged(e, now)
	case Refused:
		return m.refused(e, now)
	case Applied:
		return m.appliedBy(e)
	case ChangeDurable:
		return m.changeDurable(e, now)
	default:
		panic(fmt.Sprintf("run: event %T is not known", event))
	}
}

// afterEnd answers those who would wait for ever otherwise.
func (m *Machine) afterEnd(event Event) []Command {
	if e, ok := event.(Adjust); ok {
		return []Command{Adjusted{Request: e.Request, Refusal: "the run has ended"}}
	}
	return nil
}

// giveUp ends a run that has not started.
func (m *Machine) giveUp(why string, now int64) []Command {
	m.aborted, m.detail = true, why
	var commands []Command
	for _, a := range m.members {
		commands = append(commands, StopAgent{ID: a.ID, Mode: pb.StopMode_STOP_MODE_NOW, Reason: why})
	}
	return append(commands, m.end(pb.RunState_RUN_STATE_ABORTED, now)...)
}

// progress notes that of one agent and ends the run when it was the last.
func (m *Machine) progress(id ID, now int64, set func(*member)) []Command {
	a := m.find(id)
	if a == nil || m.state == Preparing {
		return nil
	}
	before := a.accounted()
	set(a)
	var commands []Command
	if !before && a.accounted() && a.leaving {
		commands = append(commands, noteAgent(pb.RunEventKind_RUN_EVENT_KIND_AGENT_LEFT, a.ID, "", now))
	}
	commands = append(commands, m.blocked(a, now)...)
	return append(commands, m.settle(now)...)
}

// settle asks for the ledger once every agent is accounted for, and nobody is waited for who was lost.
func (m *Machine) settle(now int64) []Command {
	if m.state == Preparing || m.state == Reconciling || len(m.without((*member).accounted)) > 0 || now < m.await && len(m.owing()) > 0 {
		return nil
	}
	m.state, m.deadline = Reconciling, 0
	return append(m.dismiss("the run is over"), Reconcile{})
}

// dismiss gives up whatever was about to change: nobody joins any more and no wish is granted.
func (m *Machine) dismiss(why string) []Command {
	var commands []Command
	for _, a := range m.joining {
		a.out = true // a change that is final may still make it a member
		commands = append(commands, StopAgent{ID: a.ID, Mode: pb.StopMode_STOP_MODE_NOW, Reason: why})
	}
	m.joining = nil
	return append(commands, m.drop(why)...)
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
	case Running:
		if !m.fixed { // nobody has been told to start
			return m.giveUp(reason, now)
		}
	}
	m.state, m.deadline, m.await = Draining, now+int64(m.config.Grace), now
	if mode == pb.StopMode_STOP_MODE_DRAIN {
		m.deadline += int64(m.config.Drain)
	}
	commands := m.dismiss("the run is being stopped")
	for _, a := range m.members {
		if a.accounted() || a.stop >= mode {
			continue
		}
		a.stop = mode
		commands = append(commands, StopAgent{ID: a.ID, Mode: mode, Reason: reason})
		a.out = !a.told // it has not begun, and will not
	}
	return append(commands, m.settle(now)...)
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
	anyLost := slices.ContainsFunc(m.members, func(a *member) bool { return a.lost })
	switch {
	case m.aborted:
		return m.end(pb.RunState_RUN_STATE_ABORTED, now)
	case e.Complete && !anyLost:
		return m.end(pb.RunState_RUN_STATE_COMPLETE, now)
	}
	if m.detail == "" && len(e.Missing) > 0 {
		m.detail = "missing: " + strings.Join(e.Missing, "; ")
	}
	return m.end(pb.RunState_RUN_STATE_PARTIAL, now)
}

func (m *Machine) end(state pb.RunState, now int64) []Command {
	m.state, m.deadline = Ended, 0
	note := Note{Event: pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_ENDED, State: state, Detail: m.detail}.Build(), At: now}
	return []Command{note, Finish{State: state}}
}

// tick acts on deadlines that have passed.
func (m *Machine) tick(now int64) []Command {
	var commands []Command
	if at := m.patience(); at != 0 && now >= at {
		m.journalFailing = 0
		commands = m.stopAll(Stop{Mode: pb.StopMode_STOP_MODE_NOW, Reason: "the journal cannot be written"}, now)
	}
	if at := m.barrierAt(); at != 0 && now >= at {
		commands = append(commands, m.startWithout(now)...)
	}
	commands = append(commands, m.pressChange(now)...)
	if m.deadline == 0 || now < m.deadline {
		return commands
	}
	switch m.state {
	case Preparing:
		why := fmt.Sprintf("not ready within %v: %s", m.config.Prepare, names(m.without((*member).arrived)))
		return append(commands, m.giveUp(why, now)...)
	case Running:
		m.state, m.deadline = Draining, now+int64(m.config.Drain+m.config.Grace)
	case Draining:
		m.await = now // they have had their time
		for _, a := range m.without((*member).accounted) {
			why := fmt.Sprintf("its last results did not come within %v", m.config.Grace)
			commands = append(commands, m.lost(Lost{a.ID, why}, now)...)
		}
		commands = append(commands, m.settle(now)...)
	}
	return commands
}

func noteAgent(kind pb.RunEventKind, id ID, detail string, now int64) Note {
	return Note{Event: pb.RunEvent_builder{Kind: kind, Agent: id.Agent, Incarnation: id.Incarnation, Detail: detail}.Build(), At: now}
}
