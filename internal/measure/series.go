package measure

// Series is one metric's name. The numbers equal those of the schema's enum Series and never change.
type Series uint8

// The series of metrics.md. Durations are recorded in microseconds.
const (
	Lateness Series = iota + 1
	Connect
	Send
	Wait
	TTFT
	TTFTService
	TTFO
	ITL
	MaxITL
	TPOT
	E2E
	E2EService
	E2EFailed
	Session
	InputTokens
	OutputTokens
	TokensPerEvent

	// NumSeries is one more than the highest series: the length of an array indexed by series.
	NumSeries
)
