package merge

import (
	"maps"
	"slices"

	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// BusyCPU is the busy share of a machine above which a generator on it cannot be trusted.
const BusyCPU = 0.9

// Agent is one agent's part of the run.
type Agent struct {
	// Name of the agent, and the number of the registration by which it is a member; 0: any.
	Name        string
	Incarnation uint64
	// Health is its worst over all windows.
	Health Health
	// Lateness holds the lateness of its sessions, without discarded phases.
	Lateness hist.Histogram

	streams map[uint64]*stream // by incarnation
}

// stream is what one incarnation of an agent sent.
type stream struct {
	received sequences
	edges    map[uint64]edge // of the windows at the edges of received, by their numbers
	busy     sequences       // windows with load to be judged and the machine busier than BusyCPU
	groups   map[Key]*Counters
	values   uint64
	totals   *totals
}

// totals is an agent's own sum.
type totals struct {
	lastSequence uint64
	groups       map[Key]Counters
	values       uint64
	cursors      []cursor
	over         Over
	message      *pb.Totals // as it came
}

func newAgent(name string, incarnation uint64) *Agent {
	return &Agent{Name: name, Incarnation: incarnation, Health: noHealth(), streams: make(map[uint64]*stream)}
}

func (a *Agent) stream(incarnation uint64) *stream {
	s := a.streams[incarnation]
	if s == nil {
		s = &stream{groups: make(map[Key]*Counters), edges: make(map[uint64]edge)}
		a.streams[incarnation] = s
	}
	return s
}

// sorted are the streams in the order of their incarnations.
func (a *Agent) sorted() []*stream {
	out := make([]*stream, 0, len(a.streams))
	for _, i := range slices.Sorted(maps.Keys(a.streams)) {
		out = append(out, a.streams[i])
	}
	return out
}

func (s *stream) add(p *parsedGroup) {
	c := s.groups[p.key]
	if c == nil {
		c = new(Counters)
		s.groups[p.key] = c
	}
	c.Add(&p.counters)
	for _, d := range p.series {
		s.values += d.count
	}
}

func (a *Agent) addLateness(p *parsedGroup) {
	for _, d := range p.series {
		if d.series == measure.Lateness {
			mustMerge(&a.Lateness, d.data)
		}
	}
}

// addHealth notes the worst; judged says that the window holds load that counts.
func (a *Agent) addHealth(s *stream, p *parsed, judged bool) {
	a.Health.Worst(p.health)
	if judged && p.health.CPUMachine > BusyCPU {
		s.busy = s.busy.add(p.sequence)
	}
}

// Windows is the number of windows that came.
func (a *Agent) Windows() uint64 {
	var n uint64
	for _, s := range a.streams {
		n += s.received.count()
	}
	return n
}

// MissingWindows is the number of windows known to be missing: gaps in the numbers, up to the
// last one that came or that the agent's totals name.
func (a *Agent) MissingWindows() uint64 {
	var n uint64
	for _, s := range a.streams {
		n += s.gaps().count()
	}
	return n
}

func (s *stream) gaps() sequences {
	last := s.received.last()
	if s.totals != nil {
		last = max(last, s.totals.lastSequence)
	}
	return s.received.gaps(last)
}

// BusyWindows is the longest run of windows, one after the other, in which the agent's machine
// was busier than BusyCPU while there was load to be judged.
func (a *Agent) BusyWindows() uint64 {
	var n uint64
	for _, s := range a.streams {
		n = max(n, s.busy.longest())
	}
	return n
}

// accounted is the number of arrivals of a phase of which something is known from windows, or
// from totals where those know more.
func (a *Agent) accounted(phase int) uint64 {
	var n uint64
	for _, s := range a.streams {
		var windows, own uint64
		for k, c := range s.groups {
			if k.Phase == phase {
				windows += c.Accounted()
			}
		}
		if s.totals != nil {
			for k, c := range s.totals.groups {
				if k.Phase == phase {
					own += c.Accounted()
				}
			}
		}
		n += max(windows, own)
	}
	return n
}

// reported says that the agent's own totals came, for every one of its streams.
func (a *Agent) reported() bool {
	for _, s := range a.streams {
		if s.totals == nil {
			return false
		}
	}
	return len(a.streams) > 0
}

// Over is what met the ceilings of an agent's owner: arrivals that were shed for it and requests that were refused for it.
type Over struct{ Rate, InFlight uint64 }

// Over is what met the ceilings of the agent's owner, so far as its totals have come.
func (a *Agent) Over() Over {
	var sum Over
	for _, s := range a.streams {
		if s.totals != nil {
			sum.Rate += s.totals.over.Rate
			sum.InFlight += s.totals.over.InFlight
		}
	}
	return sum
}

// Sent is how far one incarnation of an agent came.
type Sent struct {
	// Agent by name, and its incarnation.
	Agent       string
	Incarnation uint64
	// Last is the number of its latest window; every one before it is there too, unless MissingWindows
	// says otherwise.
	Last uint64
	// Totals says that its totals are there.
	Totals bool
}

// Sent lists how far each incarnation of each agent came, in the order of the roster.
func (r *Run) Sent() []Sent {
	var out []Sent
	for _, a := range r.agents {
		for _, incarnation := range slices.Sorted(maps.Keys(a.streams)) {
			s := a.streams[incarnation]
			out = append(out, Sent{a.Name, incarnation, s.received.last(), s.totals != nil})
		}
	}
	return out
}
