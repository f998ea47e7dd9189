package torture

import (
	"maps"
	"math"
	"slices"
	"time"

	agentrun "github.com/loadline/loadline/agent/run"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// simPart plays an agent's share of the course as the player does, and counts it into windows. Windows and totals go up until they
// are acknowledged.
type simPart struct {
	a      *simAgent
	id     agentrun.Part
	course *schedule.Course
	member int // −1: a change will say
	start  int64
	plays  bool
	paused bool
	held   int64 // starts nothing due at or after it; MaxInt64: no hold
	limit  int64 // the same for good; MaxInt64: no stop
	next   []uint64
	users  map[user]int // iterations of slots being played
	over   bool

	open    simWindow
	windows []simWindow // not acknowledged
	last    uint64
	totals  *simTotals
	stored  bool
}

// user is one slot of a phase in one epoch.
type user struct {
	phase       int
	slot, epoch uint32
}

// simWindow is what happened in a second, by phase.
type simWindow struct {
	sequence        uint64
	started, missed []uint64
	next            []uint64 // cursors
}

type simTotals struct {
	last            uint64
	started, missed []uint64
	next            []uint64
}

func newPart(a *simAgent, c agentrun.Prepare) *simPart {
	var weights []uint32
	p := &simPart{a: a, id: c.Part, member: -1, held: math.MaxInt64, limit: math.MaxInt64, users: map[user]int{}, totals: &simTotals{}}
	for i, m := range c.Assignment.GetMembers() {
		weights = append(weights, m.GetWeight())
		if m.GetAgent() == a.name && m.GetIncarnation() == c.Incarnation {
			p.member = i
		}
	}
	p.course = schedule.NewCourse(a.w.base, weights)
	for _, change := range c.Assignment.GetChanges() {
		p.take(change)
	}
	p.grow()
	return p
}

// take applies a change, which may make the agent a member.
func (p *simPart) take(change *pb.Change) {
	for i, m := range change.GetJoined() {
		if m.GetAgent() == p.a.name && m.GetIncarnation() == p.id.Incarnation {
			p.member = p.course.Members() + i
		}
	}
	course, err := p.course.Apply(change)
	if err != nil {
		p.a.w.broken("%s cannot apply %v: %v", p.a.name, change, err)
		return
	}
	p.course = course
}

// grow makes room for every phase.
func (p *simPart) grow() {
	for len(p.next) < len(p.course.Phases()) {
		p.next = append(p.next, 0)
		p.open.started, p.open.missed = append(p.open.started, 0), append(p.open.missed, 0)
		p.totals.started, p.totals.missed = append(p.totals.started, 0), append(p.totals.missed, 0)
	}
}

// run is the clock of the run as the agent sees it.
func (p *simPart) run() int64 { return p.a.own() - p.start }

func (p *simPart) play(at int64) {
	p.start, p.plays = at, true
	p.begin(1)
	for epoch := uint32(2); epoch <= p.course.Epoch(); epoch++ {
		p.begin(epoch)
	}
	p.advance()
	p.second()
}

func (p *simPart) second() {
	p.a.after(time.Second, func() {
		if !p.over {
			p.cut()
			p.advance()
			p.second()
		}
	})
}

func (p *simPart) hold(at int64) {
	p.held = at
	if p.plays {
		p.advance() // an earlier hold may have been in the way
	}
}

func (p *simPart) apply(change *pb.Change) {
	p.take(change)
	p.grow()
	p.held = math.MaxInt64
	if !p.plays {
		return
	}
	p.a.w.oracle.applied(p.a, change)
	p.begin(p.course.Epoch())
	p.advance()
}

func (p *simPart) resume() {
	p.paused = false
	p.advance()
}

func (p *simPart) stop() {
	p.limit = min(p.limit, p.run())
	p.a.after(300*time.Millisecond, p.finishIfOver)
}

// allowed is the check before every send.
func (p *simPart) allowed(due int64) bool {
	if p.paused || p.over || due >= p.held || due > p.limit {
		return false
	}
	return p.a.own() < p.a.lease // the machine learns of a lapse at its next tick only
}

// advance plays everything that is due and plans the next look.
func (p *simPart) advance() {
	if !p.plays || p.over || p.member < 0 {
		p.finishIfOver()
		return
	}
	wake := int64(math.MaxInt64)
	for i, phase := range p.course.Phases() {
		if phase.Users > 0 {
			continue
		}
		for {
			n, ok := p.course.Next(i, p.member, p.next[i])
			if !ok {
				break
			}
			due := p.a.w.due(phase, n)
			if now := p.run(); due > now {
				wake = min(wake, due)
				break
			}
			if !p.allowed(due) {
				break
			}
			p.fire(i, n, due)
		}
	}
	if wake != math.MaxInt64 && wake < p.held {
		at := p.a.instant(p.start + wake)
		p.a.at(at, p.advance)
	}
	p.finishIfOver()
}

func (p *simPart) fire(phase int, n uint64, due int64) {
	p.next[phase] = n + 1
	if p.run()-due > simLateness {
		p.open.missed[phase]++
		p.totals.missed[phase]++
		p.a.w.saw("arrival missed")
		return
	}
	p.open.started[phase]++
	p.totals.started[phase]++
	p.a.w.oracle.arrival(p, phase, n, due)
}

// begin starts the users of the slots that an epoch gives to the member.
func (p *simPart) begin(epoch uint32) {
	if p.member < 0 {
		return
	}
	for i, phase := range p.course.Phases() {
		if phase.Users == 0 {
			continue
		}
		for slot := range p.course.Slots(i, p.member, epoch) {
			u := user{i, slot, epoch}
			if _, known := p.users[u]; known {
				continue
			}
			p.users[u] = 0
			at := max(p.course.At(epoch), phase.Start)
			p.a.at(p.a.instant(p.start+at), func() { p.session(u) })
		}
	}
}

// session plays one session of a slot and plans the next.
func (p *simPart) session(u user) {
	phase := p.course.Phases()[u.phase]
	now := p.run()
	switch {
	case p.over || now >= phase.End() || now > p.limit || !p.course.Holds(u.phase, p.member, u.slot, u.epoch):
		delete(p.users, u)
		return
	case phase.Paused() || !p.allowed(now):
		p.a.after(50*time.Millisecond, func() { p.session(u) })
		return
	}
	p.open.started[u.phase]++
	p.totals.started[u.phase]++
	p.a.w.oracle.session(p, u, p.users[u])
	p.users[u]++
	p.a.after(p.a.w.between(50*time.Millisecond, 400*time.Millisecond), func() { p.session(u) })
}

// finishIfOver tells the machine when there is nothing more to play, whatever change may come.
func (p *simPart) finishIfOver() {
	if p.over || !p.plays {
		return
	}
	now := p.run()
	stopped := now-int64(200*time.Millisecond) > p.limit
	share := p.member >= 0 && p.course.Weights()[p.member] > 0
	ended := now > p.course.End() || !share && p.course.Epoch() > 1 && now >= p.course.At(p.course.Epoch())
	if !stopped && (!ended || p.held < p.course.End() || p.owes()) {
		return
	}
	p.over = true
	p.a.step(agentrun.LoadOver{Part: p.id})
}

// owes reports whether an arrival is still to be accounted for.
func (p *simPart) owes() bool {
	for i := range p.course.Phases() {
		if _, ok := p.course.Next(i, p.member, p.next[i]); ok && p.member >= 0 {
			return true
		}
	}
	return false
}

// cut hands a window over.
func (p *simPart) cut() {
	p.last++
	p.open.sequence, p.open.next = p.last, slices.Clone(p.next)
	p.windows = append(p.windows, p.open)
	p.open = simWindow{started: make([]uint64, len(p.next)), missed: make([]uint64, len(p.next))}
}

func (p *simPart) finish() {
	p.cut()
	p.totals.last, p.totals.next = p.last, slices.Clone(p.next)
	p.stored = true
	p.a.uplink()
}

// uplink sends what is not acknowledged, in order, and the totals after it.
func (a *simAgent) uplink() {
	for _, id := range slices.SortedFunc(maps.Keys(a.parts), func(x, y agentrun.Part) int { return int(x.Incarnation) - int(y.Incarnation) }) {
		p := a.parts[id]
		if len(p.windows) == 0 && !p.stored {
			continue
		}
		windows := slices.Clone(p.windows)
		if a.w.chaos.gaps && len(windows) > 1 && a.w.random.IntN(4) == 0 {
			windows = slices.Delete(windows, 0, 1+a.w.random.IntN(len(windows)-1))
		}
		var totals *simTotals
		if p.stored {
			totals = p.totals
		}
		a.ask(true, func(c *simCoordinator) func() {
			c.push(id, a.name, windows, totals)
			return nil
		})
	}
}

// acknowledged forgets what is on record.
func (a *simAgent) acknowledged(id agentrun.Part, upTo uint64, totals bool) {
	p := a.parts[id]
	if p == nil {
		return
	}
	p.windows = slices.DeleteFunc(p.windows, func(w simWindow) bool { return w.sequence <= upTo })
	if p.stored && totals && len(p.windows) == 0 {
		p.stored = false
		a.step(agentrun.Flushed{Part: id})
	}
}
