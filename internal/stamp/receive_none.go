//go:build !unix

package stamp

import "errors"

// Ask asks for stamps; here the kernel has none.
func Ask(uintptr) bool { return false }

// Receive is of no use here, as nothing is stamped.
func Receive(uintptr, []byte) (n int, stamp int64, err error) { return 0, 0, errors.ErrUnsupported }
