//go:build !unix

package wire

import (
	"net"

	"github.com/loadline/loadline/internal/measure"
)

// socket cannot be looked into here: a closed idle connection shows when it is used, and a
// buffer is held while something to read is awaited.
type socket struct{ sent measure.Instant }

func (*socket) init(net.Conn, func() measure.Instant) {}

func (*socket) closed() bool { return false }

func (*socket) usable() bool { return false }

func (*socket) stamping() bool { return false }

func (*socket) read(*input, *buffers) (int, int64, error) { return 0, 0, net.ErrClosed }

func (*socket) readTo([]byte) (int, int64, error) { return 0, 0, net.ErrClosed }

func (*socket) ask(out []byte, _ bool, _ *input, _ *buffers) (int, int64, []byte, error) {
	return 0, 0, out, net.ErrClosed
}
