package agent

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/loadline/loadline/agent/guard"
	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/measure"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// bind narrows a part to what the agent's owner allows, and says all that the assignment wants beyond it.
func (a *Agent) bind(p *part, s *pb.Scenario) error {
	own := a.config.Own
	if own == nil {
		return nil
	}
	share := guard.Share{Weight: uint64(p.member().GetWeight()), MaxInFlight: p.member().GetMaxInFlight()}
	_, share.Of = rosterOf(p.assignment)
	if err := own.Bind(p.ctx, p.guard, s, share); err != nil {
		return err
	}
	p.own = own
	n := own.InFlightOf(share.MaxInFlight)
	p.narrow = n < share.MaxInFlight
	p.member().SetMaxInFlight(n)
	return nil
}

// checkNamed refuses files that the scenario names and the assignment has no digest of. An agent with an owner reads
// only what the caller can tell the content of; so nobody makes it send out what he does not know already.
func (a *Agent) checkNamed(p *part, s *pb.Scenario) error {
	if a.config.Own == nil {
		return nil
	}
	known := map[string]bool{}
	for _, f := range p.assignment.GetFiles() {
		known[f.GetPath()] = len(f.GetSha256()) > 0
	}
	var errs []error
	for _, f := range scenario.Files(s) {
		if !known[f.Path] {
			errs = append(errs, fmt.Errorf("%s: the assignment has no digest of %s", f.Field, f.Path))
		}
	}
	return errors.Join(errs...)
}

// refusedWait is how long a request that is refused for what is under way keeps its session, so that a user of closed
// load does not come back at once, for ever.
const refusedWait = 100 * time.Millisecond

// ceilings are those of the agent's owner. They are one for the whole agent, whatever the number of targets and runs.
type ceilings struct {
	rate     *guard.Window
	inFlight *guard.InFlight

	sent, overRate, overInFlight atomic.Uint64
}

// limited is a driver behind the ceilings of the agent's owner. It stands behind everything else: a fault in plan,
// schedule or player, and a coordinator that lies, meet it all the same.
type limited struct {
	Driver
	*ceilings
	over       *over                  // of the part whose requests these are
	agent, run func() measure.Instant // clocks: of the ceilings, and of the outcome
}

// over is what of one part met a ceiling of the owner, besides what its guard's bucket refused: requests, and arrivals in flight.
type over struct{ rate, inFlight atomic.Uint64 }

// limit puts the owner's ceilings before a driver whose clock is run's; met counts what meets them.
func (a *Agent) limit(d Driver, met *over, run func() measure.Instant) Driver {
	if a.ceilings == nil {
		return d
	}
	return &limited{Driver: d, ceilings: a.ceilings, over: met, agent: func() measure.Instant { return measure.Instant(a.now()) }, run: run}
}

// Do implements Driver. What is above a ceiling fails as refused.
func (l *limited) Do(ctx context.Context, r *workload.Request, o *measure.Outcome) {
	if !l.inFlight.Enter() {
		l.overInFlight.Add(1)
		l.over.inFlight.Add(1)
		l.refuse(ctx, o, refusedWait, "the agent's own ceiling of requests in flight (--max-in-flight) is met")
		return
	}
	defer l.inFlight.Leave()
	if now := l.agent(); !l.rate.Take(now) {
		l.overRate.Add(1)
		l.over.rate.Add(1)
		l.refuse(ctx, o, time.Duration(l.rate.Free()-now), "the agent's own ceiling of requests a second (--max-rate) is met")
		return
	}
	l.sent.Add(1)
	l.Driver.Do(ctx, r, o)
}

// Counts is what an agent with an owner has done since its start.
type Counts struct {
	// Sent are requests that were handed to a driver; InFlight are under way.
	Sent     uint64
	InFlight int
	// OverRate and OverInFlight are requests that met a ceiling of the owner.
	OverRate, OverInFlight uint64
	// Leased says that the agent holds a lease, Run which run it prepares or plays; empty: none.
	Leased bool
	Run    string
}

// Counts tells what the agent has done.
func (a *Agent) Counts() Counts {
	var c Counts
	if a.ceilings != nil {
		c = Counts{
			Sent: a.ceilings.sent.Load(), InFlight: a.ceilings.inFlight.Now(),
			OverRate: a.ceilings.overRate.Load(), OverInFlight: a.ceilings.overInFlight.Load(),
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c.Leased = a.lease.Valid(a.now())
	if a.machine != nil {
		c.Run = a.machine.Part().Run
	}
	return c
}

// refuse fails a request once the wait is over.
func (l *limited) refuse(ctx context.Context, o *measure.Outcome, wait time.Duration, text string) {
	o.Dispatched = l.run()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		o.Fail(l.run(), measure.ClassRefused, text)
	case <-ctx.Done():
		o.Fail(l.run(), measure.ClassCanceled, context.Cause(ctx).Error())
	}
}
