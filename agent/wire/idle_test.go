package wire

import (
	"context"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/loadline/loadline/agent/wire/wiretest"
	"github.com/loadline/loadline/internal/measure"
)

// waiting is a sink that tells when the first piece of body came.
type waiting struct{ come chan<- bool }

func (waiting) Head(*Exchange) (Wait, error) { return Keep, nil }

func (w waiting) Body([]byte, measure.Instant) (Wait, error) {
	w.come <- true
	return Progress, nil
}

// silent serves streams that say one thing and then nothing, with one goroutine for all of them.
func silent(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		var open []net.Conn
		buf := make([]byte, 4<<10)
		for {
			nc, err := l.Accept()
			if err != nil {
				break
			}
			open = append(open, nc)
			if _, err := nc.Read(buf); err == nil {
				_, _ = nc.Write([]byte(okHead + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"))
			}
		}
		for _, nc := range open {
			_ = nc.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

// inUse is the memory in use, stacks included, in bytes.
func inUse() uint64 {
	runtime.GC()
	runtime.GC() // the second empties the pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// perStream opens n streams and returns the memory that each takes while it waits, in bytes. The
// server's ends are in it too.
func perStream(t testing.TB, n int) uint64 {
	client := newClient(t, Config{URL: "http://" + silent(t), Timeouts: Timeouts{Total: wiretest.Patience}})
	ctx, cancel := context.WithCancel(t.Context())
	come := make(chan bool)
	var wg sync.WaitGroup
	before := inUse()
	for range n {
		wg.Go(func() {
			var ex Exchange
			req := &Request{Method: "POST", Path: "/", Header: []Header{{"Content-Type", "application/json"}}, Body: make([]byte, 256)}
			if err := client.Do(ctx, req, &ex, waiting{come}); class(err) != measure.ClassCanceled {
				t.Errorf("%v (%s)", err, class(err))
			}
		})
		<-come
	}
	took := (inUse() - before) / uint64(n)
	cancel()
	wg.Wait()
	return took
}

// TestMemoryOfAnIdleStream: 20,000 of them are to fit into 400 MB, so each may take 20 kB. What a read
// buffer takes alone would be most of it.
func TestMemoryOfAnIdleStream(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	took := perStream(t, 300)
	t.Logf("%d bytes a stream", took)
	if took > readBuffer {
		t.Errorf("an idle stream takes %d bytes", took)
	}
}

func BenchmarkIdleStream(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(float64(perStream(b, 1000)), "B/stream")
	}
}
