package main

import (
	"math"
	"testing"
	"time"
)

func TestJoin(t *testing.T) {
	us := func(v int64) *int64 { return &v }
	ours := []ourRequest{
		{Phase: "p", Arrival: 1, DispatchedUS: us(10), SentUS: us(30), FirstTokenUS: us(310), LastTokenUS: us(510), Events: 3},
		{Phase: "p", Arrival: 2, DispatchedUS: us(0), SentUS: us(20), FirstTokenUS: us(200), LastTokenUS: us(200), Events: 1},
		{Phase: "p", Arrival: 3, DispatchedUS: us(0), SentUS: us(20)},                                                    // it failed
		{Phase: "p", Arrival: 4, DispatchedUS: us(0), SentUS: us(1), FirstTokenUS: us(2), LastTokenUS: us(3), Events: 1}, // they have not seen it
	}
	theirs := []theirRequest{
		{Arrival: "p/2/0", BegunNS: 5000, FirstNS: 255000, LastNS: 255000, Events: 2},
		{Arrival: "p/1/0", BegunNS: 1000, FirstNS: 201000, LastNS: 401000, Events: 3},
		{Arrival: "p/3/0", BegunNS: 1000, FirstNS: 2000, LastNS: 2000, Events: 1},
		{Arrival: "p/9/0", BegunNS: 1000, FirstNS: 2000, LastNS: 2000, Events: 1},
	}
	j := join(ours, theirs)
	if j.count != 2 || j.oursAlone != 2 || j.theirsAlone != 2 || j.torn != 1 {
		t.Errorf("%+v", j)
	}
	if j.ttft[0] != 100 || j.ttft[1] != -50 || j.span[0] != 0 || j.sent[0] != 20 {
		t.Errorf("errors %v, spans %v, sent %v", j.ttft, j.span, j.sent)
	}
	if got := errorAt(j.ttft, 0.5); got != 50 {
		t.Errorf("the median size is %v", got)
	}
	if got := errorAt(j.ttft, 0.99); got != 100 {
		t.Errorf("the 99th percentile is %v", got)
	}
	if !math.IsNaN(errorAt(nil, 0.5)) {
		t.Error("of nothing there is an error")
	}
}

func TestTruthBound(t *testing.T) {
	for streams, want := range map[int]float64{1: 0.3, 100: 0.3, 101: 1, 1000: 1, 2000: 3} {
		if got := truthBound(streams); got != want {
			t.Errorf("%d streams: %v ms, not %v", streams, got, want)
		}
	}
}

func TestGCSpent(t *testing.T) {
	trace := "a line of something else\n" +
		"gc 1 @0.013s 2%: 0.01+1.5+0.02 ms clock, 0.02+0.5/1.0/3.0+0.04 ms cpu, 3->4->1 MB, 4 MB goal, 0 MB stacks, 0 MB globals, 2 P\n" +
		"gc 2 @0.023s 2%: 0.01+1.5+0.02 ms clock, 0.10+0/0.30/9.9+0.04 ms cpu, 3->4->1 MB, 4 MB goal, 0 MB stacks, 0 MB globals, 2 P\n"
	cycles, spent, err := gcSpent(trace)
	if err != nil || cycles != 2 || spent != 2*time.Millisecond {
		t.Errorf("%d cycles, %v, %v", cycles, spent, err)
	}
	if _, _, err := gcSpent("gc 1 @0.013s 2%: 0.01 ms clock, what ms cpu, 3->4->1 MB\n"); err == nil {
		t.Error("a line that makes no sense was taken")
	}
}
