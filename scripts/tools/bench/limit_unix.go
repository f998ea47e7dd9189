//go:build unix

package main

import "syscall"

// openFiles raises the limit on open files of this process, and so of those that it starts, to the highest
// that it may, and returns it; 0: the system does not tell.
func openFiles() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	// The runtime lowers the limit for the programs it starts to what it found, unless it is set anew.
	l.Cur = l.Max
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return l.Cur
}
