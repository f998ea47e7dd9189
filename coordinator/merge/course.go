package merge

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// cursor is how far an agent has come in a phase: every arrival below next that it owns is accounted for.
type cursor struct {
	phase int
	next  uint64
}

// edge is what must be known of a window next to one that is missing.
type edge struct {
	cursors []cursor
	due     map[int]uint64 // arrivals that it accounts for, by phase
}

// receive notes a window of the stream.
func (s *stream) receive(p *parsed) {
	s.received = s.received.add(p.sequence)
	if len(p.cursors) > 0 {
		e := edge{cursors: p.cursors, due: make(map[int]uint64)}
		for i := range p.groups {
			g := &p.groups[i]
			e.due[g.key.Phase] += g.counters.Accounted()
		}
		s.edges[p.sequence] = e
	}
	for n := p.sequence - 1; n <= p.sequence+1; n++ {
		if n > 1 && s.received.has(n-1) && s.received.has(n+1) {
			delete(s.edges, n)
		}
	}
}

func (r *Run) parseCursors(in []*pb.Cursor) ([]cursor, error) {
	var out []cursor
	for _, c := range in {
		if _, err := r.parseKey(c.GetPhase(), 0); err != nil {
			return nil, err
		}
		if c.GetNextArrival() > MaxCount {
			return nil, errCount
		}
		out = append(out, cursor{int(c.GetPhase()), c.GetNextArrival()})
	}
	slices.SortFunc(out, func(a, b cursor) int { return a.phase - b.phase })
	for i := 1; i < len(out); i++ {
		if out[i].phase == out[i-1].phase {
			return nil, fmt.Errorf("phase %d has two cursors", out[i].phase)
		}
	}
	return out, nil
}

// edgeMessages are the edges of a stream for a checkpoint, in order.
func (s *stream) edgeMessages() []*pb.StreamEdge {
	var out []*pb.StreamEdge
	for _, n := range slices.Sorted(maps.Keys(s.edges)) {
		b := pb.StreamEdge_builder{Sequence: n}
		for _, c := range s.edges[n].cursors {
			b.Cursors = append(b.Cursors, pb.Cursor_builder{Phase: uint32(c.phase), NextArrival: c.next}.Build())
			b.Due = append(b.Due, s.edges[n].due[c.phase])
		}
		out = append(out, b.Build())
	}
	return out
}

// restoreEdges reads what edgeMessages wrote.
func (r *Run) restoreEdges(s *stream, in []*pb.StreamEdge) error {
	for _, m := range in {
		cursors, err := r.parseCursors(m.GetCursors())
		if err != nil {
			return err
		}
		if len(m.GetDue()) != len(cursors) || !s.received.has(m.GetSequence()) {
			return fmt.Errorf("the cursors of window %d do not fit it", m.GetSequence())
		}
		e := edge{cursors: cursors, due: make(map[int]uint64)}
		for i, c := range m.GetCursors() {
			e.due[int(c.GetPhase())] = m.GetDue()[i]
		}
		s.edges[m.GetSequence()] = e
	}
	return nil
}

// at is the cursor of a phase, 0 where there is none.
func at(cursors []cursor, phase int) uint64 {
	for _, c := range cursors {
		if c.phase == phase {
			return c.next
		}
	}
	return 0
}

func (r *Run) addMember(m *pb.Member) {
	r.members[m.GetAgent()] = append(r.members[m.GetAgent()], len(r.agents))
	r.agents = append(r.agents, newAgent(m.GetAgent(), m.GetIncarnation()))
}

// memberOf is the member of a registration: the one that names it, else the first of the agent's name; nil for none.
func (r *Run) memberOf(name string, incarnation uint64) *Agent {
	all := r.members[name]
	if len(all) == 0 {
		return nil
	}
	for _, m := range all {
		if r.agents[m].Incarnation == incarnation {
			return r.agents[m]
		}
	}
	return r.agents[all[0]]
}

