package judge

// Exit statuses of design §6.
const (
	ExitPass       = 0
	ExitUnforeseen = 1
	ExitMissing    = 97
	ExitInvalid    = 98
	ExitFail       = 99
	ExitBadInput   = 104
	ExitStopped    = 105
)

// Facts are what the exit status of a run that began, or was to begin, depends on.
type Facts struct {
	// Unforeseen: the run could not begin, or ended early for no reason that the design knows.
	Unforeseen bool
	// Stopped by a person, a program or a signal.
	Stopped bool
	// Invalid: the generator was not good enough.
	Invalid bool
	// Failed: an objective failed or an abort condition fired.
	Failed bool
	// Objectives says that there is at least one.
	Objectives bool
	// Missing: not every window and arrival is accounted for.
	Missing bool
	// UndecidedMissing: arrivals without an answer leave an objective undecided.
	UndecidedMissing bool
	// UndecidedSample: an objective has too few samples.
	UndecidedSample bool
}

// ExitStatus is the first that applies in the order of design §6.
func ExitStatus(f Facts) int {
	switch {
	case f.Unforeseen:
		return ExitUnforeseen
	case f.Stopped:
		return ExitStopped
	case f.Invalid:
		return ExitInvalid
	case f.Failed:
		return ExitFail
	case f.UndecidedMissing, f.Missing && !f.Objectives:
		return ExitMissing
	case f.UndecidedSample:
		return ExitInvalid
	default:
		return ExitPass
	}
}
