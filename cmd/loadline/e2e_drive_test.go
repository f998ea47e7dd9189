package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/loadline/loadline/internal/sim"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// kneeAt25 is a simulator that carries 25 sessions of four tokens a second, and no more.
func kneeAt25(c *sim.Config) {
	c.Law = sim.LawBatching
	c.Batching = sim.Batching{Step: 20 * time.Millisecond, Batch: 2, KV: 60_000, ReadBudget: 2048}
}

// drivenFiles is what a program drives: an endpoint and what is asked of it, and no load.
func drivenFiles(target *target) files {
	return files{"s.yaml": fmt.Sprintf(`name: driven
targets: [{name: t, url: "%s/v1", protocol: openai-chat, model: m}]
workloads:
  - {name: w, target: t, synthetic: {input_tokens: {fixed: 8}, output_tokens: {fixed: 4}}}
  - {name: v, target: t, weight: 1, synthetic: {input_tokens: {fixed: 8}, output_tokens: {fixed: 4}}}
drain: 5s
%s`, target.root, everyArrival)}
}

// TestTheGoProgramFindsTheKnee runs examples/drive as a user does, against a coordinator and agents of their own.
func TestTheGoProgramFindsTheKnee(t *testing.T) {
	t.Parallel()
	target := serveSim(t, kneeAt25)
	c := startCluster(t, drivenFiles(target), 2, false)
	program := filepath.Join(c.dir, "drive")
	if out, err := exec.Command("go", "build", "-o", program, "../../examples/drive").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c.wantKnee(t, program)
}

// TestThePythonProgramFindsTheKnee runs drive.py with stubs made from the published schema. It installs nothing.
func TestThePythonProgramFindsTheKnee(t *testing.T) {
	t.Parallel()
	python := os.Getenv("LOADLINE_TEST_PYTHON")
	if python == "" {
		python = "python3"
	}
	if out, err := exec.Command(python, "-c", "import grpc, grpc_tools").CombinedOutput(); err != nil {
		t.Skipf("%s has no grpcio and grpcio-tools (%v); examples/drive/run-python makes an environment that has, and LOADLINE_TEST_PYTHON names its interpreter: %s", python, err, lastLine(out))
	}
	target := serveSim(t, kneeAt25)
	c := startCluster(t, drivenFiles(target), 2, false)
	stubs := filepath.Join(c.dir, "stubs")
	make := exec.Command("../../scripts/python-stubs", stubs)
	make.Env = append(os.Environ(), "PYTHON="+python)
	if out, err := make.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	script, err := filepath.Abs("../../examples/drive/drive.py")
	if err != nil {
		t.Fatal(err)
	}
	c.wantKnee(t, "env", "PYTHONPATH="+stubs, python, script)
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// wantKnee runs a program that searches, and holds what it says against the report of its run.
func (c *clusterOf) wantKnee(t *testing.T, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), processLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append(args, c.address, filepath.Join(c.dir, "s.yaml"))...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	found := regexp.MustCompile(`run (\S+): good up to (\S+) sessions a second`).FindStringSubmatch(string(out))
	if found == nil {
		t.Fatalf("%s", out)
	}
	// A machine that is busy with something else carries less, and never more.
	steps := map[string][]string{"0": {"rate-5"}, "5": {"rate-5", "rate-10"}, "10": {"rate-5", "rate-10", "rate-20"}, "20": {"rate-5", "rate-10", "rate-20", "rate-40"}}[found[2]]
	if steps == nil {
		t.Fatalf("the knee lies between 20 and 40: %s", out)
	}
	s := summaryOf(t, filepath.Join(c.dir, "kept", "runs", found[1]))
	var phases []string
	for _, p := range s.GetPhases() {
		phases = append(phases, p.GetName())
	}
	if s.GetState() != pb.SummaryState_SUMMARY_STATE_COMPLETE || !slices.Equal(phases, steps) {
		t.Errorf("state %v, phases %v, want %v", s.GetState(), phases, steps)
	}
	if a := s.GetArrivals(); a.GetDue() == 0 || a.GetStarted() != a.GetDue() {
		t.Errorf("arrivals %v", a)
	}
}

// drivenRun is the test's own program.
type drivenRun struct {
	*testing.T
	client pb.ControlServiceClient
	stream grpc.BidiStreamingClient[pb.DriveRunRequest, pb.DriveRunResponse]
	cancel context.CancelFunc
	id     string
	last   uint64 // the second that came last
}

