package coordinator

import (
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/loadline/loadline/coordinator/judge"
	"github.com/loadline/loadline/coordinator/run"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const (
	// watchQueue bounds the messages that wait for one watcher; the oldest is dropped for a newer
	// one. A watcher sees the gap: every snapshot has the number of its second.
	watchQueue = 64
	// maxWatchers bounds the watchers of one run.
	maxWatchers = 256
	// maxHistory bounds the snapshots that are kept for those who come late or come back.
	maxHistory = 600
)

// watchers are those who follow one run. Guarded by liveRun.mu.
type watchers struct {
	queues  map[chan *pb.WatchRunResponse]bool
	history []*pb.WatchRunResponse // the last messages with a snapshot, in order
	closed  bool
	program *outbox // of the program that drives the run; nil: there is none
}

// since lists the kept messages from a second on.
func (w *watchers) since(second uint64) []*pb.WatchRunResponse {
	for i, m := range w.history {
		if m.GetSnapshot().GetSecond() >= second {
			return slices.Clone(w.history[i:])
		}
	}
	return nil
}

// add returns a queue that is closed when the run has ended, or nil when there are too many.
func (w *watchers) add() chan *pb.WatchRunResponse {
	queue := make(chan *pb.WatchRunResponse, watchQueue)
	switch {
	case w.closed:
		close(queue)
	case len(w.queues) >= maxWatchers:
		return nil
	default:
		if w.queues == nil {
			w.queues = map[chan *pb.WatchRunResponse]bool{}
		}
		w.queues[queue] = true
	}
	return queue
}

func (w *watchers) remove(queue chan *pb.WatchRunResponse) { delete(w.queues, queue) }

func (w *watchers) send(m *pb.WatchRunResponse) {
	if m.HasSnapshot() {
		w.history = append(w.history[max(0, len(w.history)+1-maxHistory):], m)
	}
	w.program.push(driveMessage(m))
	for queue := range w.queues {
		for sent := false; !sent; {
			select {
			case queue <- m:
				sent = true
			default:
				select {
				case <-queue:
				default:
				}
			}
		}
	}
}

func (w *watchers) close() {
	w.closed = true
	for queue := range w.queues {
		close(queue)
	}
	w.queues, w.history = nil, nil
}

// stateOf names a state of the machine in the schema's words.
func stateOf(s run.State) pb.RunState {
	switch s {
	case run.Preparing:
		return pb.RunState_RUN_STATE_PREPARING
	case run.Running:
		return pb.RunState_RUN_STATE_RUNNING
	default:
		return pb.RunState_RUN_STATE_DRAINING
	}
}

// firstStatus is the status of a run on record whose loop has not begun.
func (r *liveRun) firstStatus() *pb.RunStatus {
	b := pb.RunStatus_builder{
		RunId: r.header.GetRunId(), ScenarioName: r.header.GetScenario().GetName(), Folder: r.folder,
		State: pb.RunState_RUN_STATE_PREPARING,
	}
	for _, m := range r.header.GetPlan().GetMembers() {
		b.Agents = append(b.Agents, m.GetAgent())
	}
	return b.Build()
}

// standing is what changes of a run's status.
type standing struct {
	state   pb.RunState
	detail  string
	start   int64
	members int // of the roster, which only grows
}

// setStatus looks at the status anew and tells the watchers when it has changed. It is called at every step of the machine,
// so the agents, of which there may be thousands, are only listed when something has changed.
func (r *liveRun) setStatus() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := standing{state: stateOf(r.machine.State()), detail: r.machine.Detail(), start: r.start.Load(), members: len(r.roster)}
	if r.summary != nil {
		now.state = endState(r.summary.GetState())
		if r.writeErr != nil {
			now.detail = "the run folder is not whole: " + r.writeErr.Error()
		}
	}
	if now == r.standing {
		return
	}
	r.standing = now
	status := r.firstStatus()
	status.SetState(now.state)
	status.SetDetail(now.detail)
	status.SetAgents(r.names())
	if now.start != 0 {
		status.SetStartedTime(timestamppb.New(r.coordinator.wall(now.start)))
	}
	r.status = status
	r.watchers.send(pb.WatchRunResponse_builder{Status: status}.Build())
}

// names are those of all who have taken part, in the order of the roster; one of two incarnations once. r.mu is held.
func (r *liveRun) names() []string {
	var names []string
	seen := map[string]bool{}
	for _, m := range r.roster {
		if !seen[m.GetAgent()] {
			seen[m.GetAgent()] = true
			names = append(names, m.GetAgent())
		}
	}
	return names
}

func endState(s pb.SummaryState) pb.RunState {
	switch s {
	case pb.SummaryState_SUMMARY_STATE_COMPLETE:
		return pb.RunState_RUN_STATE_COMPLETE
	case pb.SummaryState_SUMMARY_STATE_ABORTED:
		return pb.RunState_RUN_STATE_ABORTED
	default:
		return pb.RunState_RUN_STATE_PARTIAL
	}
}

// publish shows every second that all agents have reported, and holds it against the abort conditions.
func (r *liveRun) publish() {
	for {
		r.mu.Lock()
		if r.published >= r.whole() {
			r.mu.Unlock()
			return
		}
		second := r.published
		r.published++
		snapshot := judge.Snapshot(r.merged, second)
		fired := r.monitor.Observe(r.merged, second)
		r.watchers.send(pb.WatchRunResponse_builder{Status: r.status, Snapshot: snapshot}.Build())
		r.driver.second(second)
		r.mu.Unlock()
		if fired != nil {
			r.step(run.Abort{Expression: fired.GetExpression()})
		}
	}
}

// whole is the number of seconds since the start that every agent still expected has reported. It is asked after every
// window. While the agent that was behind all others still is where it was, the answer is still the same; so all agents are
// looked at a few times a second, however many there are.
func (r *liveRun) whole() uint64 {
	if len(r.windows) == 0 {
		return r.published
	}
	if end, there := r.windows[r.slowest]; there && uint64(max(0, end))/1_000_000 <= r.published {
		return r.published
	}
	least := int64(-1)
	for id, end := range r.windows {
		if least < 0 || end < least {
			r.slowest, least = id, end
		}
	}
	return uint64(max(0, least)) / 1_000_000
}
