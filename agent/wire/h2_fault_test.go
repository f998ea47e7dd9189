package wire

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/loadline/loadline/agent/wire/wiretest"
	"github.com/loadline/loadline/internal/measure"
)

// peer is the server's end of an HTTP/2 connection, frame by frame. One goroutine uses it.
type peer struct {
	*http2.Framer
	conn *wiretest.Conn
}

// peers serves HTTP/2 without TLS by a script.
func peers(t testing.TB, script func(n int, p *peer), settings ...http2.Setting) string {
	t.Helper()
	return wiretest.Serve(t, func(n int, c *wiretest.Conn) {
		_ = c.SetDeadline(time.Now().Add(wiretest.Patience))
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(c.Conn, preface); err != nil || string(preface) != http2.ClientPreface {
			return
		}
		p := &peer{Framer: http2.NewFramer(c.Conn, c.Conn), conn: c}
		if p.WriteSettings(settings...) != nil {
			return
		}
		script(n, p)
	})
}

// next waits for a whole request and gives its stream; 0: none came.
func (p *peer) next() uint32 {
	for {
		f, err := p.ReadFrame()
		if err != nil {
			return 0
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = p.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = p.WritePing(true, f.Data)
			}
		case *http2.HeadersFrame:
			if f.StreamEnded() {
				return f.StreamID
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				return f.StreamID
			}
		}
	}
}

// requests waits for n whole requests and gives their streams, in the order of their numbers.
func (p *peer) requests(n int) (streams []uint32) {
	for range n {
		if id := p.next(); id != 0 {
			streams = append(streams, id)
		}
	}
	slices.Sort(streams)
	return streams
}

// answer sends a head and a piece of body, and with end the end of the stream.
func (p *peer) answer(stream uint32, body string, end bool) {
	var head bytes.Buffer
	_ = hpack.NewEncoder(&head).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: head.Bytes(), EndHeaders: true})
	_ = p.WriteData(stream, end, []byte(body))
}

// result is how an exchange ended.
type result struct {
	class, text, body string
	ex                Exchange
}

// together plays exchanges at the same time and gives how they ended, in no order.
func together(t *testing.T, c *Client, n int) []result {
	t.Helper()
	results := make([]result, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			r := &recorder{wait: Progress}
			got := &results[i]
			if err := c.Do(wiretest.Context(t), post("x"), &got.ex, r); err != nil {
				got.class, got.text = class(err), err.Error()
			}
			got.body = r.body.String()
			checkOrder(t, &got.ex, r.at...)
		})
	}
	wg.Wait()
	return results
}

// tally counts classes, with a word that tells those that were refused before they were processed.
func tally(results []result) string {
	counts := map[string]int{}
	for _, r := range results {
		name := r.class
		if strings.Contains(r.text, "refused the stream before processing it") {
			name += " refused"
		}
		counts[name]++
	}
	return fmt.Sprint(counts)
}

// TestGoAway: streams that the server still takes finish, the others are told apart and not sent again, and
// the next request goes to a new connection meanwhile, though there may be one only.
func TestGoAway(t *testing.T) {
	var seen atomic.Int64
	said, moved := make(chan bool, 1), make(chan bool, 1)
	addr := peers(t, func(n int, p *peer) {
		if n > 0 {
			for id := p.next(); id != 0; id = p.next() {
				seen.Add(1)
				p.answer(id, "new", true)
			}
			return
		}
		streams := p.requests(5)
		seen.Add(int64(len(streams)))
		if len(streams) < 5 {
			return
		}
		p.answer(streams[0], "o", false)
		_ = p.WriteGoAway(streams[2], http2.ErrCodeNo, nil)
		time.Sleep(20 * time.Millisecond) // the GOAWAY is dealt with
		said <- true
		<-moved
		_ = p.WriteData(streams[0], true, []byte("ld"))
		p.answer(streams[1], "old", true)
		p.answer(streams[2], "old", true)
		p.next() // until the client closes, which it does when the streams have ended
	})
	client := newClient(t, Config{URL: "http://" + addr, HTTP: HTTP2, Max: 1})
	var results []result
	var wg sync.WaitGroup
	wg.Go(func() { results = together(t, client, 5) })
	select {
	case <-said:
	case <-time.After(wiretest.Patience):
		t.Error("the requests did not come")
	}
	after := together(t, client, 1)[0]
	moved <- true
	wg.Wait()
	if got, want := tally(results), "map[:3 reset refused:2]"; got != want {
		t.Errorf("got %s, want %s: %+v", got, want, results)
	}
	for _, r := range results {
		if r.class == "" && r.body != "old" {
			t.Errorf("body %q", r.body)
		}
	}
	if after.class != "" || after.body != "new" || !after.ex.NewConnection || seen.Load() != 6 {
		t.Errorf("afterwards: %+v; %d requests came", after, seen.Load())
	}
}

