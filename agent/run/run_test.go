package run_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/loadline/loadline/agent/run"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const (
	lease = 5 * time.Second
	drain = pb.StopMode_STOP_MODE_DRAIN
	now   = pb.StopMode_STOP_MODE_NOW
)

var clock = time.Unix(1000, 0)

func assignment(id string) *pb.Assignment {
	return pb.Assignment_builder{RunId: id, Digest: []byte(id), ExpiresTime: timestamppb.New(clock.Add(time.Minute))}.Build()
}

func describe(commands []run.Command) string {
	var words []string
	for _, c := range commands {
		switch c := c.(type) {
		case run.Register:
			words = append(words, strings.TrimSuffix(fmt.Sprintf("register %d", c.Held), " 0"))
		case run.Grant:
			words = append(words, fmt.Sprintf("grant %v", time.Duration(c.Until)))
		case run.AnswerAssign:
			words = append(words, answer("assign", c.Refusal))
		case run.AnswerStart:
			words = append(words, answer("start", c.Refusal))
		case run.AnswerChange:
			words = append(words, answerChange(c))
		case run.Hold:
			words = append(words, fmt.Sprintf("hold %s at %v", c.Run, time.Duration(c.Change.GetAtNs())))
		case run.Apply:
			words = append(words, fmt.Sprintf("apply %s %d", c.Run, c.Change.GetEpoch()))
		case run.Pause:
			words = append(words, "pause "+c.Run)
		case run.Resume:
			words = append(words, "resume "+c.Run)
		case run.Depart:
			words = append(words, "depart")
		case run.Prepare:
			words = append(words, "prepare "+c.Assignment.GetRunId())
		case run.Report:
			words = append(words, "report "+c.Run+" "+strings.ToLower(strings.TrimPrefix(c.State.String(), "AGENT_STATE_")))
		case run.Play:
			word := fmt.Sprintf("play %s at %v", c.Run, time.Duration(c.At))
			if c.ClockBound != 0 {
				word += fmt.Sprintf(" ±%v", time.Duration(c.ClockBound))
			}
			words = append(words, word)
		case run.StopLoad:
			words = append(words, "stop "+c.Run+" "+strings.ToLower(strings.TrimPrefix(c.Mode.String(), "STOP_MODE_")))
		case run.Flush:
			words = append(words, "flush "+c.Run)
		case run.GiveUp:
			words = append(words, "give up "+c.Run)
		case run.Forget:
			words = append(words, "forget "+c.Run)
		}
	}
	return strings.Join(words, ", ")
}

func answerChange(c run.AnswerChange) string {
	switch {
	case c.Over:
		return "change no, over"
	case c.Excess:
		return "change no, too much for it"
	case c.RunNS != 0:
		return fmt.Sprintf("change no, the clock shows %v", time.Duration(c.RunNS))
	default:
		return answer("change", c.Refusal)
	}
}

// r3 and r4 are the parts of run r that incarnations 3 and 4 have.
var r3, r4 = run.Part{Run: "r", Incarnation: 3}, run.Part{Run: "r", Incarnation: 4}

func holding(id string, hold time.Duration) *pb.Assignment {
	a := assignment(id)
	a.SetHold(durationpb.New(hold))
	return a
}

func change(epoch, attempt uint32, at time.Duration) *pb.Change {
	return pb.Change_builder{Epoch: epoch, Attempt: attempt, AtNs: int64(at)}.Build()
}

func proposal(epoch, attempt uint32, at time.Duration) run.Event {
	return run.Proposed{Part: r3, Change: change(epoch, attempt, at)}
}

// holds answers a hold.
func holds(epoch, attempt uint32, at time.Duration) run.Event {
	return run.Held{Part: r3, Change: change(epoch, attempt, at)}
}

func commitment(epoch uint32) run.Event {
	return run.Committed{Part: r3, Change: change(epoch, 1, 0)}
}

func answer(what, refusal string) string {
	if refusal == "" {
		return what + " yes"
	}
	return what + " no"
}

type step struct {
	at    time.Duration
	event run.Event
	want  string
}

