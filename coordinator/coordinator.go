// Package coordinator is the shell around a run's brain: it owns the loop, carries out the commands
// of coordinator/run, keeps the fleet, serves the control API and writes what a run leaves behind.
//
// The way of one run:
//
//	StartRun ─► plan ─► journal header ─► run.New ─► Assign … Ready ─► Start
//	window ─► ingest ─► journal (synced) ─► merge ─► live view, abort conditions
//	last totals ─► reconcile ─► judge ─► report ─► run folder
package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/loadline/loadline/coordinator/fleet"
	"github.com/loadline/loadline/coordinator/ingest"
	"github.com/loadline/loadline/internal/bus"
	"github.com/loadline/loadline/internal/content"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Defaults of the waits, and limits of the coordinator.
const (
	// LeaseLength is how long an agent may go on without an answer (design §4).
	LeaseLength = 5 * time.Second
	// RenewEvery is how often an agent renews its lease.
	RenewEvery = time.Second
	// prepareWait bounds the wait for all agents to be ready.
	prepareWait = 60 * time.Second
	// graceWait bounds the wait for the last windows after the drain.
	graceWait = 10 * time.Second
	// returnWait is how long a run that nobody is left to play waits for lost agents to come back and hand in their results.
	returnWait = 15 * time.Second
	// journalPatience is how long the journal may fail before its run is stopped.
	journalPatience = 15 * time.Second
	// barrierWait is how long agents that are ready wait for one that is not, where the scenario allows for fewer.
	barrierWait = 10 * time.Second
	// changeHorizon is how far ahead the instant of a change lies when it is proposed.
	changeHorizon = 300 * time.Millisecond
	// ackPatience is how long an agent may renew its lease without acknowledging a change.
	ackPatience = 5 * time.Second
	// proposalLife bounds the sending of one proposal whose instant does not lie further ahead; another attempt follows sooner.
	proposalLife = 2 * time.Second
	// clockWait bounds the wait for the offset of an agent's clock.
	clockWait = 5 * time.Second
	// agentWait bounds the wait of StartRun for agents to register.
	agentWait = 30 * time.Second
	// maxRuns bounds the runs that are remembered; the oldest ended one is forgotten first.
	maxRuns = 1000
	// maxLiveRuns bounds the runs that go on at the same time.
	maxLiveRuns = 64
	// MaxResultsMessage bounds one message of the results service, in bytes.
	MaxResultsMessage = 16 << 20
)

// Config says how a coordinator works.
type Config struct {
	// Bus is the connection on which agents are reached. The coordinator does not close it.
	Bus *bus.Conn
	// Folder gives the folder of a run by its id; it must not exist yet, or be empty.
	Folder func(runID string) string
	// StartAhead is how far the common start lies ahead once all are ready: long enough for the
	// order to reach every agent. Embedded: 20 ms.
	StartAhead time.Duration
	// ExpectedTokens gives the mean input and output tokens of one request of a workload, for plans; may be nil.
	ExpectedTokens func(*pb.Workload) (input, output float64)
	// Files keeps the files that scenarios name until no run needs them; nil: agents read them where
	// they are, as in an embedded run.
	Files *content.Store
	// CheckpointAfter is how many bytes a run's journal grows between two checkpoints, at least; 0: 32 MiB.
	CheckpointAfter int64
	// Resume is a folder of run folders. Runs in it that an earlier coordinator left open go on, or are ended, before any agent
	// is answered: one that renews its lease must find that it is known. Empty: there is none.
	Resume string
	// Version of the build.
	Version string
	// Log takes what an operator should know.
	Log *slog.Logger
}

// Coordinator runs scenarios on agents. New makes one; Register puts its services on a gRPC server.
type Coordinator struct {
	config Config
	log    *slog.Logger
	epoch  time.Time // zero of coordinator time; holds a monotonic reading
	ingest *ingest.Service

	mu       sync.Mutex
	fleet    *fleet.Fleet
	looked   int64         // when somebody looked at the leases last
	joined   chan struct{} // closed and replaced whenever an agent has renewed its lease for the first time
	runs     map[string]*liveRun
	requests map[string]string        // request id → run id, of runs and past
	past     map[string]*pastRun      // by run id: those that ended under an earlier coordinator
	starting map[string]*beginningRun // by request id: not on record yet, perhaps waiting for agents
	order    []string                 // run ids, oldest first
	closed   bool

	running sync.WaitGroup
	ctx     context.Context // of everything that outlives a request; ended by Close
	cancel  context.CancelCauseFunc
}

// New makes a coordinator and begins to serve agents on the bus. It goes on until Close, also when
// ctx has ended: its runs end in good order or not at all.
func New(ctx context.Context, config Config) (*Coordinator, error) {
	if config.Bus == nil || config.Folder == nil || config.Log == nil {
		return nil, errors.New("a coordinator needs a bus, folders for its runs and a log")
	}
	c := &Coordinator{
		config: config, log: config.Log.With("component", "coordinator"), epoch: time.Now(),
		fleet: fleet.New(fleet.Config{Lease: LeaseLength}), joined: make(chan struct{}),
		runs: map[string]*liveRun{}, past: map[string]*pastRun{}, requests: map[string]string{}, starting: map[string]*beginningRun{},
	}
	c.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	c.ingest = ingest.New(c.results, c.renew, config.Log)
	if config.Resume != "" {
		if err := c.TakeUp(ctx, config.Resume); err != nil {
			c.log.Error("not every run could be taken up", "error", err)
		}
	}
	if err := c.serveAgents(); err != nil {
		return nil, err
	}
	c.running.Go(c.watchLeases)
	return c, nil
}

// Register puts the control and the results service on a gRPC server, which must take messages of
// MaxResultsMessage bytes.
func (c *Coordinator) Register(s *grpc.Server) {
	pb.RegisterControlServiceServer(s, &control{coordinator: c})
	pb.RegisterResultsServiceServer(s, c.ingest)
	if c.config.Files != nil {
		pb.RegisterFileServiceServer(s, content.NewService(c.config.Files, c.config.Log))
	}
}

// Close stops every run at once, waits until each has written what it can, and returns.
func (c *Coordinator) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	runs := c.known()
	for _, run := range runs {
		run.stop(pb.StopMode_STOP_MODE_NOW, "the coordinator is shutting down")
	}
	for _, run := range runs {
		<-run.ended
	}
	c.cancel(errors.New("the coordinator is shutting down"))
	c.running.Wait()
}

// now is coordinator time in nanoseconds: it never runs backwards and is not changed by steps of
// the wall clock.
func (c *Coordinator) now() int64 { return int64(time.Since(c.epoch)) }

// wall is the wall clock's name for an instant of coordinator time.
func (c *Coordinator) wall(at int64) time.Time { return c.epoch.Add(time.Duration(at)).Round(0).UTC() }

// run finds a run that this coordinator has begun or taken up, or that ended under an earlier one.
func (c *Coordinator) run(id string) (*liveRun, bool) {
	c.mu.Lock()
	run, past := c.runs[id], c.past[id]
	c.mu.Unlock()
	if run == nil && past != nil {
		run = c.recall(past)
	}
	return run, run != nil
}

func (c *Coordinator) results(id string) (ingest.Run, bool) {
	run, ok := c.run(id)
	if !ok {
		return nil, false
	}
	return run, true
}
