package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	grpcdriver "github.com/loadline/loadline/agent/driver/grpc"
	httpdriver "github.com/loadline/loadline/agent/driver/http"
	"github.com/loadline/loadline/agent/driver/openai"
	"github.com/loadline/loadline/agent/guard"
	"github.com/loadline/loadline/agent/record"
	"github.com/loadline/loadline/agent/run"
	"github.com/loadline/loadline/agent/uplink"
	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Driver sends requests to one target.
type Driver interface {
	// Do sends the request and fills in the outcome from Dispatched on. It returns once End is set;
	// when ctx ends, the class is canceled. Calls may overlap.
	Do(ctx context.Context, r *workload.Request, o *measure.Outcome)
	// Close closes idle connections. It is called after the last Do.
	Close() error
}

// warmer is a driver that can open connections before they are needed.
type warmer interface {
	// Warm opens n connections for the requests to come. It returns the first failure.
	Warm(ctx context.Context, n int) error
}

// part is one agent's part of one run: everything that must be ready before the start, and then
// what is being played.
type part struct {
	id          string
	incarnation uint64
	lease       *guard.Lease
	place       atomic.Int64    // among the members; what the assignment says until a change lets the agent join
	changes     chan *pb.Change // committed, to be put in force in this order
	changed     chan struct{}   // there are some; holds at most one
	following   sync.Mutex      // whoever holds it puts changes in force
	assignment  *pb.Assignment
	ctx         context.Context // ended when the part is abandoned
	cancel      context.CancelCauseFunc
	loaded      chan struct{} // closed once everything has been read and opened, or could not be
	released    sync.Once

	// start is the run's start in the agent's time, in nanoseconds; drivers read their clock from it.
	start      atomic.Int64
	clockBound int64 // how far off it may be; set before the load begins

	files    Files
	drivers  []Driver // by workload
	closers  []Driver // one a target
	set      *workload.Set
	schedule *schedule.Schedule
	own      *guard.Own       // nil: the agent has no owner
	narrow   bool             // by the plan: its owner's ceiling in flight is lower than its share of the run's
	over     over             // what met a ceiling of its owner
	changing sync.Mutex       // guards course and the making of the player
	course   *schedule.Course // with the changes so far
	extra    []*pb.Phase      // appended by changes, as far as the course has them
	proposed *pb.Change       // the last change that was tried
	next     *schedule.Course // what it leads to
	redactor guard.Redactor
	guard    *guard.Guard
	uplink   *uplink.Uplink
	moved    chan error // the uplink's end
	player   atomic.Pointer[player]
	stopped  atomic.Int32 // hardest pb.StopMode so far
}

// stop ends the load early; it may come before the player is there.
func (p *part) stop(mode pb.StopMode) {
	for {
		before := p.stopped.Load()
		if int32(mode) <= before || p.stopped.CompareAndSwap(before, int32(mode)) {
			break
		}
	}
	if player := p.player.Load(); player != nil {
		player.stop(pb.StopMode(p.stopped.Load()))
	}
}

// abandon gives the part up: nobody wants its results.
func (p *part) abandon() { p.cancel(errRun) }

// close releases files and connections.
func (p *part) close() error {
	var errs []error
	for _, driver := range p.closers {
		errs = append(errs, driver.Close())
	}
	p.closers = nil
	return errors.Join(append(errs, p.files.Close())...)
}

// maxChanges bounds the changes that wait to be put in force: as many as a run can have.
const maxChanges = schedule.MaxEpochs

// prepare begins to get ready for an assignment. a.mu is held.
func (a *Agent) prepare(c run.Prepare) {
	p := &part{
		id: c.Run, incarnation: c.Incarnation, assignment: c.Assignment, lease: a.lease, loaded: make(chan struct{}),
		changes: make(chan *pb.Change, maxChanges), changed: make(chan struct{}, 1), files: Files{Base: c.Assignment.GetBaseDir(), Store: a.config.Cache, Named: c.Assignment.GetFiles()},
	}
	p.place.Store(int64(c.Assignment.GetMember()))
	p.ctx, p.cancel = context.WithCancelCause(a.ctx)
	a.parts[c.Part] = p
	a.tasks.Go(func() {
		err := a.load(p)
		close(p.loaded)
		if err != nil {
			a.log.Error("not ready", "run", p.id, "error", err)
			a.release(p)
		}
		a.step(run.Prepared{Part: c.Part, Problems: lines(err), Endless: err == nil && p.endless()})
	})
	a.tasks.Go(func() { a.followChanges(p) })
}

// endless reports whether the load has no end in time: its sessions or its coordinator tell.
func (p *part) endless() bool {
	return p.assignment.GetOpenEnded() || slices.ContainsFunc(p.course.Phases(), func(ph *schedule.Phase) bool {
		_, known := ph.Lasts()
		return !known
	})
}

