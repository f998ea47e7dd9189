package rpc

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/internal/measure"
)

// TestAnswers: what a server may send for an answer, valid, odd and wrong.
func TestAnswers(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte("unpacked"))
	_ = z.Close()
	zipped := message(packed.String())
	zipped[0] = 1
	for _, c := range []struct {
		name  string
		play  func(s *script, id uint32)
		class string
		code  uint32
		texts []string
		says  string
	}{
		{"one message", func(s *script, id uint32) { s.answer(id, "hello") }, "", 0, []string{"hello"}, ""},
		{"an empty message", func(s *script, id uint32) { s.answer(id, "") }, "", 0, []string{""}, ""},
		{"none", func(s *script, id uint32) { s.head(id); s.trailer(id) }, "", 0, nil, ""},
		{"several in a frame", func(s *script, id uint32) {
			s.head(id)
			s.data(id, slices.Concat(message("a"), message("bc"), message("")))
			s.trailer(id)
		}, "", 0, []string{"a", "bc", ""}, ""},
		{"a byte in a frame", func(s *script, id uint32) {
			s.head(id)
			for _, b := range slices.Concat(message("abc"), message("d")) {
				s.data(id, []byte{b})
			}
			s.trailer(id)
		}, "", 0, []string{"abc", "d"}, ""},
		{"padded, and empty frames between", func(s *script, id uint32) {
			s.head(id)
			s.data(id, nil)
			_ = s.fr.WriteDataPadded(id, false, message("abc")[:6], make([]byte, 200))
			_ = s.fr.WriteDataPadded(id, false, nil, make([]byte, 3))
			s.data(id, []byte("bc"))
			s.trailer(id)
		}, "", 0, []string{"abc"}, ""},
		{"packed", func(s *script, id uint32) {
			s.headers(id, false, ":status", "200", "content-type", "application/grpc+proto", "grpc-encoding", "gzip")
			s.data(id, zipped)
			s.data(id, message("plain"))
			s.trailer(id)
		}, "", 0, []string{"unpacked", "plain"}, ""},
		{"interim first", func(s *script, id uint32) { s.headers(id, false, ":status", "103"); s.answer(id, "x") }, "", 0, []string{"x"}, ""},
		{"continued headers", func(s *script, id uint32) {
			s.block.Reset()
			s.block.WriteString("\x88\x0f\x10\x10application/grpc")
			b := bytes.Clone(s.block.Bytes())
			_ = s.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b[:3]})
			_ = s.fr.WriteContinuation(id, false, b[3:7])
			_ = s.fr.WriteContinuation(id, true, b[7:])
			s.trailer(id)
		}, "", 0, nil, ""},
		{"trailers only", func(s *script, id uint32) {
			s.headers(id, true, ":status", "200", "content-type", "application/grpc", "grpc-status", "5", "grpc-message", "no%20such%C3%A9%2")
		}, "", 5, nil, "no suché%2"},
		{"a status after messages", func(s *script, id uint32) {
			s.head(id)
			s.data(id, message("a"))
			s.headers(id, true, "grpc-status", "14", "grpc-message", "gone", "grpc-status-details-bin", "CA4")
		}, "", 14, []string{"a"}, "gone"},
		{"a proxy's answer", func(s *script, id uint32) {
			s.headers(id, false, ":status", "503", "content-type", "text/html")
			s.data(id, []byte("<html>"))
		}, "", 14, nil, "HTTP status 503"},
		{"a proxy's answer at once", func(s *script, id uint32) { s.headers(id, true, ":status", "404") }, "", 12, nil, "HTTP status 404"},
		{"no status", func(s *script, id uint32) { s.head(id); s.headers(id, true, "x", "y") }, measure.ClassTruncated, 0, nil, "without a status"},
		{"no trailer", func(s *script, id uint32) { s.head(id); _ = s.fr.WriteData(id, true, message("a")) }, measure.ClassTruncated, 0, []string{"a"}, ""},
		{"half a message", func(s *script, id uint32) { s.head(id); s.data(id, message("abc")[:6]); s.trailer(id) }, measure.ClassTruncated, 0, nil, "middle"},
		{"a status that is no number", func(s *script, id uint32) { s.head(id); s.headers(id, true, "grpc-status", "-1") }, measure.ClassMalformed, 0, nil, ""},
		{"messages before the header", func(s *script, id uint32) { s.data(id, message("a")) }, measure.ClassMalformed, 0, nil, ""},
		{"two headers", func(s *script, id uint32) { s.head(id); s.head(id) }, measure.ClassMalformed, 0, nil, ""},
		{"another content type", func(s *script, id uint32) { s.headers(id, false, ":status", "200", "content-type", "application/json") }, measure.ClassMalformed, 0, nil, ""},
		{"packed in silence", func(s *script, id uint32) { s.head(id); s.data(id, zipped) }, measure.ClassMalformed, 0, nil, ""},
		{"packed otherwise", func(s *script, id uint32) {
			s.headers(id, false, ":status", "200", "content-type", "application/grpc", "grpc-encoding", "zstd")
		}, measure.ClassMalformed, 0, nil, ""},
		{"badly packed", func(s *script, id uint32) {
			s.headers(id, false, ":status", "200", "content-type", "application/grpc", "grpc-encoding", "gzip")
			s.data(id, append([]byte{1}, message("junk")[1:]...))
		}, measure.ClassMalformed, 0, nil, ""},
		{"an unknown flag", func(s *script, id uint32) { s.head(id); s.data(id, []byte{2, 0, 0, 0, 0}) }, measure.ClassMalformed, 0, nil, ""},
		{"too long", func(s *script, id uint32) { s.head(id); s.data(id, []byte{0, 0, 0x10, 0, 1}) }, measure.ClassOversized, 0, nil, ""},
		{"refused", func(s *script, id uint32) { _ = s.fr.WriteRSTStream(id, http2.ErrCodeRefusedStream) }, measure.ClassReset, 0, nil, "not sent again"},
		{"reset in the middle", func(s *script, id uint32) {
			s.head(id)
			s.data(id, message("a"))
			_ = s.fr.WriteRSTStream(id, http2.ErrCodeInternal)
		}, measure.ClassReset, 0, []string{"a"}, "INTERNAL_ERROR"},
		{"broken off", func(s *script, id uint32) { s.head(id); s.data(id, message("a")); _ = s.nc.Close() }, measure.ClassReset, 0, []string{"a"}, "closed"},
		{"a bad header", func(s *script, id uint32) { s.headers(id, false, ":status", "200", "Upper", "x") }, measure.ClassMalformed, 0, nil, ""},
		{"DATA on no stream", func(s *script, _ uint32) { s.data(98, message("a")) }, measure.ClassMalformed, 0, nil, "breaks HTTP/2"},
		{"a push", func(s *script, id uint32) {
			_ = s.fr.WritePushPromise(http2.PushPromiseParam{StreamID: id, PromiseID: 2, BlockFragment: []byte{0x88}, EndHeaders: true})
		}, measure.ClassMalformed, 0, nil, "breaks HTTP/2"},
		{"a window beyond all bounds", func(s *script, _ uint32) { _ = s.fr.WriteWindowUpdate(0, 1<<31-1) }, measure.ClassMalformed, 0, nil, "window"},
		{"a frame too large", func(s *script, id uint32) { s.head(id); s.data(id, make([]byte, 17<<10)) }, measure.ClassMalformed, 0, nil, "too large"},
		{"packed headers that are junk", func(s *script, id uint32) {
			_ = s.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0xff, 0xff, 0xff}, EndHeaders: true})
		}, measure.ClassMalformed, 0, nil, "header block"},
		{"no HTTP/2 any more", func(s *script, _ uint32) { _, _ = s.nc.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, measure.ClassMalformed, 0, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, nil, func(s *script) {
				if id := s.request(); id > 0 {
					c.play(s, id)
				}
				s.drain()
			})
			p := newPool(t, address, nil)
			call, got := newCall("request")
			err := p.Do(within(t), call)
			said := call.Text
			if err != nil {
				said = err.Error()
			}
			if classOf(err) != c.class || call.Code != c.code || !slices.Equal(got.texts, c.texts) || !strings.Contains(said, c.says) {
				t.Errorf("class %q, code %d, messages %q, %q", classOf(err), call.Code, got.texts, said)
			}
			if call.Answered != (c.class == "") || call.Sent < call.Dispatched || !call.Connected.Reached() {
				t.Errorf("%+v", call)
			}
			if last := len(got.at) - 1; last >= 0 && (got.at[0] < call.FirstByte || call.End.Reached() && call.End < got.at[last]) {
				t.Errorf("first byte %d, messages %d, end %d", call.FirstByte, got.at, call.End)
			}
		})
	}
}

