package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	xterm "golang.org/x/term"

	"github.com/loadline/loadline/cmd/loadline/term"
	"github.com/loadline/loadline/coordinator/report"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// lineEvery is the number of seconds between two lines of progress off a terminal.
const lineEvery = 5

// maxHeld bounds the log lines that wait for the end of a live view, in bytes.
const maxHeld = 64 << 10

// viewOptions are the flags of commands that show a run.
type viewOptions struct {
	quiet   bool
	json    bool
	plain   bool
	noColor bool
}

func (o *viewOptions) add(f *flags) {
	f.yes(&o.quiet, "quiet", "no progress: the final block and errors alone")
	f.yes(&o.json, "json", "summary.json on standard output, progress as JSON lines on standard error")
	f.yes(&o.plain, "plain", "lines of progress instead of the live view")
	f.yes(&o.noColor, "no-color", "no colours; NO_COLOR does the same")
}

// newView chooses how the run is shown: not at all, as JSON lines, live on a terminal, or line by line.
func (a *app) newView(ctx context.Context, o *viewOptions, r *preparedRun) view {
	h := term.Header{Scenario: r.scenario.GetName(), Seed: r.scenario.GetSeed()}
	switch {
	case o.quiet:
		return quietView{}
	case o.json:
		return &jsonView{out: json.NewEncoder(a.stderr), state: term.NewState(h)}
	case !o.plain && a.liveTerminal():
		var keys io.Reader
		if isTerminal(a.stdin) {
			keys = a.stdin
		}
		live := term.StartLive(ctx, term.Terminal{Input: keys, Output: a.stderr, Environ: a.terminalVariables(), Color: a.colors(o.noColor)}, h)
		return &liveView{Live: live, out: a.stderr}
	default:
		v := &lineView{out: a.stderr, state: term.NewState(h), next: lineEvery - 1}
		v.Notice(fmt.Sprintf("run %s of %s; its folder is %s", r.id, h.Scenario, r.folder))
		return v
	}
}

// liveTerminal reports whether a live view can be drawn on standard error.
func (a *app) liveTerminal() bool {
	name, _ := a.env("TERM")
	return isTerminal(a.stderr) && name != "dumb"
}

// colors reports whether colours are wanted (no-color.org: NO_COLOR set to anything but nothing).
func (a *app) colors(off bool) bool {
	no, _ := a.env("NO_COLOR")
	return !off && no == ""
}

// isTerminal reports whether a stream of the process is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(interface{ Fd() uintptr })
	return ok && xterm.IsTerminal(int(f.Fd()))
}

// width is that of the terminal behind a stream; 0 when there is none.
func width(stream any) int {
	f, ok := stream.(interface{ Fd() uintptr })
	if !ok {
		return 0
	}
	w, _, err := xterm.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return w
}

// terminalVariables are those that say what a terminal can do.
func (a *app) terminalVariables() []string {
	var vars []string
	for _, name := range []string{"TERM", "COLORTERM", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE",
		"TMUX", "STY", "SSH_TTY", "WT_SESSION", "LANG", "LC_ALL", "LC_CTYPE"} {
		if value, ok := a.env(name); ok {
			vars = append(vars, name+"="+value)
		}
	}
	return vars
}

// quietView shows nothing.
type quietView struct{}

func (quietView) Show(*pb.WatchRunResponse) {}
func (quietView) Stopping(int)              {}
func (quietView) Notice(string)             {}
func (quietView) Stops() <-chan struct{}    { return nil }
func (quietView) Close() error              { return nil }

// liveView is the view on a terminal. Sentences wait until it has given the terminal back.
type liveView struct {
	*term.Live
	out     io.Writer
	notices []string
}

// Notice implements view.
func (v *liveView) Notice(text string) { v.notices = append(v.notices, text) }

// Close implements view.
func (v *liveView) Close() error {
	err := v.Live.Close()
	for _, text := range v.notices {
		fmt.Fprintln(v.out, report.Clean(text))
	}
	return err
}

// lineView writes a line of progress every few seconds, and one when the run changes its state.
type lineView struct {
	out   io.Writer
	state *term.State
	last  pb.RunState
	next  uint64 // second from which the next line is due
}

// Show implements view.
func (v *lineView) Show(m *pb.WatchRunResponse) {
	v.state.Apply(m)
	changed := m.HasStatus() && m.GetStatus().GetState() != v.last
	v.last = m.GetStatus().GetState()
	second := m.GetSnapshot().GetSecond()
	due := m.HasSnapshot() && second >= v.next
	if due {
		v.next = second - (second+1)%lineEvery + lineEvery
	}
	if due || changed {
		fmt.Fprintln(v.out, v.state.Line())
	}
}

// Stopping implements view.
func (v *lineView) Stopping(times int) {
	v.state.Stopping(times)
	if text := stoppingText(times); text != "" {
		v.Notice(text)
	}
}

// Notice implements view.
func (v *lineView) Notice(text string) { fmt.Fprintln(v.out, report.Clean(text)) }

// Stops implements view.
func (v *lineView) Stops() <-chan struct{} { return nil }

// Close implements view.
func (v *lineView) Close() error { return nil }

func stoppingText(times int) string {
	switch times {
	case 1:
		return "stopping: no new arrivals, what is in flight may end; ctrl-c again stops now"
	case 2:
		return "stopping now; ctrl-c once more leaves at once, the journal stays valid"
	default:
		return ""
	}
}

// jsonView writes one JSON object a line: progress each second, and notices.
type jsonView struct {
	out   *json.Encoder
	state *term.State
}

// Show implements view.
func (v *jsonView) Show(m *pb.WatchRunResponse) {
	v.state.Apply(m)
	if m.HasSnapshot() {
		_ = v.out.Encode(v.state.Progress()) // standard error is gone; the run goes on
	}
}

// Stopping implements view.
func (v *jsonView) Stopping(times int) {
	v.state.Stopping(times)
	if text := stoppingText(times); text != "" {
		v.Notice(text)
	}
}

// Notice implements view.
func (v *jsonView) Notice(text string) {
	_ = v.out.Encode(map[string]string{"notice": text}) // as above
}

// Stops implements view.
func (v *jsonView) Stops() <-chan struct{} { return nil }

// Close implements view.
func (v *jsonView) Close() error { return nil }

// heldWriter keeps what is written while a live view has the terminal, up to a bound, and passes everything on
// afterwards. It is safe for several goroutines.
type heldWriter struct {
	mu      sync.Mutex
	out     io.Writer
	holding bool
	held    bytes.Buffer
	dropped int
}

// Write implements io.Writer.
func (w *heldWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !w.holding:
		return w.out.Write(p)
	case w.held.Len()+len(p) > maxHeld:
		w.dropped++
		return len(p), nil
	default:
		return w.held.Write(p)
	}
}

// hold begins to keep what is written.
func (w *heldWriter) hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holding = true
}

// release writes what was kept, and says how much was not.
func (w *heldWriter) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holding = false
	_, _ = w.held.WriteTo(w.out) // standard error is gone: there is nobody to tell
	if w.dropped > 0 {
		fmt.Fprintf(w.out, "%d more lines of the log were left out\n", w.dropped)
		w.dropped = 0
	}
}
