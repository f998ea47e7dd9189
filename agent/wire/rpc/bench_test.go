package rpc

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"

	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/internal/measure"
)

// nullServer answers every call with the same messages and looks at nothing.
func nullServer(b *testing.B, messages int) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	head := []byte("\x88\x0f\x10\x10application/grpc")
	answer := frames(func(fr *http2.Framer) {
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head, EndHeaders: true})
		for range messages {
			_ = fr.WriteData(1, false, message("one hundred bytes or so of an answer, as a model would send them, with a little more around it"))
		}
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte("\x00\x0bgrpc-status\x010"), EndHeaders: true, EndStream: true})
	})
	var at []int // where stream numbers stand
	for i := 0; i < len(answer); i += frameHead + (int(answer[i])<<16 | int(answer[i+1])<<8 | int(answer[i+2])) {
		at = append(at, i+5)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() { answerAll(nc, bytes.Clone(answer), at) })
		}
	})
	b.Cleanup(func() {
		_ = ln.Close()
		all.Wait()
	})
	return ln.Addr().String()
}

func answerAll(nc net.Conn, answer []byte, at []int) {
	defer nc.Close()
	if _, err := io.ReadFull(nc, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	in, out := bufio.NewReaderSize(nc, 32<<10), bufio.NewWriterSize(nc, 32<<10)
	fr := http2.NewFramer(out, in)
	fr.SetReuseFrames()
	_ = fr.WriteSettings()
	for {
		if in.Buffered() == 0 {
			_ = out.Flush()
		}
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		if d, ok := f.(*http2.DataFrame); ok && d.StreamEnded() {
			for _, i := range at {
				binary.BigEndian.PutUint32(answer[i:], d.StreamID)
			}
			_, _ = out.Write(answer)
			_ = fr.WriteWindowUpdate(0, uint32(d.Length))
		}
	}
}

// counter is a sink that does nothing.
type counter struct{ n int }

func (c *counter) Message([]byte, int, measure.Instant) error { c.n++; return nil }

func benchmark(b *testing.B, messages, callers int) {
	p := New(b.Context(), Config{Address: nullServer(b, messages), Local: wire.Local{Now: clock()}, Timeouts: wire.Timeouts{Total: 1 << 40}})
	steady, request := fields(), [][]byte{[]byte("a request of some bytes")}
	var n atomic.Int64
	var all sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range callers {
		all.Go(func() {
			sink := &counter{}
			call := &Call{Steady: steady, Vary: []wire.Header{{Name: "x-loadline-arrival", Value: "p/7/0"}}, Messages: request, MaxMessage: 1 << 20, Sink: sink}
			for n.Add(int64(messages)) <= int64(b.N+messages-1) {
				if err := p.Do(b.Context(), call); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := p.Close(); err != nil {
		b.Error(err)
	}
}

// BenchmarkUnary is a call, the target's part included.
func BenchmarkUnary(b *testing.B) { benchmark(b, 1, 64) }

// BenchmarkMessage is a message of a long answer, likewise.
func BenchmarkMessage(b *testing.B) { benchmark(b, 2000, 16) }
