// Package agent is the shell around an agent's life: it joins a coordinator, gets ready for a run,
// plays its share, hands every result over, and leaves.
//
//	Register ─► Renew … ─► Assign ─► prepare ─► Ready ─► Start ─► play ─► flush ─► Done
//
// The decisions are those of agent/run. Playing goes pacer → worker → driver → recorder, and once a
// second recorder → uplink.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/loadline/loadline/agent/guard"
	"github.com/loadline/loadline/agent/pace"
	"github.com/loadline/loadline/agent/run"
	"github.com/loadline/loadline/internal/bus"
	"github.com/loadline/loadline/internal/content"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const (
	// protocolVersion of what agent and coordinator say to each other.
	protocolVersion = 1
	// callTimeout bounds one report or renewal; a renewal is asked for again at the next turn.
	callTimeout = 3 * time.Second
	// refusedPause is the pause before a refused registration is tried again.
	refusedPause = time.Second
	// tickEvery is how often the lease is looked at.
	tickEvery = 100 * time.Millisecond
	// firstExchanges is how many renewals follow the registration at once. Each hands over the clock
	// sample of the exchange before it. The registration's own is a slow one, as it wakes everything
	// up on both sides: an estimate from it alone is off by up to milliseconds.
	firstExchanges = 4
)

// Config says who an agent is and how it reaches its coordinator.
type Config struct {
	// Name is unique among the agents of a coordinator.
	Name string
	// Version of the build.
	Version string
	// Cores is how many cores the agent may use; 0: as many as Go has processors.
	Cores int
	// Capacity is its weight relative to other agents; 0: its cores.
	Capacity uint32
	// Labels for selection.
	Labels map[string]string
	// Bus is the connection on which orders come. The agent does not close it.
	Bus *bus.Conn
	// Results is where windows go.
	Results pb.ResultsServiceClient
	// Cache keeps the files that scenarios name by their digest; nil: they are read where they are, as
	// the embedded agent does.
	Cache *content.Store
	// Files is where the cache's files come from; needed with Cache.
	Files pb.FileServiceClient
	// Env looks an environment variable up; secrets by reference come from it.
	Env func(string) (string, bool)
	// Own is what the agent's owner allows it; nil: whatever the scenario says, as within the process of its only user.
	Own *guard.Own
	// Log takes what an operator should know. Nothing is logged per request.
	Log *slog.Logger
	// Sleeper makes what the pacer waits with; nil: pace.System. Tests in fake time give pace.Portable.
	Sleeper func(now func() measure.Instant) pace.Sleeper
}

// Agent is one agent. New makes it, Run is its life.
type Agent struct {
	config Config
	log    *slog.Logger
	time   *guard.Clock // the agent's time
	nonce  uint64
	tasks  sync.WaitGroup
	// ceilings are the owner's; nil: there is no owner.
	ceilings *ceilings
	ctx      context.Context // of everything that the agent starts; ended by the end of Run

	mu      sync.Mutex
	machine *run.Machine
	lease   *guard.Lease // of the present incarnation
	part    *part        // the run being prepared or played; nil: none
	renew   time.Duration
	clock   *pb.ClockSample
}

// New makes an agent. It does nothing until Run.
func New(config Config) (*Agent, error) {
	if config.Bus == nil || config.Results == nil || config.Env == nil || config.Log == nil {
		return nil, errors.New("an agent needs a bus, a results service, an environment and a log")
	}
	if config.Cores == 0 {
		config.Cores = runtime.GOMAXPROCS(0)
	}
	if config.Sleeper == nil {
		config.Sleeper = pace.System
	}
	a := &Agent{
		config: config, log: config.Log.With("component", "agent", "agent", config.Name),
		time: guard.NewClock(guard.Boottime), nonce: rand.Uint64(), renew: time.Second, lease: &guard.Lease{},
	}
	if own := config.Own; own != nil {
		a.ceilings = &ceilings{rate: own.NewWindow(), inFlight: own.NewInFlight()}
	}
	return a, nil
}