// lostMember is the member that an event of a loss is about.
func (r *Run) lostMember(e Event) (int, bool) {
	agent := r.memberOf(e.Agent, e.Incarnation)
	if agent == nil {
		return 0, false
	}
	return slices.Index(r.agents, agent), true
}

// owned reports whether a member ever had a share of anything.
func (r *Run) owned(member int) bool {
	for i, p := range r.course.Phases() {
		if r.course.Count(i, member, max(p.Arrivals, uint64(p.Users))) > 0 {
			return true
		}
		for epoch := uint32(1); epoch <= r.course.Epoch(); epoch++ {
			for range r.course.Slots(i, member, epoch) {
				return true
			}
		}
	}
	return false
}

// addChange takes a change that was committed. Changes may come in any order and repeatedly; one counts once those before it are
// there. Windows of members and phases that it brings must come after it, as they do in the journal.
func (r *Run) addChange(ch *pb.Change) error {
	if ch == nil {
		return errors.New("the event of a change holds none")
	}
	if epoch := ch.GetEpoch(); epoch <= r.course.Epoch() || r.pending[epoch] != nil {
		return nil
	}
	if ch.GetEpoch() > schedule.MaxEpochs {
		return fmt.Errorf("a change of epoch %d; a run has at most %d", ch.GetEpoch(), schedule.MaxEpochs)
	}
	r.pending[ch.GetEpoch()] = ch
	for next := r.pending[r.course.Epoch()+1]; next != nil; next = r.pending[r.course.Epoch()+1] {
		delete(r.pending, next.GetEpoch())
		if err := r.apply(next); err != nil {
			return err
		}
	}
	return nil
}

func (r *Run) apply(ch *pb.Change) error {
	for _, m := range ch.GetJoined() {
		if r.knows(m) {
			return fmt.Errorf("change of epoch %d: agent %q has no name or is a member already", ch.GetEpoch(), m.GetAgent())
		}
	}
	next, err := r.course.Apply(ch)
	if err != nil {
		return err
	}
	r.course, r.cutKnown = next, false
	r.changes = append(r.changes, ch)
	for _, m := range ch.GetJoined() {
		r.addMember(m)
	}
	if n := len(ch.GetAppended()); n > 0 {
		r.scenario = proto.CloneOf(r.scenario)
		r.scenario.SetLoad(append(r.scenario.GetLoad(), ch.GetAppended()...))
		r.lastEnd = append(r.lastEnd, make([]int64, n)...)
	}
	return nil
}

func (r *Run) knows(m *pb.Member) bool {
	for _, i := range r.members[m.GetAgent()] {
		if r.agents[i].Incarnation == m.GetIncarnation() {
			return true
		}
	}
	return m.GetAgent() == ""
}

// Changes are the changes that were committed, in order. They must not be changed.
func (r *Run) Changes() []*pb.Change { return r.changes }

// Sharing are the names of the agents that have a share by the weights of a change.
func (r *Run) Sharing(weights []uint32) (with []string) {
	for m, w := range weights {
		if w > 0 && m < len(r.agents) {
			with = append(with, r.agents[m].Name)
		}
	}
	return with
}

// Restarted is the number of users of a phase of closed load that changes took from one agent and that began anew with another.
func (r *Run) Restarted(phase int) uint64 {
	var n uint64
	for epoch := uint32(2); epoch <= r.course.Epoch(); epoch++ {
		n += r.course.Restarted(phase, epoch)
	}
	return n
}

// LostRange is a stretch of arrivals that an agent owned and that nothing is known of.
type LostRange struct {
	// Member is the index of the agent, Phase that of the phase.
	Member, Phase int
	// FirstWindow and LastWindow are the windows that are missing; LastWindow 0: whatever came after FirstWindow − 1.
	FirstWindow, LastWindow uint64
	// First and Last are the numbers of the first and the last arrival; those between them that others own do not count.
	First, Last uint64
	// Count is how many the agent owned of them.
	Count uint64
}