// TestFlowControl: a large request goes as far as the windows let it, and goes on as they open.
func TestFlowControl(t *testing.T) {
	const size = 300_000
	var most, total atomic.Int64
	address := serve(t, []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1000}, {ID: http2.SettingMaxFrameSize, Val: 20000}}, func(s *script) {
		f, ok := s.next(http2.FrameHeaders).(*http2.MetaHeadersFrame)
		if !ok {
			return
		}
		id, window := f.StreamID, int64(1000)
		for {
			d, ok := s.next(http2.FrameData).(*http2.DataFrame)
			if !ok {
				return
			}
			n := int64(len(d.Data()))
			total.Add(n)
			if window -= n; n > most.Load() {
				most.Store(n)
			}
			if window < 0 {
				t.Error("more was sent than the window lets")
			}
			if d.StreamEnded() {
				break
			}
			if window == 0 {
				window = 30_000
				_ = s.fr.WriteWindowUpdate(id, 30_000)
				_ = s.fr.WriteWindowUpdate(0, 30_000)
			}
		}
		s.answer(id, "done")
		s.drain()
	})
	p := newPool(t, address, nil)
	call, got := newCall(strings.Repeat("x", size/2), strings.Repeat("y", size/2))
	if err := p.Do(within(t), call); err != nil || !slices.Equal(got.texts, []string{"done"}) {
		t.Errorf("%v, %q", err, got.texts)
	}
	if total.Load() != size+2*prefix || most.Load() > 20000 {
		t.Errorf("%d bytes came, %d in one frame", total.Load(), most.Load())
	}
}

