package ingest

import (
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Sequence checks the numbers of one agent's windows; a state machine without I/O. The zero value is
// an agent that has sent nothing.
//
//	durable ≤ accepted; the next new window has number accepted + 1
type Sequence struct {
	accepted, durable    uint64
	closed, totalsStored bool
}

// Verdict on a window's number.
type Verdict int

// The verdicts.
const (
	// Fresh: the next window; it must be appended.
	Fresh Verdict = iota + 1
	// Repeated: accepted before; it is acknowledged (again) once durable, and dropped.
	Repeated
	// Gap: a window before it is missing.
	Gap
	// Late: the agent's totals were taken; nothing may follow.
	Late
)

// Offer judges the number of a window and accepts a fresh one.
func (s *Sequence) Offer(n uint64) Verdict {
	switch {
	case n >= 1 && n <= s.accepted:
		return Repeated
	case s.closed:
		return Late
	case n != s.accepted+1:
		return Gap
	}
	s.accepted = n
	return Fresh
}

// Inbox is the state of one agent's results over all its streams. The zero value is an agent that
// has sent nothing. It is safe for concurrent use.
type Inbox struct {
	taking sync.Mutex // one message at a time, whatever the number of streams

	mu        sync.Mutex
	sequence  Sequence
	listeners map[chan struct{}]bool
}

// take accepts window n and appends it, or says why not. A window that could not be appended
// counts as never seen, so that its sender may send it again.
func (b *Inbox) take(n uint64, add func(durable func()) error) error {
	b.taking.Lock()
	defer b.taking.Unlock()
	b.mu.Lock()
	judged, want := b.sequence.Offer(n), b.sequence.accepted+1
	b.mu.Unlock()
	switch judged {
	case Repeated:
		b.Notify()
		return nil
	case Late:
		return status.Error(codes.FailedPrecondition, "a window came after the agent's totals")
	case Gap:
		return status.Errorf(codes.OutOfRange, "window %d came, window %d is missing", n, want)
	}
	err := add(func() {
		b.mu.Lock()
		b.sequence.durable = n
		b.mu.Unlock()
		b.Notify()
	})
	if err != nil {
		b.mu.Lock()
		b.sequence.accepted = n - 1
		b.mu.Unlock()
	}
	return err
}

// close accepts the agent's totals after its last window.
func (b *Inbox) close(last uint64, add func(durable func()) error) error {
	b.taking.Lock()
	defer b.taking.Unlock()
	b.mu.Lock()
	again, accepted := b.sequence.closed, b.sequence.accepted
	b.mu.Unlock()
	if again {
		b.Notify()
		return nil
	}
	if last != accepted {
		return status.Errorf(codes.OutOfRange, "totals name window %d as the last, window %d is", last, accepted)
	}
	err := add(func() {
		b.mu.Lock()
		b.sequence.totalsStored = true
		b.mu.Unlock()
		b.Notify()
	})
	b.mu.Lock()
	b.sequence.closed = err == nil
	b.mu.Unlock()
	return err
}

// Durable is the number of the last window that is durable, and whether the totals are.
func (b *Inbox) Durable() (windows uint64, totals bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sequence.durable, b.sequence.totalsStored
}

func (b *Inbox) listen(c chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listeners == nil {
		b.listeners = map[chan struct{}]bool{}
	}
	b.listeners[c] = true
}

func (b *Inbox) forget(c chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.listeners, c)
}

// Notify lets every stream of the agent look again at what it has to tell.
func (b *Inbox) Notify() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.listeners {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Resumed is the inbox of an agent whose windows up to a number, and whose totals, are durable from
// before this process began.
func Resumed(last uint64, totals bool) *Inbox {
	return &Inbox{sequence: Sequence{accepted: last, durable: last, closed: totals, totalsStored: totals}}
}
