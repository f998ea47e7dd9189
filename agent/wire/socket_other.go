//go:build !unix

package wire

import "net"

// socket cannot be looked into here: a closed idle connection shows when it is used, and a
// buffer is held while something to read is awaited.
type socket struct{}

func (*socket) init(net.Conn) {}

func (*socket) closed() bool { return false }

func (*socket) usable() bool { return false }

func (*socket) stamping() bool { return false }

func (*socket) read(*input, *buffers) (int, int64, error) { return 0, 0, net.ErrClosed }

func (*socket) readTo([]byte) (int, int64, error) { return 0, 0, net.ErrClosed }