// followChanges puts committed changes in force, one after the other, once the part is loaded.
func (a *Agent) followChanges(p *part) {
	for wait := p.loaded; ; wait = nil {
		select {
		case <-wait:
			a.catchUp(p)
		case <-p.changed:
			a.catchUp(p)
		case <-p.ctx.Done():
			return
		}
	}
}

// catchUp puts in force what has been committed so far.
func (a *Agent) catchUp(p *part) {
	select {
	case <-p.loaded:
	default:
		return
	}
	p.following.Lock()
	defer p.following.Unlock()
	for {
		select {
		case change := <-p.changes:
			if err := p.apply(change); err != nil && p.ctx.Err() == nil {
				a.log.Error("change not in force", "run", p.id, "epoch", change.GetEpoch(), "error", err)
			}
		default:
			return
		}
	}
}

// commit hands a committed change over to be put in force. It does not wait.
func (p *part) commit(change *pb.Change) bool {
	select {
	case p.changes <- change:
	default:
		return false
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
	return true
}

// member is the agent's own entry in the roster.
func (p *part) member() *pb.Member {
	if a := p.assignment; !a.HasSelf() {
		return a.GetMembers()[a.GetMember()]
	}
	return p.assignment.GetSelf()
}

// rosterOf is the number of members of an assignment and the sum of their weights, whether it lists them or says so in short.
func rosterOf(a *pb.Assignment) (members int, weight uint64) {
	if a.HasSelf() {
		return int(a.GetRoster()), a.GetRosterWeight()
	}
	for _, m := range a.GetMembers() {
		weight += uint64(m.GetWeight())
	}
	return len(a.GetMembers()), weight
}

// pause and resume follow the lease; they may come before the player is there.
func (p *part) pause() {
	if player := p.player.Load(); player != nil {
		player.pause()
	}
}

func (p *part) resume() {
	if player := p.player.Load(); player != nil {
		player.resume()
	}
}

// release closes what a part holds once it has been loaded and nobody uses it any more. A part that
// is forgotten while it fails to load is released from both sides.
func (a *Agent) release(p *part) {
	<-p.loaded
	p.released.Do(func() {
		if err := p.close(); err != nil {
			a.log.Warn("not everything could be closed", "run", p.id, "error", err)
		}
	})
}

// lines makes one problem a line of an error.
func lines(err error) []string {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var all []string
		for _, err := range many.Unwrap() {
			all = append(all, lines(err)...)
		}
		return all
	}
	return []string{err.Error()}
}

// load reads and checks everything that the assignment names: schedule, files, secrets, targets.
func (a *Agent) load(p *part) error {
	s := p.scenario()
	load, err := schedule.Compile(s)
	if err != nil {
		return fmt.Errorf("schedule: %w", err)
	}
	p.schedule = load
	if err := p.checkArrivals(); err != nil {
		return err
	}
	if p.course, err = courseOf(p.assignment, load); err != nil {
		return err
	}
	for _, ch := range p.assignment.GetChanges() {
		p.extra = append(p.extra, ch.GetAppended()...)
	}
	secrets := guard.Secrets(a.config.Env, guard.ReadFile, &p.redactor)
	if a.config.Own != nil {
		secrets = a.config.Own.BindSecrets(s, secrets)
	}
	filesErr := a.getFiles(p, s)
	var setErr error
	if filesErr == nil {
		p.set, setErr = workload.Compile(s, p.files.Open, secrets)
	}
	warning, limitErr := p.checkOpenFiles()
	if err := errors.Join(filesErr, setErr, a.openDrivers(p, s), limitErr); err != nil {
		return err
	}
	if warning != "" {
		a.log.Warn(warning, "run", p.id)
	}
	if err := p.warm(s); err != nil {
		return err
	}
	hello := pb.Hello_builder{RunId: p.id, Agent: a.config.Name, Incarnation: p.incarnation}.Build()
	p.uplink = uplink.New(a.config.Results, hello, record.NewMerger(s.GetSeed(), records(s)).Merge, a.log)
	p.uplink.Keep(stream{a, p.incarnation})
	return nil
}

// getFiles fetches the files of the scenario where they are not here, and checks each.
func (a *Agent) getFiles(p *part, s *pb.Scenario) error {
	if err := a.checkNamed(p, s); err != nil {
		return err
	}
	if err := p.files.Fetch(p.ctx, a.config.Files); err != nil {
		return err
	}
	return p.checkFiles()
}

// scenario is the assignment's, with the addresses that stand in for targets' urls.
func (p *part) scenario() *pb.Scenario {
	s := p.assignment.GetScenario()
	if len(p.assignment.GetAddresses()) == 0 {
		return s
	}
	s = proto.CloneOf(s)
	for _, target := range s.GetTargets() {
		if address, ok := p.assignment.GetAddresses()[target.GetName()]; ok {
			target.SetUrl(address)
		}
	}
	return s
}

