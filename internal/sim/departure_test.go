package sim

import (
	"context"
	"io"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestEventsLeaveWithTheNextWrite: whatever is handed over between two writes of a connection leaves with the second,
// each answer's events in their order.
func TestEventsLeaveWithTheNextWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := int64(1)
		conn := &stampedConn{dock: dock{now: func() int64 { return clock }}}
		var l ledger
		ends := make([]ending, 3)
		out := make([]*emission, len(ends))
		for i := range ends {
			ends[i].streamed = true
			out[i] = newEmission(&l, &ends[i], conn, 0)
		}
		handed := make([][]int, len(ends)) // numbers of writes
		writes := []int64{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			clock += rapid.Int64Range(1, 5_000_000).Draw(t, "pause")
			if rapid.Bool().Draw(t, "write") {
				conn.dock.writes()
				writes = append(writes, clock)
				continue
			}
			i := rapid.IntRange(0, len(ends)-1).Draw(t, "answer")
			var failed error
			if rapid.IntRange(0, 9).Draw(t, "fails") == 0 {
				failed = io.ErrClosedPipe
			}
			if err := out[i].send(clock, 1, func() error { return failed }); err != failed {
				t.Fatalf("%v, want %v", err, failed)
			}
			if failed == nil {
				handed[i] = append(handed[i], len(writes))
			}
		}
		clock++
		conn.dock.writes()
		writes = append(writes, clock)
		for i := range ends {
			out[i].settle(&sleeper{})
			check(t, &ends[i], handed[i], writes)
		}
	})
}

// check holds what was taken down of an answer against the writes with which its events left.
func check(t *rapid.T, end *ending, handed []int, writes []int64) {
	if end.events != len(handed) || len(end.gaps) != max(len(handed)-1, 0) {
		t.Fatalf("%d events and %d gaps of %d", end.events, len(end.gaps), len(handed))
	}
	for n, w := range handed {
		switch {
		case n == 0 && end.ttft != writes[w]:
			t.Fatalf("the first event left at %d, want %d", end.ttft, writes[w])
		case n > 0 && uint64(end.gaps[n-1]) != micros(writes[w]-writes[handed[n-1]]):
			t.Fatalf("gap %d is %d µs, want %d ns", n, end.gaps[n-1], writes[w]-writes[handed[n-1]])
		case n == len(handed)-1 && end.last != writes[w]:
			t.Fatalf("the last event left at %d, want %d", end.last, writes[w])
		}
	}
}

// sent is a write that succeeds.
func sent() error { return nil }

// TestWhatNeverLeaves does not hold its answer up: it is noted as handed over when the peer or the server is gone.
func TestWhatNeverLeaves(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	end := ending{streamed: true}
	out := newEmission(&ledger{}, &end, &stampedConn{dock: dock{now: func() int64 { return 9 }}}, 0)
	_ = out.send(7, 2, sent)
	out.settle(&sleeper{gone: ctx.Done(), ctx: ctx})
	if end.ttft != 7 || end.last != 7 || end.events != 2 || len(end.gaps) != 1 {
		t.Errorf("%+v", end)
	}
}

// TestAnAnswerWaitsForItsLastEvent: what is handed over leaves after the handler has nothing more to do.
func TestAnAnswerWaitsForItsLastEvent(t *testing.T) {
	conn := &stampedConn{dock: dock{now: func() int64 { return 42 }}}
	end := ending{streamed: true}
	out := newEmission(&ledger{}, &end, conn, 0)
	_ = out.send(7, 1, sent)
	done := make(chan struct{})
	go func() {
		defer close(done)
		time.Sleep(time.Millisecond)
		conn.dock.writes()
	}()
	out.settle(&sleeper{})
	<-done
	if end.last != 42 {
		t.Errorf("the last event left at %d, want 42", end.last)
	}
}
