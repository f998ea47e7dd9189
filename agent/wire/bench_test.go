package wire

import (
	"strings"
	"testing"
)

func BenchmarkExchange(b *testing.B) {
	chunk := "a8\r\n" + strings.Repeat("x", 168) + "\r\n"
	for name, answer := range map[string]string{
		"unary":     okHead + "Content-Length: 5\r\n\r\nhello",
		"32 chunks": okHead + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 32) + "0\r\n\r\n",
	} {
		b.Run(name, func(b *testing.B) {
			client := newClient(b, Config{URL: "http://" + answering(b, answer)})
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
