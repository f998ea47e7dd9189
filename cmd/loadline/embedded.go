package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/loadline/loadline/agent"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/coordinator"
	"github.com/loadline/loadline/internal/bus"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const (
	// startAhead is how far an embedded run's start lies ahead once its agents are ready: within the
	// process an order arrives in microseconds, and the pacer needs a moment to get to its thread.
	startAhead = 20 * time.Millisecond
	// pipeBytes is the buffer of a connection within the process.
	pipeBytes = 1 << 20
)

// embeddedOptions say how the cluster within this process is to be.
type embeddedOptions struct {
	// Agents is their number, at least 1.
	Agents int
	// Folder is that of the one run; empty: a folder named by its id below Runs.
	Folder string
	// Runs is the folder of the runs' folders; empty: runs below the working folder.
	Runs string
	// Cores is how many cores the process may use; 0: as many as Go has processors.
	Cores int
	// Env looks an environment variable up.
	Env func(string) (string, bool)
	// Log takes what an operator should know.
	Log *slog.Logger
	// Version of the build.
	Version string
}

// cluster is a coordinator and its agents in one process, joined by the same bus and the same
// streams as over a network, only without a listener.
type cluster struct {
	nats        *bus.Embedded
	conns       []*bus.Conn
	coordinator *coordinator.Coordinator
	server      *grpc.Server
	listener    *bufconn.Listener
	client      *grpc.ClientConn
	stopAgents  context.CancelFunc
	agents      sync.WaitGroup
	serving     sync.WaitGroup
}

// startEmbedded starts a coordinator and agents in this process. stop ends them in good order.
func startEmbedded(ctx context.Context, o embeddedOptions) (client pb.ControlServiceClient, stop func() error, err error) {
	c := &cluster{}
	if err := c.start(ctx, o); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start the cluster within this process: %w", err), c.stop())
	}
	return pb.NewControlServiceClient(c.client), c.stop, nil
}

func (c *cluster) start(ctx context.Context, o embeddedOptions) (err error) {
	if c.nats, err = bus.StartEmbedded(); err != nil {
		return err
	}
	conn, err := c.connect("coordinator", o.Log)
	if err != nil {
		return err
	}
	c.coordinator, err = coordinator.New(ctx, coordinator.Config{
		Bus: conn, Folder: folders(o.Folder, o.Runs), StartAhead: startAhead,
		ExpectedTokens: workload.Expected, Version: o.Version, Log: o.Log,
	})
	if err != nil {
		return err
	}
	if err := c.serve(); err != nil {
		return err
	}
	return c.join(ctx, o)
}

// folders gives the folder of each run: the one that was named, or one below runs, which is runs/ where it is empty.
func folders(named, runs string) func(string) string {
	if runs == "" {
		runs = runsFolder
	}
	return func(runID string) string {
		if named != "" {
			return named
		}
		return filepath.Join(runs, runID)
	}
}

func (c *cluster) connect(name string, log *slog.Logger) (*bus.Conn, error) {
	conn, err := bus.Connect("", name, log, c.nats.Option())
	if err == nil {
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

// serve puts the coordinator's services on a gRPC server that only this process reaches.
func (c *cluster) serve() (err error) {
	c.listener = bufconn.Listen(pipeBytes)
	c.server = grpc.NewServer(grpc.MaxRecvMsgSize(coordinator.MaxResultsMessage), grpc.WaitForHandlers(true))
	c.coordinator.Register(c.server)
	c.serving.Go(func() { _ = c.server.Serve(c.listener) }) // it ends by Stop alone
	c.client, err = grpc.NewClient("passthrough:///embedded",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.listener.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(coordinator.MaxResultsMessage)))
	return err
}

// join starts the agents. They go on when ctx ends: the run must come to its end in good order.
func (c *cluster) join(ctx context.Context, o embeddedOptions) error {
	ctx, c.stopAgents = context.WithCancel(context.WithoutCancel(ctx))
	for i := range max(1, o.Agents) {
		name := fmt.Sprintf("a%d", i+1)
		if _, err := c.add(ctx, name, o); err != nil {
			return err
		}
	}
	return nil
}

// add starts one agent, which goes on until ctx ends or it has left.
func (c *cluster) add(ctx context.Context, name string, o embeddedOptions) (*agent.Agent, error) {
	conn, err := c.connect(name, o.Log)
	if err != nil {
		return nil, err
	}
	a, err := agent.New(agent.Config{
		Name: name, Version: o.Version, Cores: o.Cores, Bus: conn, Results: pb.NewResultsServiceClient(c.client), Env: o.Env, Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	c.agents.Go(func() {
		if err := a.Run(ctx); err != nil {
			o.Log.Error("agent ended", "agent", name, "error", err)
		}
	})
	return a, nil
}

// stop ends everything that was started, in the opposite order, and waits for it.
func (c *cluster) stop() error {
	if c.coordinator != nil {
		c.coordinator.Close()
	}
	if c.stopAgents != nil {
		c.stopAgents()
	}
	c.agents.Wait()
	var err error
	if c.client != nil {
		err = c.client.Close()
	}
	if c.server != nil {
		c.server.Stop()
	}
	c.serving.Wait()
	for _, conn := range c.conns {
		conn.Close()
	}
	if c.nats != nil {
		c.nats.Stop()
	}
	return err
}
