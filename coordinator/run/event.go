package run

import pb "github.com/loadline/loadline/proto/loadline/v1"

// Event is something that happened to a run.
type Event interface{ event() }

type (
	// Assigned: an agent answered its assignment. Refusal is empty when it was taken on.
	Assigned struct{ Agent, Refusal string }
	// Ready: an agent has read its files and waits for the start.
	Ready struct{ Agent string }
	// Failed: an agent cannot play its part.
	Failed struct{ Agent, Why string }
	// Started: an agent answered the start. Refusal is empty when it will start.
	Started struct{ Agent, Refusal string }
	// Lost: an agent's lease has provably lapsed, or it has broken the protocol.
	Lost struct{ Agent, Why string }
	// Totals: an agent's totals are appended and synced; so are all windows before them.
	Totals struct{ Agent string }
	// Done: an agent has nothing in flight and nothing unacknowledged any more.
	Done struct{ Agent string }
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
func (Started) event()          {}
func (Lost) event()             {}
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
	// Assign sends the agent its assignment; the answer is Assigned.
	Assign struct{ Agent string }
	// Start tells the agent the common instant, in coordinator time; the answer is Started.
	Start struct {
		Agent string
		At    int64
	}
	// StopAgent tells the agent to stop; it is repeated until answered or the agent is lost.
	StopAgent struct {
		Agent  string
		Mode   pb.StopMode
		Reason string
	}
	// Note appends the event to the journal; the shell fills in its times. At is coordinator time.
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
func (StopAgent) command() {}
func (Note) command()      {}
func (Reconcile) command() {}
func (Finish) command()    {}
