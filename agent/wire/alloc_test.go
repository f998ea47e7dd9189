package wire

import (
	"context"
	"strings"
	"testing"

	"github.com/loadline/loadline/agent/wire/wiretest"
)

// answering serves fixed answers with as little of its own as it can: it reads until a blank line and
// assumes that the rest came with it.
func answering(t testing.TB, answer string) string {
	t.Helper()
	out := []byte(answer)
	return wiretest.Serve(t, func(_ int, c *wiretest.Conn) {
		buf := make([]byte, 4<<10)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	})
}

// TestAnExchangeAllocatesNothing, once its connection is there and its buffers have grown.
func TestAnExchangeAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector, pools drop what is put into them")
	}
	chunk := "a8\r\n" + strings.Repeat("x", 168) + "\r\n"
	for name, answer := range map[string]string{
		"unary":     okHead + "Content-Length: 5\r\n\r\nhello",
		"32 chunks": okHead + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 32) + "0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, Config{URL: "http://" + answering(t, answer)})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			req := &Request{Method: "POST", Path: "/", Header: []Header{{"Content-Type", "application/json"}}, Body: []byte("hello")}
			var ex Exchange
			sink := new(counter)
			one := func() {
				if err := client.Do(ctx, req, &ex, sink); err != nil {
					t.Fatal(err)
				}
			}
			for range 10 {
				one()
			}
			// The average is rounded down, so that a collection that empties a pool is forgiven.
			if n := testing.AllocsPerRun(200, one); n > 0 {
				t.Errorf("%v allocations an exchange", n)
			}
		})
	}
}