// TestWindowsAreOpened: an answer many times larger than the windows comes in full, to the server that keeps them.
func TestWindowsAreOpened(t *testing.T) {
	const messages, size = 900, 30_000
	address := serve(t, nil, func(s *script) {
		id := s.request()
		stream, conn := streamWindow, defaultWindow // raised before the request came
		conn = connWindow
		s.head(id)
		for i := range messages {
			m := message(strings.Repeat(string(rune('a'+i%26)), size))
			for len(m) > 0 {
				for stream == 0 || conn == 0 {
					w, ok := s.next(http2.FrameWindowUpdate).(*http2.WindowUpdateFrame)
					if !ok {
						return
					}
					if w.StreamID == 0 {
						conn += int(w.Increment)
					} else {
						stream += int(w.Increment)
					}
				}
				n := min(len(m), 16384, stream, conn)
				s.data(id, m[:n])
				m, stream, conn = m[n:], stream-n, conn-n
			}
		}
		s.trailer(id)
		s.drain()
	})
	p := newPool(t, address, nil)
	call, got := newCall("x")
	call.Keep = false
	if err := p.Do(within(t), call); err != nil || len(got.texts) != messages || got.bytes != messages*size {
		t.Errorf("%v, %d messages, %d bytes", err, len(got.texts), got.bytes)
	}
}

// TestAway: after GOAWAY the calls that the server knows end well, those that it does not fail, and new ones go
// over a new connection.
func TestAway(t *testing.T) {
	var conns atomic.Int64
	both := make(chan struct{})
	address := serve(t, nil, func(s *script) {
		if conns.Add(1) > 1 {
			if id := s.request(); id > 0 {
				s.answer(id, "new")
			}
			s.drain()
			return
		}
		first := s.request()
		second := s.request()
		_ = s.fr.WriteGoAway(first, http2.ErrCodeNo, nil)
		<-both
		s.answer(first, "old")
		_ = second
		s.drain()
	})
	p := newPool(t, address, func(c *Config) { c.Max = 1 })
	var all sync.WaitGroup
	errs, texts := make([]error, 2), make([]*kept, 2)
	for i := range 2 {
		all.Go(func() {
			var call *Call
			call, texts[i] = newCall(fmt.Sprint(i))
			errs[i] = p.Do(within(t), call)
			if errs[i] != nil {
				close(both)
			}
		})
	}
	all.Wait()
	failed, other := 0, 1
	if errs[0] == nil {
		failed, other = 1, 0
	}
	if classOf(errs[failed]) != measure.ClassReset || errs[other] != nil || !slices.Equal(texts[other].texts, []string{"old"}) {
		t.Errorf("%v, %v", errs, texts)
	}
	call, got := newCall("x")
	if err := p.Do(within(t), call); err != nil || !slices.Equal(got.texts, []string{"new"}) || !call.NewConnection {
		t.Errorf("after GOAWAY: %v, %q", err, got.texts)
	}
}

