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
	protocolVersion = 2
	// callTimeout bounds one report or renewal; a renewal is asked for again at the next turn.
	callTimeout = 3 * time.Second
	// refusedPause is the pause before a refused registration is tried again.
	refusedPause = time.Second
	// tickEvery is how often an agent without a lease looks whether there is something to end; one with a lease looks when that
	// lapses, and after tickLatest at the latest.
	tickEvery  = 100 * time.Millisecond
	tickLatest = time.Second
	// departWait bounds the last words of an agent that leaves.
	departWait = 5 * time.Second
	// spareTurns is of how many turns one is left to the bus while the results stream renews the lease, and streamFresh how old the
	// last renewal is that it has answered then at most. Where it falls silent the bus renews again within streamFresh and a turn, half
	// a lease before the end.
	spareTurns  = 4
	streamFresh = 1750 * time.Millisecond
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
	// WindowEvery is the length of a window; 0: a second. Measurements of more agents than a machine can hold give more.
	WindowEvery time.Duration
	// Machine tells how long the machine's processors were busy, and in all, in seconds; nil: MachineSeconds. Many agents in one process
	// need not each ask the system.
	Machine func() (busy, all float64)
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

	mu        sync.Mutex
	machine   *run.Machine
	lease     *guard.Lease // of the incarnation leased
	leased    uint64
	parts     map[run.Part]*part // being prepared or played, or handing their results over
	renew     time.Duration
	clock     *pb.ClockSample
	told      *pb.ClockSample // the last one that the coordinator has
	owed      int             // turns at which the bus is not left out
	streamed  int64           // when the last renewal was asked for that the results stream has answered; 0: it does not
	introduce bool            // the coordinator wants to know who this is
	refusal   refusal

	toLeave  bool           // it was told to, perhaps before it began
	departed chan struct{}  // closed when the agent has left in good order
	reports  sync.WaitGroup // reports under way
}

// New makes an agent. It does nothing until Run.
func New(config Config) (*Agent, error) {
	if config.Bus == nil || config.Results == nil || config.Env == nil || config.Log == nil {
		return nil, errors.New("an agent needs a bus, a results service, an environment and a log")
	}
	if config.Cores == 0 {
		config.Cores = runtime.GOMAXPROCS(0)
	}
	if config.WindowEvery <= 0 {
		config.WindowEvery = time.Second
	}
	if config.Sleeper == nil {
		config.Sleeper = pace.System
	}
	a := &Agent{
		config: config, log: config.Log.With("component", "agent", "agent", config.Name),
		time: guard.NewClock(guard.Boottime), nonce: rand.Uint64(), renew: time.Second, lease: &guard.Lease{},
		parts: map[run.Part]*part{}, departed: make(chan struct{}),
	}
	if own := config.Own; own != nil {
		a.ceilings = &ceilings{rate: own.NewWindow(), inFlight: own.NewInFlight()}
	}
	return a, nil
}

// Run joins the coordinator and plays what it is given until ctx ends or the agent has left. What is in flight at the end of
// ctx is canceled, and everything that Run started has ended when it returns.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.ctx = ctx
	a.mu.Lock()
	machine, commands := run.New()
	a.machine = machine
	a.mu.Unlock()
	if err := a.serveOrders(); err != nil {
		return err
	}
	a.mu.Lock()
	a.carryOut(commands)
	leave := a.toLeave
	a.mu.Unlock()
	if leave {
		a.step(run.Leave{})
	}
	a.tasks.Go(a.renewals)
	a.tick()
	select {
	case <-a.departed:
		a.farewell()
	default:
	}
	cancel()
	a.mu.Lock()
	for _, part := range a.parts {
		part.abandon()
	}
	a.mu.Unlock()
	a.tasks.Wait()
	a.reports.Wait()
	return nil
}

// Leave hands over what the agent plays and ends its life: Run returns once its results are acknowledged. Nothing is lost. It
// may be called at any time, and more than once.
func (a *Agent) Leave() {
	a.mu.Lock()
	a.toLeave = true
	begun := a.machine != nil
	a.mu.Unlock()
	if begun {
		a.step(run.Leave{})
	}
}

// farewell lets the last reports arrive and gives the name back, for as long as departWait.
func (a *Agent) farewell() {
	ctx, cancel := context.WithTimeout(a.ctx, departWait)
	defer cancel()
	a.mu.Lock()
	incarnation := a.machine.Incarnation()
	a.mu.Unlock()
	said := make(chan struct{})
	a.tasks.Go(func() {
		defer close(said)
		a.reports.Wait()
	})
	select {
	case <-said:
	case <-ctx.Done():
	}
	gone := pb.ReportRequest_builder{
		Agent: a.config.Name, Incarnation: incarnation, State: pb.AgentState_AGENT_STATE_LEAVING,
	}.Build()
	if err := a.config.Bus.Call(ctx, bus.Report, gone, &pb.ReportResponse{}); err != nil {
		a.log.Warn("the coordinator was not told that this agent has left", "error", err)
	}
}

