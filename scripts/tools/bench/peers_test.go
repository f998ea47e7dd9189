package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

func TestCounts(t *testing.T) {
	var c counts
	if binary.Size(c) > countsSize {
		t.Fatalf("%d bytes do not fit the file", binary.Size(c))
	}
	at := func(at, cpu int) moment {
		return moment{time.Duration(at) * time.Second, time.Duration(cpu) * time.Second}
	}
	c.turned(true, at(0, 0), at(5, 4)) // idle from the start: not counted
	c.turned(false, at(5, 4), at(8, 6))
	c.turned(true, at(8, 6), at(9, 7))
	c.turned(false, at(9, 7), at(13, 8))
	if c.span() != 8*time.Second || c.busy() != 0.75 {
		t.Errorf("busy %v of %v", c.busy(), c.span())
	}
}

func TestHighWater(t *testing.T) {
	for status, want := range map[string]uint64{
		"Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n": 2 << 20,
		"Name:\tx\n":       0,
		"VmHWM:\tmany kB":  0,
		"VmHWM:\t-1 kB\n1": 0,
	} {
		if got := highWater(status); got != want {
			t.Errorf("%q: %d, not %d", status, got, want)
		}
	}
}

func TestSpread(t *testing.T) {
	of := func(v ...float64) spread {
		var s []sample
		for _, x := range v {
			s = append(s, sample{perSecond: x})
		}
		return spreadOf(s, sample.rate)
	}
	if got := of(3, 1, 2); got != (spread{2, 1, 3}) {
		t.Errorf("three rounds: %v", got)
	}
	if got := of(4, 1, 2, 3); got != (spread{2.5, 1, 4}) {
		t.Errorf("four rounds: %v", got)
	}
	if got := of(); !math.IsNaN(got.median) {
		t.Errorf("no round: %v", got)
	}
}

func TestChosen(t *testing.T) {
	if all := chosen(""); !all("wrk") {
		t.Error("an empty list is not all")
	}
	if some := chosen("wrk, k6"); !some("k6") || some("hey") {
		t.Error("a list is not what it names")
	}
	if err := known("wrk,loadline", "unary stream1"); err != nil {
		t.Error(err)
	}
	if err := known("wrk,curl", "binary"); err == nil || !strings.Contains(err.Error(), `"curl"`) || !strings.Contains(err.Error(), `"binary"`) {
		t.Errorf("names that there are not: %v", err)
	}
}

// A tool that cannot do a kind of work says so before it is started; one that can has a command line.
func TestPeerCommands(t *testing.T) {
	names := map[string]bool{"loadline": true, "bare": true}
	for _, x := range tools() {
		names[x.name] = true
	}
	for _, k := range kinds() {
		for _, p := range k.peers() {
			if !names[p.name] {
				t.Errorf("%s is installed by nobody", p.name)
			}
			c := call{kind: k, tool: "/bin/" + p.name, host: "127.0.0.1:1", url: "http://127.0.0.1:1/", dir: "/d", lasting: 3 * time.Second, sessions: 7}
			if line := p.load(c); len(line) > 0 && line[0] != c.tool {
				t.Errorf("%s, %s: %q", p.name, k.name, line)
			}
		}
	}
}

func TestLookLoadline(t *testing.T) {
	const text = `{"requests": {"succeeded": %d}, "validity": {"valid": %t, "reasons": ["late"]}, "series": [
		{"name": "e2e", "count": 10}, {"name": "itl", "count": %d}, {"name": "lateness", "count": 10, "p99": 1500}]}`
	for _, c := range []struct {
		name  string
		out   string
		wrong string
		notes int
	}{
		{"all recorded", fmt.Sprintf(text, 10, true, 990), "", 0},
		{"not good enough", fmt.Sprintf(text, 10, false, 990), "", 1},
		{"a request failed", fmt.Sprintf(text, 9, true, 990), "9 of 10 requests", 0},
		{"gaps are missing", fmt.Sprintf(text, 10, true, 989), "989 of 990 gaps", 0},
		{"no summary", "", "no summary", 0},
	} {
		var s sample
		err := lookLoadline(&s, call{kind: kind{events: 100}, sessions: 10}, []byte(c.out), nil)
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v", c.name, err)
		}
		if len(s.notes) != c.notes || err == nil && s.late != 1500 {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}
