//go:build !unix

package agent

// processSeconds is not told here by a call; health asks elsewhere.
func processSeconds() (seconds float64, ok bool) { return 0, false }