func dialCluster(t *testing.T, c *clusterOf) *drivenRun {
	t.Helper()
	conn, err := grpc.NewClient(c.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &drivenRun{T: t, client: pb.NewControlServiceClient(conn)}
}

// begin opens a stream with its first message and waits for the answer.
func (d *drivenRun) begin(b pb.DriveRunRequest_builder) *pb.DriveAnswer {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), waitLimit)
	stream, err := d.client.DriveRun(ctx)
	if err != nil {
		d.Fatal(err)
	}
	d.stream, d.cancel = stream, cancel
	a := d.do(b)
	d.id = a.GetRunId()
	return a
}

func (d *drivenRun) open(c *clusterOf, id string, policy *pb.OnDisconnect) {
	d.Helper()
	document, err := os.ReadFile(filepath.Join(c.dir, "s.yaml"))
	if err != nil {
		d.Fatal(err)
	}
	d.begin(pb.DriveRunRequest_builder{RequestId: id, Open: pb.DriveOpen_builder{Source: document, OnDisconnect: policy}.Build()})
}

// do sends a step and waits for its answer; seconds must come without a gap meanwhile.
func (d *drivenRun) do(b pb.DriveRunRequest_builder) *pb.DriveAnswer {
	d.Helper()
	if err := d.stream.Send(b.Build()); err != nil {
		d.Fatal(err)
	}
	for {
		m, err := d.stream.Recv()
		if err != nil {
			d.Fatalf("%s: %v", b.RequestId, err)
		}
		d.see(m)
		if m.GetAnswer().GetRequestId() == b.RequestId {
			return m.GetAnswer()
		}
	}
}

func (d *drivenRun) see(m *pb.DriveRunResponse) {
	d.Helper()
	if s := m.GetSnapshot(); s != nil {
		if s.GetSecond() != d.last && s.GetSecond() != d.last+1 {
			d.Errorf("second %d follows second %d", s.GetSecond(), d.last)
		}
		d.last = s.GetSecond()
	}
}

// good is do for a step that must be done.
func (d *drivenRun) good(b pb.DriveRunRequest_builder) *pb.DriveAnswer {
	d.Helper()
	a := d.do(b)
	if a.GetCode() != 0 {
		d.Fatalf("%s: %v", b.RequestId, a)
	}
	return a
}

func (d *drivenRun) set(id string, rate float64) *pb.DriveAnswer {
	d.Helper()
	return d.good(pb.DriveRunRequest_builder{RequestId: id, Set: pb.DriveSet_builder{Rate: &rate}.Build()})
}

func waitStep(id, until string, limit time.Duration) pb.DriveRunRequest_builder {
	return pb.DriveRunRequest_builder{RequestId: id, Wait: pb.DriveWait_builder{Until: until, Limit: durationpb.New(limit)}.Build()}
}

// summary waits for the end of the run.
func (d *drivenRun) summary() *pb.Summary {
	d.Helper()
	return endOfRun(d.T, d.client, d.id)
}