// TestStreamsReset: a stream that the server resets is one failure and touches no other; each request came once.
func TestStreamsReset(t *testing.T) {
	for _, c := range []struct {
		code http2.ErrCode
		want string
	}{
		{http2.ErrCodeInternal, "map[:40 reset:20]"},
		{http2.ErrCodeCancel, "map[:40 reset:20]"},
		{http2.ErrCodeRefusedStream, "map[:40 reset refused:20]"},
	} {
		var seen, conns atomic.Int64
		addr := peers(t, func(_ int, p *peer) {
			conns.Add(1)
			for id := p.next(); id != 0; id = p.next() {
				if seen.Add(1)%3 == 0 {
					_ = p.WriteRSTStream(id, c.code)
				} else {
					p.answer(id, "ok", true)
				}
			}
		})
		client := newClient(t, Config{URL: "http://" + addr, HTTP: HTTP2})
		if got := tally(together(t, client, 60)); got != c.want || seen.Load() != 60 || conns.Load() != 1 {
			t.Errorf("%v: got %s, want %s; %d requests over %d connections", c.code, got, c.want, seen.Load(), conns.Load())
		}
	}
}

// TestConnectionLost: every stream of a connection that goes fails at once, by how far it had come, and nothing is
// sent again.
func TestConnectionLost(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(p *peer)
		want string
	}{
		"closed":          {func(*peer) {}, "map[reset:5 truncated:5]"},
		"broken":          {func(p *peer) { time.Sleep(20 * time.Millisecond); p.conn.Break() }, "map[reset:10]"},
		"closed, GOAWAY":  {func(p *peer) { _ = p.WriteGoAway(1<<30, http2.ErrCodeNo, nil) }, "map[reset:5 truncated:5]"},
		"failed, GOAWAY":  {func(p *peer) { _ = p.WriteGoAway(0, http2.ErrCodeInternal, nil) }, "map[reset:1 reset refused:9]"},
		"nonsense frames": {func(p *peer) { _ = p.WriteRawFrame(http2.FrameSettings, 0, 1, []byte("abc")); p.next() }, "map[malformed:10]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var seen atomic.Int64
			addr := peers(t, func(_ int, p *peer) {
				streams := p.requests(10)
				seen.Add(int64(len(streams)))
				if strings.Contains(name, "failed") {
					c.end(p)
					p.next()
					return
				}
				for _, id := range streams[:len(streams)/2] {
					p.answer(id, "half", false)
				}
				c.end(p)
			})
			client := newClient(t, Config{URL: "http://" + addr, HTTP: HTTP2})
			results := together(t, client, 10)
			if got := tally(results); got != c.want || seen.Load() != 10 {
				t.Errorf("got %s, want %s; %d requests came: %+v", got, c.want, seen.Load(), results[0])
			}
		})
	}
}

// TestTheServerAllowsMoreLater: who waits for room goes on as soon as the server allows more streams.
func TestTheServerAllowsMoreLater(t *testing.T) {
	addr := peers(t, func(_ int, p *peer) {
		first := p.next()
		time.Sleep(20 * time.Millisecond) // the others wait
		_ = p.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 3})
		for _, id := range append(p.requests(2), first) {
			p.answer(id, "ok", true)
		}
		p.next()
	}, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
	client := newClient(t, Config{URL: "http://" + addr, HTTP: HTTP2, Max: 1})
	if got := tally(together(t, client, 3)); got != "map[:3]" {
		t.Error(got)
	}
}

