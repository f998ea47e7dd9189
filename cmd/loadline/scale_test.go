package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/loadline/loadline/agent"
	"github.com/loadline/loadline/agent/pace"
	agentrun "github.com/loadline/loadline/agent/run"
	"github.com/loadline/loadline/coordinator/merge/mergetest"
	"github.com/loadline/loadline/internal/bus"
	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// scaleVariable holds what scripts/bench cluster wants of TestScale, as JSON.
const scaleVariable = "LOADLINE_TEST_SCALE"

// scaleOrder is what scripts/bench cluster wants.
type scaleOrder struct {
	Address     string // of the coordinator
	Coordinator int    // process id of the coordinator
	Agents      int
	Seconds     int // that are measured, after as many as WarmUp
	WarmUp      int
	Every       int // length of a window, in seconds
}

// scaleFigures is what came of it. Times are in milliseconds.
type scaleFigures struct {
	JoinMS        float64 // from the first dial to the last registration
	AssignedMS    float64 // from StartRun to the last agent that has its assignment
	ReadyMS       float64 // from StartRun to the common start being known to the last agent
	Cores         float64 // CPU of the coordinator over wall time
	AgentCores    float64 // the same of all agents together
	WindowsPerSec float64 // windows acknowledged
	WindowBytes   float64 // of one window
	BehindP50MS   float64 // of a merged second's arrival at a watcher behind its end
	BehindMaxMS   float64
	Seconds       int // merged seconds seen meanwhile
	StopP99MS     float64
	StopMaxMS     float64
	Missing       uint64 // windows
	State         string
}

const (
	// scaleDials bounds the agents that connect at the same time.
	scaleDials = 32
	// sizeEvery is of how many windows one is measured.
	sizeEvery = 64
	// scaleLimit bounds everything that TestScale does.
	scaleLimit = 5 * time.Minute
	// scaleStep bounds the wait for all agents to have got somewhere.
	scaleStep = time.Minute
)

// TestScale is no test: scripts/bench cluster runs it in a process of its own, against a coordinator in another. It is many
// agents as they are, with their machines, uplinks and bus clients; only the distributions in their windows are made up, and
// the load is one arrival.
func TestScale(t *testing.T) {
	text := os.Getenv(scaleVariable)
	if text == "" {
		t.Skip("scripts/bench cluster runs it")
	}
	var order scaleOrder
	if err := json.Unmarshal([]byte(text), &order); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), scaleLimit)
	defer cancel()
	s := &swarm{order: order, crowd: mergetest.NewCrowd(), seen: map[string]*sighting{}}
	figures, err := s.measure(ctx)
	if err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(figures)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("scale: %s\n", out)
}

// swarm is many agents in one process.
type swarm struct {
	order  scaleOrder
	crowd  *mergetest.Crowd // what windows are filled with
	living sync.WaitGroup

	acknowledged atomic.Uint64 // windows
	sent         atomic.Uint64 // windows
	sized, bytes atomic.Uint64 // windows whose size was looked at, and what they have
	machine      machine

	mu   sync.Mutex
	seen map[string]*sighting
}

// sighting is when an agent got where.
type sighting struct{ registered, assigned, started, stopped time.Time }

// measure lets the agents live, plays one run and stops it.
func (s *swarm) measure(ctx context.Context) (*scaleFigures, error) {
	conn, err := grpc.NewClient("passthrough:///"+s.order.Address, dialOptions(insecure.NewCredentials())...)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client := pb.NewControlServiceClient(conn)
	life, end := context.WithCancel(ctx)
	defer s.living.Wait()
	defer end()

	f := &scaleFigures{}
	begun := time.Now()
	if err := s.join(life); err != nil {
		return nil, err
	}
	if err := s.until(ctx, "registered", func(g *sighting) time.Time { return g.registered }); err != nil {
		return nil, err
	}
	f.JoinMS = millis(time.Since(begun))
	return f, s.play(ctx, client, f)
}

