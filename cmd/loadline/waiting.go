package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/loadline/loadline/coordinator/report"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// waitLook is how often the agents are looked at while a run waits for them.
const waitLook = time.Second

// tellWaiting tells what a run waits for whenever that changes, until ctx ends; the channel is closed then. A run that begins
// at once has nothing told.
func tellWaiting(ctx context.Context, client pb.ControlServiceClient, s *pb.Scenario, wanted uint32, tell io.Writer) <-chan struct{} {
	ended := make(chan struct{})
	wanted = max(wanted, s.GetAgents().GetMin(), 1)
	go func() {
		defer close(ended)
		last := ""
		for pause(ctx, waitLook) {
			answer, err := client.ListAgents(ctx, &pb.ListAgentsRequest{})
			if err != nil {
				continue // the request itself tells what is wrong
			}
			if text := waitingText(s.GetAgents().GetMatch(), wanted, answer.GetAgents()); text != last {
				last = text
				fmt.Fprintln(tell, text)
			}
		}
	}()
	return ended
}

// waitingText says how many of the agents that a run waits for are there.
func waitingText(match map[string]string, wanted uint32, agents []*pb.AgentStatus) string {
	there, busy := 0, 0
	for _, a := range agents {
		fits := true
		for key, value := range match {
			got, ok := a.GetInfo().GetLabels()[key]
			fits = fits && ok && got == value
		}
		switch {
		case !fits || a.GetLeaving():
		case a.GetActivity() == pb.AgentActivity_AGENT_ACTIVITY_IDLE:
			there++
		default:
			busy++
		}
	}
	text := fmt.Sprintf("waiting for %d agents", wanted)
	if len(match) > 0 {
		text += " that carry " + report.Clean(labelText(match))
	}
	text += fmt.Sprintf(": %d there", there)
	if busy > 0 {
		text += fmt.Sprintf(", %d play something else", busy)
	}
	return text
}
