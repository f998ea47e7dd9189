package sse

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func collect(t testing.TB, pieces ...string) (events []string, err error) {
	t.Helper()
	var p Parser
	emit := func(e Event) error {
		s := fmt.Sprintf("%s|%s|%s", e.Type, e.Data, e.ID)
		if e.Unfinished {
			s += "|unfinished"
		}
		events = append(events, s)
		return nil
	}
	for _, s := range pieces {
		// A copy of exact length, overwritten after the call, shows any borrowing that outlives it.
		b := []byte(s)
		if err = p.Feed(b, emit); err != nil {
			return events, err
		}
		for i := range b {
			b[i] = 'X'
		}
	}
	return events, p.End(emit)
}

func TestStandard(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"LF", "data: a\n\ndata: b\n\n", []string{"|a|", "|b|"}},
		{"CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", []string{"|a|", "|b|"}},
		{"CR", "data: a\r\rdata: b\r\r", []string{"|a|", "|b|"}},
		{"mixed line ends", "data: a\r\n\ndata: b\r\r\ndata: c\n\r", []string{"|a|", "|b|", "|c|"}},
		{"byte order mark", "\xef\xbb\xbfdata: a\n\n", []string{"|a|"}},
		{"only one mark is passed over", "\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", []string{"|b|"}},
		{"a mark later on belongs to the line", "\n\xef\xbb\xbfdata: a\n\ndata: b\n\n", []string{"|b|"}},
		{"comments", ": OPENROUTER PROCESSING\n\n:\n\n: ping - 1\ndata: a\n: more\n\n", []string{"|a|"}},
		{"a comment inside data is data", "data: : OPENROUTER PROCESSING\n\n", []string{"|: OPENROUTER PROCESSING|"}},
		{"no space", "data:{\"a\":1}\n\n", []string{`|{"a":1}|`}},
		{"one space is stripped, not two", "data:  a\n\n", []string{"| a|"}},
		{"a tab is not stripped", "data:\ta\n\n", []string{"|\ta|"}},
		{"several data lines", "data: a\ndata:\ndata: b\n\n", []string{"|a\n\nb|"}},
		{"a data line without colon", "data\n\n", []string{"||"}},
		{"two data lines without colon", "data\ndata\n\n", []string{"|\n|"}},
		{"an empty data line", "data:\n\n", []string{"||"}},
		{"an event without data is none", "event: x\n\ndata: a\n\n", []string{"|a|"}},
		{"event and id in any order", "id: 7\ndata: a\nevent: e\n\ndata: b\n\n", []string{"e|a|7", "|b|7"}},
		{"an empty id clears it", "id: 7\ndata: a\n\nid\ndata: b\n\n", []string{"|a|7", "|b|"}},
		{"an id with NUL is ignored", "id: 7\nid: a\x00b\ndata: a\n\n", []string{"|a|7"}},
		{"unknown fields and names with a space", "foo: 1\nDATA: x\n data: y\ndata : z\ndata: a\n\n", []string{"|a|"}},
		{"many empty lines", "\n\n\n\ndata: a\n\n\n\n", []string{"|a|"}},
		{"the last event without its empty line", "data: a\n\ndata: b\n", []string{"|a|", "|b||unfinished"}},
		{"the last line without its end", "data: a\n\ndata: b", []string{"|a|", "|b||unfinished"}},
		{"UTF-8", "data: naïve 日本\n\n", []string{"|naïve 日本|"}},
		{"empty", "", nil},
		{"a colon first in the value", "data::a\n\n", []string{"|:a|"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			whole, err := collect(t, c.in)
			if err != nil || fmt.Sprint(whole) != fmt.Sprint(c.want) {
				t.Fatalf("got %q, %v; want %q", whole, err, c.want)
			}
			for cut := range len(c.in) + 1 {
				got, err := collect(t, c.in[:cut], c.in[cut:])
				if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("cut at %d: got %q, %v", cut, got, err)
				}
			}
			got, err := collect(t, strings.Split(c.in, "")...)
			if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("byte by byte: got %q, %v", got, err)
			}
		})
	}
}

func TestRetryAndIgnored(t *testing.T) {
	var p Parser
	none := func(Event) error { return nil }
	if err := p.Feed([]byte("retry: 10000\nretry: 1x\nretry:\nretry: 99999999999999999999\nfoo: bar\nbaz\n"), none); err != nil {
		t.Fatal(err)
	}
	if p.Retry() != 10000 || p.Ignored() != 2 {
		t.Errorf("retry %d, ignored %d; want 10000, 2", p.Retry(), p.Ignored())
	}
	p.Reset()
	if p.Retry() != 0 || p.Ignored() != 0 {
		t.Error("reset leaves counts behind")
	}
}