// TestMaxStreams: what the server does not allow waits here, and no call is turned away.
func TestMaxStreams(t *testing.T) {
	const calls = 20
	var open, most atomic.Int64
	address := serve(t, []http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: 2}}, func(s *script) {
		var held []uint32
		for {
			f, err := s.fr.ReadFrame()
			if err != nil {
				return
			}
			if d, ok := f.(*http2.DataFrame); ok && d.StreamEnded() {
				held = append(held, d.StreamID)
				most.Store(max(most.Load(), open.Add(1)))
				if len(held) == 2 {
					for _, id := range held {
						open.Add(-1)
						s.answer(id, "ok")
					}
					held = held[:0]
				}
			}
		}
	})
	p := newPool(t, address, func(c *Config) { c.Max = 1 })
	var all sync.WaitGroup
	for i := range calls {
		all.Go(func() {
			call, _ := newCall(fmt.Sprint(i))
			if err := p.Do(within(t), call); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most.Load() != 2 {
		t.Errorf("%d streams at once", most.Load())
	}
}

// TestTables: the header table of the server is made smaller and larger while calls go on; the server's decoder
// follows, so every request must still be read right.
func TestTables(t *testing.T) {
	seen := make(chan string, 64)
	address := serve(t, nil, func(s *script) {
		for i := range uint32(30) {
			f, ok := s.next(http2.FrameHeaders).(*http2.MetaHeadersFrame)
			if !ok {
				return
			}
			var line []string
			for _, field := range f.Fields {
				line = append(line, field.Name+"="+field.Value)
			}
			seen <- strings.Join(line, " ")
			id := f.StreamID
			if s.next(http2.FrameData) == nil {
				return
			}
			size := []uint32{4096, 0, 100, 4096, 200}[i%5]
			_ = s.fr.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: size})
			if s.next(http2.FrameSettings) == nil { // its acknowledgement
				return
			}
			s.answer(id, "ok")
		}
		s.drain()
	})
	p := newPool(t, address, func(c *Config) { c.Max = 1 })
	steady := []*Fields{fields(), fields(wire.Header{Name: "x-long", Value: strings.Repeat("v", 300)})}
	for i := range 30 {
		call, _ := newCall("x")
		call.Steady = steady[i/3%2]
		call.Vary = []wire.Header{{Name: "x-n", Value: fmt.Sprint(i)}, {Name: "x-" + strings.Repeat("n", 200), Value: strings.Repeat("w", 5*i)}}
		if err := p.Do(within(t), call); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
		got := <-seen
		if !strings.Contains(got, ":path=/a.B/C :authority=a content-type=application/grpc te=trailers") ||
			!strings.Contains(got, fmt.Sprintf("x-n=%d ", i)) || !strings.HasSuffix(got, "="+strings.Repeat("w", 5*i)) {
			t.Fatalf("call %d: the server read %s", i, got)
		}
	}
}

// TestLongHeaders: a header block of many frames.
func TestLongHeaders(t *testing.T) {
	long := strings.Repeat("v", 50_000)
	address := serve(t, nil, func(s *script) {
		f, ok := s.next(http2.FrameHeaders).(*http2.MetaHeadersFrame)
		if !ok || len(f.Fields) == 0 || f.Fields[len(f.Fields)-1].Value != long {
			t.Error("the header did not come whole")
			return
		}
		s.answer(f.StreamID, "ok")
		s.drain()
	})
	call, _ := newCall("x")
	call.Vary = []wire.Header{{Name: "x-long", Value: long}}
	if err := newPool(t, address, nil).Do(within(t), call); err != nil {
		t.Error(err)
	}
}

// TestPings are answered with the same bytes.
func TestPings(t *testing.T) {
	address := serve(t, nil, func(s *script) {
		id := s.request()
		_ = s.fr.WritePing(false, [8]byte{1, 2, 3})
		f, ok := s.next(http2.FramePing).(*http2.PingFrame)
		if !ok || !f.IsAck() || f.Data != [8]byte{1, 2, 3} {
			t.Error("the ping was not answered")
		}
		s.answer(id, "ok")
		s.drain()
	})
	call, _ := newCall("x")
	if err := newPool(t, address, nil).Do(within(t), call); err != nil {
		t.Error(err)
	}
}

