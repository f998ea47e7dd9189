package judge

import (
	"fmt"
	"strings"

	"github.com/loadline/loadline/coordinator/merge"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

const (
	// maxStretches bounds the lost stretches of one agent that a summary names.
	maxStretches = 100
	// maxNames bounds the agents that a sentence names.
	maxNames = 5
)

// lostStretches are the arrivals that each agent lost, by member.
func lostStretches(r *merge.Run) map[int][]*pb.LostStretch {
	out := make(map[int][]*pb.LostStretch)
	for _, l := range r.LostRanges() {
		if len(out[l.Member]) < maxStretches {
			out[l.Member] = append(out[l.Member], pb.LostStretch_builder{
				Phase: r.Scenario().GetLoad()[l.Phase].GetName(), FirstArrival: l.First, LastArrival: l.Last, Arrivals: l.Count,
				FirstWindow: l.FirstWindow, LastWindow: l.LastWindow,
			}.Build())
		}
	}
	return out
}

// changes tells what was changed while the run was played.
func changes(r *merge.Run) []*pb.ChangeSummary {
	out := make([]*pb.ChangeSummary, 0, len(r.Changes()))
	var before []uint32
	for _, m := range r.Header().GetPlan().GetMembers() {
		before = append(before, m.GetWeight())
	}
	for _, ch := range r.Changes() {
		out = append(out, pb.ChangeSummary_builder{
			Epoch: ch.GetEpoch(), AtSeconds: float64(ch.GetAtNs()) / 1e9, Text: changeText(r, ch, before),
		}.Build())
		before = ch.GetWeights()
	}
	return out
}

// changeText says in plain words what a change was.
func changeText(r *merge.Run, ch *pb.Change, before []uint32) string {
	var parts []string
	for m, w := range ch.GetWeights() {
		name := r.Agents()[m].Name
		switch {
		case m >= len(before) && w > 0:
			parts = append(parts, fmt.Sprintf("agent %s takes a share", name))
		case m < len(before) && before[m] > 0 && w == 0:
			parts = append(parts, fmt.Sprintf("agent %s %s, its share goes to %s", name, fate(r, name), heirs(r, ch.GetWeights())))
		case m < len(before) && before[m] != w:
			parts = append(parts, fmt.Sprintf("agent %s has weight %d instead of %d", name, w, before[m]))
		}
	}
	for _, v := range ch.GetRevisions() {
		if int(v.GetPhase()) < len(r.Scenario().GetLoad()) {
			parts = append(parts, fmt.Sprintf("phase %s %s", r.Scenario().GetLoad()[v.GetPhase()].GetName(), revisionWords(v)))
		}
	}
	for _, p := range ch.GetAppended() {
		parts = append(parts, fmt.Sprintf("phase %s begins", p.GetName()))
	}
	if reason := ch.GetReason(); reason != "" && len(parts) == 0 {
		return reason
	} else if len(parts) == 0 {
		return "nothing changes hands"
	}
	return strings.Join(parts, "; ")
}

// fate says how an agent went.
func fate(r *merge.Run, name string) string {
	for _, e := range r.LostAgents() {
		if e.Agent == name {
			return "lost"
		}
	}
	return "leaves"
}

func heirs(r *merge.Run, weights []uint32) string {
	names := r.Sharing(weights)
	if more := len(names) - maxNames; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNames], ", "), more)
	}
	return strings.Join(names, ", ")
}

func revisionWords(v *pb.Revision) string {
	switch v.WhichShape() {
	case pb.Revision_Rate_case:
		return fmt.Sprintf("goes on at %v sessions per second", v.GetRate())
	case pb.Revision_Users_case:
		return "goes on with " + number(uint64(v.GetUsers()), "user")
	case pb.Revision_Paused_case:
		return "is paused"
	case pb.Revision_Resumed_case:
		return "is resumed"
	default:
		return "is ended"
	}
}
