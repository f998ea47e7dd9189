package merge

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Event is something that happened during the run.
type Event struct {
	Kind pb.RunEventKind
	// Time in coordinator time; AtUS in microseconds since the run's start.
	Time time.Time
	AtUS int64
	// Agent it is about; empty: none.
	Agent string
	// Detail in plain words.
	Detail string
	// State for ENDED, Mode for STOP_REQUESTED.
	State pb.RunState
	Mode  pb.StopMode
	// Incarnation of the agent; 0: none is told.
	Incarnation uint64
}

func (e Event) compare(o Event) int {
	return cmp.Or(cmp.Compare(e.AtUS, o.AtUS), e.Time.Compare(o.Time), cmp.Compare(e.Agent, o.Agent),
		cmp.Compare(e.Detail, o.Detail), cmp.Compare(e.State, o.State), cmp.Compare(e.Mode, o.Mode))
}

// events keeps the earliest of each kind, and the earliest loss or failure of each agent.
type events struct {
	first  map[pb.RunEventKind]Event
	agents map[pb.RunEventKind]map[string]Event
	marks  map[Event]bool
}

// MaxMarks bounds the marks of a run; of more the first ones that came are kept.
const MaxMarks = 10_000

func newEvents() events {
	return events{
		first: make(map[pb.RunEventKind]Event), marks: make(map[Event]bool),
		agents: map[pb.RunEventKind]map[string]Event{
			pb.RunEventKind_RUN_EVENT_KIND_AGENT_LOST:   make(map[string]Event),
			pb.RunEventKind_RUN_EVENT_KIND_AGENT_FAILED: make(map[string]Event),
			pb.RunEventKind_RUN_EVENT_KIND_AGENT_LEFT:   make(map[string]Event),
		},
	}
}

// AddEvent notes an event. Of several of one kind (about one agent, where it is about agents)
// the earliest stands, so repeating one changes nothing.
func (r *Run) AddEvent(e *pb.RunEvent) error {
	kind := e.GetKind()
	if kind <= 0 || kind > pb.RunEventKind_RUN_EVENT_KIND_MARKED {
		return fmt.Errorf("an event of the unknown kind %d", kind)
	}
	if e.GetAtUs() > MaxRunUS || e.GetAtUs() < -MaxRunUS {
		return fmt.Errorf("the event %s lies at %d µs of the run", kind, e.GetAtUs())
	}
	event := Event{
		Kind: kind, AtUS: e.GetAtUs(), Agent: e.GetAgent(), Detail: e.GetDetail(),
		State: e.GetState(), Mode: e.GetMode(), Incarnation: e.GetIncarnation(),
	}
	if e.HasTime() {
		event.Time = e.GetTime().AsTime()
	}
	r.cutKnown = false
	if kind == pb.RunEventKind_RUN_EVENT_KIND_CHANGED {
		return r.addChange(e.GetChange())
	}
	if kind == pb.RunEventKind_RUN_EVENT_KIND_MARKED && len(r.events.marks) < MaxMarks {
		r.events.marks[event] = true
	}
	byAgent, ok := r.events.agents[kind]
	if !ok {
		keepFirst(r.events.first, kind, event)
		return nil
	}
	if _, known := byAgent[event.Agent]; !known && len(byAgent) >= MaxAgentEvents {
		return fmt.Errorf("events speak of more than %d agents", MaxAgentEvents)
	}
	keepFirst(byAgent, event.Agent, event)
	return nil
}

func keepFirst[K comparable](m map[K]Event, key K, e Event) {
	if old, ok := m[key]; !ok || e.compare(old) < 0 {
		m[key] = e
	}
}

// Event returns the earliest event of a kind that is not about agents.
func (r *Run) Event(kind pb.RunEventKind) (Event, bool) {
	e, ok := r.events.first[kind]
	return e, ok
}

// Marks are the instants that a program has marked, in order.
func (r *Run) Marks() []Event {
	return slices.SortedFunc(maps.Keys(r.events.marks), Event.compare)
}

// LostAgents are the losses of agents, by name.
func (r *Run) LostAgents() []Event {
	return sortedEvents(r.events.agents[pb.RunEventKind_RUN_EVENT_KIND_AGENT_LOST])
}

// FailedAgents are the agents that could not get ready, by name.
func (r *Run) FailedAgents() []Event {
	return sortedEvents(r.events.agents[pb.RunEventKind_RUN_EVENT_KIND_AGENT_FAILED])
}

func sortedEvents(m map[string]Event) []Event {
	out := make([]Event, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[name])
	}
	return out
}

// Started is the start instant of the run.
func (r *Run) Started() (time.Time, bool) {
	e, ok := r.Event(pb.RunEventKind_RUN_EVENT_KIND_STARTED)
	return e.Time, ok
}

// Stopped says that a person, a program or an abort condition ended the run early.
func (r *Run) Stopped() bool {
	_, stop := r.Event(pb.RunEventKind_RUN_EVENT_KIND_STOP_REQUESTED)
	_, abort := r.Event(pb.RunEventKind_RUN_EVENT_KIND_ABORTED)
	return stop || abort
}
