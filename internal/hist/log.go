package hist

import (
	"fmt"
	"io"
	"strings"
)

// LogWriter writes an interval log of version 1.3 that HdrHistogram's tools open (.hlog). Each
// line holds one interval of one tag. Values and interval maxima are in the unit of the series:
// microseconds for durations.
type LogWriter struct {
	w       io.Writer
	encoder *logEncoder
}

// NewLogWriter writes the header of a log and returns a writer for its intervals. startMilli is
// the start of the run in milliseconds since 1970, UTC; the intervals count from it. Comments
// are lines for people; each must be a single line.
func NewLogWriter(w io.Writer, startMilli int64, comments ...string) (*LogWriter, error) {
	if startMilli < 0 {
		return nil, fmt.Errorf("a histogram log cannot start before 1970, at %d ms", startMilli)
	}
	var text strings.Builder
	text.WriteString("#[Histogram log format version 1.3]\n")
	for _, c := range comments {
		if strings.ContainsAny(c, "\r\n") {
			return nil, fmt.Errorf("comment %q of a histogram log is more than one line", c)
		}
		fmt.Fprintf(&text, "#%s\n", c)
	}
	seconds := fmt.Sprintf("%d.%03d", startMilli/1000, startMilli%1000)
	fmt.Fprintf(&text, "#[BaseTime: %s (seconds since epoch)]\n", seconds)
	fmt.Fprintf(&text, "#[StartTime: %s (seconds since epoch)]\n", seconds)
	text.WriteString("\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n")
	if _, err := io.WriteString(w, text.String()); err != nil {
		return nil, fmt.Errorf("write the header of a histogram log: %w", err)
	}
	encoder, err := newLogEncoder()
	if err != nil {
		return nil, fmt.Errorf("write a histogram log: %w", err)
	}
	return &LogWriter{w: w, encoder: encoder}, nil
}

// Interval writes one line: the values of tag from startUS to endUS, in microseconds since the
// run's start. The tag must have no comma, space or line break; LogTag makes such a one.
func (l *LogWriter) Interval(tag string, startUS, endUS int64, h *Histogram) error {
	if tag == "" || tag != LogTag(tag) {
		return fmt.Errorf("tag %q of a histogram log is empty or has a comma, a space or a line break", tag)
	}
	if startUS < 0 || endUS < startUS {
		return fmt.Errorf("interval of %s from %d µs to %d µs is before the start or ends before it begins", tag, startUS, endUS)
	}
	encoded, err := l.encoder.encode(h)
	if err != nil {
		return fmt.Errorf("encode %s for a histogram log: %w", tag, err)
	}
	_, err = fmt.Fprintf(l.w, "Tag=%s,%s,%s,%d.000,%s\n", tag, seconds(startUS), seconds(endUS-startUS), h.max, encoded)
	if err != nil {
		return fmt.Errorf("write %s to a histogram log: %w", tag, err)
	}
	return nil
}

// seconds writes microseconds as seconds, without a detour through floats.
func seconds(us int64) string { return fmt.Sprintf("%d.%06d", us/1e6, us%1e6) }

// LogTag joins parts with a slash into a tag for a log: empty parts are left out, and what a tag
// must not have becomes an underscore.
func LogTag(parts ...string) string {
	kept := make([]string, 0, len(parts))
	for _, p := range parts {
		if p != "" {
			kept = append(kept, strings.Map(tagRune, p))
		}
	}
	return strings.Join(kept, "/")
}

func tagRune(r rune) rune {
	if r <= ' ' || r == ',' || r == '"' || r == 0x7f {
		return '_'
	}
	return r
}
