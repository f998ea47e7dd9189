package coordinator

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/loadline/loadline/coordinator/fleet"
	"github.com/loadline/loadline/coordinator/journal"
	"github.com/loadline/loadline/coordinator/judge"
	"github.com/loadline/loadline/coordinator/merge"
	"github.com/loadline/loadline/coordinator/plan"
	"github.com/loadline/loadline/coordinator/run"
	"github.com/loadline/loadline/internal/badrequest"
	"github.com/loadline/loadline/internal/scenario"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// newRunID draws an id that sorts by time and is safe in file names and headers.
func newRunID(now time.Time) string {
	var random [5]byte
	_, _ = rand.Read(random[:]) // never fails
	return now.UTC().Format("20060102-150405-") + strings.ToLower(base32.StdEncoding.EncodeToString(random[:]))
}

// beginRun plans and begins a run whose files are here. Errors carry a gRPC status.
func (c *Coordinator) beginRun(ctx context.Context, q *pb.StartRunRequest, driven *pb.OnDisconnect) (*liveRun, error) {
	s := q.GetScenario()
	check := scenario.Check
	if driven != nil {
		check = scenario.CheckDriven
	}
	if problems := check(s); len(problems) > 0 {
		return nil, invalidScenario("scenario", problems)
	}
	digest := scenario.Digest(s, q.GetFiles())
	if want := q.GetDigest(); want != "" && want != hex.EncodeToString(digest[:]) {
		return nil, badrequest.Field("digest", "the scenario's is %x, not %s", digest, want)
	}
	want, err := selectionOf(q)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	agents, err := c.roster(ctx, want)
	if err != nil {
		return nil, status.Error(codes.DeadlineExceeded, err.Error())
	}
	load, err := schedule.Compile(s)
	if err != nil {
		return nil, badrequest.Field("scenario.load", "it cannot be scheduled: %v", err)
	}
	p, err := c.plan(s, load, hex.EncodeToString(digest[:]), agents)
	if err != nil {
		return nil, badrequest.Field("scenario", "%v", err)
	}
	r, err := c.open(q, p, load, driven)
	if errors.Is(err, os.ErrExist) {
		return nil, status.Error(codes.AlreadyExists, err.Error())
	}
	if err != nil {
		return nil, status.Error(codes.Internal, errors.Join(err, r.discard()).Error())
	}
	if err := c.admit(r, waits(s, c.startAhead(len(agents)))); err != nil {
		if err := r.discard(); err != nil {
			r.log.Error("what is left of a run that was not begun cannot be removed", "folder", r.folder, "error", err)
		}
		return nil, status.Error(codes.ResourceExhausted, err.Error())
	}
	return r, nil
}

func (c *Coordinator) plan(s *pb.Scenario, load *schedule.Schedule, digest string, agents []*fleet.Agent) (*pb.Plan, error) {
	roster := make([]plan.Agent, len(agents))
	for i, a := range agents {
		roster[i] = plan.Agent{Name: a.Info.GetName(), Incarnation: a.Incarnation, Weight: a.Weight()}
	}
	p, err := plan.Make(s, load, digest, roster)
	if err != nil {
		return nil, err
	}
	p.SetRunId(newRunID(time.Now()))
	if c.config.ExpectedTokens != nil {
		plan.ExpectTokens(p, s, c.config.ExpectedTokens)
	}
	return p, nil
}

// open makes the run's folder, journal and everything else that must exist before its first command.
func (c *Coordinator) open(q *pb.StartRunRequest, p *pb.Plan, load *schedule.Schedule, driven *pb.OnDisconnect) (*liveRun, error) {
	header := pb.RunHeader_builder{
		Format: 1, Version: c.config.Version, RunId: p.GetRunId(), Scenario: q.GetScenario(),
		ScenarioDigest: p.GetScenarioDigest(), Plan: p, CreatedTime: timestamppb.New(time.Now()),
		Roofline: q.GetRoofline(), BaseDir: q.GetBaseDir(), Files: q.GetFiles(), Addresses: q.GetAddresses(),
		Driven: driven != nil, OnDisconnect: driven, RequestId: q.GetRequestId(),
	}.Build()
	merged, err := merge.NewScheduled(header, load)
	if err != nil {
		return nil, err
	}
	r := c.newLiveRun(c.config.Folder(p.GetRunId()), c.log.With("run", p.GetRunId()))
	r.header, r.members, r.merged, r.monitor = header, newMembers(p, load), merged, judge.NewMonitor(header)
	r.newest = c.newest()
	r.driver = newDriver(r)
	r.status = r.firstStatus()
	r.ctx, r.cancel = context.WithCancel(c.ctx)
	return r, r.openFolder(q.GetSource())
}

