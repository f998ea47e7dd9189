package coordinator

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/loadline/loadline/coordinator/journal"
	"github.com/loadline/loadline/coordinator/report"
	"github.com/loadline/loadline/internal/badrequest"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// asked is what a request to start a run asks for; whoever repeats the request must ask for the same.
type asked struct {
	digest string // of the scenario and its files
	driven *pb.OnDisconnect
}

func askedBy(q *pb.StartRunRequest, driven *pb.OnDisconnect) asked {
	digest := scenario.Digest(q.GetScenario(), q.GetFiles())
	return asked{digest: hex.EncodeToString(digest[:]), driven: driven}
}

// askedFor is what the request that began a run asked for.
func askedFor(h *pb.RunHeader) asked {
	a := asked{digest: h.GetScenarioDigest()}
	if h.GetDriven() {
		a.driven = h.GetOnDisconnect()
	}
	return a
}

// repeats refuses a request whose id was used for something else.
func (a asked) repeats(before asked) error {
	switch {
	case (a.driven == nil) != (before.driven == nil):
		return badrequest.Field("request_id", "it was used before, by another call: draw a new one for each run")
	case a.digest != before.digest:
		return badrequest.Field("request_id", "it was used before, for another scenario or other files: draw a new one for each run")
	case !proto.Equal(a.driven, before.driven):
		return badrequest.Field("request_id", "it was used before, with another on_disconnect: draw a new one for each run")
	}
	return nil
}

// beginningRun is a request to start a run that is being answered.
type beginningRun struct {
	asked asked
	done  chan struct{} // closed once run or err is set
	run   *liveRun
	err   error
}

// startOnce begins the run of a request, or finds the one that it began, also if that was under an earlier coordinator. A
// repeated request waits for the first; one with other content is refused. Errors carry a gRPC status.
func (c *Coordinator) startOnce(ctx context.Context, q *pb.StartRunRequest, driven *pb.OnDisconnect) (*liveRun, error) {
	id, want := q.GetRequestId(), askedBy(q, driven)
	c.mu.Lock()
	known, first := c.requests[id], c.starting[id]
	switch {
	case known != "":
		c.mu.Unlock()
		return c.began(known, want)
	case first != nil:
		c.mu.Unlock()
		return first.wait(ctx, want)
	case len(c.starting) >= maxLiveRuns:
		c.mu.Unlock()
		return nil, status.Errorf(codes.ResourceExhausted, "%d runs wait for their agents, the limit", maxLiveRuns)
	}
	b := &beginningRun{asked: want, done: make(chan struct{})}
	c.starting[id] = b
	c.mu.Unlock()
	b.run, b.err = c.startRun(ctx, q, driven)
	c.mu.Lock()
	delete(c.starting, id)
	c.mu.Unlock()
	close(b.done)
	return b.run, b.err
}

// began gives the run that a request has begun.
func (c *Coordinator) began(id string, want asked) (*liveRun, error) {
	r, ok := c.run(id)
	if !ok { // forgotten just now, or its folder is no more
		return nil, status.Errorf(codes.NotFound, "the request began run %s, of which nothing is left", id)
	}
	return r, want.repeats(askedFor(r.header))
}

// wait waits for the answer to the first request of an id.
func (b *beginningRun) wait(ctx context.Context, want asked) (*liveRun, error) {
	if err := want.repeats(b.asked); err != nil {
		return nil, err
	}
	select {
	case <-b.done:
		return b.run, b.err
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// pastRun is a run that ended under an earlier coordinator. Nothing but its id is in memory until somebody asks for it.
type pastRun struct {
	folder string
	once   sync.Once
	run    *liveRun // nil: it cannot be read any more
}

// lookBack takes up the last maxRuns of the runs that have ended, whose folders are given by name, and the requests that began
// them. What cannot be read is left out with a line in the log.
func (c *Coordinator) lookBack(ended []string) {
	found := map[string]*pastRun{}
	requests := map[string]string{}
	for _, folder := range slices.Backward(ended) { // ids sort by time
		if len(found) >= maxRuns {
			break
		}
		h, err := headerOf(folder)
		if err != nil || h == nil {
			c.log.Warn("folder of an ended run cannot be read", "folder", folder, "error", err)
			continue
		}
		found[h.GetRunId()] = &pastRun{folder: folder}
		if h.GetRequestId() != "" && requests[h.GetRequestId()] == "" {
			requests[h.GetRequestId()] = h.GetRunId()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.past, c.requests = found, requests
}

func holdsRun(folder string) bool {
	_, err := os.Stat(journalFolder(folder))
	return err == nil
}

// headerOf reads what a run's journal begins with; nil: nothing stands in it.
func headerOf(folder string) (h *pb.RunHeader, err error) {
	err = journal.First(journalFolder(folder), func(record *pb.JournalRecord) error {
		if record.HasHeader() {
			h = record.GetHeader()
		}
		return nil
	})
	return h, err
}

// recall reads what is left of a run; nil where that is not enough.
func (c *Coordinator) recall(p *pastRun) *liveRun {
	p.once.Do(func() {
		r := &liveRun{coordinator: c, log: c.log.With("folder", p.folder), folder: p.folder, mail: newMailbox(), ended: make(chan struct{})}
		close(r.ended)
		if err := r.readPast(); err != nil {
			r.log.Warn("an ended run cannot be read any more", "error", err)
			return
		}
		p.run = r
	})
	return p.run
}

// readPast fills an ended run in from its folder.
func (r *liveRun) readPast() (err error) {
	if r.header, err = headerOf(r.folder); err != nil || r.header == nil {
		return errors.Join(err, journal.ErrDamaged)
	}
	file, err := os.Open(filepath.Join(r.folder, summaryFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if r.summary, err = report.ReadJSON(file); err != nil {
		return err
	}
	r.status = r.firstStatus()
	r.status.SetState(endState(r.summary.GetState()))
	if started, err := time.Parse(time.RFC3339Nano, r.summary.GetStartedTime()); err == nil { // absent: it never began
		r.status.SetStartedTime(timestamppb.New(started))
	}
	r.watchers.close()
	return nil
}
