package run

import (
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Part is one agent's part of one run. An agent that was lost and is back may have two of one run: the old one only
// hands its results over.
type Part struct {
	Run string
	// Incarnation under which the part was taken on.
	Incarnation uint64
}

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
	// LeaseRefused: the coordinator does not know this incarnation any more, or will not renew it.
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
		Part
		Problems []string
		// Endless: the load has no end in time.
		Endless bool
	}
	// Started: the common instant came, on the agent's own clock, off by ClockBound at most. Incarnation 0 means whichever there is.
	Started struct {
		Part
		Epoch      uint32
		At         int64
		ClockBound int64
	}
	// Proposed: a change came to be acknowledged. Expires is on the agent's own clock; 0: never.
	Proposed struct {
		Part
		Change  *pb.Change
		Expires int64
	}
	// Held answers Hold. Refusal is empty when nothing due at or after the instant has started or will; RunNS is the run's clock.
	Held struct {
		Part
		Change  *pb.Change
		Refusal string
		RunNS   int64
		// Excess: whatever its instant, the change asks for more than the agent's owner allows.
		Excess bool
	}
	// Committed: a change came that is on record.
	Committed struct {
		Part
		Change *pb.Change
	}
	// Stopped: someone wants the run to end.
	Stopped struct {
		Run    string
		Mode   pb.StopMode
		Reason string
	}
	// Leave: the agent is to hand over what it plays and go.
	Leave struct{}
	// LoadOver: every arrival is handled and nothing is in flight, nor can a change give it more.
	LoadOver struct{ Part }
	// Overdue: the load has ended by its schedule and its drain time is over, and yet there is something left to play.
	Overdue struct{ Part }
	// Flushed: every window and the totals are acknowledged, or nobody takes them.
	Flushed struct{ Part }
	// Tick: time has passed.
	Tick struct{}
)

func (Registered) event()   {}
func (Renewed) event()      {}
func (LeaseRefused) event() {}
func (Assigned) event()     {}
func (Prepared) event()     {}
func (Started) event()      {}
func (Proposed) event()     {}
func (Held) event()         {}
func (Committed) event()    {}
func (Stopped) event()      {}
func (Leave) event()        {}
func (LoadOver) event()     {}
func (Overdue) event()      {}
func (Flushed) event()      {}
func (Tick) event()         {}

// Command is something that the shell must do.
type Command interface{ command() }

type (
	// Register asks the coordinator for an incarnation, until it answers. Held is the one held until now; 0: none.
	Register struct{ Held uint64 }
	// Grant tells the guard until when requests may start; 0: not at all, until another Grant.
	Grant struct{ Until int64 }
	// AnswerAssign answers the assignment that was the event. Refusal is empty when it was taken on.
	AnswerAssign struct{ Refusal string }
	// AnswerStart answers the start that was the event.
	AnswerStart struct{ Refusal string }
	// AnswerChange answers the change that was the event. Refusal is empty when it is acknowledged, or in force.
	AnswerChange struct {
		Refusal string
		// RunNS is the run's clock, where the instant has passed; 0 otherwise.
		RunNS int64
		// Over: this part starts nothing any more.
		Over bool
		// Excess: whatever its instant, the change asks for more than the agent's owner allows.
		Excess bool
	}
	// Prepare reads what the assignment names; Prepared follows.
	Prepare struct {
		Part
		Assignment *pb.Assignment
	}
	// Report tells the coordinator of a state, until it answers.
	Report struct {
		Part
		State    pb.AgentState
		Problems []string
	}
	// Play begins the load at an instant of the agent's own clock, which may have passed; LoadOver follows. ClockBound is how far off the
	// instant may be: what a coordinator that was started anew says later, with an estimate of its own, changes neither.
	Play struct {
		Part
		At         int64
		ClockBound int64
	}
	// Hold starts nothing that is due at or after the change's instant, and counts none of it, until Apply or another
	// Hold; Held follows, and only then the change is acknowledged.
	Hold struct {
		Part
		Change *pb.Change
	}
	// Apply puts a change in force and lifts the hold.
	Apply struct {
		Part
		Change *pb.Change
	}
	// Pause starts nothing and counts nothing that falls due; what is in flight keeps its drain time. The lease has lapsed.
	Pause struct {
		Part
		Why string
	}
	// Resume goes on where Pause began: what is too late by now is missed.
	Resume struct{ Part }
	// StopLoad ends the load early, for good.
	StopLoad struct {
		Part
		Mode   pb.StopMode
		Reason string
	}
	// Flush sends the last window and the totals; Flushed follows once they are acknowledged.
	Flush struct{ Part }
	// GiveUp abandons results that nobody has taken for so long that nobody will; the part is over.
	GiveUp struct {
		Part
		Why string
	}
	// Forget releases everything that was prepared for a run that will not be played.
	Forget struct{ Part }
	// Depart ends the agent: nothing keeps it any more.
	Depart struct{}
)

func (Register) command()     {}
func (Grant) command()        {}
func (AnswerAssign) command() {}
func (AnswerStart) command()  {}
func (AnswerChange) command() {}
func (Prepare) command()      {}
func (Report) command()       {}
func (Play) command()         {}
func (Hold) command()         {}
func (Apply) command()        {}
func (Pause) command()        {}
func (Resume) command()       {}
func (StopLoad) command()     {}
func (Flush) command()        {}
func (GiveUp) command()       {}
func (Forget) command()       {}
func (Depart) command()       {}