// TestLimits: each time limit has its class, and the server is told that the call is over.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config, *Call)
		begun  bool
		class  string
	}{
		{"first", func(cfg *Config, _ *Call) { cfg.Timeouts.First = 50 * time.Millisecond }, false, measure.ClassFirstTokenTimeout},
		{"stall", func(cfg *Config, _ *Call) { cfg.Timeouts.Stall = 50 * time.Millisecond }, true, measure.ClassStallTimeout},
		{"total", func(cfg *Config, _ *Call) { cfg.Timeouts.Total = 100 * time.Millisecond }, true, measure.ClassTotalTimeout},
		{"deadline", func(_ *Config, c *Call) { c.Deadline = 50 * time.Millisecond }, true, ErrDeadline.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			told := make(chan bool, 1)
			address := serve(t, nil, func(s *script) {
				if id := s.request(); c.begun {
					s.head(id)
					s.data(id, message("a"))
				}
				f, ok := s.next(http2.FrameRSTStream).(*http2.RSTStreamFrame)
				told <- ok && f.ErrCode == http2.ErrCodeCancel
				s.drain()
			})
			call, _ := newCall("x")
			p := newPool(t, address, func(cfg *Config) { c.change(cfg, call) })
			if err := p.Do(within(t), call); classOf(err) != c.class {
				t.Errorf("%v", err)
			}
			if !<-told {
				t.Error("the server was not told")
			}
		})
	}
}

// TestServersDeadline: a server that cancels the stream when the deadline has passed, as grpc-go's does, says nothing else.
func TestServersDeadline(t *testing.T) {
	for wait, want := range map[time.Duration]string{0: measure.ClassReset, 60 * time.Millisecond: ErrDeadline.Error()} {
		address := serve(t, nil, func(s *script) {
			id := s.request()
			time.Sleep(wait)
			_ = s.fr.WriteRSTStream(id, http2.ErrCodeCancel)
			s.drain()
		})
		p := newPool(t, address, nil)
		if err := p.Warm(within(t), 4); err != nil { // so that connecting takes nothing of the time
			t.Fatal(err)
		}
		call, _ := newCall("x")
		if call.Deadline = time.Minute; wait > 0 {
			call.Deadline = wait
		}
		if err := p.Do(within(t), call); classOf(err) != want {
			t.Errorf("after %v: %v", wait, err)
		}
	}
}

// TestCanceled: the cause of the context is the text, and a sink's error ends the call.
func TestCanceled(t *testing.T) {
	address := serve(t, nil, func(s *script) {
		for id := s.request(); id > 0; id = s.request() {
			s.head(id)
			s.data(id, message("a"))
		}
	})
	p := newPool(t, address, nil)
	ctx, cancel := context.WithCancelCause(within(t))
	time.AfterFunc(20*time.Millisecond, func() { cancel(errors.New("enough")) })
	call, _ := newCall("x")
	if err := p.Do(ctx, call); classOf(err) != measure.ClassCanceled || err.Error() != "enough" {
		t.Errorf("%v", err)
	}
	if err := p.Do(ctx, call); classOf(err) != measure.ClassCanceled {
		t.Errorf("%v", err)
	}
	call, got := newCall("x")
	got.fail = errors.New("no more")
	if err := p.Do(within(t), call); !errors.Is(err, got.fail) {
		t.Errorf("%v", err)
	}
}

// TestPacing: messages go out one after the other, and each is answered before the next is due.
func TestPacing(t *testing.T) {
	address := serve(t, nil, func(s *script) {
		f, ok := s.next(http2.FrameHeaders).(*http2.MetaHeadersFrame)
		if !ok {
			return
		}
		id := f.StreamID
		s.head(id)
		for {
			d, ok := s.next(http2.FrameData).(*http2.DataFrame)
			if !ok {
				return
			}
			end := d.StreamEnded()
			s.data(id, bytes.Clone(d.Data()))
			if end {
				break
			}
		}
		s.trailer(id)
		s.drain()
	})
	call, got := newCall("a", "b", "c")
	call.Every, call.NoteSent = 10*time.Millisecond, true
	if err := newPool(t, address, nil).Do(within(t), call); err != nil || !slices.Equal(got.texts, []string{"a", "b", "c"}) || len(call.SentAt) != 3 {
		t.Fatalf("%v, %q, %d", err, got.texts, call.SentAt)
	}
	for i, at := range call.SentAt {
		if at < call.Dispatched+measure.Instant(i)*measure.Instant(call.Every) || got.at[i] < at {
			t.Errorf("message %d was sent at %d and answered at %d", i, at, got.at[i])
		}
	}
}

