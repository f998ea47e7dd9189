package coordinator

import (
	"sync"
	"time"

	"github.com/loadline/loadline/coordinator/drive"
	"github.com/loadline/loadline/coordinator/judge"
	"github.com/loadline/loadline/coordinator/run"
	"github.com/loadline/loadline/internal/scenario"
	"github.com/loadline/loadline/internal/schedule"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// maxOutbox bounds the messages that wait for a program which does not read; its stream is broken then.
const maxOutbox = 4096

// outbox holds what a program is to be sent, in order.
type outbox struct {
	mu       sync.Mutex
	messages []*pb.DriveRunResponse
	wake     chan struct{} // holds at most one
	end      error         // why nothing more comes, once ended
	ended    bool
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

// push adds a message. It never waits. A nil outbox takes everything.
func (o *outbox) push(m *pb.DriveRunResponse) {
	if o == nil {
		return
	}
	o.mu.Lock()
	switch {
	case o.ended:
	case len(o.messages) >= maxOutbox:
		o.messages, o.ended, o.end = nil, true, errSlow()
	default:
		o.messages = append(o.messages, m)
	}
	o.mu.Unlock()
	o.kick()
}

// close says that nothing more comes, and why.
func (o *outbox) close(why error) {
	if o == nil {
		return
	}
	o.mu.Lock()
	if !o.ended {
		o.ended, o.end = true, why
	}
	o.mu.Unlock()
	o.kick()
}

func (o *outbox) kick() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take gives what there is, and whether nothing more comes.
func (o *outbox) take() (messages []*pb.DriveRunResponse, ended bool, why error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	messages, o.messages = o.messages, nil
	return messages, o.ended, o.end
}

// driveMessage is a message for watchers as a program gets it.
func driveMessage(m *pb.WatchRunResponse) *pb.DriveRunResponse {
	if m.HasSnapshot() {
		return pb.DriveRunResponse_builder{Snapshot: m.GetSnapshot()}.Build()
	}
	return pb.DriveRunResponse_builder{Status: m.GetStatus()}.Build()
}

// driver is the program's side of a run that a program drives: it carries out what coordinator/drive decides. Its methods
// do nothing where it is nil. Whoever holds its lock takes none of the run's.
type driver struct {
	run *liveRun

	mu      sync.Mutex
	machine *drive.Machine
	streams uint64  // numbers given to streams
	box     *outbox // of the stream that drives; nil: there is none
	timer   *time.Timer
}

// newDriver makes the driver of a run; nil where no program drives it.
func newDriver(r *liveRun) *driver {
	if !r.header.GetDriven() {
		return nil
	}
	return &driver{run: r, machine: drive.New(drive.Config{
		RunID: r.header.GetRunId(), Scenario: r.header.GetScenario(), Hold: r.header.GetOnDisconnect().GetHold().AsDuration(),
	})}
}

// view is the run as the machine sees it. r.mu is not held.
func (r *liveRun) view() drive.View {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.viewOf(r.course)
}

func (r *liveRun) viewOf(c *schedule.Course) drive.View {
	v := drive.View{Course: c, RunNS: -1}
	if start := r.start.Load(); start != 0 {
		v.RunNS = r.coordinator.now() - start
	}
	return v
}

// step hands an event to the machine and carries out what it commands.
func (d *driver) step(event drive.Event) {
	if d != nil {
		d.stepIn(event, d.run.view())
	}
}

// stepIn is step with the run as it is.
func (d *driver) stepIn(event drive.Event, v drive.View) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.handle(event, v)
}

// handle is stepIn where d.mu is held.
func (d *driver) handle(event drive.Event, v drive.View) {
	for _, command := range d.machine.Step(event, v, max(1, d.run.coordinator.now())) {
		d.carryOut(command)
	}
	d.setTimer()
}

// carryOut does what the machine commands; nothing in it waits. d.mu is held.
func (d *driver) carryOut(command drive.Command) {
	switch c := command.(type) {
	case drive.Adjust:
		d.run.mail.post(run.Adjust{
			Request: c.Request, Revisions: c.Revisions, Appended: c.Appended, WorkloadWeights: c.WorkloadWeights, Closed: c.Closed, Reason: c.Reason,
		})
	case drive.Mark:
		d.run.mail.post(run.Mark{Request: c.Request, Text: c.Text})
	case drive.Stop:
		d.run.log.Warn("driven run is stopped", "reason", c.Reason)
		d.run.stop(pb.StopMode_STOP_MODE_DRAIN, c.Reason)
	case drive.Answer:
		d.box.push(pb.DriveRunResponse_builder{Answer: c.Answer}.Build())
	}
}

// setTimer lets the machine hear of its deadline. d.mu is held.
func (d *driver) setTimer() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if at := d.machine.Deadline(); at != 0 {
		d.timer = time.AfterFunc(time.Duration(at-d.run.coordinator.now()), func() { d.step(drive.Tick{}) })
	}
}

