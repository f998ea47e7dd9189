//go:build !linux

package guard

// Boottime is not known here: a sleep of the machine is noticed when the lease is renewed.
func Boottime() int64 { return 0 }
