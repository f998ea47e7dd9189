package bus

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Subjects of loadline on NATS. Intent goes by request and reply, from either side, and may be
// repeated until it is answered; every handler must take a repeated request for the same one.
//
// These three are what agents ask of the coordinator. On the wire the name of the agent follows, so that a server can
// allow each agent its own subjects alone: Call appends the name that the request gives, Serve listens to all names and
// drops a request whose subject and content name different agents.
const (
	// Register: agent → coordinator, RegisterRequest.
	Register = fromAgents + "register"
	// Renew: agent → coordinator, RenewRequest.
	Renew = fromAgents + "renew"
	// Report: agent → coordinator, ReportRequest.
	Report = fromAgents + "report"
)

// Beginnings of subjects.
const (
	fromAgents = "loadline.v1.coordinator."
	toAgents   = "loadline.v1.agent."
	inboxes    = "loadline.v1.inbox."
)

// Coordinator is the name of the coordinator's connection; no agent may have it.
const Coordinator = "coordinator"

// Verb is an order to one agent.
type Verb string

// The orders.
const (
	// Assign: coordinator → agent, AssignRequest.
	Assign Verb = "assign"
	// Start: coordinator → agent, StartRequest.
	Start Verb = "start"
	// Change: coordinator → agent, ChangeRequest.
	Change Verb = "change"
	// Stop: coordinator → agent, StopRequest.
	Stop Verb = "stop"
)

// Agent is the subject of an order to the agent of that name.
func Agent(name string, verb Verb) string { return toAgents + token(name) + "." + string(verb) }

// inbox is where replies to the requests of a connection of that name arrive.
func inbox(name string) string { return inboxes + token(name) }

// token makes a name one token of a subject: what would split it or stand for other names is written as in a URL.
func token(name string) string {
	if !strings.ContainsAny(name, "%.*> ") {
		return name
	}
	return strings.NewReplacer("%", "%25", ".", "%2E", "*", "%2A", ">", "%3E", " ", "%20").Replace(name)
}

// sender is the agent that a request names as its own; known is false for messages that name none.
func sender(request proto.Message) (name string, known bool) {
	switch q := request.(type) {
	case *pb.RegisterRequest:
		return q.GetAgent().GetName(), true
	case interface{ GetAgent() string }:
		return q.GetAgent(), true
	default:
		return "", false
	}
}

// address is the subject on which a request travels.
func address(subject string, request proto.Message) (string, error) {
	if !strings.HasPrefix(subject, fromAgents) {
		return subject, nil
	}
	name, _ := sender(request)
	if name == "" {
		return "", fmt.Errorf("request to %s names no agent", subject)
	}
	return subject + "." + token(name), nil
}

// served is the subject, perhaps with a wildcard, that a handler listens to.
func served(subject string) string {
	if strings.HasPrefix(subject, fromAgents) {
		return subject + ".*"
	}
	return subject
}

// checkSender refuses a request that came on another agent's subject than its content says. The server has allowed the
// sender the subject; what the content says is a claim. So is the subject for the reply: it must be an inbox, else an agent
// could make the coordinator send to where the agent itself may not.
func checkSender(subject, arrived, reply string, request proto.Message) error {
	if !strings.HasPrefix(subject, fromAgents) {
		return nil
	}
	if !strings.HasPrefix(reply, inboxes) {
		return fmt.Errorf("the request on %s wants its reply on %q, which is no inbox", arrived, reply)
	}
	if name, _ := sender(request); arrived != subject+"."+token(name) {
		return fmt.Errorf("the request names agent %q and came on %s", strings.ToValidUTF8(name, "?"), arrived)
	}
	return nil
}
