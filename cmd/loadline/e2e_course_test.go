package main

import (
	"cmp"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/loadline/loadline/coordinator/report"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// playedCourse is what a run's journal says that was due, when, and from whom: the plan with every change on record. What
// reached the target is held against it, arrival by arrival.
type playedCourse struct {
	*schedule.Course
	changes []*pb.Change
	members []string // by place in the roster
	started time.Time
	folder  string
	summary *pb.Summary
}

// course reads the course of a run that has ended.
func (p *played) course(t *testing.T) *playedCourse {
	t.Helper()
	c := &playedCourse{folder: p.folder, summary: p.summary}
	var header *pb.RunHeader
	for _, r := range records(t, p.folder) {
		if r.HasHeader() {
			header = r.GetHeader()
		}
		if change := r.GetEvent().GetChange(); change != nil {
			c.changes = append(c.changes, change)
		}
	}
	load, err := schedule.Compile(header.GetScenario())
	if err != nil {
		t.Fatal(err)
	}
	var weights []uint32
	for _, m := range header.GetPlan().GetMembers() {
		weights, c.members = append(weights, m.GetWeight()), append(c.members, m.GetAgent())
	}
	for _, change := range c.changes {
		for _, m := range change.GetJoined() {
			c.members = append(c.members, m.GetAgent())
		}
	}
	if c.Course, err = schedule.NewCourse(load, weights).ApplyAll(c.changes); err != nil {
		t.Fatal(err)
	}
	if c.started, err = time.Parse(time.RFC3339Nano, p.summary.GetStartedTime()); err != nil {
		t.Fatal(err)
	}
	return c
}

// index is the place of a phase.
func (c *playedCourse) index(t *testing.T, phase string) int {
	t.Helper()
	i := slices.IndexFunc(c.Phases(), func(p *schedule.Phase) bool { return p.Name == phase })
	if i < 0 {
		t.Fatalf("there is no phase %s", phase)
	}
	return i
}

// dues are the instants at which the arrivals of an open phase are due, by number.
func (c *playedCourse) dues(t *testing.T, phase string) (all []time.Time) {
	t.Helper()
	walk := c.Phases()[c.index(t, phase)].Walk(0)
	for n, due, ok := walk.Next(); ok; n, due, ok = walk.Next() {
		if n != uint64(len(all)) {
			t.Fatalf("arrival %d of phase %s follows arrival %d", n, phase, len(all)-1)
		}
		all = append(all, c.started.Add(time.Duration(due)))
	}
	return all
}

// change is the first change that is meant.
func (c *playedCourse) change(t *testing.T, meant func(*pb.Change) bool) *pb.Change {
	t.Helper()
	i := slices.IndexFunc(c.changes, meant)
	if i < 0 {
		t.Fatalf("there is no such change: %v", c.changes)
	}
	return c.changes[i]
}

// revises is what a change makes of a phase; nil: nothing.
func revises(change *pb.Change, phase uint32) *pb.Revision {
	for _, r := range change.GetRevisions() {
		if r.GetPhase() == phase {
			return r
		}
	}
	return nil
}

// pause is from when to when a phase was paused, on the run's clock.
func (c *playedCourse) pause(t *testing.T, phase uint32) (paused, resumed int64) {
	t.Helper()
	return c.change(t, func(ch *pb.Change) bool { return revises(ch, phase).GetPaused() }).GetAtNs(),
		c.change(t, func(ch *pb.Change) bool { return revises(ch, phase).GetResumed() }).GetAtNs()
}

// rows are the records of the run's requests, in the order in which they were due.
func (c *playedCourse) rows(t *testing.T) []report.Row {
	t.Helper()
	rows, err := parquet.ReadFile[report.Row](filepath.Join(c.folder, "requests.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(rows, func(a, b report.Row) int { return cmp.Compare(a.DueUS, b.DueUS) })
	return rows
}

// wantOwners wants each arrival of an open phase to have been played by the agent that owns it. It needs records of all.
func (c *playedCourse) wantOwners(t *testing.T, phase string) {
	t.Helper()
	index, n := c.index(t, phase), uint64(0)
	for _, r := range c.rows(t) {
		if r.Phase != phase {
			continue
		}
		n++
		if owner, epoch := c.Owner(index, r.Arrival); owner < 0 || c.members[owner] != r.Agent {
			t.Errorf("arrival %d of phase %s was played by %s, and member %d owns it in epoch %d", r.Arrival, phase, r.Agent, owner, epoch)
		}
	}
	if due := c.Phases()[index].Arrivals; n != due {
		t.Errorf("%d arrivals of phase %s are on record, %d were due", n, phase, due)
	}
}

// share counts the arrivals of an open phase that an epoch governs, and those of them that an agent has played.
func (c *playedCourse) share(t *testing.T, phase, agent string, epoch uint32) (all, its uint64) {
	t.Helper()
	index := c.index(t, phase)
	from, to := c.First(index, epoch), c.First(index, epoch+1)
	for _, r := range c.rows(t) {
		if r.Phase == phase && r.Agent == agent && r.Arrival >= from && r.Arrival < to {
			its++
		}
	}
	return to - from, its
}

// wantExactly wants every arrival of an open phase that was due to have reached the target once, not before it was due by
// more than clocks are known to differ, and no other.
func (c *playedCourse) wantExactly(t *testing.T, w *tally, phase string) {
	t.Helper()
	dues, seen := c.dues(t, phase), w.of(t, phase)
	for n, due := range dues {
		switch came := seen[uint64(n)]; {
		case len(came) != 1:
			t.Errorf("arrival %d of %d of phase %s came %d times", n, len(dues), phase, len(came))
		case came[0].Before(due.Add(-c.clockError())):
			t.Errorf("arrival %d of phase %s came %v before it was due", n, phase, due.Sub(came[0]))
		}
	}
	if len(seen) != len(dues) {
		t.Errorf("%d arrivals of phase %s came, %d were due", len(seen), phase, len(dues))
	}
	for _, p := range c.summary.GetPhases() {
		if a := p.GetArrivals(); p.GetName() == phase && (a.GetDue() != uint64(len(dues)) || a.GetStarted() != uint64(len(seen))) {
			t.Errorf("phase %s: %d due, %d came, the report says %v", phase, len(dues), len(seen), a)
		}
	}
}

// clockError is the greatest bound of the error of an agent's clock, and a millisecond for what the run's start is rounded to.
func (c *playedCourse) clockError() time.Duration {
	bound := uint64(0)
	for _, a := range c.summary.GetAgents() {
		bound = max(bound, a.GetClockErrorBound())
	}
	return time.Duration(bound)*time.Microsecond + time.Millisecond
}
