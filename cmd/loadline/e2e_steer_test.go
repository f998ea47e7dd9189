package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// steeredFiles is a load of every kind that commands can change: a constant rate, a ramp with random spacing, users; and a
// phase that is over before the first command.
func steeredFiles(w *tally) files {
	return files{"s.yaml": fmt.Sprintf(`name: cluster
targets: [{name: t, url: "%s", protocol: http}]
workloads:
  - {name: w, target: t, http: {method: GET, path: /}}
  - {name: u, target: t, http: {method: GET, path: /slow}}
load:
  - {name: flat, open: {rate: 40}, duration: 7s, workloads: [w]}
  - {name: climb, at: 0s, open: {ramp: {from: 20, to: 100}, arrivals: poisson}, duration: 7s, workloads: [w]}
  - {name: users, at: 0s, closed: {users: 4}, duration: 7s, workloads: [u]}
  - {name: brief, at: 0s, open: {rate: 20}, duration: 500ms, workloads: [w]}
capture: {records: all}
%s`, w.URL, everyArrival)}
}

// TestSteering changes a run of three agents by the commands that people use: rates of a constant phase and of a ramp, users,
// a pause, a resumption, an agent that is drained; and tries what must be refused. Every arrival of the schedule that the
// changes make reaches the target exactly once, from the agent that owns it, and each change is in force within a second.
func TestSteering(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a run has to last for a while")
	}
	w := serveTally(t)
	c := startCluster(t, steeredFiles(w), 3, false)
	c.story(t)
	p := c.play(t, w)
	p.until(t, "its id is told", func() bool { return runLine.MatchString(p.err.String()) })
	id := runLine.FindStringSubmatch(p.err.String())[1]
	p.until(t, "the brief phase is over", func() bool { return time.Since(w.all()[0].at) > 700*time.Millisecond })

	c.steer(t, "rate", id, "80", "--phase", "flat")
	c.steer(t, "rate", id, "30", "--phase", "climb")
	c.steer(t, "rate", id, "7", "--users")
	c.wantRefusals(t, id)
	c.steer(t, "pause", id)
	time.Sleep(700 * time.Millisecond)
	c.steer(t, "resume", id)
	if text := c.ask(t, "drain", "a1"); !strings.Contains(text, "a1 hands over") {
		t.Errorf("drain: %s", text)
	}
	p.end(t)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	course := p.course(t)
	for _, phase := range []string{"flat", "climb", "brief"} {
		course.wantExactly(t, w, phase)
		course.wantOwners(t, phase)
	}
	course.wantFlat(t)
	course.wantUsers(t, w)
	if a := p.summary.GetArrivals(); a.GetStarted() != uint64(len(w.all())) || a.GetStarted() != a.GetDue() {
		t.Errorf("%d arrivals came, the report says %v", len(w.all()), a)
	}
	left := course.change(t, func(ch *pb.Change) bool { return ch.GetWeights()[0] == 0 }).GetAtNs()
	for _, r := range course.rows(t) {
		if r.Agent == "a1" && r.DueUS*1000 >= left {
			t.Errorf("a1 played %s/%d, due %v after it had left", r.Phase, r.Arrival, time.Duration(r.DueUS*1000-left))
		}
	}
	c.refused(t, "run "+id+" has ended", "rate", id, "80")
}

// steer carries out a command that changes the load, and wants the change to be in force within a second of it.
func (c *clusterOf) steer(t *testing.T, args ...string) {
	t.Helper()
	asked, answer := time.Now(), &pb.AdjustRunResponse{}
	text := c.ask(t, append(args, "--json")...)
	if err := protojson.Unmarshal([]byte(text), answer); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, text)
	}
	took := answer.GetStatus().GetStartedTime().AsTime().Add(time.Duration(answer.GetAtNs())).Sub(asked)
	t.Logf("%s: in force %v after it was asked for", args[0], took.Round(time.Millisecond))
	if took > time.Second+slack {
		t.Errorf("%v: in force %v after it was asked for", args, took)
	}
}

// refused wants a command to be refused as bad input, with words that say why.
func (c *clusterOf) refused(t *testing.T, why string, args ...string) {
	t.Helper()
	p := execLoadline(t, c.dir, nil, c.client(args...)...)
	if said := p.err.String(); p.status != statusBadInput || !strings.Contains(said, why) {
		t.Errorf("%v: exit status %d, want %d and %q:\n%s", args, p.status, statusBadInput, why, said)
	}
}

