package torture

import (
	"math"
	"strings"
	"time"

	"github.com/loadline/loadline/coordinator/run"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// oracle is the counting target: it knows every session that reached it, and holds the cluster against it.
type oracle struct {
	w        *world
	arrivals map[arrivalKey]hit
	sessions map[sessionKey]hit
	lost     map[run.ID]bool  // declared lost by the coordinator that is alive
	mourned  map[run.ID]int64 // when it was lost while the run was running
	reborn   map[run.ID]int64 // when the process had another incarnation
	bereft   bool             // nobody was left to play the load before it was over
	asked    map[string]int64
	granted  map[string]*pb.Change
}

type arrivalKey struct {
	phase int
	n     uint64
}

type sessionKey struct {
	user
	iteration int
}

// hit is one session at the target.
type hit struct {
	by     run.ID
	window uint64 // that will count it
	due    int64  // open load: due; closed load: the run's clock on the agent
	at     int64
}

func newOracle(w *world) oracle {
	return oracle{
		w: w, arrivals: map[arrivalKey]hit{}, sessions: map[sessionKey]hit{}, lost: map[run.ID]bool{}, mourned: map[run.ID]int64{}, reborn: map[run.ID]int64{}, asked: map[string]int64{}, granted: map[string]*pb.Change{},
	}
}

func (o *oracle) arrival(p *simPart, phase int, n uint64, due int64) {
	key := arrivalKey{phase, n}
	if before, twice := o.arrivals[key]; twice {
		o.w.broken("arrival %d of phase %d, due at %v, is started by %v, and was at %v by %v", n, phase, time.Duration(due), p.id, time.Duration(before.at), before.by)
	}
	o.arrivals[key] = o.hit(p, due)
}

func (o *oracle) session(p *simPart, u user, iteration int) {
	key := sessionKey{u, iteration}
	if _, twice := o.sessions[key]; twice {
		o.w.broken("session %v is started twice", key)
	}
	o.sessions[key] = o.hit(p, p.run())
}

// hit checks what must hold for every start, whatever the load.
func (o *oracle) hit(p *simPart, due int64) hit {
	w, id := o.w, run.ID{Agent: p.a.name, Incarnation: p.id.Incarnation}
	lease := int64(leaseLength+leaseLength/100+w.chaos.hold+w.chaos.hold/100) + simMargin
	switch {
	case o.lost[id]:
		w.broken("%v starts after it was declared lost", id)
	case p.a.own() >= p.a.lease:
		w.broken("%v starts without a lease", id)
	case w.stopAsked != 0 && w.now > w.stopAsked+lease:
		w.broken("%v starts %v after the stop", id, time.Duration(w.now-w.stopAsked))
	}
	return hit{by: id, window: p.last + 1, due: due, at: w.now}
}

// applied: where nothing fails, a change is in force everywhere within a second of its instant's proposal.
func (o *oracle) applied(a *simAgent, change *pb.Change) {
	o.w.saw("change applied")
	for part, what := range map[string]string{"is lost": "share of a lost agent handed over", "leaves": "share of a leaving agent handed over", "restarted": "hold of an earlier coordinator freed"} {
		if strings.Contains(change.GetReason(), part) {
			o.w.saw(what)
		}
	}
	for _, r := range change.GetRevisions() {
		switch {
		case r.HasRate():
			o.w.saw("rate changed")
		case r.HasUsers():
			o.w.saw("users changed")
		case r.GetPaused():
			o.w.saw("phase paused")
		case r.GetResumed():
			o.w.saw("phase resumed")
		case r.GetEnded():
			o.w.saw("phase ended")
		}
	}
	if len(change.GetJoined()) > 0 {
		o.w.saw("agent joined")
	}
	if change.GetAttempt()&0xffff > 1 {
		o.w.saw("change tried again")
	}
}

// freed: where only the coordinator dies and comes back at once, nobody holds back for long.
func (o *oracle) freed(p *simPart) {
	at, asked := p.held, o.w.now
	p.a.after(4*time.Second, func() {
		if p.held == at && !p.over && p.limit == math.MaxInt64 {
			o.w.broken("%v holds back since %v, and nobody frees it", p.id, time.Duration(asked))
		}
	})
}

// denied: nobody is denied who is well and can be reached.
func (o *oracle) denied(x run.Deny) {
	w := o.w
	w.saw("agent denied")
	a := w.living(x.Agent)
	if strings.Contains(x.Why, "acknowledge") && a != nil && !w.chaos.deaf && a.asleep == 0 && a.life == 0 && w.chaos.loss == 0 && len(w.net.cuts) == 0 && w.seen["coordinator killed"] == 0 {
		w.broken("%v is well and denied: %s", x.ID, x.Why)
	}
}

// adjusted checks how long a wish took.
func (o *oracle) adjusted(x run.Adjusted) {
	if o.w.chaos.deaf && x.Request == "despite the deaf" && (x.Refusal != "" || o.w.now-o.asked[x.Request] > int64(14*time.Second)) {
		o.w.broken("who answers nothing blocked %s for %v: %s", x.Request, time.Duration(o.w.now-o.asked[x.Request]), x.Refusal)
	}
	if x.Refusal != "" {
		o.w.saw("wish refused")
		return
	}
	took := o.w.now - o.asked[x.Request]
	in := o.w.coord.start + x.Change.GetAtNs() - o.asked[x.Request]
	if o.w.chaos.calm && (took > int64(time.Second) || in > int64(time.Second)) {
		o.w.broken("change %d took %v and is in force after %v", x.Change.GetEpoch(), time.Duration(took), time.Duration(in))
	}
}

// stepped notices when nobody is left to play the load, and who hands in after that.
func (o *oracle) stepped(c *simCoordinator, e run.Event, before run.State) {
	switch event := e.(type) {
	case run.Lost:
		if before == run.Running && c.machine.State() == run.Draining {
			o.bereft = true
			o.w.saw("nobody left")
		}
	case run.Totals:
		if o.bereft && o.lost[event.ID] {
			o.w.saw("results taken when nobody was left")
		}
	}
}

// settle compares the whole run with the target's own count.
func (o *oracle) settle() {
	c := o.w.coord
	if c.course == nil || c.start == 0 {
		return
	}
	o.settleCounts(c)
	for i, phase := range c.course.Phases() {
		if phase.Users == 0 {
			o.settlePhase(c, i, phase)
		}
	}
	o.settleSessions(c)
	if o.w.chaos.gentle {
		o.settleDone(c)
	}
	if o.w.chaos.calm && o.w.ended != pb.RunState_RUN_STATE_COMPLETE {
		o.w.broken("nothing failed, and the run ended %v: %s", o.w.ended, c.machine.Detail())
	}
	if o.w.ended == pb.RunState_RUN_STATE_COMPLETE {
		if missing := c.ledger.missing(c.course); len(missing) > 0 {
			o.w.broken("complete, and %v", missing)
		}
	}
}

// settleCounts: what windows on record count is what the target saw for them, and every arrival below a cursor is counted.
func (o *oracle) settleCounts(c *simCoordinator) {
	seen := map[run.ID][]uint64{}
	count := func(phase int, h hit) {
		if h.window > c.ledger.entry(h.by).last {
			return
		}
		for len(seen[h.by]) <= phase {
			seen[h.by] = append(seen[h.by], 0)
		}
		seen[h.by][phase]++
	}
	for key, h := range o.arrivals {
		count(key.phase, h)
	}
	for key, h := range o.sessions {
		count(key.phase, h)
	}
	for m, id := range c.ledger.roster {
		e := c.ledger.entry(id)
		for i, phase := range c.course.Phases() {
			if at(e.started, i) != at(seen[id], i) {
				o.w.broken("%v: %d started in phase %d by its windows, the target saw %d", id, at(e.started, i), i, at(seen[id], i))
			}
			if owned := c.course.Count(i, m, at(e.next, i)); phase.Users == 0 && owned != at(e.started, i)+at(e.missed, i) {
				o.w.broken("%v: %d accounted for in phase %d, and it owned %d up to its cursor %d", id, at(e.started, i)+at(e.missed, i), i, owned, at(e.next, i))
			}
			if at(e.missed, i) > 0 && o.w.chaos.calm {
				o.w.broken("nothing failed, and %v missed %d", id, at(e.missed, i))
			}
		}
	}
}

// settlePhase goes over every arrival: it was started by its owner when it was due, or is counted missed, or lies in a
// range that is reported lost.
func (o *oracle) settlePhase(c *simCoordinator, index int, phase *schedule.Phase) {
	walker := phase.Walk(0)
	started := 0
	for n, due, ok := walker.Next(); ok; n, due, ok = walker.Next() {
		member, _ := c.course.Owner(index, n)
		owner := c.ledger.roster[member]
		h, hit := o.arrivals[arrivalKey{index, n}]
		switch {
		case hit && h.by != owner:
			o.w.broken("arrival %d of phase %d belongs to %v and was started by %v", n, index, owner, h.by)
		case hit && h.due != due:
			o.w.broken("arrival %d of phase %d is due at %v and was started for %v", n, index, time.Duration(due), time.Duration(h.due))
		case hit:
			started++
		case n >= at(c.ledger.entry(owner).next, index):
			o.w.saw("arrival lost and reported")
			if o.w.ended == pb.RunState_RUN_STATE_COMPLETE {
				o.w.broken("complete, and arrival %d of phase %d is lost", n, index)
			}
		}
	}
	for key := range o.arrivals {
		if key.phase == index && key.n >= phase.Arrivals {
			o.w.broken("arrival %d of phase %d was started, and there are %d", key.n, index, phase.Arrivals)
		}
	}
}

// settleDone: where processes die and nothing else fails, shares of lost agents are handed over in time, and a process that
// was given up and goes on hands over all that it has played.
func (o *oracle) settleDone(c *simCoordinator) {
	end := c.start + c.course.End()
	latest := int64(0)
	for _, at := range o.mourned {
		latest = max(latest, at)
	}
	// Whoever stands still or dies as well holds a change up until its own lease has lapsed.
	for m, id := range c.ledger.roster {
		at, lost := o.mourned[id]
		if lost && !o.bereft && latest < end-int64(5*time.Second) && o.w.now >= end && m < c.course.Members() && c.course.Weights()[m] > 0 {
			o.w.broken("%v was lost at %v, and its share was handed over to nobody", id, time.Duration(at))
		}
		at, reborn := o.reborn[id]
		if reborn && at < min(end, o.w.now)-int64(3*time.Second) && c.ledger.entry(id).totals == nil && o.w.living(id.Agent) != nil && o.w.living(id.Agent).asleep <= at {
			o.w.broken("%v went on as another at %v, and did not hand over what it had played", id, time.Duration(at))
		}
	}
}

// settleSessions: every session of closed load was started by the owner of its slot and before the slot was taken away.
func (o *oracle) settleSessions(c *simCoordinator) {
	weights := make([]uint32, len(o.w.disk.roster()))
	for i, m := range o.w.disk.roster() {
		weights[i] = m.Weight
	}
	courses := []*schedule.Course{schedule.NewCourse(o.w.base, weights)}
	for _, change := range c.machine.Committed() {
		next, err := courses[len(courses)-1].Apply(change)
		if err != nil {
			o.w.broken("%v", err)
			return
		}
		courses = append(courses, next)
	}
	for key, h := range o.sessions {
		member, epoch := courses[key.epoch-1].Owner(key.phase, uint64(key.slot-1))
		if epoch != key.epoch || c.ledger.roster[member] != h.by {
			o.w.broken("session %v is of member %d by epoch %d, and was started by %v", key, member, epoch, h.by)
			continue
		}
		for _, later := range courses[key.epoch:] {
			if taken := later.At(later.Epoch()); !later.Holds(key.phase, member, key.slot, key.epoch) && h.due >= taken {
				o.w.broken("session %v was started at %v, and its slot was taken away at %v", key, time.Duration(h.due), time.Duration(taken))
			}
		}
	}
}