// play measures one run from its start to its end.
func (s *swarm) play(ctx context.Context, client pb.ControlServiceClient, f *scaleFigures) error {
	doc, err := scenario.Parse(scenario.Source{Name: "scale.yaml", Data: []byte(scaleScenario)})
	if err != nil {
		return err
	}
	asked := time.Now()
	started, err := client.StartRun(ctx, pb.StartRunRequest_builder{RequestId: "scale", Scenario: doc, Agents: uint32(s.order.Agents)}.Build())
	if err != nil {
		return err
	}
	if err := s.until(ctx, "told the start", func(g *sighting) time.Time { return g.started }); err != nil {
		return err
	}
	f.AssignedMS = millis(s.last(func(g *sighting) time.Time { return g.assigned }).Sub(asked))
	f.ReadyMS = millis(s.last(func(g *sighting) time.Time { return g.started }).Sub(asked))

	stream, err := client.WatchRun(ctx, pb.WatchRunRequest_builder{RunId: started.GetRunId()}.Build())
	if err != nil {
		return err
	}
	behind := &lags{}
	watched := make(chan error, 1)
	go func() { watched <- behind.watch(stream) }()
	if err := s.steady(ctx, behind, f); err != nil {
		return err
	}
	stopped := time.Now()
	if _, err := client.StopRun(ctx, pb.StopRunRequest_builder{RunId: started.GetRunId(), Mode: pb.StopMode_STOP_MODE_DRAIN, Reason: "measured"}.Build()); err != nil {
		return err
	}
	if err := s.until(ctx, "told the stop", func(g *sighting) time.Time { return g.stopped }); err != nil {
		return err
	}
	s.stops(stopped, f)
	if err := <-watched; err != nil {
		return err
	}
	report, err := client.GetReport(ctx, pb.GetReportRequest_builder{RunId: started.GetRunId()}.Build())
	if err != nil {
		return err
	}
	f.State = strings.ToLower(strings.TrimPrefix(report.GetSummary().GetState().String(), "SUMMARY_STATE_"))
	for _, a := range report.GetSummary().GetAgents() {
		f.Missing += a.GetMissingWindows()
	}
	return nil
}

// steady measures while the run goes on.
func (s *swarm) steady(ctx context.Context, behind *lags, f *scaleFigures) error {
	wait := func(seconds int) error {
		select {
		case <-time.After(time.Duration(seconds) * time.Second):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := wait(s.order.WarmUp); err != nil {
		return err
	}
	fmt.Println("steady") // a profile may begin
	behind.take()
	cpu, err := cpuOf(s.order.Coordinator)
	if err != nil {
		return err
	}
	own, err := cpuOf(os.Getpid())
	if err != nil {
		return err
	}
	from, windows := time.Now(), s.acknowledged.Load()
	if err := wait(s.order.Seconds); err != nil {
		return err
	}
	cpuAfter, err := cpuOf(s.order.Coordinator)
	if err != nil {
		return err
	}
	ownAfter, err := cpuOf(os.Getpid())
	if err != nil {
		return err
	}
	took := time.Since(from).Seconds()
	f.Cores = (cpuAfter - cpu).Seconds() / took
	f.AgentCores = (ownAfter - own).Seconds() / took
	f.WindowsPerSec = float64(s.acknowledged.Load()-windows) / took
	f.WindowBytes = float64(s.bytes.Load()) / float64(max(1, s.sized.Load()))
	all := behind.take()
	if f.Seconds = len(all); len(all) == 0 {
		return errors.New("no second was merged meanwhile")
	}
	slices.Sort(all)
	f.BehindP50MS, f.BehindMaxMS = millis(all[len(all)/2]), millis(all[len(all)-1])
	return nil
}

// stops says how long the order to stop took to each agent.
func (s *swarm) stops(from time.Time, f *scaleFigures) {
	var all []time.Duration
	s.mu.Lock()
	for _, g := range s.seen {
		all = append(all, g.stopped.Sub(from))
	}
	s.mu.Unlock()
	slices.Sort(all)
	f.StopP99MS, f.StopMaxMS = millis(all[(len(all)*99+99)/100-1]), millis(all[len(all)-1])
}

func millis(d time.Duration) float64 { return math.Round(d.Seconds()*1e4) / 10 }

// cpuOf is the CPU time that a process has taken so far, in ticks of 10 ms.
func cpuOf(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, errors.New("/proc does not say how much CPU a process took")
	}
	user, errUser := strconv.Atoi(fields[11])
	system, errSystem := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(errUser, errSystem)
}

// lags is how far the merged seconds are behind.
type lags struct {
	mu  sync.Mutex
	all []time.Duration
}

// watch follows the run to its end.
func (l *lags) watch(stream grpc.ServerStreamingClient[pb.WatchRunResponse]) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the run was not seen to its end: %w", err)
		}
		if start := m.GetStatus().GetStartedTime(); m.HasSnapshot() && start != nil {
			end := start.AsTime().Add(time.Duration(m.GetSnapshot().GetElapsedUs()) * time.Microsecond)
			l.mu.Lock()
			l.all = append(l.all, time.Since(end))
			l.mu.Unlock()
		}
	}
}