// Run joins the coordinator and plays what it is given until ctx ends. What is in flight is then
// canceled, and everything that Run started has ended when it returns.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.ctx = ctx
	if err := a.serveOrders(); err != nil {
		return err
	}
	a.mu.Lock()
	machine, commands := run.New()
	a.machine = machine
	a.carryOut(commands)
	a.mu.Unlock()
	a.tasks.Go(a.renewals)
	a.tick()
	a.mu.Lock()
	if a.part != nil {
		a.part.abandon()
	}
	a.mu.Unlock()
	a.tasks.Wait()
	return nil
}

// tick lets the machine look at its lease until the agent's life ends.
func (a *Agent) tick() {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-ticker.C:
			a.step(run.Tick{})
		}
	}
}

// step tells the machine of an event and carries out what it commands. It returns the commands, for
// those who wait for an answer among them.
func (a *Agent) step(event run.Event) []run.Command {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.machine.State()
	commands := a.machine.Step(event, a.now())
	a.carryOut(commands)
	if after := a.machine.State(); after != before {
		a.log.Debug("agent state changed", "from", before, "to", after, "run", a.machine.Run())
	}
	return commands
}

// carryOut does what the machine commands; nothing in it waits. a.mu is held.
func (a *Agent) carryOut(commands []run.Command) {
	for _, command := range commands {
		switch c := command.(type) {
		case run.Register:
			a.tasks.Go(a.register)
		case run.Grant:
			a.grant(c.Until)
		case run.Prepare:
			a.prepare(c.Assignment)
		case run.Report:
			a.reportState(c)
		case run.Play:
			part, lease := a.part, a.lease
			a.tasks.Go(func() { a.play(part, lease, c.At) })
		case run.StopLoad:
			a.log.Info("load stopped", "run", c.Run, "mode", c.Mode, "reason", c.Reason)
			a.part.stop(c.Mode)
		case run.Flush:
			part := a.part
			a.tasks.Go(func() { a.flush(part) })
		case run.Forget:
			part := a.part
			part.abandon()
			a.part = nil
			a.tasks.Go(func() { a.release(part) })
		case run.AnswerAssign, run.AnswerStart:
			// The order's handler answers.
		}
	}
}

// grant prolongs the lease; 0 takes it away from everything that was started under it. a.mu is held.
func (a *Agent) grant(until int64) {
	if until == 0 {
		a.lease.Revoke()
		a.lease = &guard.Lease{}
		return
	}
	a.lease.Grant(until)
}

// serveOrders answers the coordinator's orders.
func (a *Agent) serveOrders() error {
	return errors.Join(
		bus.Serve(a.config.Bus, bus.Agent(a.config.Name, bus.Assign), a.assign),
		bus.Serve(a.config.Bus, bus.Agent(a.config.Name, bus.Start), a.start),
		bus.Serve(a.config.Bus, bus.Agent(a.config.Name, bus.Stop), a.halt),
	)
}

func (a *Agent) assign(q *pb.AssignRequest) *pb.AssignResponse {
	for _, command := range a.step(run.Assigned{Assignment: q.GetAssignment(), Time: time.Now()}) {
		if answer, ok := command.(run.AnswerAssign); ok {
			return pb.AssignResponse_builder{Accepted: answer.Refusal == "", Refusal: answer.Refusal}.Build()
		}
	}
	return pb.AssignResponse_builder{Refusal: "the agent gave no answer"}.Build()
}

func (a *Agent) start(q *pb.StartRequest) *pb.StartResponse {
	a.mu.Lock()
	if a.part != nil && a.part.id == q.GetRunId() {
		a.part.clockBound.Store(q.GetClockErrorBoundNs())
	}
	a.mu.Unlock()
	for _, command := range a.step(run.Started{Run: q.GetRunId(), At: q.GetStartNs()}) {
		if answer, ok := command.(run.AnswerStart); ok {
			return pb.StartResponse_builder{Accepted: answer.Refusal == "", Refusal: answer.Refusal}.Build()
		}
	}
	return pb.StartResponse_builder{Refusal: "the agent gave no answer"}.Build()
}

func (a *Agent) halt(q *pb.StopRequest) *pb.StopResponse {
	a.step(run.Stopped{Run: q.GetRunId(), Mode: q.GetMode(), Reason: q.GetReason()})
	return pb.StopResponse_builder{Accepted: true}.Build()
}

