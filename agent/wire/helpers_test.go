package wire

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
)

// noDial is a dialler that counts and fails.
func noDial(n *int) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		*n++
		return nil, errors.New("no dialling in this test")
	}
}

// quiet is a log of servers whose complaints a test expects.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// nothing answers with an empty body.
func nothing(http.ResponseWriter, *http.Request) {}