func (l *lags) take() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

// join begins the life of every agent, some at a time.
func (s *swarm) join(ctx context.Context) error {
	turns := make(chan struct{}, scaleDials)
	failed := make(chan error, s.order.Agents)
	var dials sync.WaitGroup
	for i := range s.order.Agents {
		name := fmt.Sprintf("a%05d", i)
		s.mu.Lock()
		s.seen[name] = &sighting{}
		s.mu.Unlock()
		turns <- struct{}{}
		dials.Go(func() {
			defer func() { <-turns }()
			failed <- s.begin(ctx, name, i)
		})
	}
	dials.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// begin connects one agent as the command agent does and lets it live.
func (s *swarm) begin(ctx context.Context, name string, number int) error {
	conn, err := grpc.NewClient("passthrough:///"+s.order.Address, dialOptions(insecure.NewCredentials())...)
	if err != nil {
		return err
	}
	c := agent.Config{
		Name: name, Version: "scale", Cores: 1, Env: func(string) (string, bool) { return "", false },
		Results: &fillingClient{ResultsServiceClient: pb.NewResultsServiceClient(conn), swarm: s, number: number},
		Log:     slog.New(&watchingLog{swarm: s, name: name}),
		Sleeper: func(now func() measure.Instant) pace.Sleeper { return pace.Portable(now) }, // no thread for each
		Machine: s.machine.seconds, WindowEvery: time.Duration(s.order.Every) * time.Second,
	}
	way, err := askTheWay(ctx, pb.NewJoinServiceClient(conn), c, s.order.Address)
	if err != nil || way == nil {
		return errors.Join(fmt.Errorf("agent %s does not learn the way", name), err, conn.Close())
	}
	url, err := busURL(s.order.Address, way, false)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	if c.Bus, err = bus.Connect(url, name, slog.New(slog.DiscardHandler)); err != nil {
		return errors.Join(err, conn.Close())
	}
	a, err := agent.New(c)
	if err != nil {
		return err
	}
	s.living.Go(func() {
		_ = a.Run(ctx) // it ends with ctx
		c.Bus.Close()
		_ = conn.Close()
	})
	return nil
}

// machine asks the system for all agents of the process how busy it is, a few times a second at most.
type machine struct {
	mu        sync.Mutex
	asked     time.Time
	busy, all float64
}

func (m *machine) seconds() (busy, all float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.asked) > 200*time.Millisecond {
		m.busy, m.all = agent.MachineSeconds()
		m.asked = time.Now()
	}
	return m.busy, m.all
}