// checkArrivals compares our schedule with the coordinator's: two builds that disagree would play
// some arrivals twice and others never.
func (p *part) checkArrivals() error {
	planned := p.assignment.GetPhaseArrivals()
	if len(planned) != len(p.schedule.Phases) {
		return fmt.Errorf("the assignment has %d phases, the scenario %d", len(planned), len(p.schedule.Phases))
	}
	for i, phase := range p.schedule.Phases {
		if phase.Arrivals != planned[i] {
			return fmt.Errorf("phase %s has %d arrivals here and %d in the plan: use builds of one version", phase.Name, phase.Arrivals, planned[i])
		}
	}
	return nil
}

// checkFiles compares every file of the scenario with its digest: one that has changed since the
// scenario was read would be another test than the one that was asked for.
func (p *part) checkFiles() error {
	var errs []error
	for _, want := range p.assignment.GetFiles() {
		if p.ctx.Err() != nil {
			return context.Cause(p.ctx)
		}
		got, err := p.files.Digest(p.ctx, want.GetPath())
		switch {
		case err != nil:
			errs = append(errs, err)
		case p.files.Store != nil && string(got.GetSha256()) != string(want.GetSha256()):
			errs = append(errs, fmt.Errorf("%s was damaged in this agent's cache and is removed from it: start the run again", want.GetPath()), p.files.Damaged(want))
		case got.GetSize() != want.GetSize() || string(got.GetSha256()) != string(want.GetSha256()):
			errs = append(errs, fmt.Errorf("%s has changed since the scenario was read: start the run again", want.GetPath()))
		}
	}
	return errors.Join(errs...)
}

// openDrivers makes one driver a target and finds that of each workload.
func (a *Agent) openDrivers(p *part, s *pb.Scenario) error {
	limits, err := guard.FromScenario(p.assignment.GetScenario(), p.assignment.GetAddresses())
	if err != nil {
		return err
	}
	p.guard = limits
	if err := a.bind(p, s); err != nil {
		return err
	}
	now := func() measure.Instant { return measure.Instant(a.now() - p.start.Load()) }
	targets := map[string]Driver{}
	var errs []error
	for _, target := range s.GetTargets() {
		driver, err := p.openDriver(target, s, now)
		if err != nil {
			errs = append(errs, fmt.Errorf("target %s: %w", target.GetName(), err))
			continue
		}
		p.closers = append(p.closers, driver)
		targets[target.GetName()] = a.limit(driver, &p.over, now)
	}
	for _, w := range s.GetWorkloads() {
		p.drivers = append(p.drivers, targets[w.GetTarget()])
	}
	return errors.Join(errs...)
}

// warm opens the connections that the scenario wants open before the first phase.
func (p *part) warm(s *pb.Scenario) error {
	var errs []error
	for i, target := range s.GetTargets() {
		n := target.GetConnections().GetWarm()
		if n == 0 {
			continue
		}
		err := fmt.Errorf("connections.warm is not possible for protocol %v", target.GetProtocol())
		if w, ok := p.closers[i].(warmer); ok {
			err = w.Warm(p.ctx, int(n))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("target %s: %w", target.GetName(), err))
		}
	}
	return errors.Join(errs...)
}

// openDriver makes the driver of a target's protocol, which connects only where the guard allows.
func (p *part) openDriver(t *pb.Target, s *pb.Scenario, now func() measure.Instant) (Driver, error) {
	control, err := p.guard.Control(t.GetUrl())
	if err != nil {
		return nil, err
	}
	local := wire.Local{Now: now, Control: control}
	switch t.GetProtocol() {
	case pb.Protocol_PROTOCOL_OPENAI_CHAT, pb.Protocol_PROTOCOL_OPENAI_COMPLETIONS:
		return openai.New(t, local)
	case pb.Protocol_PROTOCOL_HTTP:
		return httpdriver.New(t, local)
	case pb.Protocol_PROTOCOL_GRPC:
		samples, err := p.samples(t, s)
		if err != nil {
			return nil, err
		}
		return grpcdriver.New(p.ctx, t, grpcdriver.Config{Local: local, Files: p.files.Open, Samples: samples})
	default:
		return nil, fmt.Errorf("this agent has no driver for protocol %v", t.GetProtocol())
	}
}

// samples makes a request of each workload of a target, so that its driver can get ready for them.
func (p *part) samples(t *pb.Target, s *pb.Scenario) ([]*workload.Request, error) {
	if p.set == nil {
		return nil, nil // the workloads have problems of their own
	}
	var samples []*workload.Request
	for i, w := range s.GetWorkloads() {
		if w.GetTarget() != t.GetName() {
			continue
		}
		r := &workload.Request{}
		if err := p.set.Fill(i, workload.Key{RunID: p.id}, r); err != nil {
			return nil, fmt.Errorf("workload %s: %w", w.GetName(), err)
		}
		samples = append(samples, r)
	}
	return samples, nil
}