// wantRefusals tries what a run that goes on must refuse, and nothing of it changes the load.
func (c *clusterOf) wantRefusals(t *testing.T, id string) {
	t.Helper()
	for _, try := range []struct {
		why  string
		args []string
	}{
		{"did you mean " + id + "?", []string{"rate", id + "x", "80"}},
		{`there is no run "nowhere"; loadline runs lists them`, []string{"pause", "nowhere"}},
		{"phase brief is over: it ended at 500ms of the run; going on: flat, climb, users", []string{"rate", id, "80", "--phase", "brief"}},
		{"phase brief is over", []string{"pause", id, "--phase", "brief"}},
		{"did you mean flat?", []string{"rate", id, "80", "--phase", "flt"}},
		{"there are flat, climb, users, brief", []string{"resume", id, "--phase", "other"}},
		{`"-5" is not a rate`, []string{"rate", id, "-5"}},
		{`"-3" is not a rate or a number of users`, []string{"rate", id, "-3", "--users"}},
		{`"0" is not a rate`, []string{"rate", id, "0"}},
		{"--max-rate", []string{"rate", id, "9000", "--phase", "flat"}},
		{"agent a", []string{"rate", id, "9000", "--phase", "flat"}},
		{"--max-in-flight", []string{"rate", id, "5000", "--users"}},
		{"phase users has users", []string{"rate", id, "80", "--phase", "users"}},
		{"phase flat has a rate", []string{"rate", id, "8", "--users", "--phase", "flat"}},
		{`no agent is named "b1"; did you mean a1?`, []string{"drain", "b1"}},
		{"there are a1, a2, a3", []string{"drain", "elsewhere"}},
	} {
		c.refused(t, try.why, try.args...)
	}
}

// wantFlat counts what the phase of constant rate owes by hand: every 25 ms up to the new rate, every 12.5 ms from it on,
// and of these none that would have been due while the run was paused.
func (c *playedCourse) wantFlat(t *testing.T) {
	t.Helper()
	const end = int64(7 * time.Second)
	at := c.change(t, func(ch *pb.Change) bool { return revises(ch, 0).GetRate() == 80 }).GetAtNs()
	paused, resumed := c.pause(t, 0)
	before := func(rate, ns int64) int64 { return (rate*ns + 1e9 - 1) / 1e9 } // due at 0, 1/rate, 2/rate …
	want := before(40, at) + before(80, paused-at) + before(80, end-at) - before(80, resumed-at)
	if got := len(c.dues(t, "flat")); int64(got) != want {
		t.Errorf("%d arrivals were due in the phase of constant rate, by hand %d", got, want)
	}
	if left := before(80, resumed-at) - before(80, paused-at); left == 0 {
		t.Errorf("the pause of %v left nothing out", time.Duration(resumed-paused))
	}
}

// wantUsers wants each user that a change let begin to have begun once, with its own agent, and its sessions to follow each
// other without a gap; none begins while the run is paused.
func (c *playedCourse) wantUsers(t *testing.T, w *tally) {
	t.Helper()
	phase := c.index(t, "users")
	begun, owner := map[string]int{}, map[string]string{} // by slot.epoch: sessions
	for epoch := uint32(1); epoch <= c.Epoch(); epoch++ {
		for member, agent := range c.members {
			for slot := range c.Slots(phase, member, epoch) {
				begun[fmt.Sprintf("%d.%d", slot, epoch)], owner[fmt.Sprintf("%d.%d", slot, epoch)] = 0, agent
			}
		}
	}
	var names []string
	for _, a := range w.all() {
		if name, ok := strings.CutPrefix(a.name, "users/"); ok {
			names = append(names, name)
			user := name[:strings.LastIndex(name, ".")]
			if _, ok := begun[user]; !ok {
				t.Errorf("session %s is of a user whom nobody owns", name)
			}
			begun[user]++
		}
	}
	for user, sessions := range begun {
		for i := range max(1, sessions) {
			if name := fmt.Sprintf("%s.%d", user, i); !slices.Contains(names, name) {
				t.Errorf("session %s never came, and its user had %d", name, sessions)
			}
		}
	}
	paused, resumed := c.pause(t, uint32(phase))
	for _, r := range c.rows(t) {
		if r.Slot == 0 {
			continue
		}
		if user := fmt.Sprintf("%d.%d", r.Slot, r.Epoch); owner[user] != r.Agent {
			t.Errorf("session %s.%d was played by %s, its user is owned by %q", user, r.Arrival, r.Agent, owner[user])
		}
		if began := r.DueUS * 1000; began >= paused && began < resumed {
			t.Errorf("session %d.%d.%d began in the pause", r.Slot, r.Epoch, r.Arrival)
		}
	}
	if users := c.Phases()[phase].Users; users != 7 {
		t.Errorf("%d users at the end, want 7", users)
	}
}