// TestIdleHTTP2ConnectionIsGone: what the server has closed is found before anything is written, counted, and
// passed over.
func TestIdleHTTP2ConnectionIsGone(t *testing.T) {
	for name, say := range map[string]bool{"closed": false, "closed, GOAWAY": true} {
		var seen atomic.Int64
		gone := make(chan bool, 1)
		addr := peers(t, func(_ int, p *peer) {
			id := p.next()
			seen.Add(1)
			p.answer(id, "ok", true)
			if say {
				_ = p.WriteGoAway(id, http2.ErrCodeNo, nil)
			}
			_ = p.conn.Close()
			gone <- true
		})
		client := newClient(t, Config{URL: "http://" + addr, HTTP: HTTP2})
		for i := range 3 {
			r := together(t, client, 1)[0]
			if r.class != "" || r.ex.Stale != uint32(min(i, 1)) || !r.ex.NewConnection {
				t.Errorf("%s, exchange %d: %s %s, %d stale, new connection %v", name, i, r.class, r.text, r.ex.Stale, r.ex.NewConnection)
			}
			<-gone
			time.Sleep(5 * time.Millisecond) // the close is on its way
		}
		if seen.Load() != 3 {
			t.Errorf("%s: %d requests came", name, seen.Load())
		}
	}
}

// slow is a sink that takes its time once.
type slow struct {
	counter
	until chan struct{}
}

func (s *slow) Body(p []byte, at measure.Instant) (Wait, error) {
	<-s.until
	return s.counter.Body(p, at)
}

// TestFlowControl: a big answer to a slow reader holds up neither the other streams of the connection nor memory,
// and a big request goes through the server's window.
func TestFlowControl(t *testing.T) {
	const size = 8 << 20
	var sent atomic.Int64
	s := speak(t, 0, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		if r.URL.Path != "/big" {
			fmt.Fprint(w, n)
			return
		}
		piece := make([]byte, 64<<10)
		for range size / len(piece) {
			k, _ := w.Write(piece)
			sent.Add(int64(k))
		}
	})
	client := newClient(t, Config{URL: "http://" + s.addr, HTTP: HTTP2, Max: 1})
	reader := &slow{until: make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() {
		var ex Exchange
		if err := client.Do(wiretest.Context(t), get("/big"), &ex, reader); err != nil || reader.bytes != size {
			t.Errorf("%v, %d bytes", err, reader.bytes)
		}
	})
	for sent.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	var ex Exchange
	r := new(recorder)
	if err := client.Do(wiretest.Context(t), post(strings.Repeat("x", size)), &ex, r); err != nil || r.body.String() != fmt.Sprint(size) || ex.NewConnection {
		t.Errorf("beside it: %v, %s bytes came, new connection %v", err, r.body.String(), ex.NewConnection)
	}
	checkOrder(t, &ex, r.at...)
	if most := int64(4 << 20); sent.Load() > most {
		t.Errorf("%d bytes were sent to a reader that did not read", sent.Load())
	}
	close(reader.until)
	wg.Wait()
}

// TestInstantsOfStreams: each stream has its own instants, taken where the connection is read.
func TestInstantsOfStreams(t *testing.T) {
	now := wiretest.Clock()
	var answered [2]atomic.Int64
	gap := 30 * time.Millisecond
	addr := peers(t, func(_ int, p *peer) {
		for i, id := range p.requests(2) {
			time.Sleep(gap)
			answered[i].Store(int64(now()))
			p.answer(id, "a", false)
			time.Sleep(gap)
			_ = p.WriteData(id, true, []byte("b"))
		}
		p.next()
	})
	client := newClient(t, Config{URL: "http://" + addr, HTTP: HTTP2, Local: Local{Now: now}})
	results := together(t, client, 2)
	first, second := &results[0].ex, &results[1].ex
	if first.FirstByte > second.FirstByte {
		first, second = second, first
	}
	for i, ex := range []*Exchange{first, second} {
		if int64(ex.FirstByte) < answered[i].Load() || ex.End-ex.FirstByte < measure.Instant(gap) || ex.Sent > ex.FirstByte-measure.Instant(gap) {
			t.Errorf("stream %d: answered at %v, %+v", i, answered[i].Load(), ex)
		}
	}
	if second.FirstByte < first.End {
		t.Errorf("the second stream's first byte came at %v, before the first one's end at %v", second.FirstByte, first.End)
	}
}
