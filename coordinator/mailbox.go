package coordinator

import (
	"sync"

	"github.com/loadline/loadline/coordinator/run"
)

// mailbox holds the events of one run until its loop takes them. Posting never waits, so that the
// journal's and the bus's goroutines cannot be held up by a busy loop. What is posted is bounded by
// its sources: a handful of events per agent, and one per second and request of a person.
type mailbox struct {
	mu     sync.Mutex
	events []run.Event
	wake   chan struct{} // holds at most one
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

func (m *mailbox) post(event run.Event) {
	m.mu.Lock()
	m.events = append(m.events, event)
	m.mu.Unlock()
	m.kick()
}

// kick wakes the loop although there may be no event.
func (m *mailbox) kick() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *mailbox) take() []run.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	events := m.events
	m.events = nil
	return events
}