func TestLives(t *testing.T) {
	join := step{0, run.Registered{Incarnation: 3, Lease: lease}, "grant 5s"}
	prepare := []step{
		join,
		{time.Second, run.Assigned{Assignment: assignment("r"), Time: clock}, "assign yes, prepare r"},
		{time.Second, run.Prepared{Part: r3}, "report r ready"},
	}
	play := append(prepare[:3:3], step{time.Second, run.Started{Part: r3, At: int64(2 * time.Second)}, "start yes, play r at 2s"})
	for name, script := range map[string][]step{
		"a whole run": append(play[:4:4],
			step{3 * time.Second, run.Renewed{Incarnation: 3, Asked: int64(3 * time.Second)}, "grant 8s"},
			step{4 * time.Second, run.LoadOver{r3}, "flush r"},
			step{5 * time.Second, run.Flushed{r3}, "report r done"},
			step{6 * time.Second, run.Assigned{Assignment: assignment("s"), Time: clock}, "assign yes, prepare s"}),
		"orders may be repeated": append(play[:4:4],
			step{2 * time.Second, run.Assigned{Assignment: assignment("r"), Time: clock}, "assign yes"},
			step{2 * time.Second, run.Started{Part: r3, At: int64(2 * time.Second)}, "start yes"},
			step{2 * time.Second, run.Prepared{Part: r3}, ""}),
		"the first start is the one that counts": append(prepare[:3:3],
			step{time.Second, run.Started{Part: r3, At: int64(2 * time.Second), ClockBound: int64(20 * time.Microsecond)}, "start yes, play r at 2s ±20µs"},
			step{3 * time.Second, run.Started{Part: r3, At: int64(time.Second), ClockBound: int64(180 * time.Millisecond)}, "start yes"}),
		"one run at a time": append(play[:4:4],
			step{2 * time.Second, run.Assigned{Assignment: assignment("s"), Time: clock}, "assign no"}),
		"an expired assignment": {join,
			{time.Second, run.Assigned{Assignment: assignment("r"), Time: clock.Add(time.Minute)}, "assign no"}},
		"an assignment without a lease": {
			{time.Second, run.Assigned{Assignment: assignment("r"), Time: clock}, "assign no"}},
		"a start out of turn": append(prepare[:2:2],
			step{time.Second, run.Started{Part: r3}, "start no"}),
		"a start of another run": append(prepare[:3:3],
			step{time.Second, run.Started{Part: run.Part{Run: "x"}}, "start no"}),
		"problems while preparing": append(prepare[:2:2],
			step{time.Second, run.Prepared{Part: r3, Problems: []string{"no key"}}, "report r failed"},
			step{time.Second, run.Assigned{Assignment: assignment("s"), Time: clock}, "assign yes, prepare s"}),
		"stopped before the start": append(prepare[:3:3],
			step{time.Second, run.Stopped{Run: "r", Mode: drain}, "forget r"},
			step{time.Second, run.Started{Part: r3}, "start no"}),
		"stopped, harder, softer": append(play[:4:4],
			step{3 * time.Second, run.Stopped{Run: "r", Mode: drain}, "stop r drain"},
			step{3 * time.Second, run.Stopped{Run: "r", Mode: drain}, ""},
			step{4 * time.Second, run.Stopped{Run: "r", Mode: now}, "stop r now"},
			step{4 * time.Second, run.Stopped{Run: "r", Mode: drain}, ""},
			step{4 * time.Second, run.Stopped{Run: "x", Mode: now}, ""}),
		"a lease that lapses": append(play[:4:4],
			step{4 * time.Second, run.Tick{}, ""},
			step{5 * time.Second, run.Tick{}, "pause r"},
			step{6 * time.Second, run.Tick{}, ""},
			step{6 * time.Second, run.Stopped{Run: "r", Mode: now}, "stop r now"}),
		"a coordinator that never comes back": append(play[:4:4],
			step{5 * time.Second, run.Tick{}, "pause r"},
			step{time.Minute, run.Overdue{Part: r3}, "stop r now"},
			step{time.Minute, run.Overdue{Part: r3}, ""},
			step{time.Minute, run.LoadOver{r3}, "flush r"},
			step{15 * time.Minute, run.Tick{}, ""},
			step{16 * time.Minute, run.Tick{}, "give up r"},
			step{17 * time.Minute, run.LeaseRefused{Incarnation: 3}, "grant 0s, register 3"},
			step{17 * time.Minute, run.Registered{Incarnation: 4, Lease: lease, Asked: int64(17 * time.Minute)}, "grant 17m5s"},
			step{17 * time.Minute, run.Assigned{Assignment: assignment("s"), Time: clock}, "assign yes, prepare s"}),
		"results are kept while there is a coordinator": append(play[:4:4],
			step{3 * time.Second, run.LoadOver{r3}, "flush r"},
			step{time.Hour, run.Renewed{Incarnation: 3, Asked: int64(time.Hour)}, "grant 1h0m5s"},
			step{time.Hour, run.Tick{}, ""},
			step{time.Hour + 15*time.Minute, run.Tick{}, ""},
			step{time.Hour + 16*time.Minute, run.Tick{}, "give up r"}),
		"a load without an end whose coordinator never comes back": {join,
			{time.Second, run.Assigned{Assignment: assignment("r"), Time: clock}, "assign yes, prepare r"},
			{time.Second, run.Prepared{Part: r3, Endless: true}, "report r ready"},
			{time.Second, run.Started{Part: r3, At: int64(2 * time.Second)}, "start yes, play r at 2s"},
			{5 * time.Second, run.Tick{}, "pause r"},
			{10 * time.Minute, run.Tick{}, ""},
			{16 * time.Minute, run.Tick{}, "stop r now"},
			{16 * time.Minute, run.Tick{}, ""}},
		"what is overdue and not paused goes on": append(play[:4:4],
			step{4 * time.Second, run.Overdue{Part: r3}, ""}),
		"a lease that lapses and comes back": append(play[:4:4],
			step{5 * time.Second, run.Tick{}, "pause r"},
			step{7 * time.Second, run.Renewed{Incarnation: 3, Asked: int64(time.Second)}, "grant 6s"},
			step{8 * time.Second, run.Renewed{Incarnation: 3, Asked: int64(7 * time.Second)}, "grant 12s, resume r"}),
		"a renewal counts from when it was asked": append(play[:4:4],
			step{4 * time.Second, run.Renewed{Incarnation: 3, Asked: int64(time.Second)}, "grant 6s"},
			step{4 * time.Second, run.Renewed{Incarnation: 3, Asked: 0}, ""},
			step{4 * time.Second, run.Renewed{Incarnation: 2, Asked: int64(4 * time.Second)}, ""},
			step{6 * time.Second, run.Tick{}, "pause r"}),
		"a coordinator that takes it back": append(play[:4:4],
			step{3 * time.Second, run.LeaseRefused{Incarnation: 3}, "grant 0s, pause r, register 3"},
			step{3 * time.Second, run.LeaseRefused{Incarnation: 3}, ""},
			step{3 * time.Second, run.Renewed{Incarnation: 3, Asked: int64(3 * time.Second)}, ""},
			step{4 * time.Second, run.Registered{Incarnation: 3, Lease: lease, Asked: int64(4 * time.Second)}, "grant 9s, resume r"}),
		"a coordinator that has given its share away": append(play[:4:4],
			step{3 * time.Second, run.LeaseRefused{Incarnation: 3}, "grant 0s, pause r, register 3"},
			step{3 * time.Second, run.Registered{Incarnation: 4, Lease: lease, Asked: int64(3 * time.Second)}, "stop r drain, grant 8s"},
			step{3 * time.Second, run.Assigned{Assignment: assignment("r"), Time: clock}, "assign yes, prepare r"},
			step{4 * time.Second, run.LoadOver{r3}, "flush r"},
			step{4 * time.Second, run.Prepared{Part: r4}, "report r ready"},
			step{4 * time.Second, run.Started{Part: r4, At: 0}, "start yes, play r at 0s"},
			step{5 * time.Second, run.Flushed{r3}, "report r done"},
			step{6 * time.Second, run.LoadOver{r4}, "flush r"}),
		"a stop reaches old and new": append(play[:4:4],
			step{3 * time.Second, run.LeaseRefused{Incarnation: 3}, "grant 0s, pause r, register 3"},
			step{3 * time.Second, run.Registered{Incarnation: 4, Lease: lease, Asked: int64(3 * time.Second)}, "stop r drain, grant 8s"},
			step{3 * time.Second, run.Assigned{Assignment: assignment("r"), Time: clock}, "assign yes, prepare r"},
			step{4 * time.Second, run.Prepared{Part: r4}, "report r ready"},
			step{4 * time.Second, run.Started{Part: r4, At: 0}, "start yes, play r at 0s"},
			step{5 * time.Second, run.Stopped{Run: "r", Mode: now}, "stop r now, stop r now"}),
		"a refused lease while idle": {join,
			{time.Second, run.LeaseRefused{Incarnation: 3}, "grant 0s, register 3"},
			{time.Second, run.LeaseRefused{Incarnation: 3}, ""},
			{time.Second, run.Assigned{Assignment: assignment("r"), Time: clock}, "assign no"}},
		"a refused lease while getting ready": append(prepare[:3:3],
			step{time.Second, run.LeaseRefused{Incarnation: 3}, "grant 0s, register 3"},
			step{time.Second, run.Registered{Incarnation: 4, Lease: lease, Asked: int64(time.Second)}, "forget r, grant 6s"}),
		"a hold beyond the lease": {join,
			{time.Second, run.Assigned{Assignment: holding("r", 15*time.Second), Time: clock}, "assign yes, prepare r"},
			{2 * time.Second, run.Renewed{Incarnation: 3, Asked: int64(time.Second)}, "grant 21s"}},
		"a change is acknowledged, tried again, and put in force": append(play[:4:4],
			step{3 * time.Second, proposal(2, 1, 1500*time.Millisecond), "hold r at 1.5s"},
			step{3 * time.Second, holds(2, 1, 1500*time.Millisecond), "change yes"},
			step{3 * time.Second, proposal(2, 1, 1500*time.Millisecond), "change yes"},
			step{4 * time.Second, proposal(2, 2, 1800*time.Millisecond), "hold r at 1.8s"},
			step{4 * time.Second, holds(2, 2, 1800*time.Millisecond), "change yes"},
			step{4 * time.Second, proposal(2, 1, 1500*time.Millisecond), "change no"},
			step{4 * time.Second, commitment(3), "change no"},
			step{4 * time.Second, commitment(2), "apply r 2, change yes"},
			step{4 * time.Second, commitment(2), "change yes"},
			step{4 * time.Second, proposal(2, 3, time.Hour), "change no"},
			step{4 * time.Second, proposal(3, 4, 1900*time.Millisecond), "change no, the clock shows 2s"}),
		"a change that comes too late or out of turn": append(play[:4:4],
			step{3500 * time.Millisecond, proposal(2, 1, 1500*time.Millisecond), "change no, the clock shows 1.5s"},
			step{3500 * time.Millisecond, proposal(3, 1, 2500*time.Millisecond), "change no"},
			step{3500 * time.Millisecond, run.Proposed{Part: r4, Change: change(2, 1, time.Hour)}, "change no"},
			step{3500 * time.Millisecond, run.Proposed{Part: r3, Change: change(2, 1, time.Hour), Expires: 1}, "change no"}),
		"a hold that came too late": append(play[:4:4],
			step{3 * time.Second, proposal(2, 1, 1500*time.Millisecond), "hold r at 1.5s"},
			step{3 * time.Second, run.Held{Part: r3, Change: change(2, 1, 0), Refusal: "late", RunNS: 5e9}, "change no, the clock shows 5s"}),
		"a change beyond a ceiling": append(play[:4:4],
			step{3 * time.Second, proposal(2, 1, 1500*time.Millisecond), "hold r at 1.5s"},
			step{3 * time.Second, run.Held{Part: r3, Change: change(2, 1, 0), Refusal: "too much", Excess: true}, "change no, too much for it"},
			step{3 * time.Second, proposal(2, 2, 1600*time.Millisecond), "hold r at 1.6s"}),
		"a change after the load is over": append(play[:4:4],
			step{3 * time.Second, run.LoadOver{r3}, "flush r"},
			step{3 * time.Second, proposal(2, 1, time.Hour), "change no, over"}),
		"a change before the start": append(prepare[:3:3],
			step{time.Second, proposal(2, 1, 0), "hold r at 0s"},
			step{time.Second, holds(2, 1, 0), "change yes"},
			step{time.Second, commitment(2), "apply r 2, change yes"},
			step{time.Second, run.Started{Part: r3, Epoch: 2, At: 0}, "start yes, play r at 0s"}),
		"a start that is ahead of the changes": append(prepare[:3:3],
			step{time.Second, run.Started{Part: r3, Epoch: 2, At: 0}, "start no"}),
		"leaving": append(play[:4:4],
			step{3 * time.Second, run.Leave{}, "report r leaving"},
			step{3 * time.Second, run.Leave{}, ""},
			step{4 * time.Second, proposal(2, 1, 2500*time.Millisecond), "hold r at 2.5s"},
			step{4 * time.Second, holds(2, 1, 2500*time.Millisecond), "change yes"},
			step{4 * time.Second, commitment(2), "apply r 2, change yes"},
			step{5 * time.Second, run.LoadOver{r3}, "flush r"},
			step{5 * time.Second, run.Flushed{r3}, "report r done, depart"}),
		"leaving while idle":          {join, {time.Second, run.Leave{}, "depart"}},
		"leaving while getting ready": append(prepare[:3:3], step{time.Second, run.Leave{}, "report r leaving, forget r, depart"}),
	} {
		t.Run(name, func(t *testing.T) {
			m, commands := run.New()
			if got := describe(commands); got != "register" {
				t.Fatalf("beginning: %s", got)
			}
			for i, s := range script {
				if got := describe(m.Step(s.event, int64(s.at))); got != s.want {
					t.Fatalf("step %d, %T at %v: got %q, want %q", i, s.event, s.at, got, s.want)
				}
			}
		})
	}
}

