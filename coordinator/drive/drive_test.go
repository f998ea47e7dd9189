package drive

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/loadline/loadline/internal/scenario"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const scene = `name: n
targets: [{url: 'http://h', protocol: http}]
workloads: [{name: a, http: {path: /}}, {name: b, weight: 3, http: {path: /b}}]
`

// world is a machine with the run that it drives: it puts on record what it is asked for.
type world struct {
	*testing.T
	m       *Machine
	view    View
	now     int64
	epoch   uint32
	answers map[string]*pb.DriveAnswer
	sent    int // answers that were sent
	adjusts []Adjust
	marks   []Mark
	stops   []string
	refusal string // of the next change
	deaf    bool   // changes are not answered
}

func newWorld(t *testing.T, hold time.Duration, more string) *world {
	t.Helper()
	s, err := scenario.ParseDriven(scenario.Source{Data: []byte(scene + more)})
	if err != nil {
		t.Fatal(err)
	}
	load, err := schedule.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, m: New(Config{RunID: "r", Scenario: s, Hold: hold}), now: 1, epoch: 1, answers: map[string]*pb.DriveAnswer{}}
	w.view.Course = schedule.NewCourse(load, []uint32{1, 1})
	w.step(Attached{1})
	w.step(Opened{"open"})
	return w
}

// step hands an event to the machine and plays the run's part.
func (w *world) step(e Event) {
	w.Helper()
	for _, command := range w.m.Step(e, w.view, w.now) {
		switch c := command.(type) {
		case Answer:
			w.answers[c.Answer.GetRequestId()] = c.Answer
			w.sent++
		case Adjust:
			w.adjusts = append(w.adjusts, c)
			if !w.deaf {
				w.adjust(c)
			}
		case Mark:
			w.marks = append(w.marks, c)
			w.step(Marked{c.Request, w.view.RunNS})
		case Stop:
			w.stops = append(w.stops, c.Reason)
		}
	}
}

func (w *world) adjust(c Adjust) {
	w.Helper()
	if w.refusal != "" {
		why := w.refusal
		w.refusal = ""
		w.step(Adjusted{Request: c.Request, Refusal: why})
		return
	}
	w.epoch++
	change := pb.Change_builder{
		Epoch: w.epoch, Revision: w.view.Course.Revision() + 1, Attempt: 1, AtNs: max(w.view.RunNS+int64(300*time.Millisecond), w.view.Course.At(w.epoch-1)+1), Weights: []uint32{1, 1},
		Revisions: c.Revisions, Appended: c.Appended, WorkloadWeights: c.WorkloadWeights, Closed: c.Closed, RequestIds: []string{c.Request},
	}.Build()
	if len(c.Revisions)+len(c.Appended) == 0 {
		change.SetRevision(w.view.Course.Revision())
	}
	course, err := w.view.Course.Apply(change)
	if err != nil {
		w.Fatal(err)
	}
	w.view.Course = course
	w.step(Adjusted{Request: c.Request, Change: change})
}

func (w *world) ask(b pb.DriveRunRequest_builder) { w.Helper(); w.step(Asked{b.Build()}) }

func (w *world) set(id string, b pb.DriveSet_builder) {
	w.Helper()
	w.ask(pb.DriveRunRequest_builder{RequestId: id, Set: b.Build()})
}

func (w *world) wait(id, until string, limit time.Duration) {
	w.Helper()
	w.ask(pb.DriveRunRequest_builder{RequestId: id, Wait: pb.DriveWait_builder{Until: until, Limit: durationpb.New(limit)}.Build()})
}

// second lets a second pass.
func (w *world) second(holds, counts bool) {
	w.Helper()
	n := uint64(w.view.RunNS / int64(time.Second))
	w.view.RunNS += int64(time.Second)
	w.now += int64(time.Second)
	w.step(Second{n, func(*scenario.Condition) (bool, bool) { return holds, counts }})
}

func (w *world) done(id string) *pb.DriveAnswer {
	w.Helper()
	a := w.answers[id]
	if a == nil || a.GetCode() != 0 || a.GetRunId() != "r" {
		w.Fatalf("%s: %v", id, a)
	}
	return a
}

// wrong wants an answer of that code that names a field.
func (w *world) wrong(id string, code uint32, path string) {
	w.Helper()
	a := w.answers[id]
	if a.GetCode() != code || a.GetMessage() == "" || path != "" && (len(a.GetProblems()) == 0 || a.GetProblems()[0].GetPath() != path) {
		w.Errorf("%s: %v, want code %d at %q", id, a, code, path)
	}
}

// open is a world whose run has begun.
func open(t *testing.T, hold time.Duration, more string) *world {
	t.Helper()
	w := newWorld(t, hold, more)
	w.step(Begun{})
	w.done("open")
	return w
}

func TestSetAppendsAPhaseAndEndsThoseBefore(t *testing.T) {
	w := newWorld(t, 0, "load: [{name: warm, open: {rate: 1}, duration: 5s}, {name: long, open: {rate: 1}, duration: 1h}]\n")
	w.set("early", pb.DriveSet_builder{Rate: new(50.0)})
	if len(w.adjusts) != 0 || w.answers["open"] != nil {
		t.Fatal("a step before the start is taken, or the run is called open")
	}
	w.step(Begun{})
	if a := w.done("early"); a.GetPhase() != "step-1" || a.GetEpoch() != 2 || a.GetAtNs() == 0 {
		t.Error(a)
	}
	if first := w.adjusts[0]; len(first.Revisions) != 2 || !first.Revisions[1].GetEnded() || first.Appended[0].GetDuration().AsDuration() != schedule.MaxPhase {
		t.Errorf("%v", first)
	}
	w.view.RunNS = int64(10 * time.Second)
	w.set("poisson", pb.DriveSet_builder{Rate: new(1000.0), Arrivals: pb.Arrivals_ARRIVALS_POISSON, Labels: map[string]string{"k": "v"}, WorkloadWeights: map[string]uint32{"a": 0}})
	second := w.adjusts[1]
	if p := second.Appended[0]; p.GetName() != "step-2" || p.GetLabels()["k"] != "v" || p.GetDuration().AsDuration() != 4194*time.Second {
		t.Errorf("%v", p)
	}
	if len(second.Revisions) != 1 || second.Revisions[0].GetPhase() != 2 || fmt.Sprint(second.WorkloadWeights) != "[0 3]" {
		t.Errorf("%v", second)
	}
	w.set("mix", pb.DriveSet_builder{Name: "again", WorkloadWeights: map[string]uint32{"a": 9}})
	if p := w.adjusts[2]; fmt.Sprint(p.WorkloadWeights) != "[9 3]" || p.Appended[0].GetOpen().GetRate() != 1000 || p.Appended[0].GetDuration().AsDuration() != 4194*time.Second {
		t.Errorf("%v", p)
	}
	w.set("users", pb.DriveSet_builder{Users: new(uint32(3)), Duration: durationpb.New(time.Minute)})
	if p := w.adjusts[3].Appended[0]; p.GetClosed().GetUsers() != 3 || p.GetName() != "step-4" {
		t.Errorf("%v", p)
	}
	w.ask(pb.DriveRunRequest_builder{RequestId: "stop", Stop: &pb.DriveStop{}})
	if !w.m.Closed() || !w.adjusts[4].Closed || len(w.adjusts[4].Revisions) != 1 || !w.view.Course.Closed() {
		t.Errorf("%v", w.adjusts[4])
	}
	w.set("after", pb.DriveSet_builder{Rate: new(1.0)})
	w.wrong("after", CodePrecondition, "")
	w.step(Detached{1})
	if len(w.stops) != 0 {
		t.Error("a run whose load is over is stopped when its program leaves")
	}
}

func TestStepsThatAreWrong(t *testing.T) {
	for name, test := range map[string]struct {
		step pb.DriveRunRequest_builder
		code uint32
		path string
	}{
		"no step":            {pb.DriveRunRequest_builder{}, CodeInvalid, "step"},
		"open again":         {pb.DriveRunRequest_builder{Open: &pb.DriveOpen{}}, CodeInvalid, "step"},
		"no load":            {pb.DriveRunRequest_builder{Set: &pb.DriveSet{}}, CodeInvalid, "set"},
		"a negative rate":    {pb.DriveRunRequest_builder{Set: pb.DriveSet_builder{Rate: new(-1.0)}.Build()}, CodeInvalid, "set.rate"},
		"too many users":     {pb.DriveRunRequest_builder{Set: pb.DriveSet_builder{Users: new(uint32(20_000))}.Build()}, CodeInvalid, "set.users"},
		"gamma without cv":   {pb.DriveRunRequest_builder{Set: pb.DriveSet_builder{Rate: new(1.0), Arrivals: pb.Arrivals_ARRIVALS_GAMMA}.Build()}, CodeInvalid, "set.arrivals"},
		"users by a law":     {pb.DriveRunRequest_builder{Set: pb.DriveSet_builder{Users: new(uint32(1)), Cv: 1}.Build()}, CodeInvalid, "set.arrivals"},
		"a taken name":       {pb.DriveRunRequest_builder{Set: pb.DriveSet_builder{Rate: new(1.0), Name: "warm"}.Build()}, CodeInvalid, "set.name"},
		"a bad name":         {pb.DriveRunRequest_builder{Set: pb.DriveSet_builder{Rate: new(1.0), Name: "a b"}.Build()}, CodeInvalid, "set.name"},
		"a negative length":  {pb.DriveRunRequest_builder{Set: pb.DriveSet_builder{Rate: new(1.0), Duration: durationpb.New(-1)}.Build()}, CodeInvalid, "set.duration"},
		"a strange workload": {pb.DriveRunRequest_builder{Set: pb.DriveSet_builder{Rate: new(1.0), WorkloadWeights: map[string]uint32{"x": 1}}.Build()}, CodeInvalid, `set.workload_weights["x"]`},
		"no weight left":     {pb.DriveRunRequest_builder{Set: pb.DriveSet_builder{Rate: new(1.0), WorkloadWeights: map[string]uint32{"a": 0, "b": 0}}.Build()}, CodeInvalid, "set.workload_weights"},
		"labels in excess":   {pb.DriveRunRequest_builder{Set: pb.DriveSet_builder{Rate: new(1.0), Labels: map[string]string{"": "x"}}.Build()}, CodeInvalid, "set.labels"},
		"an empty mark":      {pb.DriveRunRequest_builder{Mark: &pb.DriveMark{}}, CodeInvalid, "mark.text"},
		"a long reason":      {pb.DriveRunRequest_builder{Stop: pb.DriveStop_builder{Reason: strings.Repeat("x", 1025)}.Build()}, CodeInvalid, "stop.reason"},
		"a wait for nothing": {pb.DriveRunRequest_builder{Wait: pb.DriveWait_builder{Limit: durationpb.New(time.Second)}.Build()}, CodeInvalid, "wait.until"},
		"a wait for ever":    {pb.DriveRunRequest_builder{Wait: pb.DriveWait_builder{Until: "errors > 1"}.Build()}, CodeInvalid, "wait.limit"},
		"a limit too short":  {pb.DriveRunRequest_builder{Wait: pb.DriveWait_builder{Until: "error_rate > 1% for 5s", Limit: durationpb.New(time.Second)}.Build()}, CodeInvalid, "wait.limit"},
		"a wait for others":  {pb.DriveRunRequest_builder{Wait: pb.DriveWait_builder{Until: "errors{workload=x} > 1", Limit: durationpb.New(time.Second)}.Build()}, CodeInvalid, "wait.until"},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, 0, "load: [{name: warm, open: {rate: 1}, duration: 5s}]\n")
			test.step.RequestId = "x"
			w.ask(test.step)
			w.wrong("x", test.code, test.path)
			w.set("next", pb.DriveSet_builder{Rate: new(1.0)})
			w.done("next")
		})
	}
	w := open(t, 0, "")
	w.set("", pb.DriveSet_builder{Rate: new(1.0)})
	w.wrong("", CodeInvalid, "request_id")
	w.refusal = "a thousand phases"
	w.set("refused", pb.DriveSet_builder{Rate: new(1.0)})
	w.wrong("refused", CodePrecondition, "")
	w.ask(pb.DriveRunRequest_builder{RequestId: "stop", Stop: &pb.DriveStop{}})
	w.done("stop")
}

func TestARepeatedStepChangesNothingMore(t *testing.T) {
	w := open(t, 0, "")
	for range 3 {
		w.set("one", pb.DriveSet_builder{Rate: new(5.0)})
		w.ask(pb.DriveRunRequest_builder{RequestId: "mark", Mark: pb.DriveMark_builder{Text: "here"}.Build()})
		w.wait("wait", "arrivals >= 5", time.Minute)
		w.step(Opened{"open"})
	}
	if len(w.adjusts) != 1 || len(w.marks) != 1 || w.done("one").GetPhase() != "step-1" {
		t.Errorf("%d changes, %d marks", len(w.adjusts), len(w.marks))
	}
	if w.sent != 1+3+3+3 {
		t.Errorf("%d answers", w.sent)
	}
	w.set("one", pb.DriveSet_builder{Rate: new(6.0)})
	w.wrong("one", CodeInvalid, "request_id")
	w.second(true, true)
	w.wait("wait", "arrivals >= 5", time.Minute)
	if !w.done("wait").GetMet() || w.sent != 13 {
		t.Errorf("%v, %d answers", w.answers["wait"], w.sent)
	}
}

// Steps that come while another one's change is under way wait for it, and are refused beyond a number.
func TestStepsKeepTheirOrder(t *testing.T) {
	w := open(t, 0, "")
	w.deaf = true
	for i := range MaxQueued + 2 {
		w.set(fmt.Sprint(i), pb.DriveSet_builder{Rate: new(1.0 + float64(i))})
	}
	if len(w.adjusts) != 1 {
		t.Errorf("%d changes at once", len(w.adjusts))
	}
	w.wrong(fmt.Sprint(MaxQueued+1), CodeExhausted, "")
	w.deaf = false
	w.adjust(w.adjusts[0])
	if len(w.adjusts) != MaxQueued+1 || w.done("3").GetPhase() != "step-4" {
		t.Errorf("%d changes", len(w.adjusts))
	}
}

func TestWaits(t *testing.T) {
	y, n, none := [2]bool{true, true}, [2]bool{false, true}, [2]bool{true, false}
	for name, test := range map[string]struct {
		until   string
		limit   time.Duration
		seconds [][2]bool
		met     bool
		at      uint64 // the second that decides
	}{
		"at once":                   {"error_rate > 1%", time.Minute, [][2]bool{y, y}, true, 1},
		"the change is not yet":     {"error_rate > 1%", 2 * time.Second, [][2]bool{y, n, n}, false, 2},
		"for three seconds":         {"error_rate > 1% for 3s", time.Minute, [][2]bool{n, y, y, n, y, y, y}, true, 6},
		"an empty second":           {"error_rate > 1% for 3s", time.Minute, [][2]bool{n, y, none, y, y}, true, 4},
		"never":                     {"error_rate > 1%", 3 * time.Second, [][2]bool{n, n, n, n}, false, 3},
		"only once the time is up":  {"error_rate > 1% for 3s", 4 * time.Second, [][2]bool{n, n, n, y, y}, false, 4},
		"within the last second":    {"error_rate > 1%", 3500 * time.Millisecond, [][2]bool{n, n, n, n, y}, true, 4},
		"a count looks at all":      {"arrivals > 1", time.Minute, [][2]bool{y}, true, 0},
		"a count that is not there": {"arrivals > 1", 2 * time.Second, [][2]bool{n, n, n}, false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, 0, "")
			w.set("set", pb.DriveSet_builder{Rate: new(5.0)}) // in force within second 0
			w.wait("wait", test.until, test.limit)
			for i, s := range test.seconds {
				if a := w.answers["wait"]; a != nil {
					t.Fatalf("before second %d: %v", i, a)
				}
				w.second(s[0], s[1])
			}
			if a := w.done("wait"); a.GetMet() != test.met || a.GetSecond() != test.at {
				t.Errorf("%v, want %v in second %d", a, test.met, test.at)
			}
		})
	}
}

func TestAWaitWithoutWindowsIsOver(t *testing.T) {
	w := open(t, 0, "")
	w.wait("wait", "arrivals > 1", time.Second)
	for i := range MaxWaits {
		w.wait(fmt.Sprint(i), "arrivals > 1", time.Hour)
	}
	w.wrong(fmt.Sprint(MaxWaits-1), CodeExhausted, "")
	at := w.m.Deadline()
	if at == 0 || at > int64(20*time.Second) {
		t.Fatalf("deadline %d", at)
	}
	w.now = at - 1
	w.step(Tick{})
	if w.answers["wait"] != nil {
		t.Error("over before its time")
	}
	w.now = at
	w.step(Tick{})
	if w.done("wait").GetMet() {
		t.Error("met")
	}
}

func TestADisconnectedProgram(t *testing.T) {
	w := open(t, 0, "")
	w.step(Attached{2})
	w.step(Detached{1})
	if len(w.stops) != 0 {
		t.Error("a stream that drives no more stops the run")
	}
	w.step(Detached{2})
	if len(w.stops) != 1 {
		t.Errorf("stops: %q", w.stops)
	}
	w.step(Ended{"because"})
	w.set("late", pb.DriveSet_builder{Rate: new(1.0)})
	w.wrong("late", CodePrecondition, "")

	w = open(t, 30*time.Second, "")
	w.step(Detached{1})
	at := w.m.Deadline()
	w.now = at - 1
	w.step(Tick{})
	w.step(Attached{2})
	w.now = at
	w.step(Tick{})
	if len(w.stops) != 0 || w.m.Deadline() != 0 {
		t.Errorf("the program is back, and the run is stopped: %q", w.stops)
	}
	w.step(Detached{2})
	w.now = w.m.Deadline()
	w.step(Tick{})
	w.step(Tick{})
	if len(w.stops) != 1 || !strings.Contains(w.stops[0], "30s") {
		t.Errorf("stops: %q", w.stops)
	}
}

func TestTheEndAnswersEverything(t *testing.T) {
	w := newWorld(t, 0, "")
	w.set("queued", pb.DriveSet_builder{Rate: new(1.0)})
	w.step(Ended{"no agent"})
	for _, id := range []string{"open", "queued"} {
		if a := w.answers[id]; a.GetCode() != CodePrecondition || !strings.Contains(a.GetMessage(), "no agent") {
			t.Errorf("%s: %v", id, a)
		}
	}
	w = open(t, 0, "")
	w.wait("wait", "arrivals > 1", time.Hour)
	w.deaf = true
	w.set("current", pb.DriveSet_builder{Rate: new(1.0)})
	w.step(Ended{})
	w.wrong("wait", CodePrecondition, "")
	w.wrong("current", CodePrecondition, "")
	sent := w.sent
	w.step(Ended{})
	if w.sent != sent || w.m.Deadline() != 0 {
		t.Error("it ends twice")
	}
}

// A machine made from the journal answers what is on record as before, and goes on with names and weights.
func TestRestore(t *testing.T) {
	w := open(t, 0, "")
	w.set("one", pb.DriveSet_builder{Users: new(uint32(2)), WorkloadWeights: map[string]uint32{"b": 1}})
	before := w.done("one")
	change := pb.Change_builder{Epoch: 2, AtNs: before.GetAtNs(), Appended: w.adjusts[0].Appended, WorkloadWeights: []uint32{1, 1}, RequestIds: []string{"one"}}.Build()
	m := New(w.m.config)
	m.Restore([]*pb.RunEvent{
		pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_STARTED}.Build(),
		pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_CHANGED, Change: change}.Build(),
		pb.RunEvent_builder{Kind: pb.RunEventKind_RUN_EVENT_KIND_MARKED, AtUs: 5, RequestId: "mark"}.Build(),
	})
	w.m = m
	w.answers = map[string]*pb.DriveAnswer{}
	w.set("one", pb.DriveSet_builder{Users: new(uint32(2)), WorkloadWeights: map[string]uint32{"b": 1}})
	w.ask(pb.DriveRunRequest_builder{RequestId: "mark", Mark: pb.DriveMark_builder{Text: "here"}.Build()})
	if a := w.done("one"); a.GetPhase() != "step-1" || a.GetEpoch() != 2 || w.done("mark").GetAtNs() != 5000 || len(w.adjusts) != 1 {
		t.Errorf("%v %v", a, w.answers["mark"])
	}
	w.set("two", pb.DriveSet_builder{WorkloadWeights: map[string]uint32{"a": 7}})
	if c := w.adjusts[1]; c.Appended[0].GetName() != "step-2" || c.Appended[0].GetClosed().GetUsers() != 2 || fmt.Sprint(c.WorkloadWeights) != "[7 1]" {
		t.Errorf("%v", c)
	}
}

// TestSteps: a run has a limit of steps.
func TestStepsAreBounded(t *testing.T) {
	w := open(t, 0, "")
	for i := range MaxSteps {
		w.ask(pb.DriveRunRequest_builder{RequestId: fmt.Sprint(i), Mark: &pb.DriveMark{}})
	}
	w.wrong(fmt.Sprint(MaxSteps-1), CodeExhausted, "")
}

// FuzzStep: whatever a program sends is answered, and no step makes the machine panic.
func FuzzStep(f *testing.F) {
	f.Add("set", 5.0, uint32(1), "p99(e2e) > 1s for 3s", int64(time.Minute), "a", uint32(2))
	f.Add("wait", -1.0, uint32(0), "arrivals >= 5", int64(-1), "x", uint32(0))
	f.Fuzz(func(t *testing.T, name string, rate float64, users uint32, text string, length int64, workload string, weight uint32) {
		w := open(t, 0, "")
		w.deaf = true
		d := durationpb.New(time.Duration(length))
		w.set("a", pb.DriveSet_builder{Name: name, Rate: &rate, Duration: d, WorkloadWeights: map[string]uint32{workload: weight}})
		if len(w.adjusts) == 0 && w.answers["a"].GetCode() == 0 {
			t.Error("neither a change nor a refusal")
		}
		w = open(t, 0, "")
		w.deaf = true
		w.set("b", pb.DriveSet_builder{Users: &users, Labels: map[string]string{name: text}, Arrivals: pb.Arrivals(weight % 5)})
		w = open(t, 0, "")
		w.wait("c", text, time.Duration(length))
		w.second(true, true)
		w.ask(pb.DriveRunRequest_builder{RequestId: "d", Mark: pb.DriveMark_builder{Text: text}.Build()})
		if w.answers["d"] == nil {
			t.Error("a mark without an answer")
		}
	})
}
