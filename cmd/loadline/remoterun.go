package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/loadline/loadline/cmd/loadline/trust"
	"github.com/loadline/loadline/coordinator/plan"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const (
	// startWait bounds the request to start a run beyond the time for which the scenario waits for agents.
	startWait = 2 * time.Minute
	// patience is how long a coordinator that cannot be reached is tried again while a run is watched.
	patience = 10 * time.Minute
)

// prepareRemote checks what can be checked here and puts the run on a coordinator's record.
func (a *app) prepareRemote(ctx context.Context, o *runOptions, doc document, s *pb.Scenario) (*preparedRun, error) {
	agents, err := o.wantedAgents()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkOut(o.out), refuseSim(s)); err != nil {
		return nil, badInput("%w", err)
	}
	files, err := digestFiles(ctx, s, doc.baseDir)
	if err != nil {
		return nil, err
	}
	elsewhere := func(*pb.SecretRef) (string, error) { return "elsewhere", nil } // secrets are the agents' own
	if err := checkWorkloads(s, doc.baseDir, elsewhere); err != nil {
		return nil, err
	}
	r, err := o.remote.attach(o.out)
	if err != nil {
		return nil, err
	}
	tell := a.stderr
	if o.json || o.quiet {
		tell = io.Discard
	}
	if err := uploadFiles(ctx, r.files, files, doc.baseDir, tell); err != nil {
		return nil, errors.Join(fromRemote(err, o.remote.coordinator), r.close())
	}
	digest := scenario.Digest(s, files)
	call, cancel := context.WithTimeout(ctx, startWait+s.GetAgents().GetWait().AsDuration())
	defer cancel()
	waiting := tellWaiting(call, r.client, s, agents, tell)
	started, err := r.client.StartRun(call, pb.StartRunRequest_builder{
		RequestId: rand.Text(), Scenario: s, Source: doc.data, BaseDir: doc.baseDir, Files: files, Agents: agents,
		Digest: hex.EncodeToString(digest[:]),
	}.Build())
	cancel()
	<-waiting
	if err != nil {
		return nil, errors.Join(fromRemote(err, o.remote.coordinator), r.close())
	}
	r.scenario, r.id = s, started.GetRunId()
	if r.folder == "" {
		r.folder = filepath.Join(runsFolder, r.id)
	}
	return r, nil
}

// wantedAgents is how many agents a run of a cluster waits for; 0: those that are there.
func (o *runOptions) wantedAgents() (uint32, error) {
	if !o.flags.given("agents") {
		return 0, nil
	}
	if o.agents < 1 || o.agents > plan.MaxAgents {
		return 0, badInput("--agents %d: between 1 and %d", o.agents, plan.MaxAgents)
	}
	return uint32(o.agents), nil
}

// refuseSim refuses simulators, which live in the process of a local run.
func refuseSim(s *pb.Scenario) error {
	for _, t := range s.GetTargets() {
		if strings.HasPrefix(t.GetUrl(), simScheme) {
			return fmt.Errorf("target %s: %s is a simulator within a local run, and agents elsewhere cannot reach it; start one with \"loadline sim\" and name its address", t.GetName(), t.GetUrl())
		}
	}
	return nil
}

// attach connects to a coordinator for one run, whose folder is to be fetched; an empty folder is named by the run's id.
func (o *remoteOptions) attach(folder string) (*preparedRun, error) {
	conn, _, err := o.dial(trust.Client)
	if err != nil {
		return nil, err
	}
	r := &preparedRun{client: pb.NewControlServiceClient(conn), files: pb.NewFileServiceClient(conn), folder: folder, closers: []func() error{conn.Close}, patience: patience}
	r.fetch = func(ctx context.Context) error { return fetchRun(ctx, r.client, r.id, r.folder) }
	return r, nil
}

// watchOptions are the flags of watch.
type watchOptions struct {
	remote remoteOptions
	out    string
	viewOptions
}

func (a *app) watchCommand() *cobra.Command {
	o := &watchOptions{}
	cmd := &cobra.Command{
		Use:   "watch RUN",
		Short: "Watch a coordinator's run to its end and fetch its folder",
		Long: `Watch a run from its beginning, as far as the coordinator keeps it, to its end: the same view and the same exit status as run.
The run folder is fetched then, unless it is here already. q or ctrl-c ends the watching and leaves the run alone; the exit status is then 105.`,
		Example: `  loadline watch 20261124-100501-k3f9 --coordinator 127.0.0.1:7400`,
		Args:    oneArgument("run id", "loadline watch 20261124-100501-k3f9"),
		RunE:    action(func(ctx context.Context, args []string) error { return a.watchRemote(ctx, o, args[0]) }),
	}
	f := a.newFlags(cmd, variablePrefix)
	f.text(&o.out, "out", "", "folder `DIR` that the run's is fetched into (default runs/<id>)")
	o.viewOptions.add(f)
	o.remote.add(f)
	return cmd
}

// watchRemote is the command watch.
func (a *app) watchRemote(ctx context.Context, o *watchOptions, id string) error {
	if !safeRunID(id) {
		return badInput("%q is not the id of a run; loadline runs lists them", id)
	}
	if err := checkOut(o.out); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals, log := a.listen(), &heldWriter{out: a.stderr}
	r, err := prepareInterruptibly(cancel, signals, func() (*preparedRun, error) { return o.find(ctx, id) })
	if err != nil {
		return err
	}
	return a.seeThrough(ctx, &o.viewOptions, r, signals, log)
}

// find attaches to a run that is there.
func (o *watchOptions) find(ctx context.Context, id string) (*preparedRun, error) {
	r, err := o.remote.attach(o.out)
	if err != nil {
		return nil, err
	}
	r.id, r.onlyWatch = id, true
	if r.folder == "" {
		r.folder = filepath.Join(runsFolder, id)
	}
	if checkOut(r.folder) != nil {
		r.fetch = func(context.Context) error { return nil } // it was fetched before
	}
	call, cancel := context.WithTimeout(ctx, callWait)
	defer cancel()
	stream, err := r.client.WatchRun(call, pb.WatchRunRequest_builder{RunId: id}.Build())
	var first *pb.WatchRunResponse
	if err == nil {
		first, err = stream.Recv()
	}
	if err != nil {
		return nil, errors.Join(fromRemote(err, o.remote.coordinator), r.close())
	}
	r.scenario = pb.Scenario_builder{Name: new(first.GetStatus().GetScenarioName()), Seed: new(first.GetPlan().GetSeed())}.Build()
	return r, nil
}

// safeRunID reports whether an id can name a folder.
func safeRunID(id string) bool {
	return id != "" && len(id) <= 128 && !strings.HasPrefix(id, ".") && !strings.ContainsFunc(id, func(c rune) bool {
		return c != '-' && c != '_' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
}
