package wire

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/loadline/loadline/agent/wire/wiretest"

	"github.com/loadline/loadline/internal/stamp"
)

func BenchmarkExchange(b *testing.B) {
	chunk := "a8\r\n" + strings.Repeat("x", 168) + "\r\n"
	for name, answer := range map[string]string{
		"unary":     okHead + "Content-Length: 5\r\n\r\nhello",
		"32 chunks": okHead + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 32) + "0\r\n\r\n",
	} {
		b.Run(name, func(b *testing.B) {
			client := newClient(b, Config{URL: "http://" + answering(b, answer)})
			exchanges(b, client)
		})
	}
}

// exchanges plays one exchange after the other.
func exchanges(b *testing.B, client *Client) {
	req := &Request{Method: "POST", Path: "/", Header: []Header{{"Content-Type", "application/json"}}, Body: []byte("hello")}
	var ex Exchange
	sink := new(counter)
	b.ReportAllocs()
	for b.Loop() {
		if err := client.Do(b.Context(), req, &ex, sink); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStream is an exchange over HTTP/2 whose answer has 32 frames, the other end with it. Of those the first half comes in one
// read, so that it is taken apart again.
func BenchmarkStream(b *testing.B) {
	event := bytes.Repeat([]byte("x"), 168)
	addr := peers(b, func(_ int, p *peer) {
		_ = p.conn.SetDeadline(time.Time{})
		for id := p.next(); id != 0; id = p.next() {
			f := newFrames()
			f.fields(id, false, block("200"))
			for i := range 32 {
				_ = f.WriteData(id, i == 31, event)
				if i >= 15 {
					_, _ = p.conn.Write(f.Bytes())
					f.Reset()
				}
			}
		}
	})
	client := newClient(b, Config{URL: "http://" + addr, HTTP: HTTP2, Max: 1})
	exchanges(b, client)
}

// bare hides what kind of connection it is, so that no stamps are asked for.
type bare struct{ net.Conn }

func (b bare) SyscallConn() (syscall.RawConn, error) { return b.Conn.(syscall.Conn).SyscallConn() }

// BenchmarkRead is what the kernel's stamp of a read costs: one small write and one read of a loopback
// connection in turn, with stamps and without.
func BenchmarkRead(b *testing.B) {
	for _, stamped := range []bool{true, false} {
		b.Run(fmt.Sprintf("stamps=%t", stamped), func(b *testing.B) {
			peer := make(chan *wiretest.Conn, 1)
			nc, err := net.Dial("tcp", wiretest.Serve(b, func(_ int, c *wiretest.Conn) { peer <- c; <-b.Context().Done() }))
			if err != nil {
				b.Fatal(err)
			}
			defer nc.Close()
			if !stamped {
				nc = bare{nc}
			}
			now := wiretest.Clock()
			var bufs buffers
			var stamps stamp.Clock
			stamps.Init(now)
			raw := newRaw(nc, now, &bufs, &stamps)
			to, event := <-peer, make([]byte, 169)
			var in input
			var ex Exchange
			b.ReportAllocs()
			for b.Loop() {
				if _, err := to.Write(event); err != nil {
					b.Fatal(err)
				}
				if err := raw.read(&in); err != nil {
					b.Fatal(err)
				}
				ex.stamped(raw)
				in.release(&bufs)
			}
		})
	}
}
