package torture

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/loadline/loadline/coordinator/run"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// world is a whole cluster on one simulated clock: the machines of coordinator and agents, a network between them, a
// journal, and a target that counts. Everything follows from the seed. Times are true nanoseconds since the beginning.
type world struct {
	seed    uint64
	random  *rand.Rand
	now     int64
	queue   agenda
	ordinal uint64

	chaos  chaos
	net    network
	base   *schedule.Schedule
	dues   map[*schedule.Phase][]int64 // of every arrival of a phase, drawn once
	agents []*simAgent
	coord  *simCoordinator
	disk   journalDisk
	oracle oracle

	stopWanted pb.StopMode
	stopAsked  int64 // when the coordinator that is alive was told; 0: it was not
	ended      pb.RunState
	fault      string // what was broken; empty: nothing
	seen       map[string]int
	trace      func(format string, args ...any) // tells the story of a replayed seed; nil: nobody listens
}

// chaos is how bad a seed's world is.
type chaos struct {
	calm     bool // nothing fails
	loss     float64
	double   float64
	slowest  time.Duration // longest delay of a message
	faults   int           // number of faults over the run
	hold     time.Duration
	min      int
	absent   bool // an agent never gets ready
	closed   bool // a phase of closed load beside the open one
	stops    bool
	adjusts  int
	slowDisk bool
	lopsided bool // the way from one agent is slower than the way back, so its clock of the run is ahead
	deaf     bool // one agent renews its lease and answers no proposal
	gentle   bool // processes die and stand still, and nothing else fails: what must get done is shown there
	ahead    bool // the way from one agent was slower than the way back until the run began: its clock of the run stays ahead
	headless bool // the coordinator dies as soon as somebody has acknowledged a change whose instant lies far ahead
	rewished bool // another change, whose instant lies near, is wished for as soon as the next coordinator is there
	gaps     bool // agents leave out windows in the middle of what they send
}

// Lengths of a simulated run; leases as those of the coordinator.
const (
	leaseLength = 5 * time.Second
	renewEvery  = time.Second
	simLoad     = 15 * time.Second
	simLateness = int64(250 * time.Millisecond)
	simEnd      = int64(4 * time.Minute)
	// agentWait is how long a run waits for its first agent, as the coordinator's.
	agentWait = 30 * time.Second
	// lopsidedness makes the clock of the run half of it wrong: more than a change's instant lies ahead at first.
	lopsidedness = 700 * time.Millisecond
	// simMargin covers the resolution of the checks on time: delays of the last renewal do not lengthen a lease.
	simMargin = int64(20 * time.Millisecond)
)

var simWaits = run.Config{
	Prepare: 30 * time.Second, Barrier: 10 * time.Second, StartAhead: time.Second, Load: simLoad, Drain: 2 * time.Second,
	Grace: 20 * time.Second, Return: 15 * time.Second, JournalPatience: 15 * time.Second, Horizon: 300 * time.Millisecond, AckPatience: 5 * time.Second,
}

func newWorld(seed uint64) *world {
	w := &world{seed: seed, random: rand.New(rand.NewPCG(seed, 7)), seen: map[string]int{}, dues: map[*schedule.Phase][]int64{}}
	w.oracle = newOracle(w)
	w.chaos = w.draw()
	w.net = network{w: w}
	w.base = w.compile()
	n := 2 + w.random.IntN(4)
	for i := range n {
		w.addAgent(fmt.Sprint("a", i), w.between(0, 500*time.Millisecond))
	}
	w.coord = newCoordinator(w, nil)
	w.schedule()
	return w
}

// draw fixes the kind of world. Every tenth one is calm: what must be so when nothing fails is shown there.
func (w *world) draw() chaos {
	if w.seed%10 == 0 {
		return chaos{calm: true, slowest: 5 * time.Millisecond, adjusts: 3, closed: w.seed%20 == 0}
	}
	c := chaos{
		loss:   []float64{0, 0.02, 0.2}[w.random.IntN(3)],
		double: []float64{0, 0.1}[w.random.IntN(2)], slowest: []time.Duration{5 * time.Millisecond, 80 * time.Millisecond, 400 * time.Millisecond}[w.random.IntN(3)],
		faults: w.random.IntN(6), adjusts: w.random.IntN(5), closed: w.random.IntN(3) == 0, stops: w.random.IntN(4) == 0,
		slowDisk: w.random.IntN(5) == 0,
	}
	if w.random.IntN(4) == 0 {
		c.hold = w.between(2*time.Second, 10*time.Second)
	}
	if w.random.IntN(5) == 0 {
		c.min, c.absent = 1, true
	}
	switch w.seed % 10 {
	case 1, 5:
		return chaos{gentle: true, slowest: 5 * time.Millisecond, faults: 1 + w.random.IntN(2)}
	case 2:
		return chaos{gentle: true, deaf: true, slowest: 5 * time.Millisecond, adjusts: 1}
	case 3, 4:
		c.lopsided = true
	case 6:
		return chaos{ahead: true, slowest: 5 * time.Millisecond, adjusts: 4}
	case 7:
		return chaos{headless: true, rewished: w.seed%20 < 10, slowest: 5 * time.Millisecond}
	case 8:
		c.gaps = true
	case 9:
		c.stops = true
	}
	return c
}

