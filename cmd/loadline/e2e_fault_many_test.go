package main

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/loadline/loadline/coordinator/report"
)

// TestManyAgents (R7, R10) starts 20 agents, or as many as scripts/torture --processes --agents says: how far the first starts
// lie apart, and how long after a stop the last one of each comes.
func TestManyAgents(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("twenty processes")
	}
	agents := tortured(t, "LOADLINE_TORTURE_AGENTS", 20)
	w := serveTally(t)
	c := startCluster(t, w.scenario(400, 60, "constant", everyArrival+"capture: {records: all}\n"), agents, false)
	c.story(t)
	p := c.play(t, w)
	time.Sleep(2 * time.Second)
	asked := time.Now()
	c.ask(t, "stop", "--all", "--now")
	answered := time.Now()
	s := p.end(t)
	w.compare(t, s)
	late, last := p.course(t).starts(t, asked)
	fmt.Printf("%d agents: first starts late by %s; last starts after a stop was asked for: %s (the command took %v)\n",
		len(late), spread(late), spread(last), answered.Sub(asked).Round(time.Millisecond))
	if late := w.last().Sub(asked); late > 2*time.Second+slack {
		t.Errorf("the last start came %v after the stop", late)
	}
	if len(late) != agents {
		t.Errorf("%d agents have started something", len(late))
	}
	if p.status != statusStopped {
		t.Errorf("the run ends with %d", p.status)
	}
}

// starts is how late the first request of each agent was, and how long after an order its last one began; 0: before it.
func (c *playedCourse) starts(t *testing.T, order time.Time) (late, after []time.Duration) {
	t.Helper()
	first, last := map[string]report.Row{}, map[string]time.Duration{}
	for _, r := range c.rows(t) {
		if r.DispatchedUS == nil {
			continue
		}
		if _, ok := first[r.Agent]; !ok {
			first[r.Agent] = r
		}
		began := c.started.Add(time.Duration(r.DueUS+*r.DispatchedUS) * time.Microsecond) // dispatched_us counts from due_us
		last[r.Agent] = max(last[r.Agent], began.Sub(order))
	}
	for agent, r := range first {
		late, after = append(late, time.Duration(*r.DispatchedUS)*time.Microsecond), append(after, last[agent])
	}
	return late, after
}

// killsAtOnce is how many clusters TestKills has at a time.
const killsAtOnce = 4

// TestKills (R2) kills an agent in each of many runs: scripts/torture --processes --kills N. TestFaultsOfProcesses does it once.
func TestKills(t *testing.T) {
	kills := tortured(t, "LOADLINE_TORTURE_KILLS", 0)
	if kills == 0 {
		t.Skip("scripts/torture --processes --kills N runs it")
	}
	var mu sync.Mutex
	var restored, late []time.Duration
	var sum killed
	var playing sync.WaitGroup
	turns := make(chan struct{}, killsAtOnce)
	for i := range kills {
		turns <- struct{}{}
		playing.Go(func() {
			defer func() { <-turns }()
			t.Run(fmt.Sprint(i+1), func(t *testing.T) {
				// At any time between two renewals, which are a second apart.
				k := killOne(t, 25*time.Second, 2*time.Second+time.Duration(i%killsAtOnce*250+i*617%250)*time.Millisecond)
				mu.Lock()
				defer mu.Unlock()
				restored, late = append(restored, k.restored), append(late, k.late)
				sum.absent, sum.lost, sum.twice = sum.absent+k.absent, sum.lost+k.lost, sum.twice+k.twice
			})
		})
	}
	playing.Wait()
	fmt.Printf("%d of %d kills: restored after %s; held back until %s after it; %d arrivals absent, %d reported lost, %d came twice\n",
		len(restored), kills, spread(restored), spread(late), sum.absent, sum.lost, sum.twice)
}