// TestDriving takes a run through every kind of step, through steps that are wrong and repeated, and to its end.
func TestDriving(t *testing.T) {
	t.Parallel()
	target := serveSim(t, nil)
	c := startCluster(t, drivenFiles(target), 2, false)
	d := dialCluster(t, c)
	d.open(c, "open", nil)
	first := d.set("one", 20)
	if again := d.set("one", 20); again.GetEpoch() != first.GetEpoch() || again.GetPhase() != "step-1" {
		t.Errorf("repeated: %v, first %v", again, first)
	}
	if a := d.good(waitStep("count", "arrivals{phase=step-1} >= 10", time.Minute)); !a.GetMet() {
		t.Errorf("a count: %v", a)
	}
	if a := d.good(waitStep("never", "error_rate > 50%", 2*time.Second)); a.GetMet() {
		t.Errorf("a wait that times out: %v", a)
	}
	for name, test := range map[string]struct {
		step pb.DriveRunRequest_builder
		path string
	}{
		"rate":      {pb.DriveRunRequest_builder{Set: pb.DriveSet_builder{Rate: new(-3.0)}.Build()}, "set.rate"},
		"condition": {waitStep("", "p99(ttft) > 800", time.Second), "wait.until"},
		"mark":      {pb.DriveRunRequest_builder{Mark: &pb.DriveMark{}}, "mark.text"},
		"open":      {pb.DriveRunRequest_builder{Open: &pb.DriveOpen{}}, "step"},
	} {
		test.step.RequestId = "wrong " + name
		if a := d.do(test.step); codes.Code(a.GetCode()) != codes.InvalidArgument || len(a.GetProblems()) == 0 || a.GetProblems()[0].GetPath() != test.path {
			t.Errorf("%s: %v, want %s", name, a, test.path)
		}
	}
	d.good(pb.DriveRunRequest_builder{RequestId: "mark", Mark: pb.DriveMark_builder{Text: "users from here on"}.Build()})
	d.good(pb.DriveRunRequest_builder{RequestId: "users", Set: pb.DriveSet_builder{
		Name: "crowd", Users: new(uint32(3)), WorkloadWeights: map[string]uint32{"w": 0}, Labels: map[string]string{"kind": "closed"},
	}.Build()})
	d.good(waitStep("crowd", "sessions{phase=crowd,workload=v} >= 3", time.Minute))
	d.good(pb.DriveRunRequest_builder{RequestId: "stop", Stop: pb.DriveStop_builder{Reason: "seen enough"}.Build()})
	if a := d.do(pb.DriveRunRequest_builder{RequestId: "late", Set: pb.DriveSet_builder{Rate: new(1.0)}.Build()}); codes.Code(a.GetCode()) != codes.FailedPrecondition {
		t.Errorf("a set after the stop: %v", a)
	}
	for {
		m, err := d.stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		d.see(m)
	}
	s := d.summary()
	if s.GetState() != pb.SummaryState_SUMMARY_STATE_COMPLETE || len(s.GetPhases()) != 2 || len(s.GetMarks()) != 1 || s.GetMarks()[0].GetText() != "users from here on" {
		t.Fatalf("%v", s)
	}
	if text := strings.Join(s.GetReasons(), "\n"); strings.Contains(text, "not whole") {
		t.Error(text)
	}
	one, crowd := s.GetPhases()[0], s.GetPhases()[1]
	if n := one.GetArrivals(); n.GetDue() < 10 || n.GetStarted() != n.GetDue() || one.GetOfferedRate() < 19 || one.GetOfferedRate() > 21 {
		t.Errorf("%v", one)
	}
	if crowd.GetName() != "crowd" || len(crowd.GetLabels()) != 1 || crowd.GetLabels()[0].GetValue() != "closed" || crowd.GetSessions().GetSucceeded() < 3 {
		t.Errorf("%v", crowd)
	}
	// The journal tells the same.
	if p := execLoadline(t, c.dir, nil, "report", filepath.Join("kept", "runs", d.id), "--json"); !strings.Contains(p.out.String(), "users from here on") {
		t.Errorf("report: %s%s", &p.out, &p.err)
	}
	if _, err := d.client.StartRun(t.Context(), pb.StartRunRequest_builder{RequestId: "x", Scenario: pb.Scenario_builder{Name: new("n")}.Build()}.Build()); status.Code(err) != codes.InvalidArgument || !names(err, "scenario.load") {
		t.Errorf("StartRun without load: %v", err)
	}
}

// names reports whether an error has a google.rpc.BadRequest that names a field.
func names(err error, field string) bool {
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				if v.GetField() == field && v.GetDescription() != "" {
					return true
				}
			}
		}
	}
	return false
}

