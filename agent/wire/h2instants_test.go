package wire

import (
	"bytes"
	"context"
	"errors"
	"net"
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

// ticker is a connection whose reads, of no more than most bytes, are the ticks of the clock: it knows when each byte came.
type ticker struct {
	net.Conn
	most  int
	clock atomic.Int64

	mu  sync.Mutex
	all []byte
	at  []measure.Instant
}

func (c *ticker) now() measure.Instant { return measure.Instant(c.clock.Load()) }

func (c *ticker) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), c.most)])
	c.mu.Lock()
	defer c.mu.Unlock()
	at := measure.Instant(c.clock.Add(1000))
	c.all, c.at = append(c.all, p[:n]...), append(c.at, slices.Repeat([]measure.Instant{at}, n)...)
	return n, err
}

// late is a sink that is kept from its first piece until a moment, and notes when each byte came.
type late struct {
	until <-chan bool
	body  []byte
	at    []measure.Instant
}

func (*late) Head(*Exchange) (Wait, error) { return Progress, nil }

func (s *late) Body(p []byte, at measure.Instant) (Wait, error) {
	<-s.until
	s.body, s.at = append(s.body, p...), append(s.at, slices.Repeat([]measure.Instant{at}, len(p))...)
	return Progress, nil
}

// block is a head, packed without reference to others.
func block(status string, more ...string) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	enc.SetMaxDynamicTableSize(0)
	if status != "" {
		_ = enc.WriteField(hpack.HeaderField{Name: ":status", Value: status})
	}
	for _, name := range more {
		_ = enc.WriteField(hpack.HeaderField{Name: name, Value: strings.Repeat("v", 50)})
	}
	return b.Bytes()
}

// mixed are the answers of two streams, with all that HTTP/2 lets a server do to them.
func mixed(one, two uint32) []byte {
	f := newFrames()
	f.fields(two, false, block("103", "link"))
	f.fields(one, false, block("200"))
	_ = f.WriteData(one, false, []byte("1"))
	head := block("200", "x-long")
	f.fields(two, false, head[:9], head[9:20], head[20:])
	_ = f.WriteDataPadded(two, false, []byte("padded"), make([]byte, 255))
	_ = f.WriteData(one, false, nil)
	for _, c := range []byte("letter by letter") {
		_ = f.WriteData(one, false, []byte{c})
		_ = f.WriteData(two, false, []byte{c, c})
	}
	_ = f.WriteData(two, false, bytes.Repeat([]byte("long"), 200))
	_ = f.WriteDataPadded(one, false, nil, make([]byte, 20))
	_ = f.WriteDataPadded(one, false, []byte("end"), nil)
	_ = f.WritePing(false, [8]byte{1})
	f.fields(two, true, block("", "x-trailer"))
	_ = f.WriteData(one, true, nil)
	return f.Bytes()
}