// compile makes the load: a Poisson phase, half of it beside another one.
func (w *world) compile() *schedule.Schedule {
	poisson := pb.Arrivals_ARRIVALS_POISSON
	first := pb.Phase_builder{
		Name: new("one"), Duration: durationpb.New(simLoad),
		Open: pb.OpenLoad_builder{Rate: new(float64(20 + w.random.IntN(60))), Arrivals: &poisson}.Build(),
	}.Build()
	second := pb.Phase_builder{
		Name: new("two"), At: durationpb.New(simLoad / 3), Duration: durationpb.New(simLoad / 2),
		Open: pb.OpenLoad_builder{Rate: new(float64(5 + w.random.IntN(30)))}.Build(),
	}.Build()
	if w.chaos.closed {
		second.SetClosed(pb.ClosedLoad_builder{Users: new(uint32(1 + w.random.IntN(8))), RampUp: durationpb.New(time.Second)}.Build())
	}
	s := pb.Scenario_builder{
		Seed:      new(w.seed + 1),
		Targets:   []*pb.Target{pb.Target_builder{Name: new("t")}.Build()},
		Workloads: []*pb.Workload{pb.Workload_builder{Name: new("w"), Target: new("t"), Weight: new(uint32(1))}.Build()},
		Load:      []*pb.Phase{first, second},
	}.Build()
	compiled, err := schedule.Compile(s)
	if err != nil {
		panic(err)
	}
	return compiled
}

// due is when an arrival is due.
func (w *world) due(p *schedule.Phase, n uint64) int64 {
	dues, ok := w.dues[p]
	if !ok {
		walker := p.Walk(0)
		for _, due, more := walker.Next(); more; _, due, more = walker.Next() {
			dues = append(dues, due)
		}
		w.dues[p] = dues
	}
	return dues[n]
}

func (w *world) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.random.Int64N(int64(high-low)+1))
}

// begun reports whether the run's common instant is fixed.
func (w *world) begun() bool { return w.coord != nil && w.coord.start != 0 }

// saw counts something that must happen in some of the worlds.
func (w *world) saw(what string) { w.seen[what]++ }

// tell writes a line of the story.
func (w *world) tell(format string, args ...any) {
	if w.trace != nil {
		w.trace("%12v "+format, append([]any{time.Duration(w.now)}, args...)...)
	}
}

// broken notes the first promise that was broken; the world then stands still.
func (w *world) broken(format string, args ...any) {
	if w.fault == "" {
		w.fault = fmt.Sprintf("at %v: ", time.Duration(w.now)) + fmt.Sprintf(format, args...)
	}
}

// play runs the world until its run has ended, and says what was broken.
func (w *world) play() string {
	for w.fault == "" && w.ended == 0 {
		if w.queue.Len() == 0 || w.now > simEnd {
			w.broken("the run has not ended: %s", w.coord.describe())
			break
		}
		next := heap.Pop(&w.queue).(*task)
		w.now = next.at
		next.do()
	}
	if w.fault == "" {
		w.oracle.settle()
	}
	return w.fault
}

// task is something that happens at an instant.
type task struct {
	at      int64
	ordinal uint64
	do      func()
}

// agenda is a heap of tasks, by instant and then by the order in which they were planned.
type agenda []*task

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].ordinal < a[j].ordinal
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(*task)) }
func (a *agenda) Pop() any {
	old := *a
	last := old[len(old)-1]
	*a = old[:len(old)-1]
	return last
}

// at plans something for an instant, at the earliest now.
func (w *world) at(at int64, do func()) {
	w.ordinal++
	heap.Push(&w.queue, &task{at: max(at, w.now), ordinal: w.ordinal, do: do})
}

// after plans something for later.
func (w *world) after(d time.Duration, do func()) { w.at(w.now+int64(d), do) }

// network delays, loses, doubles and reorders messages, and may be cut.
type network struct {
	w    *world
	cuts []cut
}

// way is one direction of one kind of connection between the coordinator and an agent.
type way struct {
	agent  string
	up     bool // from the agent to the coordinator
	stream bool // the results stream; false: NATS
}

// cut loses everything on some ways for a time.
type cut struct {
	from, to    int64
	agent       string // empty: all
	up, down    bool
	bus, stream bool
}

func (c *cut) covers(x way, now int64) bool {
	return now >= c.from && now < c.to && (c.agent == "" || c.agent == x.agent) &&
		(x.up && c.up || !x.up && c.down) && (x.stream && c.stream || !x.stream && c.bus)
}

// send delivers a message on a way, perhaps twice, perhaps never.
func (n *network) send(x way, deliver func()) {
	w := n.w
	for i := range n.cuts {
		if n.cuts[i].covers(x, w.now) {
			w.saw("message lost to a partition")
			return
		}
	}
	copies := 1
	if w.random.Float64() < w.chaos.double {
		copies = 2
		w.saw("message doubled")
	}
	for range copies {
		if w.random.Float64() < w.chaos.loss {
			w.saw("message lost")
			continue
		}
		pause := w.between(100*time.Microsecond, w.chaos.slowest)
		if x.up && x.agent == "a1" && (w.chaos.lopsided || w.chaos.ahead && !w.begun()) {
			pause += lopsidedness
			w.saw("lopsided way")
		}
		w.after(pause, deliver)
	}
}
