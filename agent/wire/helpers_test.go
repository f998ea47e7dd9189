package wire

import (
	"context"
	"errors"
	"net"
)

// noDial is a dialler that counts and fails.
func noDial(n *int) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		*n++
		return nil, errors.New("no dialling in this test")
	}
}