// tick lets the machine look at its lease until the agent's life ends.
func (a *Agent) tick() {
	timer := time.NewTimer(tickEvery)
	defer timer.Stop()
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-a.departed:
			return
		case <-timer.C:
			a.step(run.Tick{})
			for _, id := range a.overdue() {
				a.step(run.Overdue{Part: id})
			}
			timer.Reset(a.nextTick())
		}
	}
}

// nextTick is how long nothing happens by itself. A lease is renewed long before it lapses, so it is looked at once a second.
func (a *Agent) nextTick() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	left := time.Duration(a.machine.LeaseUntil() - a.leaseNow())
	if left <= 0 {
		return tickEvery
	}
	return min(left, tickLatest)
}

// overdue lists the parts whose load should be over.
func (a *Agent) overdue() []run.Part {
	a.mu.Lock()
	defer a.mu.Unlock()
	var late []run.Part
	for id, part := range a.parts {
		if pl := part.player.Load(); pl != nil && pl.overdue() {
			late = append(late, id)
		}
	}
	return late
}

// step tells the machine of an event and carries out what it commands. It returns the commands, for
// those who wait for an answer among them.
func (a *Agent) step(event run.Event) []run.Command {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.machine.State()
	commands := a.machine.Step(event, a.leaseNow())
	a.carryOut(commands)
	if after := a.machine.State(); after != before {
		a.log.Debug("agent state changed", "from", before, "to", after, "run", a.machine.Part().Run)
	}
	return commands
}

// carryOut does what the machine commands; nothing in it waits. a.mu is held.
func (a *Agent) carryOut(commands []run.Command) {
	for _, command := range commands {
		switch c := command.(type) {
		case run.Register:
			a.tasks.Go(func() { a.register(c.Held) })
		case run.Grant:
			a.grant(c.Until)
		case run.Prepare:
			a.prepare(c)
		case run.Report:
			a.reportState(c)
		case run.Depart:
			a.depart()
		default:
			a.carryOutPart(command)
		}
	}
}

// carryOutPart does what is commanded about one part. a.mu is held.
func (a *Agent) carryOutPart(command run.Command) {
	switch c := command.(type) {
	case run.Play:
		part := a.parts[c.Part]
		part.clockBound = c.ClockBound
		a.tasks.Go(func() { a.play(part, c.At) })
	case run.Apply:
		part := a.parts[c.Part]
		a.log.Info("change in force", "run", c.Run, "epoch", c.Change.GetEpoch(), "at", time.Duration(c.Change.GetAtNs()), "reason", c.Change.GetReason())
		if !part.commit(c.Change) {
			a.log.Error("change not in force: too many wait", "run", c.Run, "epoch", c.Change.GetEpoch())
		}
	case run.Pause:
		a.log.Warn("load paused", "run", c.Run, "reason", c.Why)
		a.parts[c.Part].pause()
	case run.Resume:
		a.log.Info("load goes on", "run", c.Run)
		a.parts[c.Part].resume()
	case run.StopLoad:
		a.log.Info("load stopped", "run", c.Run, "mode", c.Mode, "reason", c.Reason)
		a.parts[c.Part].stop(c.Mode)
	case run.Flush:
		part := a.parts[c.Part]
		a.tasks.Go(func() { a.flush(part) })
	case run.GiveUp:
		part := a.parts[c.Part]
		a.log.Error("results given up: the report will miss them", "run", c.Run, "windows", part.uplink.Waiting(), "reason", c.Why)
		part.abandon() // the flush ends by it, and releases the part
		delete(a.parts, c.Part)
	case run.Forget:
		part := a.parts[c.Part]
		part.abandon()
		delete(a.parts, c.Part)
		a.tasks.Go(func() { a.release(part) })
	case run.Hold, run.AnswerAssign, run.AnswerStart, run.AnswerChange:
		// The order's handler does these.
	}
}

// depart ends the agent's life. a.mu is held.
func (a *Agent) depart() {
	select {
	case <-a.departed:
	default:
		close(a.departed)
	}
}

// reportState tells the coordinator of a new state until it answers. a.mu is held.
func (a *Agent) reportState(c run.Report) {
	if c.State != pb.AgentState_AGENT_STATE_READY && c.State != pb.AgentState_AGENT_STATE_LEAVING {
		delete(a.parts, c.Part) // what it held is closed by who ended it
	}
	request := pb.ReportRequest_builder{
		Agent: a.config.Name, Incarnation: c.Incarnation, RunId: c.Run, State: c.State, Problems: c.Problems,
	}.Build()
	a.reports.Go(func() {
		if err := a.config.Bus.Call(a.ctx, bus.Report, request, &pb.ReportResponse{}); err != nil && a.ctx.Err() == nil {
			a.log.Error("state not reported", "run", c.Run, "state", c.State, "error", err)
		}
	})
}

// errRun is the cause of canceled contexts when a run's part is over.
var errRun = errors.New("the run is over")
