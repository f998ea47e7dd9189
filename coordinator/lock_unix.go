//go:build unix

package coordinator

import (
	"os"
	"syscall"
)

// lockWhole locks a file for this process; it fails at once when another one holds it.
func lockWhole(file *os.File) error {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