// openFolder begins the run folder: what was asked for, the plan, and a journal with its header, synced.
func (r *liveRun) openFolder(source []byte) error {
	if err := writeIntent(r.folder, r.header, source); err != nil {
		return err
	}
	j, err := journal.Create(journalFolder(r.folder), r.journalOptions())
	if err != nil {
		return err
	}
	r.journal = j
	// Whoever repeats the request after a crash must find the run that it was told of.
	return r.synced(pb.JournalRecord_builder{Header: r.header}.Build(), func() {})
}

// discard removes the journal of a run that was not begun, or a later coordinator would take it for a run, and its request for
// answered. r may be nil.
func (r *liveRun) discard() error {
	if r == nil || r.journal == nil {
		return nil
	}
	r.cancel()
	ctx, cancel := context.WithTimeout(r.coordinator.ctx, closeWait)
	defer cancel()
	return errors.Join(r.journal.Close(ctx), os.RemoveAll(journalFolder(r.folder)))
}

// admit remembers the run and starts its loop.
func (c *Coordinator) admit(r *liveRun, config run.Config) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	live := 0
	for _, other := range c.runs {
		if !other.over() {
			live++
		}
	}
	switch {
	case c.closed:
		return errors.New("the coordinator is shutting down")
	case live >= maxLiveRuns:
		return fmt.Errorf("%d runs are going on, the limit", live)
	}
	c.put(r)
	config.Load, config.Check = r.length(), r.checkChange
	roster := machineRoster(r.header.GetPlan())
	c.running.Go(func() {
		r.loop(func() (*run.Machine, []run.Command) { return run.New(config, roster, c.now()) })
	})
	return nil
}

// startEach is what every agent but one adds to how far the start lies ahead: thousands take a while to be told.
const startEach = 500 * time.Microsecond

// startAhead is how far the start of so many agents lies ahead of the moment when all are ready.
func (c *Coordinator) startAhead(agents int) time.Duration {
	return c.config.StartAhead + time.Duration(agents-1)*startEach
}

// waits fixes the lengths that the state machine waits for.
func waits(s *pb.Scenario, ahead time.Duration) run.Config {
	return run.Config{
		Prepare: prepareWait, StartAhead: ahead, Drain: s.GetDrain().AsDuration(),
		Grace: graceWait, Return: returnWait, JournalPatience: journalPatience, Min: int(s.GetAgents().GetMin()), Barrier: barrierWait,
		Horizon: changeHorizon, AckPatience: ackPatience,
	}
}

// checkChange says why a change does not fit what is on record.
func (r *liveRun) checkChange(change *pb.Change) error {
	r.mu.Lock()
	course := r.course
	r.mu.Unlock()
	next, err := course.Apply(change)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.tried, r.next = change, next
	r.mu.Unlock()
	return nil
}

// newest is the highest incarnation that is there.
func (c *Coordinator) newest() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var n uint64
	for _, a := range c.fleet.Agents() {
		n = max(n, a.Incarnation)
	}
	return n
}

// forgetOldest makes room for one more run; c.mu is held.
func (c *Coordinator) forgetOldest() {
	for i, id := range c.order {
		if len(c.order) < maxRuns {
			return
		}
		if !c.runs[id].over() {
			continue
		}
		delete(c.runs, id)
		c.order = append(c.order[:i:i], c.order[i+1:]...)
		for request, run := range c.requests {
			if run == id {
				delete(c.requests, request)
			}
		}
		return
	}
}

// over reports whether the run has ended and its folder is written.
func (r *liveRun) over() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}
