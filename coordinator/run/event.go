package run

import (
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// ID names a member of a run: an agent in one incarnation. An agent that was lost and comes back is another member.
type ID struct {
	Agent       string
	Incarnation uint64
}

// Member is one agent of the roster.
type Member struct {
	ID
	// Weight is its share of the load relative to the others; at least 1.
	Weight uint32
}

// Event is something that happened to a run.
type Event interface{ event() }

type (
	// Assigned: an agent answered its assignment. Refusal is empty when it was taken on.
	Assigned struct {
		ID
		Refusal string
	}
	// Ready: an agent has read its files and waits for the start.
	Ready struct{ ID }
	// Failed: an agent cannot play its part.
	Failed struct {
		ID
		Why string
	}
	// StartDurable: the start instant is appended and synced.
	StartDurable struct{}
	// Started: an agent answered the start. Refusal is empty when it will start.
	Started struct {
		ID
		Refusal string
	}
	// Lost: an agent's lease has provably lapsed, or it has broken the protocol and holds no lease.
	Lost struct {
		ID
		Why string
	}
	// Joined: an agent is there that may take part in the run and does not yet.
	Joined struct{ Member }
	// Leaving: an agent wants to hand its share over and leave.
	Leaving struct{ ID }
	// Adjust: a person or program wants phases of another shape, or more phases. The answer is Adjusted.
	Adjust struct {
		// Request tells one wish from another.
		Request         string
		Revisions       []*pb.Revision
		Appended        []*pb.Phase
		WorkloadWeights []uint32
		// Closed: nothing is appended after this.
		Closed bool
		Reason string
		// Cost is how long the change took to compute when it was tried. Each agent computes it too, before it acknowledges.
		Cost time.Duration
	}
	// Mark: a program marks the instant.
	Mark struct{ Request, Text string }
	// Acknowledged: an agent starts nothing due at or after the change's instant until it learns more.
	Acknowledged struct {
		ID
		Epoch, Attempt uint32
	}
	// Refused: an agent's clock has passed the instant of a proposal, or its load is over for good.
	Refused struct {
		ID
		Epoch, Attempt uint32
		// RunNS is the run's clock on the agent.
		RunNS int64
		// Over: it plays nothing of this run any more.
		Over bool
		// Excess: whatever its instant, the change asks for more than the agent may do. Why says what.
		Excess bool
		Why    string
	}
	// Applied: the change of that epoch is in force on an agent, and so are all before it.
	Applied struct {
		ID
		Epoch uint32
	}
	// ChangeDurable: the change is appended and synced. Load is the length of the whole load with it; 0: unknown.
	ChangeDurable struct {
		Epoch uint32
		Load  time.Duration
	}
	// Totals: an agent's totals are appended and synced; so are all windows before them.
	Totals struct{ ID }
	// Done: an agent has nothing in flight and nothing unacknowledged any more.
	Done struct{ ID }
	// Stop: a person or program wants the run to end.
	Stop struct {
		Mode   pb.StopMode
		Reason string
	}
	// Abort: an abort condition has held for its time.
	Abort struct{ Expression string }
	// JournalFailed: the journal could not be appended to; nothing is acknowledged meanwhile.
	JournalFailed struct{ Why string }
	// JournalRecovered: appending works again.
	JournalRecovered struct{}
	// Reconciled: the ledger's answer to Reconcile.
	Reconciled struct {
		Complete bool
		Missing  []string
	}
	// Tick: time has passed.
	Tick struct{}
)

func (Assigned) event()         {}
func (Ready) event()            {}
func (Failed) event()           {}
func (StartDurable) event()     {}
func (Started) event()          {}
func (Lost) event()             {}
func (Joined) event()           {}
func (Leaving) event()          {}
func (Adjust) event()           {}
func (Mark) event()             {}
func (Acknowledged) event()     {}
func (Refused) event()          {}
func (Applied) event()          {}
func (ChangeDurable) event()    {}
func (Totals) event()           {}
func (Done) event()             {}
func (Stop) event()             {}
func (Abort) event()            {}
func (JournalFailed) event()    {}
func (JournalRecovered) event() {}
func (Reconciled) event()       {}
func (Tick) event()             {}

// Command is something that the shell must do. Commands of one step are carried out in order;
// those that wait for an answer report it as an event.
type Command interface{ command() }

type (
	// Assign sends the agent its assignment, with the changes so far; the answer is Assigned.
	Assign struct{ ID }
	// Start tells the agent the common instant, in coordinator time; the answer is Started.
	Start struct {
		ID
		At int64
	}
	// Propose asks the agent to acknowledge a change; the answer is Acknowledged or Refused. It is repeated, also in
	// renewals, until answered or replaced by a later attempt.
	Propose struct {
		ID
		Change *pb.Change
	}
	// Commit tells the agent of a change that is on record; the answer is Applied. It is repeated, also in renewals.
	Commit struct {
		ID
		Change *pb.Change
	}
	// Deny ends the renewal of the agent's lease: it has to lapse, because the agent renews and does not answer. Lost follows.
	Deny struct {
		ID
		Why string
	}
	// Adjusted answers Adjust. Refusal is empty when the change is on record.
	Adjusted struct {
		Request string
		Change  *pb.Change
		Refusal string
	}
	// StopAgent tells the agent to stop; it is repeated until answered or the agent is lost.
	StopAgent struct {
		ID
		Mode   pb.StopMode
		Reason string
	}
	// Note appends the event to the journal; the shell fills in its times. At is coordinator time. Once it is synced, a
	// STARTED is answered by StartDurable and a CHANGED by ChangeDurable.
	Note struct {
		Event *pb.RunEvent
		At    int64
	}
	// Reconcile compares windows, totals and owned arrivals; the answer is Reconciled.
	Reconcile struct{}
	// Finish closes the journal and writes the report. It is the last command of a run.
	Finish struct{ State pb.RunState }
)

func (Assign) command()    {}
func (Start) command()     {}
func (Propose) command()   {}
func (Commit) command()    {}
func (Deny) command()      {}
func (Adjusted) command()  {}
func (StopAgent) command() {}
func (Note) command()      {}
func (Reconcile) command() {}
func (Finish) command()    {}
