package rpc

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/loadline/loadline/agent/wire"
)

// frames writes frames into bytes, for the beginnings of the search.
func frames(write func(fr *http2.Framer)) []byte {
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	fr.AllowIllegalWrites = true
	write(fr)
	return b.Bytes()
}

// FuzzServer: whatever bytes a server sends, the call ends, with an error or a status.
func FuzzServer(f *testing.F) {
	head := []byte("\x88\x0f\x10\x10application/grpc")
	trailer := []byte("\x00\x0bgrpc-status\x010")
	f.Add(frames(func(fr *http2.Framer) {
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head, EndHeaders: true})
		_ = fr.WriteData(1, false, message("hello"))
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: trailer, EndHeaders: true, EndStream: true})
	}))
	f.Add(frames(func(fr *http2.Framer) {
		_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
		_ = fr.WriteWindowUpdate(0, 7)
		_ = fr.WriteWindowUpdate(1, 1<<30)
		_ = fr.WritePing(false, [8]byte{})
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head[:3]})
		_ = fr.WriteContinuation(1, true, head[3:])
		_ = fr.WriteDataPadded(1, false, message("a")[:5], make([]byte, 9))
		_ = fr.WriteGoAway(0, http2.ErrCodeNo, nil)
	}))
	f.Add(frames(func(fr *http2.Framer) { _ = fr.WriteRSTStream(1, http2.ErrCodeRefusedStream) }))
	f.Fuzz(func(t *testing.T, sent []byte) {
		served := make(chan struct{})
		dial := func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				defer close(served)
				go func() { _, _ = io.Copy(io.Discard, there) }()
				_, _ = there.Write(frames(func(fr *http2.Framer) { _ = fr.WriteSettings() }))
				_, _ = there.Write(sent)
				_ = there.Close()
			}()
			return here, nil
		}
		p := New(t.Context(), Config{Address: "a", Max: 1, Private: true, Local: wire.Local{Now: clock(), Dial: dial}, Timeouts: wire.Timeouts{Total: 5 * time.Second}})
		call, _ := newCall("request")
		if err := p.Do(t.Context(), call); (err == nil) != call.Answered || err != nil && classOf(err) == "" {
			t.Errorf("%v, answered %v", err, call.Answered)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		<-served
	})
}

// FuzzMessages: the messages of an answer are the same however its bytes come in pieces.
func FuzzMessages(f *testing.F) {
	f.Add(slices.Concat(message("a"), message(""), message("longer")), uint8(1), true)
	f.Add([]byte{0, 0, 0, 0, 9, 1}, uint8(3), false)
	f.Add([]byte{1, 0, 0, 0, 1, 1}, uint8(3), true)
	f.Fuzz(func(t *testing.T, data []byte, cut uint8, keep bool) {
		play := func(piece int) (*kept, error) {
			call, got := newCall("x")
			call.Keep, call.packed = keep, true
			for rest := data; len(rest) > 0; {
				n := min(piece, len(rest))
				if err := call.frame.take(call, rest[:n], 1); err != nil {
					return got, err
				}
				rest = rest[n:]
			}
			return got, nil
		}
		whole, err := play(len(data) + 1)
		pieces, err2 := play(int(cut) + 1)
		if (err == nil) != (err2 == nil) || !slices.Equal(whole.texts, pieces.texts) || whole.bytes != pieces.bytes {
			t.Errorf("%q, %v in one piece, %q, %v in pieces of %d", whole.texts, err, pieces.texts, err2, cut+1)
		}
	})
}
