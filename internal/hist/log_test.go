package hist

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
	"pgregory.net/rapid"
)

func TestLogHeader(t *testing.T) {
	var b bytes.Buffer
	if _, err := NewLogWriter(&b, 1_790_000_000_042, "[durations in microseconds]"); err != nil {
		t.Fatal(err)
	}
	want := `#[Histogram log format version 1.3]
#[durations in microseconds]
#[BaseTime: 1790000000.042 (seconds since epoch)]
#[StartTime: 1790000000.042 (seconds since epoch)]
"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What we write, the library reads: tag, interval and every count.
func TestLogReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b bytes.Buffer
		const start = 1_790_000_000_000
		l, err := NewLogWriter(&b, start)
		if err != nil {
			t.Fatal(err)
		}
		tags := []string{"ttft", "e2e/hold/golden"}
		written := make([]*Histogram, len(tags))
		for i, tag := range tags {
			written[i] = record(rapid.SliceOfN(value(), 0, 50).Draw(t, tag)...)
			if err := l.Interval(tag, int64(i)*1_000_000, int64(i+1)*1_000_000, written[i]); err != nil {
				t.Fatal(err)
			}
		}
		r := hdrhistogram.NewHistogramLogReader(&b)
		for i, tag := range tags {
			got, err := r.NextIntervalHistogram()
			if err != nil || got == nil {
				t.Fatalf("interval %d: %v, %v", i, got, err)
			}
			if got.Tag() != tag || got.StartTimeMs() != start+int64(i)*1000 || got.EndTimeMs() != start+int64(i+1)*1000 {
				t.Fatalf("interval %d: %s from %d to %d", i, got.Tag(), got.StartTimeMs(), got.EndTimeMs())
			}
			if got.TotalCount() != int64(written[i].Count()) {
				t.Fatalf("%s: %d values, want %d", tag, got.TotalCount(), written[i].Count())
			}
			counts := got.Export().Counts
			for b, c := range written[i].All() {
				if counts[b.Index] != int64(c) {
					t.Fatalf("%s: bucket %d: %d, want %d", tag, b.Index, counts[b.Index], c)
				}
			}
		}
	})
}

func TestLogLine(t *testing.T) {
	var b bytes.Buffer
	l, err := NewLogWriter(&b, 0)
	if err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if err := l.Interval("ttft", 1_500_000, 2_500_001, record(123_457)); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), "Tag=ttft,1.500000,1.000001,123457.000,HISTFAAAA"; !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want it to begin with %s", got, want)
	}
}

func TestLogRefuses(t *testing.T) {
	l, err := NewLogWriter(new(bytes.Buffer), 0)
	if err != nil {
		t.Fatal(err)
	}
	h := record(1)
	for _, tag := range []string{"", "a b", "a,b", "a\nb"} {
		if l.Interval(tag, 0, 1, h) == nil {
			t.Errorf("tag %q is accepted", tag)
		}
	}
	if l.Interval("ttft", 2, 1, h) == nil || l.Interval("ttft", -1, 1, h) == nil {
		t.Error("an impossible interval is accepted")
	}
	if _, err := NewLogWriter(new(bytes.Buffer), 0, "two\nlines"); err == nil {
		t.Error("a comment of two lines is accepted")
	}
	if _, err := NewLogWriter(new(bytes.Buffer), -1); err == nil {
		t.Error("a start before 1970 is accepted")
	}
	if _, err := NewLogWriter(failing{}, 0); !errors.Is(err, errFull) {
		t.Errorf("a failed write gives %v", err)
	}
	l.w = failing{}
	if err := l.Interval("ttft", 0, 1, h); !errors.Is(err, errFull) {
		t.Errorf("a failed write gives %v", err)
	}
}

var errFull = errors.New("full")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFull }

func TestLogTag(t *testing.T) {
	if got, want := LogTag("ttft", "warm-up", "", "a b,c"), "ttft/warm-up/a_b_c"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The log's form is that of the library, to the byte.
func TestLogEncodesAsTheLibrary(t *testing.T) {
	encoder, err := newLogEncoder()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		var ours Histogram
		theirs := hdrhistogram.New(1, MaxValue, significantDigits)
		for _, v := range rapid.SliceOfN(rapid.Uint64Range(0, MaxValue), 0, 200).Draw(t, "values") {
			ours.Record(v)
			if err := theirs.RecordValue(int64(v)); err != nil {
				t.Fatal(err)
			}
		}
		want, err := theirs.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
		if err != nil {
			t.Fatal(err)
		}
		got, err := encoder.encode(&ours)
		if err != nil || string(got) != string(want) {
			t.Fatalf("encoded as %s, the library as %s (%v)", got, want, err)
		}
	})
}
