package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// TestFaultsOfProcesses kills, stops, wakes and ends the processes of clusters in the middle of runs.
func TestFaultsOfProcesses(t *testing.T) {
	t.Parallel()
	faultsAtOnce(t, map[string]func(*testing.T){
		"an agent is killed":                             killAgent,
		"the coordinator is killed, agents hold":         killCoordinatorHold,
		"the coordinator is killed, agents pause":        killCoordinatorPause,
		"an agent comes and one leaves":                  comeAndLeave,
		"an agent stands still and wakes":                stopAgent,
		"the coordinator stands still for 3 s":           stopCoordinatorBriefly,
		"the coordinator stands still, and agents pause": stopCoordinatorLong,
		"the coordinator stands still over the end":      stopCoordinatorOverEnd,
	})
}

// killAgent (R2): the load of a killed agent is with the others within 10 s, and the report says what was lost.
func killAgent(t *testing.T) {
	k := killOne(t, stretched(16*time.Second, 2*time.Minute), stretched(1500*time.Millisecond, time.Minute))
	t.Log(k)
}

// killed is what came of the death of one agent.
type killed struct {
	restored time.Duration // from the death to the due instant of the last arrival that is absent at the target
	late     time.Duration // to when the last came that was held back; 0: none was
	absent   int           // arrivals that never came
	lost     uint64        // those that the report names as lost: a few of them had come before the agent could tell
	twice    int           // arrivals that came more than once
}

func (k killed) String() string {
	return fmt.Sprintf("restored after %v, late until %v; %d absent, %d reported lost, %d came twice",
		k.restored.Round(time.Millisecond), k.late.Round(time.Millisecond), k.absent, k.lost, k.twice)
}

// killOne plays a Poisson load on three agents and kills one of them some time after the beginning. What is absent at the
// target was the dead one's, lies in the stretch that the report names, and ends within 10 s.
func killOne(t *testing.T, load, after time.Duration) killed {
	w := serveTally(t)
	c := startCluster(t, w.scenario(60, int(load.Seconds()), "poisson", everyArrival), 3, false)
	c.story(t)
	p := c.play(t, w)
	time.Sleep(after)
	at := time.Now()
	c.agents[1].signal(t, syscall.SIGKILL)
	s := p.end(t)
	w.compare(t, s)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_PARTIAL)
	if s.GetArrivals().GetLost() == 0 || !strings.Contains(strings.Join(s.GetReasons(), "\n"), "a2") {
		t.Errorf("%v, reasons %v", s.GetArrivals(), s.GetReasons())
	}
	course, k := p.course(t), killed{lost: s.GetArrivals().GetLost()}
	seen := w.of(t, "main")
	for n, due := range course.dues(t, "main") {
		came := seen[uint64(n)]
		switch owner, _ := course.Owner(0, uint64(n)); {
		case len(came) > 1:
			k.twice++
		case len(came) == 0:
			k.absent, k.restored = k.absent+1, due.Sub(at)
			if course.members[owner] != "a2" {
				t.Errorf("arrival %d is absent, and %s owns it", n, course.members[owner])
			}
		case came[0].Sub(due) > 250*time.Millisecond && came[0].After(at):
			k.late = max(k.late, came[0].Sub(at))
		}
	}
	if k.restored > 10*time.Second+slack || k.absent == 0 {
		t.Errorf("%v", k)
	}
	return k
}

// killCoordinator kills the coordinator in the middle of a run, and starts it again some seconds later.
func killCoordinator(t *testing.T, more string) (w *tally, s *pb.Summary) {
	w = serveTally(t)
	c := startCluster(t, w.scenario(60, 15, "poisson", more), 3, false)
	c.story(t)
	p := c.play(t, w)
	time.Sleep(1500 * time.Millisecond)
	c.coordinator.signal(t, syscall.SIGKILL)
	killed := time.Now()
	time.Sleep(8 * time.Second)
	c.again(t)
	t.Logf("gone for %v", time.Since(killed).Round(time.Millisecond))
	s = p.end(t)
	w.compare(t, s)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	p.wantVerdict(t, p.status)
	if notes := strings.Join(s.GetNotes(), "\n"); !strings.Contains(notes, "the coordinator was started again; it took the run up") {
		t.Errorf("the notes do not tell of the restart: %s", notes)
	}
	if p.status != 0 && p.status != 98 {
		t.Errorf("the client ends with %d\n%s", p.status, &p.err)
	}
	return w, s
}

// killCoordinatorHold (R3): agents that may hold go on, and nothing is missing.
func killCoordinatorHold(t *testing.T) {
	_, s := killCoordinator(t, everyArrival+"orphan: {hold: 15s}\n")
	if a := s.GetArrivals(); a.GetStarted() != a.GetDue() {
		t.Errorf("%v", a)
	}
}

// killCoordinatorPause (R3): without holding agents pause when their leases lapse, and what is due meanwhile is missed.
func killCoordinatorPause(t *testing.T) {
	_, s := killCoordinator(t, "limits: {max_lateness: 1s}\n")
	if a := s.GetArrivals(); a.GetMissed() == 0 || a.GetLost() != 0 || a.GetStarted()+a.GetMissed() != a.GetDue() {
		t.Errorf("%v", a)
	}
}

