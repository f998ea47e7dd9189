package rpc

import (
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/loadline/loadline/internal/measure"
)

// pieces is how many messages an answer has.
const pieces = 5

// stampSink notes the stamp of each message and lets the server go on.
type stampSink struct {
	call     *Call
	next     chan<- bool
	at, seen []measure.Instant
}

func (s *stampSink) Message(_ []byte, _ int, at measure.Instant) error {
	s.at, s.seen = append(s.at, at), append(s.seen, s.call.Stamp)
	s.next <- true
	return nil
}

// TestStampLiesBetweenWriteAndRead: the kernel has a message after the server began to write it and before we have it. It begins
// to stamp a moment after it was asked to, so the call is repeated until it has.
func TestStampLiesBetweenWriteAndRead(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there are no stamps here")
	}
	now, next, wrote := clock(), make(chan bool, pieces), make(chan measure.Instant, pieces)
	address := serve(t, nil, func(s *script) {
		for id := s.request(); id != 0; id = s.request() {
			s.head(id)
			for range pieces {
				wrote <- now()
				s.data(id, message("piece"))
				select {
				case <-next:
				case <-time.After(10 * time.Second):
					return
				}
			}
			s.trailer(id)
		}
	})
	p := newPool(t, address, func(cfg *Config) { cfg.Local.Now, cfg.Max = now, 1 })
	call, _ := newCall("x")
	for ctx := within(t); !call.Stamp.Reached(); {
		sink := &stampSink{call: call, next: next}
		call.Sink = sink
		if err := p.Do(ctx, call); err != nil || len(sink.at) != pieces {
			t.Fatalf("%d messages, %v", len(sink.at), err)
		}
		const error = measure.Instant(50 * time.Microsecond) // of the distance between the clocks
		for i, stamp := range sink.seen {
			if from := <-wrote; stamp.Reached() && (stamp+error < from || stamp > sink.at[i]) {
				t.Errorf("message %d was written from %d on, stamped at %d and read at %d", i, from, stamp, sink.at[i])
			}
		}
		if call.FirstByteStamp.Reached() && (call.FirstByteStamp > call.FirstByte || call.FirstByteStamp+error < call.Connected) {
			t.Errorf("connected at %d, first byte stamped at %d and read at %d", call.Connected, call.FirstByteStamp, call.FirstByte)
		}
	}
}

// TestMessagesOfOneReadShareItsStamp, those of several streams as well.
func TestMessagesOfOneReadShareItsStamp(t *testing.T) {
	address := serve(t, nil, func(s *script) {
		first, second := s.request(), s.request()
		if second == 0 {
			return
		}
		nc := s.nc
		var all joined
		s.fr = http2.NewFramer(&all, nc)
		s.answer(first, "one")
		s.answer(second, "two")
		_, _ = nc.Write(all)
		s.drain()
	})
	p := newPool(t, address, func(cfg *Config) { cfg.Max = 1 })
	one, a := newCall("x")
	two, b := newCall("y")
	ended := make(chan error, 1)
	go func() { ended <- p.Do(within(t), one) }()
	if err := p.Do(within(t), two); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(a.at) != 1 || len(b.at) != 1 || a.at[0] != b.at[0] || one.Stamp != two.Stamp {
		t.Errorf("read at %v and %v, stamped at %v and %v", a.at, b.at, one.Stamp, two.Stamp)
	}
}

// joined collects what is written.
type joined []byte

func (j *joined) Write(p []byte) (int, error) {
	*j = append(*j, p...)
	return len(p), nil
}

// TestLookups: the first connection to a name tells how long the lookup took, the next one needs none; an address needs none.
func TestLookups(t *testing.T) {
	address := serve(t, nil, func(s *script) {
		if id := s.request(); id != 0 {
			s.answer(id, "hello")
		}
		s.drain()
	})
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string][]bool{"localhost": {true, false}, "127.0.0.1": {false, false}} {
		p := newPool(t, net.JoinHostPort(host, port), func(cfg *Config) { cfg.Private = true })
		for i, looked := range want {
			call, _ := newCall("x")
			if err := p.Do(within(t), call); err != nil || !call.NewConnection || (call.Lookup > 0) != looked || call.Handshake != 0 {
				t.Errorf("%s, call %d: %v, lookup of %v", host, i, err, call.Lookup)
			}
		}
	}
}
