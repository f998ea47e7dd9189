package rpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/internal/measure"
)

// script is one connection of a server that sends exactly what a test says.
type script struct {
	t     *testing.T
	nc    net.Conn
	fr    *http2.Framer
	enc   *hpack.Encoder
	block bytes.Buffer
	dec   *hpack.Decoder
}

// serve plays a script for each connection, and gives the address. The scripts end with the test.
func serve(t *testing.T, settings []http2.Setting, play func(s *script)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer nc.Close()
				if s := meet(t, nc, settings); s != nil {
					play(s)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		all.Wait()
	})
	return ln.Addr().String()
}

// meet reads the preface and sends the settings.
func meet(t *testing.T, nc net.Conn, settings []http2.Setting) *script {
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(nc, make([]byte, len(http2.ClientPreface))); err != nil {
		return nil
	}
	s := &script{t: t, nc: nc, fr: http2.NewFramer(nc, nc)}
	s.enc, s.dec = hpack.NewEncoder(&s.block), hpack.NewDecoder(4096, nil)
	s.fr.ReadMetaHeaders = s.dec
	s.fr.AllowIllegalWrites = true
	if s.fr.WriteSettings(settings...) != nil {
		return nil
	}
	return s
}

// next is the next frame of the kind wanted; nil: the connection has ended.
func (s *script) next(want http2.FrameType) http2.Frame {
	for {
		f, err := s.fr.ReadFrame()
		if err != nil {
			return nil
		}
		if f.Header().Type == want {
			return f
		}
	}
}

// request reads a request with one message; 0: the connection has ended.
func (s *script) request() (id uint32) {
	f, ok := s.next(http2.FrameHeaders).(*http2.MetaHeadersFrame)
	if !ok {
		return 0
	}
	id = f.StreamID // before the frame is overwritten
	for {
		d, ok := s.next(http2.FrameData).(*http2.DataFrame)
		if !ok {
			return 0
		}
		if d.StreamEnded() {
			return id
		}
	}
}

func (s *script) headers(id uint32, end bool, fields ...string) {
	s.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = s.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = s.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: s.block.Bytes(), EndHeaders: true, EndStream: end})
}

func (s *script) head(id uint32) {
	s.headers(id, false, ":status", "200", "content-type", "application/grpc")
}

func (s *script) trailer(id uint32) { s.headers(id, true, "grpc-status", "0") }

func (s *script) data(id uint32, b []byte) { _ = s.fr.WriteData(id, false, b) }

// message puts the prefix before a message.
func message(text string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...)
}

// answer answers with one message.
func (s *script) answer(id uint32, text string) {
	s.head(id)
	s.data(id, message(text))
	s.trailer(id)
}

// drain reads until the client has gone.
func (s *script) drain() { _, _ = io.Copy(io.Discard, s.nc) }

// kept is a sink that keeps the messages.
type kept struct {
	texts []string
	bytes int
	at    []measure.Instant
	fail  error
}

func (k *kept) Message(data []byte, size int, at measure.Instant) error {
	k.texts, k.at, k.bytes = append(k.texts, string(data)), append(k.at, at), k.bytes+size
	return k.fail
}

func clock() func() measure.Instant {
	begun := time.Now()
	return func() measure.Instant { return measure.Instant(time.Since(begun)) }
}

func newPool(t *testing.T, address string, change func(*Config)) *Pool {
	t.Helper()
	cfg := Config{Address: address, Local: wire.Local{Now: clock()}, Timeouts: wire.Timeouts{Connect: 10 * time.Second, First: 10 * time.Second, Total: 20 * time.Second}}
	if change != nil {
		change(&cfg)
	}
	p := New(t.Context(), cfg)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// fields are those of a call.
func fields(more ...wire.Header) *Fields {
	return NewFields(append([]wire.Header{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/a.B/C"}, {Name: ":authority", Value: "a"},
		{Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	}, more...))
}

func newCall(texts ...string) (*Call, *kept) {
	k := &kept{}
	c := &Call{Steady: fields(), Keep: true, MaxMessage: 1 << 20, Sink: k}
	for _, text := range texts {
		c.Messages = append(c.Messages, []byte(text))
	}
	return c, k
}

func classOf(err error) string {
	var e *wire.Error
	if errors.As(err, &e) {
		return e.Class
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func control(err error) func(string, string, syscall.RawConn) error {
	return func(string, string, syscall.RawConn) error { return err }
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// plainServer sends the same bytes to whoever connects and hangs up.
func plainServer(t *testing.T, text string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(nc, text)
			_ = nc.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return ln.Addr().String()
}