// register asks for an incarnation until the coordinator admits the agent.
func (a *Agent) register() {
	request := pb.RegisterRequest_builder{Nonce: a.nonce, Agent: pb.AgentInfo_builder{
		Name: a.config.Name, Version: a.config.Version, Protocol: protocolVersion,
		Cores: uint32(a.config.Cores), Capacity: a.config.Capacity, Labels: a.config.Labels,
	}.Build()}.Build()
	for a.ctx.Err() == nil {
		var reply pb.RegisterResponse
		asked := a.now()
		if err := a.config.Bus.Call(a.ctx, bus.Register, request, &reply); err != nil {
			return // only the end of the agent ends the call
		}
		if reply.GetIncarnation() != 0 {
			a.mu.Lock()
			a.renew = max(10*time.Millisecond, reply.GetRenewEvery().AsDuration())
			a.mu.Unlock()
			a.remember(asked, reply.GetClock())
			a.step(run.Registered{Incarnation: reply.GetIncarnation(), Lease: reply.GetLease().AsDuration(), Asked: asked})
			for range firstExchanges {
				a.renewOnce() // hands the clock sample over, which the first start needs
			}
			return
		}
		a.log.Error("registration refused; trying again", "reason", reply.GetRefusal())
		select {
		case <-a.ctx.Done():
		case <-time.After(refusedPause):
		}
	}
}

// remember keeps the last exchange for the coordinator's estimate of the clock (M17).
func (a *Agent) remember(asked int64, reply *pb.ClockReply) {
	sample := pb.ClockSample_builder{
		SentNs: asked, ReceivedNs: reply.GetReceivedNs(), RepliedNs: reply.GetSentNs(), ReturnedNs: a.now(),
	}.Build()
	a.mu.Lock()
	a.clock = sample
	a.mu.Unlock()
}

// renewals renews the lease for as long as the agent lives.
func (a *Agent) renewals() {
	for {
		a.mu.Lock()
		pause := a.renew
		a.mu.Unlock()
		select {
		case <-a.ctx.Done():
			return
		case <-time.After(pause):
			a.renewOnce()
		}
	}
}

// renewOnce asks for one renewal. No answer means no renewal: the lease then lapses by itself.
func (a *Agent) renewOnce() {
	a.mu.Lock()
	request := pb.RenewRequest_builder{
		Agent: a.config.Name, Incarnation: a.machine.Incarnation(), RunId: a.machine.Run(), Clock: a.clock,
	}.Build()
	a.mu.Unlock()
	if request.GetIncarnation() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(a.ctx, callTimeout)
	defer cancel()
	var reply pb.RenewResponse
	asked := a.now()
	if err := a.config.Bus.Call(ctx, bus.Renew, request, &reply); err != nil {
		if a.ctx.Err() == nil {
			a.log.Warn("lease not renewed", "error", err)
		}
		return
	}
	a.remember(asked, reply.GetClock())
	if reply.GetGranted() {
		a.step(run.Renewed{Incarnation: request.GetIncarnation(), Asked: asked})
		return
	}
	a.log.Warn("lease refused", "reason", reply.GetRefusal())
	a.step(run.LeaseRefused{Incarnation: request.GetIncarnation(), Why: reply.GetRefusal()})
}

// reportState tells the coordinator of a new state until it answers. a.mu is held.
func (a *Agent) reportState(c run.Report) {
	incarnation := a.machine.Incarnation()
	if a.part != nil {
		incarnation = a.part.incarnation
	}
	if c.State != pb.AgentState_AGENT_STATE_READY {
		a.part = nil // what it held is closed by who ended it
	}
	request := pb.ReportRequest_builder{
		Agent: a.config.Name, Incarnation: incarnation, RunId: c.Run, State: c.State, Problems: c.Problems,
	}.Build()
	a.tasks.Go(func() {
		if err := a.config.Bus.Call(a.ctx, bus.Report, request, &pb.ReportResponse{}); err != nil && a.ctx.Err() == nil {
			a.log.Error("state not reported", "run", c.Run, "state", c.State, "error", err)
		}
	})
}

// errRun is the cause of canceled contexts when a run's part is over.
var errRun = fmt.Errorf("the run is over")
