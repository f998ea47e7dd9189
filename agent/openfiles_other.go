//go:build !unix

package agent

// raiseOpenFiles cannot tell: there is no such limit here.
func raiseOpenFiles() (uint64, bool) { return 0, false }
