//go:build !unix

package wire

import "net"

// peek cannot look at a socket here: a closed idle connection shows when it is used.
type peek struct{}

func (*peek) init(net.Conn) {}

func (*peek) closed() bool { return false }
