// Package drive decides what the steps of a program that drives a run lead to: which change of the load a step asks for,
// when a wait is over, and what becomes of the run when the program is gone. It does no I/O and knows no clock.
//
// Steps are taken one after the other, in the order in which they came; a wait, once it has begun, lets those behind it
// pass. A step is known by its request id: one that was sent before changes nothing more and gets the same answer.
package drive

import (
	"crypto/sha256"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/loadline/loadline/internal/scenario"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Limits of what a program may ask for.
const (
	// MaxSteps bounds the steps of one run.
	MaxSteps = 10_000
	// MaxQueued bounds the steps that wait for those before them.
	MaxQueued = 64
	// MaxWaits bounds the waits that have begun and are not over.
	MaxWaits = 16
	// MaxLimit is the longest wait, and the longest time that a run holds without its program.
	MaxLimit = 24 * time.Hour
	// MaxMark is the longest text of a mark, in bytes.
	MaxMark = 256
	// MaxRequestID is the longest request id, in bytes.
	MaxRequestID = 128
	// MaxRandom is the largest expected number of arrivals with random spacing of a phase whose length is not given: they are
	// counted one by one while the run waits.
	MaxRandom = 1 << 22
	// maxEnded bounds the phases that one step ends.
	maxEnded = 60
	// late is how much longer than its limit a wait lasts where no windows come in.
	late = 5 * time.Second
)

// View is the run as it is when an event comes.
type View struct {
	// Course is the schedule with the changes on record.
	Course *schedule.Course
	// RunNS is the run's clock; below 0 before its start.
	RunNS int64
}

// Look judges a condition by the second that has just been merged: whether it holds, and whether the second counts for it.
type Look func(*scenario.Condition) (holds, counts bool)

// Event is something that happened.
type Event interface{ event() }

type (
	// Attached: a program drives the run from now on, over the stream of that number.
	Attached struct{ Stream uint64 }
	// Detached: a stream has broken, or its program sends no more. That of one which drives no more means nothing.
	Detached struct{ Stream uint64 }
	// Asked: the program sent a step, which is neither open nor resume.
	Asked struct{ Request *pb.DriveRunRequest }
	// Opened: the request that opened the run, or asks for it again. It is answered once the run has begun.
	Opened struct{ Request string }
	// Begun: the run's start is on record.
	Begun struct{}
	// Adjusted: the answer to Adjust. Refusal is empty when the change is on record.
	Adjusted struct {
		Request string
		Change  *pb.Change
		Refusal string
	}
	// Marked: a mark is on record.
	Marked struct {
		Request string
		AtNS    int64
	}
	// Second: a second has been merged. They come in order.
	Second struct {
		Number uint64
		Look   Look
	}
	// Ended: the run has ended, or is about to: nothing changes any more.
	Ended struct{ Why string }
	// Tick: time has passed.
	Tick struct{}
)

func (Attached) event() {}
func (Detached) event() {}
func (Asked) event()    {}
func (Opened) event()   {}
func (Begun) event()    {}
func (Adjusted) event() {}
func (Marked) event()   {}
func (Second) event()   {}
func (Ended) event()    {}
func (Tick) event()     {}

// Command is something that the shell must do, in order.
type Command interface{ command() }

type (
	// Adjust asks the run's machine for a change; the answer is Adjusted.
	Adjust struct {
		Request         string
		Revisions       []*pb.Revision
		Appended        []*pb.Phase
		WorkloadWeights []uint32
		Closed          bool
		Reason          string
	}
	// Mark puts a mark on record; Marked follows.
	Mark struct{ Request, Text string }
	// Stop ends the run early: its program is gone.
	Stop struct{ Reason string }
	// Answer sends the program what came of a step, if it is there.
	Answer struct{ Answer *pb.DriveAnswer }
)

func (Adjust) command() {}
func (Mark) command()   {}
func (Stop) command()   {}
func (Answer) command() {}

// Config is what is fixed when a run is opened.
type Config struct {
	// RunID of the run.
	RunID string
	// Scenario without the phases that are appended.
	Scenario *pb.Scenario
	// Hold is how long the run goes on without its program; 0: it is stopped at once.
	Hold time.Duration
}

// step is one step that is known.
type step struct {
	sum    [sha256.Size]byte // of what was asked, so that an id is not used for something else; zero: it is from before a restart
	answer *pb.DriveAnswer   // nil: there is none yet
}

// Machine is the program's side of one run. New makes one. It is not safe for concurrent use.
type Machine struct {
	config  Config
	stream  uint64 // that drives; 0: none
	left    int64  // when the run is stopped for want of a program; 0: it is not
	stopped bool   // the run was told to stop
	begun   bool
	closed  bool   // the load is over, or will be by the step that is under way
	ended   string // why; empty: it has not

	steps   map[string]*step
	queue   []*pb.DriveRunRequest // not taken yet
	current *pb.DriveRunRequest   // whose change or mark is not on record yet
	opened  string                // request that waits for the beginning; empty: none
	waits   []*waiting

	weights  []uint32 // of the workloads, by now
	last     *pb.Phase
	lastNS   int64 // instant of the last change that a step made
	appended int   // phases so far
}

// New makes the machine of a run that is about to be opened.
func New(config Config) *Machine {
	return &Machine{config: config, steps: map[string]*step{}, weights: schedule.WorkloadWeights(config.Scenario)}
}

// Deadline is when the machine wants a Tick at the latest, in the shell's time; 0: it has no deadline.
func (m *Machine) Deadline() int64 {
	at := m.left
	for _, w := range m.waits {
		if at == 0 || w.deadline < at {
			at = w.deadline
		}
	}
	return at
}

// Closed says that the program has ended the load.
func (m *Machine) Closed() bool { return m.closed }

// Step takes one event and says what must be done about it. now is the shell's time in nanoseconds, above 0, and never runs backwards.
func (m *Machine) Step(event Event, v View, now int64) []Command {
	switch e := event.(type) {
	case Attached:
		m.stream, m.left = e.Stream, 0
	case Detached:
		return m.detached(e, now)
	case Opened:
		return m.open(e)
	case Asked:
		return m.asked(e.Request, v, now)
	case Begun:
		return m.begins(v, now)
	case Adjusted:
		return m.adjusted(e, v, now)
	case Marked:
		return m.marked(e, v, now)
	case Second:
		return m.second(e)
	case Ended:
		return m.end(e.Why)
	case Tick:
		return m.tick(now)
	}
	return nil
}

// detached: the run goes on for a while, or not at all, unless its load is over anyway.
func (m *Machine) detached(e Detached, now int64) []Command {
	if e.Stream != m.stream {
		return nil
	}
	m.stream = 0
	if m.closed || m.ended != "" || m.stopped {
		return nil
	}
	if m.config.Hold > 0 {
		m.left = now + int64(m.config.Hold)
		return nil
	}
	return m.stop("the program that drives the run is gone")
}

func (m *Machine) stop(reason string) []Command {
	m.stopped, m.left = true, 0
	return []Command{Stop{Reason: reason}}
}

func (m *Machine) tick(now int64) []Command {
	var commands []Command
	if m.left != 0 && now >= m.left {
		if m.left = 0; !m.closed {
			commands = m.stop("the program that drives the run has not come back within " + m.config.Hold.String())
		}
	}
	return append(commands, m.overdue(now)...)
}

// open answers the request that opened the run, once it has begun.
func (m *Machine) open(e Opened) []Command {
	s := m.steps[e.Request]
	if s == nil {
		s = &step{}
		m.steps[e.Request] = s
		m.opened = e.Request
	}
	switch {
	case s.answer != nil:
		return []Command{Answer{s.answer}}
	case m.ended != "":
		return m.refuse(e.Request, m.ended)
	case m.begun:
		m.opened = ""
		return m.answer(pb.DriveAnswer_builder{RequestId: e.Request}.Build())
	}
	return nil
}

func (m *Machine) begins(v View, now int64) []Command {
	m.begun = true
	var commands []Command
	if m.opened != "" {
		commands = m.open(Opened{m.opened})
	}
	return append(commands, m.take(v, now)...)
}

// end answers everything that has no answer yet.
func (m *Machine) end(why string) []Command {
	if m.ended != "" {
		return nil
	}
	m.ended = "the run has ended"
	if why != "" {
		m.ended += ": " + why
	}
	m.left = 0
	var commands []Command
	if m.opened != "" {
		commands = append(commands, m.refuse(m.opened, m.ended)...)
	}
	if m.current != nil {
		commands = append(commands, m.refuse(m.current.GetRequestId(), m.ended)...)
	}
	for _, q := range m.queue {
		commands = append(commands, m.refuse(q.GetRequestId(), m.ended)...)
	}
	for _, w := range m.waits {
		commands = append(commands, m.refuse(w.request, m.ended)...)
	}
	m.opened, m.current, m.queue, m.waits = "", nil, nil, nil
	return commands
}

// sum tells one step from another.
func sum(q *pb.DriveRunRequest) [sha256.Size]byte {
	data, _ := proto.MarshalOptions{Deterministic: true}.Marshal(q) // a message that came over the wire can be written
	return sha256.Sum256(data)
}
