//go:build !linux

package pace

import "github.com/loadline/loadline/internal/measure"

// System waits as exactly as the system can: here that is Portable.
func System(now func() measure.Instant) Sleeper { return Portable(now) }