func TestLimits(t *testing.T) {
	none := func(Event) error { return nil }
	feed := func(s string, times int) (*Parser, error) {
		p := new(Parser)
		for range times {
			if err := p.Feed([]byte(s), none); err != nil {
				return p, err
			}
		}
		return p, nil
	}
	p, err := feed(strings.Repeat("x", 4<<10), 10_000) // an endless line
	if !errors.Is(err, ErrLine) {
		t.Errorf("endless line: %v", err)
	}
	if cap(p.line) > 2*MaxLine {
		t.Errorf("an endless line made the parser hold %d bytes", cap(p.line))
	}
	if _, err := feed("data: "+strings.Repeat("x", MaxLine-6)+"\n\n", 2); err != nil {
		t.Errorf("a line of exactly 1 MiB: %v", err)
	}
	if _, err := feed("data: "+strings.Repeat("x", MaxLine-5)+"\n\n", 1); !errors.Is(err, ErrLine) {
		t.Errorf("a line of 1 MiB and a byte: %v", err)
	}
	if p, err = feed("data: "+strings.Repeat("x", 64<<10)+"\n", 10_000); !errors.Is(err, ErrEvent) {
		t.Errorf("endless data: %v", err)
	}
	if cap(p.data) > 2*MaxEvent {
		t.Errorf("an endless event made the parser hold %d bytes", cap(p.data))
	}
	if _, err := feed(strings.Repeat("data\n", 1<<10), 5<<10); !errors.Is(err, ErrEvent) {
		t.Errorf("endless empty data lines: %v", err)
	}
	if err := p.Feed([]byte("data: a\n\n"), none); !errors.Is(err, ErrEvent) {
		t.Errorf("after an error the parser went on: %v", err)
	}
	p.Reset()
	if cap(p.data) > keepBuffer {
		t.Errorf("reset keeps %d bytes", cap(p.data))
	}
}

func TestEmitErrorStops(t *testing.T) {
	stop := errors.New("stop")
	var p Parser
	calls := 0
	emit := func(Event) error { calls++; return stop }
	if err := p.Feed([]byte("data: a\n\ndata: b\n\n"), emit); err != stop || calls != 1 {
		t.Errorf("error %v after %d calls", err, calls)
	}
	if err := p.End(emit); err != stop || calls != 1 {
		t.Errorf("at the end: error %v after %d calls", err, calls)
	}
}

// reference is the standard read literally, a line at a time, over the whole input.
func reference(in string) (events []string) {
	in = strings.TrimPrefix(in, "\xef\xbb\xbf")
	in = strings.ReplaceAll(strings.ReplaceAll(in, "\r\n", "\n"), "\r", "\n")
	var data, kind, id string
	dispatch := func(mark string) {
		if data != "" {
			events = append(events, kind+"|"+strings.TrimSuffix(data, "\n")+"|"+id+mark)
		}
		data, kind = "", ""
	}
	lines := strings.Split(in, "\n")
	for i, line := range lines {
		if line == "" {
			if i < len(lines)-1 {
				dispatch("")
			}
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "data":
			data += value + "\n"
		case "event":
			kind = value
		case "id":
			if !strings.Contains(value, "\x00") {
				id = value
			}
		}
	}
	dispatch("|unfinished")
	return events
}

// FuzzChunking: however the input is cut, the events are those of the standard.
func FuzzChunking(f *testing.F) {
	for _, s := range []string{
		"data: a\n\ndata: b\n\n", "\xef\xbb\xbfdata: a\r\n\r\n", "event: x\rdata: y\rid: 1\r\r", "data\n\n:c\n\ndata:\n",
		"data: {\"choices\":[{\"delta\":{\"content\":\"ü\"}}]}\n\ndata: [DONE]\n\n", "id: \x00\nretry: 5\n\n", "\xef\xbb", "\r\n\r\n\n\r",
	} {
		f.Add(s, uint64(3))
		f.Add(s, uint64(0xdeadbeef))
	}
	f.Fuzz(func(t *testing.T, in string, cuts uint64) {
		if len(in) > 64<<10 {
			return
		}
		want := fmt.Sprintf("%q", reference(in))
		var pieces []string
		for rest, i := in, uint64(0); len(rest) > 0; i++ {
			n := 1 + int((cuts>>(i*3%61))&7)
			n = min(n, len(rest))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		for _, p := range [][]string{{in}, pieces} {
			got, err := collect(t, p...)
			if err != nil {
				t.Fatal(err)
			}
			if s := fmt.Sprintf("%q", got); s != want {
				t.Fatalf("in %d pieces: got %s, want %s", len(p), s, want)
			}
		}
	})
}

const chunk = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}` + "\n\n"

func TestNoAllocations(t *testing.T) {
	in := []byte(strings.Repeat(chunk, 20))
	var p Parser
	n := 0
	emit := func(e Event) error { n += len(e.Data); return nil }
	half := len(in)/2 + 7
	got := testing.AllocsPerRun(100, func() {
		_ = p.Feed(in[:half], emit)
		_ = p.Feed(in[half:], emit)
	})
	if got != 0 {
		t.Errorf("%v allocations for 20 events in two pieces", got)
	}
}

func BenchmarkFeed(b *testing.B) {
	for _, events := range []int{1, 20} {
		b.Run(fmt.Sprintf("events=%d", events), func(b *testing.B) {
			in := []byte(strings.Repeat(chunk, events))
			var p Parser
			n := 0
			emit := func(e Event) error { n++; return nil }
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				_ = p.Feed(in, emit)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
		})
	}
}
