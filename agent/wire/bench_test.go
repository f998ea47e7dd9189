package wire

import (
	"strings"
	"testing"

	"github.com/loadline/loadline/agent/wire/wiretest"
)

// echo serves fixed answers with as little of its own as it can: it reads until a blank line and
// assumes that the rest came with it.
func echo(b *testing.B, answer string) string {
	b.Helper()
	out := []byte(answer)
	return wiretest.Serve(b, func(_ int, c *wiretest.Conn) {
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

func BenchmarkExchange(b *testing.B) {
	chunk := "a8\r\n" + strings.Repeat("x", 168) + "\r\n"
	for name, answer := range map[string]string{
		"unary":     okHead + "Content-Length: 5\r\n\r\nhello",
		"32 chunks": okHead + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 32) + "0\r\n\r\n",
	} {
		b.Run(name, func(b *testing.B) {
			client := newClient(b, Config{URL: "http://" + echo(b, answer)})
			req := &Request{Method: "POST", Path: "/", Header: []Header{{"Content-Type", "application/json"}}, Body: []byte("hello")}
			var ex Exchange
			sink := new(counter)
			b.ReportAllocs()
			for b.Loop() {
				if err := client.Do(b.Context(), req, &ex, sink); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