// LostRanges says exactly which arrivals of open load are lost, as far as the agents' windows tell how far they had come.
func (r *Run) LostRanges() []LostRange {
	var out []LostRange
	if _, ok := r.Started(); !ok {
		return nil
	}
	for member := range r.agents {
		out = append(out, r.lostRanges(member)...)
	}
	return out
}

func (r *Run) lostRanges(member int) []LostRange {
	s := &stream{}
	switch streams := r.agents[member].sorted(); len(streams) {
	case 0:
	case 1:
		s = streams[0]
	default:
		return nil // registrations that share one membership: which of them played what is not known
	}
	var out []LostRange
	for phase, p := range r.course.Phases() {
		if p.Users == 0 {
			out = append(out, r.lostOf(s, member, phase)...)
		}
	}
	return out
}

// lostOf finds what is lost of one stream in one phase: what the missing windows held, and what was due after the last one that came
// where the agent has not told of its end.
func (r *Run) lostOf(s *stream, member, phase int) []LostRange {
	var out []LostRange
	add := func(first, last, from, to uint64) {
		if to > from {
			out = append(out, LostRange{
				Member: member, Phase: phase, FirstWindow: first, LastWindow: last, Count: to - from,
				First: r.nth(member, phase, from), Last: r.nth(member, phase, to-1),
			})
		}
	}
	for _, gap := range s.gaps() {
		if gap.last > s.received.last() {
			continue // the tail is below
		}
		before, known := s.edges[gap.first-1]
		after, also := s.edges[gap.last+1]
		if (known || gap.first == 1) && also {
			end := r.course.Count(phase, member, at(after.cursors, phase))
			add(gap.first, gap.last, r.course.Count(phase, member, at(before.cursors, phase)), end-min(end, after.due[phase]))
		}
	}
	last := s.received.last()
	e, known := s.edges[last]
	if !known && last > 0 {
		return out
	}
	from := r.course.Count(phase, member, at(e.cursors, phase))
	if s.totals == nil {
		p := r.course.Phases()[phase]
		due := p.Arrivals
		if r.cutShort(p) {
			due = p.CountUntil(r.cutNS())
		}
		add(last+1, 0, from, r.course.Count(phase, member, due))
		return out
	}
	told := r.course.Count(phase, member, at(s.totals.cursors, phase))
	if s.totals.lastSequence > last {
		add(last+1, s.totals.lastSequence, from, told)
	}
	// An agent that stood still and came back as another member ends its part with totals that do not reach to where its share
	// was given away.
	owned, _ := r.owes(phase, member)
	if r.agents[member].accounted(phase) < owned {
		add(max(last, s.totals.lastSequence)+1, 0, told, owned)
	}
	return out
}

// nth is the number of a member's arrival that has so many of its own before it.
func (r *Run) nth(member, phase int, ordinal uint64) uint64 {
	n := sort.Search(int(r.course.Phases()[phase].Arrivals), func(n int) bool {
		return r.course.Count(phase, member, uint64(n)+1) > ordinal
	})
	return uint64(n)
}

// ranges names the arrivals that a member lost, in words.
func (r *Run) ranges(member int) string {
	all := r.lostRanges(member)
	parts := make([]string, 0, maxNamed)
	for _, l := range all[:min(len(all), maxNamed)] {
		name := r.scenario.GetLoad()[l.Phase].GetName()
		if l.First == l.Last {
			parts = append(parts, fmt.Sprintf("%d of phase %s", l.First, name))
		} else {
			parts = append(parts, fmt.Sprintf("%d to %d of phase %s", l.First, l.Last, name))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	if more := len(all) - len(parts); more > 0 {
		parts = append(parts, fmt.Sprintf("%d more stretches", more))
	}
	return " (arrivals " + strings.Join(parts, ", ") + ")"
}