// TestEarlyEnd: a status that comes before all was sent ends the call, and the server is told that no more comes.
func TestEarlyEnd(t *testing.T) {
	told := make(chan bool, 1)
	address := serve(t, nil, func(s *script) {
		f, ok := s.next(http2.FrameHeaders).(*http2.MetaHeadersFrame)
		if !ok {
			return
		}
		s.headers(f.StreamID, true, ":status", "200", "content-type", "application/grpc", "grpc-status", "3")
		told <- s.next(http2.FrameRSTStream) != nil
		s.drain()
	})
	call, _ := newCall("a", "b")
	call.Every = time.Hour
	if err := newPool(t, address, nil).Do(within(t), call); err != nil || call.Code != 3 || !<-told {
		t.Errorf("%v, code %d", err, call.Code)
	}
}

// TestConnecting: what can go wrong before a call is sent.
func TestConnecting(t *testing.T) {
	silent := serve(t, nil, func(s *script) { s.drain() })
	for _, c := range []struct {
		name   string
		change func(*Config)
		class  string
	}{
		{"refused by the guard", func(cfg *Config) { cfg.Local.Control = control(errors.New("no")) }, measure.ClassRefused},
		{"nobody there", func(cfg *Config) { cfg.Address = "127.0.0.1:1" }, measure.ClassConnect},
		{"not HTTP/2", func(cfg *Config) { cfg.Address = plainServer(t, "HTTP/1.1 400 Bad Request\r\n\r\n") }, measure.ClassConnect},
		{"closes at once", func(cfg *Config) { cfg.Address = plainServer(t, "") }, measure.ClassConnect},
		{"first token", func(cfg *Config) { cfg.Timeouts.First = 50 * time.Millisecond }, measure.ClassFirstTokenTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPool(t, silent, c.change)
			for range 2 { // the second within the pause
				call, _ := newCall("x")
				if err := p.Do(within(t), call); classOf(err) != c.class {
					t.Errorf("%v (%s), want %s", err, classOf(err), c.class)
				}
			}
		})
	}
}

// TestPolicies: connections of their own, a bound on them, and those opened before the calls.
func TestPolicies(t *testing.T) {
	var conns, open, most atomic.Int64
	address := serve(t, nil, func(s *script) {
		conns.Add(1)
		for id := s.request(); id > 0; id = s.request() {
			most.Store(max(most.Load(), open.Add(1)))
			time.Sleep(time.Millisecond)
			open.Add(-1)
			s.answer(id, "ok")
		}
	})
	play := func(p *Pool, n int) (opened int64) {
		var all sync.WaitGroup
		var count atomic.Int64
		for range n {
			all.Go(func() {
				call, _ := newCall("x")
				if err := p.Do(within(t), call); err != nil {
					t.Error(err)
				}
				if call.NewConnection {
					count.Add(1)
				}
			})
		}
		all.Wait()
		return count.Load()
	}
	if n := play(newPool(t, address, func(c *Config) { c.Private, c.Max = true, 3 }), 12); n != 12 || conns.Load() != 12 || most.Load() > 3 {
		t.Errorf("private: %d connections, %d opened for calls, %d at once", conns.Load(), n, most.Load())
	}
	conns.Store(0)
	p := newPool(t, address, func(c *Config) { c.Max = 6 })
	if err := p.Warm(within(t), 9); err != nil {
		t.Fatal(err)
	}
	if n := play(p, 12); n != 0 || conns.Load() != 6 {
		t.Errorf("warm: %d connections, %d opened for calls", conns.Load(), n)
	}
	if err := newPool(t, "127.0.0.1:1", nil).Warm(within(t), 2); classOf(err) != measure.ClassConnect || !strings.Contains(err.Error(), "0 of 2") {
		t.Errorf("%v", err)
	}
}