// In no sequence does an agent play a run that it was not given, go on without a lease or after a stop, break an
// acknowledgement, put changes in force out of order, or forget a run whose results are wanted.
func TestPromisesHoldInEverySequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, _ := run.New()
		w := watcher{t: t, parts: map[run.Part]*seen{}}
		at := int64(0)
		for i := range rapid.IntRange(0, 80).Draw(t, "events") {
			at += rapid.Int64Range(0, int64(2*time.Second)).Draw(t, fmt.Sprintf("pause %d", i))
			event := draw(t, i, at, m.Incarnation())
			w.saw(m.Step(event, at), at)
			if held := w.holds; held != nil {
				w.holds = nil
				w.saw(m.Step(held, at), at)
			}
			if _, tick := event.(run.Tick); tick {
				w.lapsed(m, at)
			}
		}
	})
}

func draw(t *rapid.T, i int, at int64, incarnation uint64) run.Event {
	id := rapid.SampledFrom([]string{"r", "s"}).Draw(t, fmt.Sprintf("run %d", i))
	if rapid.IntRange(0, 3).Draw(t, fmt.Sprintf("another %d", i)) == 0 {
		incarnation = rapid.Uint64Range(1, 3).Draw(t, fmt.Sprintf("incarnation %d", i))
	}
	epoch, attempt := rapid.Uint32Range(2, 3).Draw(t, fmt.Sprintf("epoch %d", i)), rapid.Uint32Range(1, 3).Draw(t, fmt.Sprintf("attempt %d", i))
	instant := time.Duration(at) + time.Duration(rapid.Int64Range(-1, 3).Draw(t, fmt.Sprintf("instant %d", i)))*time.Second
	part := run.Part{Run: id, Incarnation: incarnation}
	return rapid.SampledFrom([]run.Event{
		run.Registered{Incarnation: incarnation, Lease: lease, Asked: at}, run.Renewed{Incarnation: incarnation, Asked: at}, run.Renewed{Incarnation: incarnation, Asked: at},
		run.LeaseRefused{Incarnation: incarnation}, run.Assigned{Assignment: assignment(id), Time: clock}, run.Prepared{Part: part},
		run.Prepared{Part: part, Problems: []string{"x"}}, run.Started{Part: part, At: at}, run.Started{Part: part, At: at}, run.Stopped{Run: id, Mode: drain},
		run.Stopped{Run: id, Mode: now}, run.LoadOver{part}, run.Flushed{part}, run.Tick{}, run.Tick{}, run.Leave{},
		run.Proposed{Part: part, Change: change(epoch, attempt, instant)}, run.Proposed{Part: part, Change: change(epoch, attempt, instant)},
		run.Committed{Part: part, Change: change(epoch, attempt, instant)},
	}).Draw(t, fmt.Sprintf("event %d", i))
}