// attach lets a stream drive the run; one that did is closed. request is that of the open or resume, and from the first second wanted.
func (d *driver) attach(request string, opens bool, from uint64) (*outbox, uint64) {
	box, r := newOutbox(), d.run
	view := r.view()
	d.mu.Lock()
	before := d.box
	d.streams++
	number := d.streams
	d.box = box
	d.handle(drive.Attached{Stream: number}, view) // first: that the other stream ends must mean nothing
	d.mu.Unlock()
	before.close(errReplaced())
	r.mu.Lock()
	box.push(pb.DriveRunResponse_builder{Status: r.status}.Build())
	for _, m := range r.watchers.since(from) {
		box.push(driveMessage(m))
	}
	r.watchers.program = box
	over := r.watchers.closed
	r.mu.Unlock()
	if opens {
		d.step(drive.Opened{Request: request})
	} else {
		box.push(pb.DriveRunResponse_builder{Answer: pb.DriveAnswer_builder{RequestId: request, RunId: r.header.GetRunId()}.Build()}.Build())
	}
	if over {
		box.close(nil)
	}
	return box, number
}

// detach: the stream of that number is broken, or its program sends nothing more.
func (d *driver) detach(stream uint64) { d.step(drive.Detached{Stream: stream}) }

// begun: the start is on record.
func (d *driver) begun() { d.step(drive.Begun{}) }

// marked: a mark is on record.
func (d *driver) marked(e *pb.RunEvent) {
	if e.GetRequestId() != "" {
		d.step(drive.Marked{Request: e.GetRequestId(), AtNS: e.GetAtUs() * int64(time.Microsecond)})
	}
}

// adjusted: a wish was granted or refused.
func (d *driver) adjusted(a run.Adjusted) {
	d.step(drive.Adjusted{Request: a.Request, Change: a.Change, Refusal: a.Refusal})
}

// second: a second has been merged. The run's lock is held.
func (d *driver) second(number uint64) {
	if d == nil {
		return
	}
	look := func(c *scenario.Condition) (bool, bool) { return judge.Look(d.run.merged, number, c) }
	d.stepIn(drive.Second{Number: number, Look: look}, d.run.viewOf(d.run.course))
}

// end: the run has ended and its report is there.
func (d *driver) end() {
	if d == nil {
		return
	}
	d.step(drive.Ended{Why: d.run.currentStatus().GetDetail()})
	d.mu.Lock()
	d.box.close(nil)
	d.mu.Unlock()
}

// restoreRequests remembers the requests that are on record, so that repeating one after a restart changes nothing more, and lets a
// driven run follow its on_disconnect: its stream has broken.
func (r *liveRun) restoreRequests(events []*pb.RunEvent) {
	for _, e := range events {
		for _, id := range e.GetChange().GetRequestIds() {
			w := &wish{done: make(chan struct{}), answer: run.Adjusted{Request: id, Change: e.GetChange()}}
			close(w.done)
			r.wishes[id] = w
		}
	}
	if d := r.driver; d != nil {
		d.machine.Restore(events)
		d.step(drive.Attached{Stream: 1})
		d.streams = 1
		d.step(drive.Detached{Stream: 1})
	}
}
