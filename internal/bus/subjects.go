package bus

import "strings"

// Subjects of loadline on NATS. Intent goes by request and reply, from either side, and may be
// repeated until it is answered; every handler must take a repeated request for the same one.
const (
	// Register: agent → coordinator, RegisterRequest.
	Register = "loadline.v1.coordinator.register"
	// Renew: agent → coordinator, RenewRequest.
	Renew = "loadline.v1.coordinator.renew"
	// Report: agent → coordinator, ReportRequest.
	Report = "loadline.v1.coordinator.report"
)

// Verb is an order to one agent.
type Verb string

// The orders.
const (
	// Assign: coordinator → agent, AssignRequest.
	Assign Verb = "assign"
	// Start: coordinator → agent, StartRequest.
	Start Verb = "start"
	// Stop: coordinator → agent, StopRequest.
	Stop Verb = "stop"
)

// Agent is the subject of an order to the agent of that name.
func Agent(name string, verb Verb) string {
	// A dot would split the name into two tokens of the subject.
	return "loadline.v1.agent." + strings.ReplaceAll(name, ".", "%2E") + "." + string(verb)
}