// comeAndLeave (R2): a fourth agent takes its share in the middle, and one that is told to end leaves without a loss.
func comeAndLeave(t *testing.T) {
	w := serveTally(t)
	c := startCluster(t, w.scenario(60, 8, "poisson", everyArrival+"capture: {records: all}\n"), 3, false)
	c.story(t)
	p := c.play(t, w)
	c.join(t, "a4")
	time.Sleep(3 * time.Second)
	told := time.Now()
	c.agents[0].signal(t, syscall.SIGTERM)
	status := c.agents[0].wait()
	t.Logf("a1 left within %v", time.Since(told).Round(time.Millisecond))
	if left := time.Since(told); status != 0 || left > 2*time.Second+slack {
		t.Errorf("a1 ended with %d after %v", status, left)
	}
	s := p.end(t)
	if absent := w.compare(t, s); absent != 0 {
		t.Errorf("%d arrivals are absent", absent)
	}
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	course := p.course(t)
	course.wantExactly(t, w, "main")
	course.wantOwners(t, "main")
	joined := course.change(t, func(ch *pb.Change) bool { return len(ch.GetJoined()) > 0 })
	left := course.change(t, func(ch *pb.Change) bool { return ch.GetWeights()[0] == 0 })
	course.wantShare(t, "a4", joined, 4)
	course.wantShare(t, "a4", left, 3)
	course.wantShare(t, "a1", left, 0)
	t.Logf("a4 has its share from %v on, a1 left at %v", time.Duration(joined.GetAtNs()), time.Duration(left.GetAtNs()))
}

// wantShare wants an agent to have played one in so many of what was due from a change to the next, none for 0; what does not
// divide goes to one more or not.
func (c *playedCourse) wantShare(t *testing.T, agent string, from *pb.Change, oneIn uint64) {
	t.Helper()
	all, its := c.share(t, "main", agent, from.GetEpoch())
	least, most := uint64(0), uint64(0)
	if oneIn > 0 {
		least, most = all/oneIn, (all+oneIn-1)/oneIn
	}
	if its < least || its > most || all < 20 {
		t.Errorf("%s played %d of %d arrivals in epoch %d, want %d to %d", agent, its, all, from.GetEpoch(), least, most)
	}
}

// stopAgent (R5): an agent that stands still for three leases and wakes starts nothing twice, and fires no burst.
func stopAgent(t *testing.T) {
	w := serveTally(t)
	c := startCluster(t, w.scenario(60, 22, "constant", "limits: {max_lateness: 1s}\n"), 3, false)
	c.story(t)
	p := c.play(t, w)
	time.Sleep(time.Second)
	c.agents[2].signal(t, syscall.SIGSTOP)
	time.Sleep(15 * time.Second)
	c.agents[2].signal(t, syscall.SIGCONT)
	s := p.end(t)
	w.compare(t, s)
	// 60/s are 6 in 100 ms; held arrivals of a change, at most 1 s late, may come on top of them.
	t.Logf("at most %d arrivals in 100 ms", w.busiest())
	if most := w.busiest(); most > 66 {
		t.Errorf("%d arrivals came within 100 ms", most)
	}
}

// stopCoordinatorBriefly (R8): three seconds are less than a lease: nobody notices.
func stopCoordinatorBriefly(t *testing.T) {
	w := serveTally(t)
	c := startCluster(t, w.scenario(60, 7, "poisson", "limits: {max_lateness: 1s}\n"), 3, false)
	c.story(t)
	p := c.play(t, w)
	time.Sleep(500 * time.Millisecond)
	c.coordinator.signal(t, syscall.SIGSTOP)
	time.Sleep(3 * time.Second)
	c.coordinator.signal(t, syscall.SIGCONT)
	if absent := w.compare(t, p.end(t)); absent != 0 {
		t.Errorf("%d arrivals are absent", absent)
	}
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
}

// stopCoordinatorLong (R4, R8): after a lease agents pause; they keep their windows and hand over all of them.
func stopCoordinatorLong(t *testing.T) {
	w := serveTally(t)
	c := startCluster(t, w.scenario(60, 26, "constant", "limits: {max_lateness: 1s}\n"), 3, false)
	c.story(t)
	p := c.play(t, w)
	time.Sleep(500 * time.Millisecond)
	stopped := time.Now()
	c.coordinator.signal(t, syscall.SIGSTOP)
	w.noLoadAfter(t, "coordinator stopped", stopped, 5*time.Second)
	time.Sleep(time.Until(stopped.Add(20 * time.Second)))
	c.coordinator.signal(t, syscall.SIGCONT)
	s := p.end(t)
	w.compare(t, s)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	if a := s.GetArrivals(); a.GetMissed() == 0 || a.GetLost() != 0 {
		t.Errorf("%v", a)
	}
	for _, agent := range s.GetAgents() {
		if agent.GetMissingWindows() != 0 {
			t.Errorf("%d windows of %s are missing", agent.GetMissingWindows(), agent.GetName())
		}
	}
	if n := w.between(w.last().Add(-time.Second), w.last()); n < 30 {
		t.Errorf("the load did not come back: %d in its last second", n)
	}
}

// stopCoordinatorOverEnd (R8): the load ends, and all that its agents have waits until the coordinator goes on.
func stopCoordinatorOverEnd(t *testing.T) {
	w := serveTally(t)
	c := startCluster(t, w.scenario(60, 6, "constant", "limits: {max_lateness: 1s}\n"), 3, false)
	c.story(t)
	p := c.play(t, w)
	time.Sleep(500 * time.Millisecond)
	c.coordinator.signal(t, syscall.SIGSTOP)
	time.Sleep(20 * time.Second)
	c.coordinator.signal(t, syscall.SIGCONT)
	w.compare(t, p.end(t))
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
}
