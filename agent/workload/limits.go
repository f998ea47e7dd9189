package workload

// Limits on what a scenario's workloads may hold.
const (
	// MaxTokens is the largest number of tokens drawn or asked for.
	MaxTokens = 10_000_000
	// MaxFile bounds a data set's file, in bytes.
	MaxFile = 64 << 30
	// MaxRows bounds the rows of a data set.
	MaxRows = 50_000_000
	// MaxLine bounds one line of a data set, in bytes, its line end left out.
	MaxLine = 4 << 20
	// MaxBodyFile bounds a file that is a request's body, in bytes.
	MaxBodyFile = 16 << 20
	// MaxProblems is how many problems are told one by one; the others are counted.
	MaxProblems = 20
)