// seen is what the commands have said of one part.
type seen struct {
	playing, paused, flushed bool
	start, held              int64
	stop                     pb.StopMode
	epoch                    uint32
}

// watcher holds what a machine must keep against what it does.
type watcher struct {
	t       *rapid.T
	parts   map[run.Part]*seen
	granted int64
	holds   run.Event // the answer to the last Hold
}

func (w *watcher) saw(commands []run.Command, at int64) {
	for _, command := range commands {
		switch c := command.(type) {
		case run.Grant:
			w.granted = c.Until
		case run.Prepare:
			w.parts[c.Part] = &seen{epoch: 1, held: math.MaxInt64}
		case run.Play:
			p := w.parts[c.Part]
			if p == nil || p.playing {
				w.t.Fatalf("plays %v: %+v", c.Part, p)
			}
			p.playing, p.start = true, c.At
		case run.Hold:
			p, held := w.parts[c.Part], c.Change.GetAtNs()
			if p.playing && at-p.start >= held && p.held > held {
				w.t.Fatalf("promises to start nothing due at %d at %d", held, at-p.start)
			}
			p.held = held
			w.holds = run.Held{Part: c.Part, Change: c.Change}
		case run.Apply:
			p := w.parts[c.Part]
			if c.Change.GetEpoch() != p.epoch+1 {
				w.t.Fatalf("applies epoch %d after %d", c.Change.GetEpoch(), p.epoch)
			}
			p.epoch, p.held = c.Change.GetEpoch(), math.MaxInt64
		case run.Pause:
			w.parts[c.Part].paused = true
		case run.Resume:
			if p := w.parts[c.Part]; !p.paused || at >= w.granted || p.stop != 0 {
				w.t.Fatalf("resumes at %d: %+v, lease until %d", at, p, w.granted)
			}
			w.parts[c.Part].paused = false
		case run.StopLoad:
			p := w.parts[c.Part]
			if !p.playing || c.Mode <= p.stop {
				w.t.Fatalf("stops %v %v: %+v", c.Part, c.Mode, p)
			}
			p.stop = c.Mode
		case run.Flush:
			w.parts[c.Part].flushed = true
		case run.Forget:
			if w.parts[c.Part].playing {
				w.t.Fatalf("forgets %v while its results are wanted", c.Part)
			}
			delete(w.parts, c.Part)
		case run.Report:
			w.reported(c)
		case run.Depart:
			if len(w.parts) > 0 {
				w.t.Fatalf("departs, and has %v", w.parts)
			}
		}
	}
}

func (w *watcher) reported(c run.Report) {
	switch c.State {
	case pb.AgentState_AGENT_STATE_DONE:
		if !w.parts[c.Part].flushed {
			w.t.Fatalf("done with %v without its results", c.Part)
		}
		delete(w.parts, c.Part)
	case pb.AgentState_AGENT_STATE_FAILED:
		delete(w.parts, c.Part)
	}
}

// lapsed: after a tick nothing plays without a lease, and nothing of an older incarnation plays at all.
func (w *watcher) lapsed(m *run.Machine, at int64) {
	for id, p := range w.parts {
		idle := !p.playing || p.flushed || p.paused || p.stop != pb.StopMode_STOP_MODE_UNSPECIFIED
		if !idle && (at >= m.LeaseUntil() || id.Incarnation != m.Incarnation()) {
			w.t.Fatalf("%v plays on at %d: the lease of incarnation %d ended at %d", id, at, m.Incarnation(), m.LeaseUntil())
		}
	}
}
