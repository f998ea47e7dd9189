package run

import (
	"fmt"
	"slices"
	"strings"
	"time"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const (
	// planned is the epoch of the plan.
	planned = 1
	// generationBits: attempts of one generation of the coordinator have numbers below 1 << generationBits.
	generationBits = 16
	// maxStep bounds how far ahead of the one before an attempt lies.
	maxStep = time.Second
	// maxSkew and skewRate (1/skewRate) bound how far an agent's clock of the run may be ahead: one that shows more is wrong.
	maxSkew  = int64(2 * time.Second)
	skewRate = 1000
	// costFactor is by how much the cost of a change that was tried once delays its instant; maxCost bounds the cost that counts.
	costFactor = 4
	maxCost    = 2 * time.Second
	// maxRevisions bounds the revisions of one change.
	maxRevisions = 64
)

// changes is what the machine knows of who owns what: the changes in force, and the one that is under way.
//
// A change has one instant. It is proposed to every member that may start requests; each acknowledges that it starts
// nothing due at or after the instant. Only then it is put on record, and only once it is on record it is told.
// While somebody does not answer, attempts with later instants follow each other, so that nothing is held back for long.
type changes struct {
	epoch, revision uint32
	weights         []uint32 // in force, by member
	lastAt          int64    // instant of the last attempt
	committed       []*pb.Change
	attempts        uint32 // number of the last attempt: never used twice, whatever becomes of a change
	pending         *pending
	wishes          []Adjust
	nudge           bool // somebody waits for a change that this coordinator does not know of
}

// pending is a change on its way.
type pending struct {
	change  *pb.Change
	acked   map[ID]bool  // of the last attempt
	heard   map[ID]int64 // when a member last answered an attempt of this epoch, or was first asked
	wishes  []Adjust
	joiners []*member
	retry   int64 // when another attempt is made
	tries   int
	first   uint32 // its first attempt; each has the same wishes, until they are refused
	refused string // why what was wished for is not done, though it was proposed
	noted   bool   // handed to the journal: it is final, though perhaps not yet on record
}

func newChanges(roster []Member, generation uint32) changes {
	c := changes{epoch: planned, revision: 1, lastAt: -1, attempts: generation << generationBits}
	for _, r := range roster {
		c.weights = append(c.weights, r.Weight)
	}
	return c
}

// Committed are the changes on record, in order.
func (m *Machine) Committed() []*pb.Change { return m.committed }

// Proposed is the change that the member is asked to acknowledge; nil: none.
func (m *Machine) Proposed(id ID) *pb.Change {
	if p := m.pending; p != nil && !p.noted && slices.ContainsFunc(m.voters(), func(a *member) bool { return a.ID == id }) {
		return p.change
	}
	return nil
}

// Told is the hardest stop that the member was told of and has to obey.
func (m *Machine) Told(id ID) pb.StopMode {
	if a := m.find(id); a != nil && !a.accounted() {
		return a.stop
	}
	return pb.StopMode_STOP_MODE_UNSPECIFIED
}

// target is the weight that a member should have from now on. One that has handed its share over never gets one again.
func (m *Machine) target(i int) uint32 {
	a := m.members[i]
	if m.weights[i] == 0 || a.accounted() || a.leaving || a.over {
		return 0
	}
	return a.Weight
}

// targets are the weights of all members and of the joiners after them.
func (m *Machine) targets(joiners []*member) []uint32 {
	var out []uint32
	for i := range m.members {
		out = append(out, m.target(i))
	}
	for _, a := range joiners {
		out = append(out, a.Weight)
	}
	return out
}

// voters are those who must acknowledge: whoever may start something due at or after the instant, and the joiners. A
// member without weight owns nothing from its own last change on, and one that is over starts nothing any more.
func (m *Machine) voters() []*member {
	var out []*member
	for i, a := range m.members {
		if m.weights[i] > 0 && !a.accounted() && !a.over {
			out = append(out, a)
		}
	}
	return append(out, m.pending.joiners...)
}

// wanted reports whether there is a reason for a change.
func (m *Machine) wanted() bool {
	if m.nudge || len(m.wishes) > 0 || len(m.arrivedJoiners()) > 0 {
		return true
	}
	for i, a := range m.members {
		if m.weights[i] > 0 && (a.lost || a.out || a.leaving) {
			return true
		}
	}
	return false
}

func (m *Machine) arrivedJoiners() []*member {
	var out []*member
	for _, a := range m.joining {
		if a.ready && !a.lost {
			out = append(out, a)
		}
	}
	return out
}

// propose begins the next change, if there is reason for one and none is under way.
func (m *Machine) propose(now int64) []Command {
	if m.state != Running || !m.fixed || m.pending != nil || m.journalFailing != 0 || !m.wanted() {
		return nil
	}
	m.pending = &pending{heard: map[ID]int64{}, wishes: m.takeWishes()}
	return m.attempt(now, 0)
}

// attempt proposes the pending change anew, at an instant later than every one before and than after, both of the run's clock.
func (m *Machine) attempt(now, after int64) []Command {
	p := m.pending
	p.joiners = m.arrivedJoiners()
	weights := m.targets(p.joiners)
	if !slices.ContainsFunc(weights, func(w uint32) bool { return w > 0 }) {
		return m.nobodyLeft(now)
	}
	step := min(m.config.Horizon<<min(p.tries, 8), maxStep) + computing(p.wishes)
	at := max(max(now-m.start, after)+int64(step), m.lastAt+1) // wishes in a row do not add their horizons up
	m.lastAt = at
	change := m.build(p.wishes, weights, p.joiners, at)
	if check := m.config.Check; check != nil {
		if err := check(change); err != nil {
			return m.withoutWishes(err, now)
		}
	}
	if p.tries == 0 {
		p.first = change.GetAttempt()
	}
	p.change, p.acked, p.retry = change, map[ID]bool{}, m.start+at-int64(step)/3
	p.tries++
	var commands []Command
	for _, a := range m.voters() {
		if _, asked := p.heard[a.ID]; !asked {
			p.heard[a.ID] = now // its time begins when it is first asked
		}
		commands = append(commands, Propose{ID: a.ID, Change: p.change})
	}
	return append(commands, m.tryCommit(now)...)
}

// computing is how much further ahead the instant lies for changes that take long to compute: once here, and then once on every
// agent, which may be slower.
func computing(wishes []Adjust) time.Duration {
	longest := time.Duration(0)
	for _, w := range wishes {
		longest = max(longest, w.Cost)
	}
	return costFactor * min(longest, maxCost)
}

// build makes the change.
func (m *Machine) build(wishes []Adjust, weights []uint32, joiners []*member, at int64) *pb.Change {
	m.attempts++
	change := pb.Change_builder{
		Epoch: m.epoch + 1, Attempt: m.attempts, Revision: m.revision, AtNs: at, Weights: weights,
	}
	for _, a := range joiners {
		change.Joined = append(change.Joined, pb.Member_builder{Agent: a.Agent, Incarnation: a.Incarnation, Weight: a.Weight}.Build())
	}
	for _, w := range wishes {
		change.Revisions = append(change.Revisions, w.Revisions...)
		change.Appended = append(change.Appended, w.Appended...)
		change.Closed = change.Closed || w.Closed
		if w.Request != "" {
			change.RequestIds = append(change.RequestIds, w.Request)
		}
		if len(w.WorkloadWeights) > 0 {
			change.WorkloadWeights = w.WorkloadWeights
		}
	}
	if len(change.Revisions)+len(change.Appended) > 0 {
		change.Revision++
	}
	change.Reason = m.reasons(wishes, joiners)
	return change.Build()
}

// reasons says in plain words what a change is for.
func (m *Machine) reasons(wishes []Adjust, joiners []*member) string {
	var words []string
	for i, a := range m.members {
		switch {
		case m.weights[i] == 0:
		case a.lost:
			words = append(words, "agent "+a.Agent+" is lost")
		case a.leaving:
			words = append(words, "agent "+a.Agent+" leaves")
		}
	}
	for _, a := range joiners {
		words = append(words, "agent "+a.Agent+" joins")
	}
	for _, w := range wishes {
		words = append(words, w.Reason)
	}
	switch {
	case len(words) > 0:
	case m.pending.refused != "":
		words = append(words, "refused, nothing changes: "+m.pending.refused)
	default:
		words = append(words, "the coordinator was restarted")
	}
	return strings.Join(words, "; ")
}

// withoutWishes refuses the wishes of the pending change, which do not fit the schedule. What has been proposed goes on
// without them: somebody may hold back for it.
func (m *Machine) withoutWishes(err error, now int64) []Command {
	p := m.pending
	if len(p.wishes) == 0 {
		return m.drop(err.Error()) // membership alone never misfits; should it, nothing changes
	}
	commands := answer(p.wishes, nil, err.Error())
	p.wishes, p.refused = nil, err.Error()
	if p.tries > 0 {
		return append(commands, m.attempt(now, 0)...)
	}
	m.pending = nil
	return append(commands, m.propose(now)...)
}

// nobodyLeft: whoever is still there wants to leave, and nobody can take its share; or nobody is there.
func (m *Machine) nobodyLeft(now int64) []Command {
	if m.state == Running && len(m.voters()) > 0 {
		return m.stopAll(Stop{Mode: pb.StopMode_STOP_MODE_DRAIN, Reason: "the last agent leaves"}, now)
	}
	return m.drop("no agent is left to play it")
}

// drop gives the pending change up, unless it is final, and refuses every wish.
func (m *Machine) drop(why string) []Command {
	commands := answer(m.wishes, nil, why)
	m.wishes = nil
	if p := m.pending; p != nil && !p.noted {
		commands = append(commands, answer(p.wishes, nil, why)...)
		m.pending = nil
	}
	return commands
}

func answer(wishes []Adjust, change *pb.Change, refusal string) []Command {
	var commands []Command
	for _, w := range wishes {
		commands = append(commands, Adjusted{Request: w.Request, Change: change, Refusal: refusal})
	}
	return commands
}

func (m *Machine) acknowledged(e Acknowledged, now int64) []Command {
	p := m.pending
	if p == nil {
		// It holds back what is due for a proposal of a coordinator that is no more: any change frees it.
		if a := m.find(e.ID); a != nil && !a.accounted() && e.Epoch > m.epoch {
			m.nudge = true
		}
		return m.propose(now)
	}
	if p.noted || e.Epoch != p.change.GetEpoch() {
		return nil
	}
	p.heard[e.ID] = now
	if e.Attempt != p.change.GetAttempt() {
		return nil
	}
	p.acked[e.ID] = true
	return m.tryCommit(now)
}

// refused: the instant has passed on one agent, so another one is tried at once; or its load is over.
func (m *Machine) refused(e Refused, now int64) []Command {
	p, a := m.pending, m.find(e.ID)
	if p == nil || a == nil || p.noted || e.Epoch != p.change.GetEpoch() || e.Attempt < p.first || p.acked[e.ID] {
		return nil
	}
	// Another instant does not help against an excess, and an answer over the results stream is slower than the attempts follow each other.
	if e.Attempt != p.change.GetAttempt() && !(e.Excess && len(p.wishes) > 0) {
		return nil
	}
	run := now - m.start
	switch {
	case e.Excess && len(p.wishes) > 0:
		p.heard[e.ID] = now
		return m.withoutWishes(fmt.Errorf("agent %s: %s", e.Agent, e.Why), now)
	case e.Over:
		a.over = true
		return m.attempt(now, 0)
	case e.RunNS < p.change.GetAtNs() || e.RunNS > run+maxSkew+run/skewRate:
		return nil // it is not ready yet, or its clock is wrong: without an acknowledgement it is denied
	}
	p.heard[e.ID] = now
	return m.attempt(now, e.RunNS)
}

// tryCommit hands the change to the journal once everyone has acknowledged it.
func (m *Machine) tryCommit(now int64) []Command {
	p := m.pending
	if p == nil || p.noted {
		return nil
	}
	for _, a := range m.voters() {
		if !p.acked[a.ID] {
			return nil
		}
	}
	p.noted = true
	return []Command{noteChange(p.change, now)}
}

func noteChange(change *pb.Change, now int64) Note {
	return Note{Event: pb.RunEvent_builder{
		Kind: pb.RunEventKind_RUN_EVENT_KIND_CHANGED, Change: change, Detail: change.GetReason(),
	}.Build(), At: now}
}

// changeDurable puts the change in force and tells everyone.
func (m *Machine) changeDurable(e ChangeDurable, now int64) []Command {
	p := m.pending
	if p == nil || !p.noted || p.change.GetEpoch() != e.Epoch {
		return nil
	}
	m.pending, m.nudge = nil, false
	m.admit(p.change, p.joiners)
	m.config.Load = e.Load
	commands := answer(p.wishes, p.change, "")
	for _, a := range append(slices.Clone(m.members), m.joining...) {
		if !a.accounted() {
			commands = append(commands, Commit{ID: a.ID, Change: p.change})
		}
	}
	switch m.state {
	case Preparing:
		return append(commands, m.fixStart(now)...)
	case Running:
		m.setDeadline()
	}
	return append(commands, m.propose(now)...)
}

// admit takes a change on: its weights are in force, and who joined is a member.
func (m *Machine) admit(change *pb.Change, joiners []*member) {
	m.epoch, m.revision, m.lastAt = change.GetEpoch(), change.GetRevision(), max(m.lastAt, change.GetAtNs())
	m.weights, m.committed = change.GetWeights(), append(m.committed, change)
	for _, a := range joiners {
		a.needs = m.epoch
		m.members = append(m.members, a)
		m.joining = slices.DeleteFunc(m.joining, func(b *member) bool { return a == b })
	}
}

// appliedBy notes how far an agent is, which may be what its start has waited for.
func (m *Machine) appliedBy(e Applied) []Command {
	a := m.find(e.ID)
	if a == nil || e.Epoch <= a.applied {
		return nil
	}
	a.applied = e.Epoch
	return m.starts()
}

// changeDeadline is when the pending change needs another attempt or a member is to be denied; 0: neither.
func (m *Machine) changeDeadline() int64 {
	p := m.pending
	if p == nil || p.noted {
		return 0
	}
	at := p.retry
	for _, a := range m.silent() {
		at = min(at, m.denial(a))
	}
	return max(at, 1)
}

// silent are the voters that have not acknowledged the last attempt and whose lease is still renewed.
func (m *Machine) silent() []*member {
	var out []*member
	for _, a := range m.voters() {
		if !m.pending.acked[a.ID] && !a.denied {
			out = append(out, a)
		}
	}
	return out
}

// denial is when a silent voter's lease is not renewed any more: it has answered no attempt for so long.
func (m *Machine) denial(a *member) int64 {
	return m.pending.heard[a.ID] + int64(m.config.AckPatience)
}

// pressChange makes another attempt before the instant of the last one comes, and denies those who do not answer.
func (m *Machine) pressChange(now int64) []Command {
	p := m.pending
	if p == nil || p.noted || m.state == Preparing {
		return nil
	}
	var commands []Command
	for _, a := range m.silent() {
		if now >= m.denial(a) {
			commands = append(commands, m.deny(a, "it does not acknowledge a change")...)
		}
	}
	if now >= p.retry {
		commands = append(commands, m.attempt(now, 0)...)
	}
	return commands
}