// TestPiecesOverHTTP2HaveTheInstantsOfTheirReads, though nobody takes them until the last one is there.
func TestPiecesOverHTTP2HaveTheInstantsOfTheirReads(t *testing.T) {
	for _, c := range []struct{ write, read int }{{1 << 20, 1 << 20}, {1 << 20, 100}, {700, 1 << 20}, {1 << 20, 1}, {333, 7}} {
		come := make(chan bool)
		addr := peers(t, func(_ int, p *peer) {
			streams := p.requests(2)
			if len(streams) < 2 {
				return
			}
			for part := range slices.Chunk(mixed(streams[0], streams[1]), c.write) {
				_, _ = p.conn.Write(part)
			}
			_ = p.WritePing(false, [8]byte{2})
			for {
				f, err := p.ReadFrame()
				if ping, ok := f.(*http2.PingFrame); err != nil || ok && ping.Data[0] == 2 {
					break // net/http has dealt with all that came before
				}
			}
			close(come)
			p.next()
		})
		line := &ticker{most: c.read}
		dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			line.Conn = nc
			return line, err
		}
		client := newClient(t, Config{URL: "http://" + addr, HTTP: HTTP2, Max: 1, Local: Local{Now: line.now, Dial: dial}})
		var exs [2]Exchange
		var sinks [2]late
		var wg sync.WaitGroup
		for i := range exs {
			wg.Go(func() {
				sinks[i].until = come
				if err := client.Do(wiretest.Context(t), get("/"), &exs[i], &sinks[i]); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if sinks[0].body == nil || sinks[0].body[0] != '1' { // of which request it is the stream is chance
			exs[0], exs[1], sinks[0], sinks[1] = exs[1], exs[0], sinks[1], sinks[0]
		}
		line.mu.Lock()
		want := byBytes(line.all, line.at)
		line.mu.Unlock()
		for i := range exs {
			w, ex, s := want[uint32(1+2*i)], &exs[i], &sinks[i]
			if !bytes.Equal(s.body, w.body) || !slices.Equal(s.at, w.at) || ex.FirstByte != w.first || ex.End != w.end {
				t.Errorf("%+v, stream %d: %d bytes at %v, head %d, end %d; want %d bytes at %v, %d, %d",
					c, 1+2*i, len(s.body), slices.Compact(s.at), ex.FirstByte, ex.End, len(w.body), slices.Compact(w.at), w.first, w.end)
			}
		}
	}
}

// TestNoTimelineIsLeft, however an exchange ends.
func TestNoTimelineIsLeft(t *testing.T) {
	stop := errors.New("stop")
	for name, c := range map[string]struct {
		script   func(p *peer, id uint32)
		settings http2.Setting
		limits   Timeouts
		ctx      func(ctx context.Context) (context.Context, context.CancelFunc)
		req      *Request
		sink     Sink
		class    string
	}{
		"answered":      {script: func(p *peer, id uint32) { p.answer(id, "ok", true) }},
		"reset":         {script: func(p *peer, id uint32) { _ = p.WriteRSTStream(id, http2.ErrCodeCancel) }, class: measure.ClassReset},
		"reset halfway": {script: func(p *peer, id uint32) { p.answer(id, "ok", false); _ = p.WriteRSTStream(id, http2.ErrCodeCancel) }, class: measure.ClassReset},
		"refused":       {script: func(p *peer, _ uint32) { _ = p.WriteGoAway(0, http2.ErrCodeNo, nil); p.next() }, class: measure.ClassReset},
		"lost":          {script: func(p *peer, _ uint32) { p.conn.Break() }, class: measure.ClassReset},
		"lost halfway":  {script: func(p *peer, id uint32) { p.answer(id, "ok", false); p.conn.Break() }, class: measure.ClassReset + " or " + measure.ClassTruncated},
		"late":          {script: func(p *peer, id uint32) { p.next() }, limits: Timeouts{Total: 10 * time.Millisecond}, class: measure.ClassTotalTimeout},
		"canceled": {
			script: func(p *peer, _ uint32) { p.next() }, class: measure.ClassCanceled,
			ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, 10*time.Millisecond)
			},
		},
		"canceled before": {
			script: func(p *peer, _ uint32) {}, class: measure.ClassCanceled,
			ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				return ctx, cancel
			},
		},
		"not written": {
			script: func(p *peer, _ uint32) {}, settings: http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: 100},
			req: &Request{Method: "GET", Path: "/" + strings.Repeat("x", 200)}, class: measure.ClassMalformed,
		},
		"not taken": {script: func(p *peer, id uint32) { p.answer(id, "ok", false); p.next() }, sink: &recorder{err: stop}, class: stop.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			addr := peers(t, func(_ int, p *peer) {
				for id := p.next(); id != 0; id = p.next() {
					c.script(p, id)
				}
			}, append([]http2.Setting{}, c.settings)[:min(1, c.settings.Val)]...)
			client := newClient(t, Config{URL: "http://" + addr, HTTP: HTTP2, Timeouts: c.limits})
			ctx := wiretest.Context(t)
			var ex Exchange
			ex.reset(client.cfg.Local.Now())
			ex.lim, ex.all = never, never
			cn, err := client.reserve(ctx, get("/"), &ex)
			if err != nil {
				t.Fatal(err)
			}
			for !cn.h2.link.open.Load() && c.settings.Val > 0 && ctx.Err() == nil {
				time.Sleep(time.Millisecond) // until the settings are known
			}
			if c.limits.Total > 0 {
				ex.lim = after(client.cfg.Local.Now(), c.limits.Total, measure.ClassTotalTimeout)
			}
			if c.ctx != nil {
				var cancel context.CancelFunc
				ctx, cancel = c.ctx(ctx)
				defer cancel()
			}
			req, sink := c.req, c.sink
			if req == nil {
				req = post("x")
			}
			if sink == nil {
				sink = new(recorder)
			}
			err = client.run(ctx, cn, req, &ex, sink)
			if got := class(err); (err == nil) != (c.class == "") || err != nil && !strings.Contains(c.class, got) {
				t.Errorf("%v (%s)", err, got)
			}
			l := cn.h2.link
			l.mu.Lock()
			defer l.mu.Unlock()
			if len(l.streams) != 0 || l.next != nil {
				t.Errorf("left: %v, %v", l.streams, l.next)
			}
		})
	}
}
