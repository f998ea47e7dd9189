package run_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

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
			words = append(words, "register")
		case run.Grant:
			words = append(words, fmt.Sprintf("grant %v", time.Duration(c.Until)))
		case run.AnswerAssign:
			words = append(words, answer("assign", c.Refusal))
		case run.AnswerStart:
			words = append(words, answer("start", c.Refusal))
		case run.Prepare:
			words = append(words, "prepare "+c.Assignment.GetRunId())
		case run.Report:
			words = append(words, "report "+c.Run+" "+strings.ToLower(strings.TrimPrefix(c.State.String(), "AGENT_STATE_")))
		case run.Play:
			words = append(words, fmt.Sprintf("play %s at %v", c.Run, time.Duration(c.At)))
		case run.StopLoad:
			words = append(words, "stop "+c.Run+" "+strings.ToLower(strings.TrimPrefix(c.Mode.String(), "STOP_MODE_")))
		case run.Flush:
			words = append(words, "flush "+c.Run)
		case run.Forget:
			words = append(words, "forget "+c.Run)
		}
	}
	return strings.Join(words, ", ")
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
		{time.Second, run.Prepared{Run: "r"}, "report r ready"},
	}
	play := append(prepare[:3:3], step{time.Second, run.Started{Run: "r", At: int64(2 * time.Second)}, "start yes, play r at 2s"})
	for name, script := range map[string][]step{
		"a whole run": append(play[:4:4],
			step{3 * time.Second, run.Renewed{Incarnation: 3, Asked: int64(3 * time.Second)}, "grant 8s"},
			step{4 * time.Second, run.LoadOver{Run: "r"}, "flush r"},
			step{5 * time.Second, run.Flushed{Run: "r"}, "report r done"},
			step{6 * time.Second, run.Assigned{Assignment: assignment("s"), Time: clock}, "assign yes, prepare s"}),
		"orders may be repeated": append(play[:4:4],
			step{2 * time.Second, run.Assigned{Assignment: assignment("r"), Time: clock}, "assign yes"},
			step{2 * time.Second, run.Started{Run: "r", At: int64(2 * time.Second)}, "start yes"},
			step{2 * time.Second, run.Prepared{Run: "r"}, ""}),
		"one run at a time": append(play[:4:4],
			step{2 * time.Second, run.Assigned{Assignment: assignment("s"), Time: clock}, "assign no"}),
		"an expired assignment": {join,
			{time.Second, run.Assigned{Assignment: assignment("r"), Time: clock.Add(time.Minute)}, "assign no"}},
		"an assignment without a lease": {
			{time.Second, run.Assigned{Assignment: assignment("r"), Time: clock}, "assign no"}},
		"a start out of turn": append(prepare[:2:2],
			step{time.Second, run.Started{Run: "r"}, "start no"}),
		"a start of another run": append(prepare[:3:3],
			step{time.Second, run.Started{Run: "x"}, "start no"}),
		"problems while preparing": append(prepare[:2:2],
			step{time.Second, run.Prepared{Run: "r", Problems: []string{"no key"}}, "report r failed"},
			step{time.Second, run.Assigned{Assignment: assignment("s"), Time: clock}, "assign yes, prepare s"}),
		"stopped before the start": append(prepare[:3:3],
			step{time.Second, run.Stopped{Run: "r", Mode: drain}, "forget r"},
			step{time.Second, run.Started{Run: "r"}, "start no"}),
		"stopped, harder, softer": append(play[:4:4],
			step{3 * time.Second, run.Stopped{Run: "r", Mode: drain}, "stop r drain"},
			step{3 * time.Second, run.Stopped{Run: "r", Mode: drain}, ""},
			step{4 * time.Second, run.Stopped{Run: "r", Mode: now}, "stop r now"},
			step{4 * time.Second, run.Stopped{Run: "r", Mode: drain}, ""},
			step{4 * time.Second, run.Stopped{Run: "x", Mode: now}, ""}),
		"a lease that lapses": append(play[:4:4],
			step{4 * time.Second, run.Tick{}, ""},
			step{5 * time.Second, run.Tick{}, "stop r drain"},
			step{6 * time.Second, run.Tick{}, ""},
			step{6 * time.Second, run.Stopped{Run: "r", Mode: now}, "stop r now"}),
		"a renewal counts from when it was asked": append(play[:4:4],
			step{4 * time.Second, run.Renewed{Incarnation: 3, Asked: int64(time.Second)}, "grant 6s"},
			step{4 * time.Second, run.Renewed{Incarnation: 3, Asked: 0}, ""},
			step{4 * time.Second, run.Renewed{Incarnation: 2, Asked: int64(4 * time.Second)}, ""},
			step{6 * time.Second, run.Tick{}, "stop r drain"}),
		"a refused lease while playing": append(play[:4:4],
			step{3 * time.Second, run.LeaseRefused{Incarnation: 3}, "grant 0s, stop r drain, register"},
			step{3 * time.Second, run.Registered{Incarnation: 4, Lease: lease, Asked: int64(3 * time.Second)}, "grant 8s"},
			step{4 * time.Second, run.LoadOver{Run: "r"}, "flush r"}),
		"a refused lease while idle": {join,
			{time.Second, run.LeaseRefused{Incarnation: 3}, "grant 0s, register"},
			{time.Second, run.LeaseRefused{Incarnation: 3}, ""}},
		"a refused lease while getting ready": append(prepare[:3:3],
			step{time.Second, run.LeaseRefused{Incarnation: 3}, "grant 0s, forget r, register"}),
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

// In no sequence does an agent play a run that it was not given, without a lease, or after a
// stop, and it forgets no run whose results are wanted.
func TestPromisesHoldInEverySequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, _ := run.New()
		at := int64(0)
		given, playing, flushed := map[string]bool{}, "", false
		stop := pb.StopMode_STOP_MODE_UNSPECIFIED
		granted := int64(0)
		for i := range rapid.IntRange(0, 80).Draw(t, "events") {
			at += rapid.Int64Range(0, int64(2*time.Second)).Draw(t, fmt.Sprintf("pause %d", i))
			id := rapid.SampledFrom([]string{"r", "s"}).Draw(t, fmt.Sprintf("run %d", i))
			incarnation := rapid.Uint64Range(1, 2).Draw(t, fmt.Sprintf("incarnation %d", i))
			event := rapid.SampledFrom([]run.Event{
				run.Registered{Incarnation: incarnation, Lease: lease, Asked: at}, run.Renewed{Incarnation: incarnation, Asked: at},
				run.LeaseRefused{Incarnation: incarnation}, run.Assigned{Assignment: assignment(id), Time: clock}, run.Prepared{Run: id},
				run.Prepared{Run: id, Problems: []string{"x"}}, run.Started{Run: id, At: at}, run.Stopped{Run: id, Mode: drain},
				run.Stopped{Run: id, Mode: now}, run.LoadOver{Run: id}, run.Flushed{Run: id}, run.Tick{},
			}).Draw(t, fmt.Sprintf("event %d", i))
			for _, command := range m.Step(event, at) {
				switch c := command.(type) {
				case run.Grant:
					granted = c.Until
				case run.Prepare:
					given[c.Assignment.GetRunId()] = true
				case run.Play:
					if !given[c.Run] || playing != "" || granted == 0 {
						t.Fatalf("plays %s: given %v, playing %q, lease until %d", c.Run, given, playing, granted)
					}
					playing, stop, flushed = c.Run, pb.StopMode_STOP_MODE_UNSPECIFIED, false
				case run.StopLoad:
					if c.Run != playing || c.Mode <= stop {
						t.Fatalf("stops %s %v while playing %q, stopped %v", c.Run, c.Mode, playing, stop)
					}
					stop = c.Mode
				case run.Flush:
					flushed = true
				case run.Forget:
					if c.Run == playing {
						t.Fatalf("forgets %s while its results are wanted", c.Run)
					}
				case run.Report:
					if c.State == pb.AgentState_AGENT_STATE_DONE {
						if !flushed || c.Run != playing {
							t.Fatalf("done with %s without its results", c.Run)
						}
						playing = ""
					}
				}
			}
			if playing != "" && m.State() == run.Playing && stop == pb.StopMode_STOP_MODE_UNSPECIFIED {
				if _, tick := event.(run.Tick); tick && at >= m.LeaseUntil() {
					t.Fatalf("plays on at %d, the lease ended at %d", at, m.LeaseUntil())
				}
			}
		}
	})
}
