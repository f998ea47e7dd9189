package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// plannedArrivals is the number of arrivals of steady over five minutes, none of which a stopped run reaches.
const plannedArrivals = 5 * 60 * 50

// running starts steady for five minutes and returns when the target has seen some of it.
func running(t *testing.T, g *target, args ...string) *played {
	t.Helper()
	dir := files{"s.yaml": steadyFor(g)}.write(t)
	p := &played{dir: dir, folder: filepath.Join(dir, "r")}
	p.process = start(t, dir, nil, append([]string{"run", "s.yaml", "--out", "r", "--agents", "2", "--set", "load[0].duration=5m"}, args...)...)
	p.until(t, "some requests at the target", func() bool { return g.begun() >= 10 })
	return p
}

// stopped reads the summary of a run that a signal has ended.
func (p *played) stopped(t *testing.T, g *target) {
	t.Helper()
	if status := p.wait(); status != 105 {
		t.Errorf("exit status %d, want 105\n%s%s", status, &p.out, &p.err)
	}
	p.read(t)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_ABORTED)
	a, sent := p.summary.GetArrivals(), p.summary.GetRequests().GetSent()
	if a.GetDue() >= plannedArrivals || a.GetLost() != 0 || sent != a.GetStarted() {
		t.Errorf("arrivals %v, %d requests sent", a, sent)
	}
	seen := g.arrivals(t, p.summary.GetRunId())
	wantOnce(t, seen)
	if uint64(len(seen)) > sent {
		t.Errorf("the target saw %d arrivals, %d were sent", len(seen), sent)
	}
	if !strings.Contains(p.out.String(), "stopped") {
		t.Errorf("the final block does not say that the run was stopped:\n%s", &p.out)
	}
	before := read(t, p.folder, "summary.json")
	if status, again := reported(t, p.dir); status != 105 || !bytes.Equal(before, again) {
		t.Errorf("report ended with %d, its summary is the same: %v", status, bytes.Equal(before, again))
	}
}

// TestOneSignalDrains: no new arrivals, what is in flight ends, full report.
func TestOneSignalDrains(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			g := serveSim(t, slow)
			p := running(t, g)
			p.signal(t, signal)
			p.stopped(t, g)
			r := p.summary.GetRequests()
			if r.GetSucceeded() != r.GetSent() {
				t.Errorf("what was in flight did not end well: %v\n%s", r, &p.out)
			}
			if n := uint64(len(g.arrivals(t, p.summary.GetRunId()))); n != r.GetSent() {
				t.Errorf("the target saw %d arrivals, %d were sent", n, r.GetSent())
			}
			if got := strings.Count(p.err.String(), "ctrl-c again"); got != 1 {
				t.Errorf("the way to stop at once was told %d times:\n%s", got, &p.err)
			}
		})
	}
}

// TestTwoSignalsStopAtOnce: the drain is cut short, and the report is whole.
func TestTwoSignalsStopAtOnce(t *testing.T) {
	t.Parallel()
	g := serveSim(t, fault(t, "hang:from=5"))
	p := running(t, g, "--set", "drain=1h", "--set", "targets[0].timeouts.first_token=1h", "--set", "targets[0].timeouts.total=2h")
	p.signal(t, syscall.SIGINT)
	p.until(t, "the first signal is answered", func() bool { return strings.Contains(p.err.String(), "no new arrivals") })
	p.signal(t, syscall.SIGINT)
	p.stopped(t, g)
	if r := p.summary.GetRequests(); r.GetCanceled() == 0 || r.GetCanceled()+r.GetSucceeded() != r.GetSent() {
		t.Errorf("requests: %v", r)
	}
}

// TestSignalBeforeTheLoad: a run that is stopped while its agents get ready, or right after, still ends in good order.
func TestSignalBeforeTheLoad(t *testing.T) {
	t.Parallel()
	g := serveSim(t, nil)
	dir := files{"s.yaml": steadyFor(g)}.write(t)
	p := start(t, dir, nil, "run", "s.yaml", "--out", "r", "--set", "load[0].duration=5m")
	p.until(t, "the run has its folder", func() bool { return strings.Contains(p.err.String(), "its folder is r") })
	p.signal(t, syscall.SIGTERM)
	if status := p.wait(); status != 105 {
		t.Errorf("exit status %d, want 105\n%s%s", status, &p.out, &p.err)
	}
	s := summaryOf(t, filepath.Join(dir, "r"))
	checkLedger(t, s)
	if s.GetState() != pb.SummaryState_SUMMARY_STATE_ABORTED || s.GetExitStatus() != 105 {
		t.Errorf("state %v, exit status %d", s.GetState(), s.GetExitStatus())
	}
	for _, note := range s.GetNotes() {
		t.Errorf("a run that was stopped in good order has the note: %s", note)
	}
}