// until waits until every agent has got somewhere.
func (s *swarm) until(ctx context.Context, where string, at func(*sighting) time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, scaleStep)
	defer cancel()
	for {
		missing := 0
		s.mu.Lock()
		for _, g := range s.seen {
			if at(g).IsZero() {
				missing++
			}
		}
		s.mu.Unlock()
		if missing == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d agents were not %s: %w", missing, s.order.Agents, where, context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// last is when the last agent got somewhere.
func (s *swarm) last(at func(*sighting) time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var last time.Time
	for _, g := range s.seen {
		if at(g).After(last) {
			last = at(g)
		}
	}
	return last
}

// watchingLog takes an agent's log and notes when it got where. Faults are shown.
type watchingLog struct {
	swarm *swarm
	name  string
}

// Enabled implements slog.Handler.
func (*watchingLog) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs implements slog.Handler.
func (w *watchingLog) WithAttrs([]slog.Attr) slog.Handler { return w }

// WithGroup implements slog.Handler.
func (w *watchingLog) WithGroup(string) slog.Handler { return w }

// Handle implements slog.Handler.
func (w *watchingLog) Handle(_ context.Context, r slog.Record) error {
	if r.Level > slog.LevelInfo {
		line := w.name + ": " + r.Message
		r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
		fmt.Fprintln(os.Stderr, line)
	}
	var at *time.Time
	w.swarm.mu.Lock()
	defer w.swarm.mu.Unlock()
	g := w.swarm.seen[w.name]
	switch r.Message {
	case "load stopped":
		at = &g.stopped
	case "agent state changed":
		r.Attrs(func(a slog.Attr) bool {
			switch to, _ := a.Value.Any().(agentrun.State); {
			case a.Key != "to":
			case to == agentrun.Idle:
				at = &g.registered
			case to == agentrun.Preparing:
				at = &g.assigned
			case to == agentrun.Playing:
				at = &g.started
			}
			return true
		})
	}
	if at != nil && at.IsZero() {
		*at = r.Time
	}
	return nil
}

// fillingClient puts made-up distributions into the windows that an agent sends, and counts what is acknowledged.
type fillingClient struct {
	pb.ResultsServiceClient
	swarm  *swarm
	number int
}

// PushWindows implements pb.ResultsServiceClient.
func (c *fillingClient) PushWindows(ctx context.Context, options ...grpc.CallOption) (grpc.BidiStreamingClient[pb.PushWindowsRequest, pb.PushWindowsResponse], error) {
	stream, err := c.ResultsServiceClient.PushWindows(ctx, options...)
	return &fillingStream{BidiStreamingClient: stream, client: c}, err
}

type fillingStream struct {
	grpc.BidiStreamingClient[pb.PushWindowsRequest, pb.PushWindowsResponse]
	client *fillingClient
	last   uint64
}

// Send implements the stream. A window that is sent again is the one that was filled.
func (f *fillingStream) Send(q *pb.PushWindowsRequest) error {
	if w := q.GetWindow(); w != nil {
		s := f.client.swarm
		s.crowd.Fill(w, f.client.number)
		s.sent.Add(1)
		if n := s.sent.Load(); n%sizeEvery == 1 { // they are all about as large
			s.sized.Add(1)
			s.bytes.Add(uint64(proto.Size(w)))
		}
	}
	return f.BidiStreamingClient.Send(q)
}

// Recv implements the stream.
func (f *fillingStream) Recv() (*pb.PushWindowsResponse, error) {
	r, err := f.BidiStreamingClient.Recv()
	if n := r.GetAcknowledged(); n > f.last {
		f.client.swarm.acknowledged.Add(n - f.last)
		f.last = n
	}
	return r, err
}

// scaleScenario has one arrival, which nobody answers: what counts is what the agents send.
const scaleScenario = `name: scale
targets: [{name: t, url: "http://127.0.0.1:9/v1", protocol: openai-chat, model: m}]
workloads:
  - {name: w0, target: t, synthetic: {input_tokens: {fixed: 8}, output_tokens: {fixed: 4}}}
  - {name: w1, target: t, synthetic: {input_tokens: {fixed: 8}, output_tokens: {fixed: 4}}}
  - {name: w2, target: t, synthetic: {input_tokens: {fixed: 8}, output_tokens: {fixed: 4}}}
  - {name: w3, target: t, synthetic: {input_tokens: {fixed: 8}, output_tokens: {fixed: 4}}}
load: [{name: main, open: {rate: 0.001}, duration: 1h}]
slo: ["p99(ttft) < 800ms", "p95(itl) < 40ms", "error_rate < 1%"]
abort: ["p99(ttft) > 1h for 10s"]
limits: {max_in_flight: 20000}
agents: {max: 4000}
drain: 1s
`