// TestABrokenStream breaks the stream of a run that is to stop then, and of one that holds until its program is back.
func TestABrokenStream(t *testing.T) {
	t.Parallel()
	target := serveSim(t, nil)
	c := startCluster(t, drivenFiles(target), 1, false)
	d := dialCluster(t, c)
	d.open(c, "stops", nil)
	d.set("one", 20)
	d.cancel()
	s := d.summary()
	if text := strings.Join(s.GetReasons(), "\n"); s.GetState() != pb.SummaryState_SUMMARY_STATE_ABORTED || !strings.Contains(text, "the program that drives the run is gone") {
		t.Errorf("state %v: %s", s.GetState(), text)
	}
	d = dialCluster(t, c)
	d.open(c, "holds", pb.OnDisconnect_builder{Hold: durationpb.New(time.Minute)}.Build())
	one := d.set("one", 20)
	d.good(waitStep("some", "arrivals >= 10", time.Minute))
	d.cancel()
	before := d.last
	d.begin(pb.DriveRunRequest_builder{RequestId: "back", Resume: pb.DriveResume_builder{RunId: d.id, FromSecond: before}.Build()})
	if again := d.set("one", 20); again.GetEpoch() != one.GetEpoch() {
		t.Errorf("after the break: %v, before it %v", again, one)
	}
	d.good(waitStep("more", fmt.Sprintf("arrivals >= %d", 20*(before+3)), time.Minute))
	other := dialCluster(t, c)
	other.last = d.last
	other.begin(pb.DriveRunRequest_builder{RequestId: "other", Resume: pb.DriveResume_builder{RunId: d.id, FromSecond: d.last}.Build()})
	for {
		if _, err := d.stream.Recv(); err != nil {
			if status.Code(err) != codes.Aborted {
				t.Errorf("the stream that was replaced: %v", err)
			}
			break
		}
	}
	other.good(pb.DriveRunRequest_builder{RequestId: "stop", Stop: &pb.DriveStop{}})
	if s := d.summary(); s.GetState() != pb.SummaryState_SUMMARY_STATE_COMPLETE || len(s.GetPhases()) != 1 {
		t.Errorf("%v, phases %v", s.GetState(), s.GetPhases())
	}
	d.refused(pb.DriveRunRequest_builder{RequestId: "late", Resume: pb.DriveResume_builder{RunId: d.id}.Build()}, codes.FailedPrecondition, "")
	d.refused(pb.DriveRunRequest_builder{RequestId: "none", Resume: pb.DriveResume_builder{RunId: "none"}.Build()}, codes.NotFound, "")
	d.refused(pb.DriveRunRequest_builder{RequestId: "first", Set: &pb.DriveSet{}}, codes.InvalidArgument, "step")
	d.refused(pb.DriveRunRequest_builder{Open: &pb.DriveOpen{}}, codes.InvalidArgument, "request_id")
	d.refused(pb.DriveRunRequest_builder{RequestId: "o", Open: &pb.DriveOpen{}}, codes.InvalidArgument, "open.scenario")
	d.refused(pb.DriveRunRequest_builder{RequestId: "o", Open: pb.DriveOpen_builder{Source: []byte("name: n\n")}.Build()}, codes.InvalidArgument, "open.source.targets")
}

// TestADrivenRunOutlivesItsCoordinator kills the coordinator and starts it again: the program takes its run up, a step that is on
// record is not done twice, and the next one goes on.
func TestADrivenRunOutlivesItsCoordinator(t *testing.T) {
	t.Parallel()
	target := serveSim(t, nil)
	f := drivenFiles(target)
	f["s.yaml"] += "orphan: {hold: 30s}\n"
	c := startCluster(t, f, 2, false)
	d := dialCluster(t, c)
	d.open(c, "open", pb.OnDisconnect_builder{Hold: durationpb.New(2 * time.Minute)}.Build())
	one := d.set("one", 20)
	d.good(waitStep("some", "arrivals >= 10", time.Minute))
	c.restart(t)
	d = resumed(t, c, d)
	if again := d.set("one", 20); again.GetEpoch() != one.GetEpoch() || again.GetPhase() != "step-1" {
		t.Errorf("after the restart: %v, before it %v", again, one)
	}
	if two := d.set("two", 30); two.GetPhase() != "step-2" {
		t.Errorf("%v", two)
	}
	d.good(waitStep("more", "arrivals{phase=step-2} >= 10", time.Minute))
	d.good(pb.DriveRunRequest_builder{RequestId: "stop", Stop: &pb.DriveStop{}})
	s := d.summary()
	if s.GetState() != pb.SummaryState_SUMMARY_STATE_COMPLETE || len(s.GetPhases()) != 2 || s.GetArrivals().GetLost() != 0 {
		t.Errorf("%v: %v, phases %v", s.GetState(), s.GetReasons(), s.GetPhases())
	}
	wantOnce(t, target.arrivals(t, d.id))
}

// resumed takes the run up over a new connection.
func resumed(t *testing.T, c *clusterOf, before *drivenRun) *drivenRun {
	t.Helper()
	d := dialCluster(t, c)
	d.last = before.last
	d.begin(pb.DriveRunRequest_builder{RequestId: "back", Resume: pb.DriveResume_builder{RunId: before.id, FromSecond: before.last}.Build()})
	return d
}

// refused wants a stream to be refused for its first message.
func (d *drivenRun) refused(b pb.DriveRunRequest_builder, code codes.Code, field string) {
	d.Helper()
	stream, err := d.client.DriveRun(d.Context())
	if err != nil {
		d.Fatal(err)
	}
	if err := stream.Send(b.Build()); err != nil {
		d.Fatal(err)
	}
	if _, err = stream.Recv(); status.Code(err) != code || field != "" && !names(err, field) {
		d.Errorf("%v: %v, want %v at %q", b.Build(), err, code, field)
	}
}
