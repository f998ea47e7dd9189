package torture

import (
	"fmt"
	"maps"
	"time"

	agentrun "github.com/loadline/loadline/agent/run"
	"github.com/loadline/loadline/coordinator/run"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// schedule plans what happens to the world from outside: faults, wishes, comings and goings.
func (w *world) schedule() {
	latest := 22 * time.Second
	if w.chaos.gentle {
		latest = 8 * time.Second // what follows from it must be seen
	}
	for range w.chaos.faults {
		w.after(w.between(2*time.Second, latest), w.fail)
	}
	if w.chaos.deaf {
		w.after(5*time.Second+500*time.Millisecond, func() { w.wish("despite the deaf", pb.Revision_builder{Rate: new(50.0)}.Build()) })
	}
	if w.chaos.headless {
		w.after(w.between(7*time.Second, 9*time.Second), func() {
			w.wishAt("far ahead", w.between(300*time.Millisecond, 1500*time.Millisecond), pb.Revision_builder{Rate: new(float64(20 + w.random.IntN(60)))}.Build())
		})
	}
	for i := range w.chaos.adjusts {
		w.after(w.between(6*time.Second, 20*time.Second), func() { w.adjust(fmt.Sprint("w", i)) })
	}
	if w.random.IntN(3) == 0 {
		w.after(w.between(6*time.Second, 18*time.Second), func() { w.addAgent(fmt.Sprint("late", 0), 0) })
	}
	if w.random.IntN(3) == 0 && !w.chaos.deaf {
		w.after(w.between(6*time.Second, 18*time.Second), w.leave)
	}
	if w.chaos.stops {
		w.after(w.between(4*time.Second, 20*time.Second), func() {
			w.stopWanted = pb.StopMode(1 + w.random.IntN(2))
			w.stopNow()
		})
	}
}

// stopNow asks for the stop that a person wants.
func (w *world) stopNow() {
	if w.stopWanted == 0 || w.coord == nil || w.coord.machine == nil {
		return
	}
	w.saw("stop")
	w.stopAsked = w.now
	w.coord.step(run.Stop{Mode: w.stopWanted, Reason: "a person"})
}

// adjust wishes something of a phase at random.
func (w *world) adjust(request string) {
	if w.coord == nil || w.coord.machine == nil {
		return
	}
	phase := uint32(w.random.IntN(2))
	r := pb.Revision_builder{Phase: phase}
	switch kind := w.random.IntN(5); {
	case kind == 0:
		r.Paused = new(true)
		w.after(w.between(500*time.Millisecond, 4*time.Second), func() { w.wish(request+" again", pb.Revision_builder{Phase: phase, Resumed: new(true)}.Build()) })
	case kind == 1 && !w.chaos.calm:
		r.Ended = new(true)
	case phase == 1 && w.chaos.closed:
		r.Users = new(uint32(1 + w.random.IntN(10)))
	default:
		r.Rate = new(float64(5 + w.random.IntN(100)))
	}
	w.wish(request, r.Build())
}

func (w *world) wish(request string, r *pb.Revision) { w.wishAt(request, 0, r) }

// wishAt wishes for something that takes long to compute: its instant lies some times the cost farther ahead.
func (w *world) wishAt(request string, cost time.Duration, r *pb.Revision) {
	if w.coord == nil {
		return
	}
	w.oracle.asked[request] = w.now
	w.coord.step(run.Adjust{Request: request, Cost: cost, Revisions: []*pb.Revision{r}, Reason: request})
	if w.chaos.lopsided && w.random.IntN(3) == 0 {
		w.after(w.between(0, 2*time.Second), w.killCoordinator) // in the middle of the change
	}
}

// acknowledged: somebody holds back for a change. In a headless world that is the coordinator's end, once, before it hears of it; the
// way of orders to one agent is cut with it, so that what it has acknowledged comes first in a renewal.
func (w *world) acknowledged(p *simPart, change *pb.Change) {
	if !w.chaos.headless {
		return
	}
	w.oracle.freed(p)
	if w.seen["coordinator killed"] > 0 || len(change.GetRevisions()) == 0 {
		return
	}
	w.saw("coordinator killed in the middle of a change")
	w.net.cuts = append(w.net.cuts, cut{from: w.now, to: w.now + int64(2*time.Second), agent: "a1", down: true, bus: true})
	w.killCoordinator()
}

// pick is a living agent; nil: there is none.
func (w *world) pick() *simAgent {
	var living []*simAgent
	for _, a := range w.agents {
		if !a.dead && a.machine != nil {
			living = append(living, a)
		}
	}
	if len(living) == 0 {
		return nil
	}
	return living[w.random.IntN(len(living))]
}

func (w *world) leave() {
	if a := w.pick(); a != nil {
		a.after(0, func() { a.step(agentrun.Leave{}) })
	}
}

// fail does one of the things that may go wrong.
func (w *world) fail() {
	if w.chaos.gentle {
		if w.random.IntN(2) == 0 {
			w.kill()
		} else {
			w.freeze()
		}
		return
	}
	switch w.random.IntN(6) {
	case 0:
		w.kill()
	case 1:
		w.freeze()
	case 2, 3:
		w.partition()
	case 4:
		w.killCoordinator()
	case 5:
		w.kill()
		w.freeze()
	}
}

// kill ends a process without a word; another one of its name may come.
func (w *world) kill() {
	a := w.pick()
	if a == nil {
		return
	}
	a.dead = true
	w.saw("agent killed")
	maps.DeleteFunc(w.oracle.reborn, func(id run.ID, _ int64) bool { return id.Agent == a.name })
	if w.random.IntN(2) == 0 {
		w.saw("agent restarted")
		w.addAgent(a.name, w.between(500*time.Millisecond, 12*time.Second))
	}
}

// freeze stops a process and lets it go on.
func (w *world) freeze() {
	if a := w.pick(); a != nil {
		a.asleep = max(a.asleep, w.now+int64(w.between(200*time.Millisecond, 20*time.Second)))
		w.saw("agent stopped and woken")
	}
}

// partition cuts some ways for a time.
func (w *world) partition() {
	a := w.pick()
	if a == nil {
		return
	}
	c := cut{from: w.now, to: w.now + int64(w.between(500*time.Millisecond, 20*time.Second)), agent: a.name}
	if w.random.IntN(4) == 0 {
		c.agent = ""
	}
	way := w.random.IntN(4)
	c.up, c.down = way != 0, way != 1
	kind := w.random.IntN(4)
	c.bus, c.stream = kind != 0, kind != 1
	switch {
	case c.up != c.down:
		w.saw("partition one way")
	case c.bus != c.stream:
		w.saw("partition of one channel")
	default:
		w.saw("partition of all")
	}
	w.net.cuts = append(w.net.cuts, c)
}

// killCoordinator ends the coordinator and begins another one on its journal.
func (w *world) killCoordinator() {
	if w.coord == nil {
		return
	}
	w.saw("coordinator killed")
	w.coord = nil
	w.disk.crash(w)
	w.stopAsked = 0
	shortest, longest := 100*time.Millisecond, 12*time.Second
	if w.chaos.lopsided || w.chaos.headless {
		shortest, longest = 10*time.Millisecond, 500*time.Millisecond
	}
	w.after(w.between(shortest, longest), func() {
		newCoordinator(w, w.disk.synced)
		w.stopNow()
		if w.chaos.rewished {
			w.wish("near", pb.Revision_builder{Rate: new(float64(20 + w.random.IntN(60)))}.Build())
		}
	})
}
