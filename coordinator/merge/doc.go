// Package merge adds the windows of all agents up to what a run showed.
//
// A Run takes windows, totals and events in any order and any number of times; a window counts
// once by (agent, incarnation, sequence). Everything it keeps is a sum of whole numbers, a
// maximum, or the example with the smallest hash, so neither the order nor the grouping of what
// was added can be seen in what comes out.
//
// It keeps, for every (phase, workload): counters, failures by class, and a histogram of each
// series; the same for the whole run without discarded phases; for every agent: its windows, its
// worst health and its lateness; a timeline, one entry a second, or several together where they are
// long past; and, for every second whatever its age, what validity is judged by. The ledger compares all of
// that with what the schedule wanted.
//
// A Run is not safe for concurrent use.
package merge

// Limits on what a run takes in and keeps.
const (
	// MaxSeries bounds the distributions that hold values: more than agents send (1,000), few
	// enough that all of them fully spread take less than 1 GB.
	MaxSeries = 4_000
	// MaxClasses bounds the classes of failure over a run.
	MaxClasses = 4_096
	// MaxClassLength bounds the name of a class, in bytes.
	MaxClassLength = 128
	// MaxCount bounds any one counter of one window, so that sums stay far from wrapping.
	MaxCount = 1 << 48
	// MaxSum bounds any one counter of a whole run, as totals and checkpoints hold it.
	MaxSum = 1 << 60
	// MaxRunUS bounds the end of a window: 400 days in microseconds since the run's start.
	MaxRunUS = 400 * 24 * 3600 * 1_000_000
	// FineSeconds is how far back the run over time has an entry for every second.
	FineSeconds = 3600
	// MiddleSeconds is how far back it has an entry for every ten seconds; before that, one a minute.
	MiddleSeconds = 10 * 3600
	middleSeconds = 10
	coarseSeconds = 60
	// MaxEntries bounds the entries of a minute. A run with more has entries of 2, 4, 8 … minutes there.
	MaxEntries = 1 << 14
	// MaxIncarnations bounds the registrations of one agent within a run.
	MaxIncarnations = 64
	// MaxAgentEvents bounds the agents that events may name.
	MaxAgentEvents = 10_000
)
