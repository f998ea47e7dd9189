package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode"
)

func TestWriteText(t *testing.T) {
	all := summaries(t)
	for _, name := range names(all) {
		for _, o := range []TextOptions{
			{Width: 80, Folder: "runs/run-1"}, {Width: 160, Folder: "runs/run-1"}, {Width: 80, Color: true}, {Width: 72, ASCII: true},
		} {
			style := fmt.Sprint(o.Width)
			if o.Color {
				style += "-color"
			}
			if o.ASCII {
				style += "-ascii"
			}
			t.Run(name+"-"+style, func(t *testing.T) {
				var b bytes.Buffer
				if err := WriteText(&b, all[name], o); err != nil {
					t.Fatal(err)
				}
				golden(t, name+"-"+style+".txt", b.Bytes())
				checkLines(t, b.String(), o)
			})
		}
	}
}

// checkLines holds every line to the width and to what a terminal may be sent.
func checkLines(t *testing.T, text string, o TextOptions) {
	t.Helper()
	for _, line := range strings.Split(text, "\n") {
		if o.Color {
			line = strip(line)
		}
		if n := columns(line); n > o.Width {
			t.Errorf("a line has %d columns: %q", n, line)
		}
		for _, r := range line {
			if unicode.IsControl(r) || isBidi(r) || o.ASCII && r > 0x7e {
				t.Errorf("a line holds %U: %q", r, line)
			}
		}
	}
}

// strip takes out the colours that the page itself writes.
func strip(line string) string {
	for _, s := range []style{bold, faint, red, green, yellow, "0"} {
		line = strings.ReplaceAll(line, "\x1b["+string(s)+"m", "")
	}
	return line
}
