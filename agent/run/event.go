package run

import (
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Event is something that happened to an agent.
type Event interface{ event() }

type (
	// Registered: the coordinator admitted the agent. Asked is when the request left.
	Registered struct {
		Incarnation uint64
		Lease       time.Duration
		Asked       int64
	}
	// Renewed: the lease was granted again. Asked is when the request left.
	Renewed struct {
		Incarnation uint64
		Asked       int64
	}
	// LeaseRefused: the coordinator does not know this incarnation any more.
	LeaseRefused struct {
		Incarnation uint64
		Why         string
	}
	// Assigned: an assignment came. Time is coordinator time as the agent knows it.
	Assigned struct {
		Assignment *pb.Assignment
		Time       time.Time
	}
	// Prepared: Prepare has ended, well or with problems.
	Prepared struct {
		Run      string
		Problems []string
	}
	// Started: the common instant came, on the agent's own clock.
	Started struct {
		Run string
		At  int64
	}
	// Stopped: someone wants the run to end.
	Stopped struct {
		Run    string
		Mode   pb.StopMode
		Reason string
	}
	// LoadOver: every arrival is handled and nothing is in flight.
	LoadOver struct{ Run string }
	// Flushed: every window and the totals are acknowledged.
	Flushed struct{ Run string }
	// Tick: time has passed.
	Tick struct{}
)

func (Registered) event()   {}
func (Renewed) event()      {}
func (LeaseRefused) event() {}
func (Assigned) event()     {}
func (Prepared) event()     {}
func (Started) event()      {}
func (Stopped) event()      {}
func (LoadOver) event()     {}
func (Flushed) event()      {}
func (Tick) event()         {}

// Command is something that the shell must do.
type Command interface{ command() }

type (
	// Register asks the coordinator for an incarnation, until it answers.
	Register struct{}
	// Grant tells the guard until when requests may start; 0: not at all.
	Grant struct{ Until int64 }
	// AnswerAssign answers the assignment that was the event. Refusal is empty when it was taken on.
	AnswerAssign struct{ Refusal string }
	// AnswerStart answers the start that was the event.
	AnswerStart struct{ Refusal string }
	// Prepare reads what the assignment names; Prepared follows.
	Prepare struct{ Assignment *pb.Assignment }
	// Report tells the coordinator of a state, until it answers.
	Report struct {
		Run      string
		State    pb.AgentState
		Problems []string
	}
	// Play begins the load at an instant of the agent's own clock; LoadOver follows.
	Play struct {
		Run string
		At  int64
	}
	// StopLoad ends the load early.
	StopLoad struct {
		Run    string
		Mode   pb.StopMode
		Reason string
	}
	// Flush sends the last window and the totals; Flushed follows once they are acknowledged.
	Flush struct{ Run string }
	// Forget releases everything that was prepared for a run that will not be played.
	Forget struct{ Run string }
)

func (Register) command()     {}
func (Grant) command()        {}
func (AnswerAssign) command() {}
func (AnswerStart) command()  {}
func (Prepare) command()      {}
func (Report) command()       {}
func (Play) command()         {}
func (StopLoad) command()     {}
func (Flush) command()        {}
func (Forget) command()       {}
