//go:build !linux

package guard

// boottime is not known here: a sleep of the machine is noticed when the lease is renewed.
func boottime() int64 { return 0 }
