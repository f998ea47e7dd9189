package bus

import (
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// replyWithin is how long an agent may take to answer an order.
const replyWithin = 30 * time.Second

// Gate says who may come in to a server with a listener.
type Gate struct {
	// TLS holds the server's certificate and those whom it trusts; it must demand and verify a certificate of the client.
	TLS *tls.Config
	// Agent gives the name of the agent whom a verified connection belongs to, or says why it is none.
	Agent func(tls.ConnectionState) (name string, err error)
}

// doorkeeper lets agents in by their certificates, each to its own subjects, and the coordinator from within the process.
type doorkeeper struct {
	gate  Gate
	token string
	log   *slog.Logger
}

// Check implements server.Authentication. What a client says of itself counts for nothing.
func (d *doorkeeper) Check(c server.ClientAuthentication) bool {
	if c.Kind() != server.CLIENT {
		return false
	}
	state := c.GetTLSConnectionState()
	if state == nil { // the server speaks TLS to everybody from outside
		return subtle.ConstantTimeCompare([]byte(c.GetOpts().Token), []byte(d.token)) == 1
	}
	name, err := d.agent(*state)
	if err != nil {
		d.log.Warn("bus connection refused", "address", c.RemoteAddress(), "reason", err)
		return false
	}
	c.RegisterUser(&server.User{Username: name, Permissions: allowed(name), ConnectionDeadline: state.PeerCertificates[0].NotAfter})
	return true
}

func (d *doorkeeper) agent(state tls.ConnectionState) (string, error) {
	if len(state.VerifiedChains) == 0 {
		return "", errors.New("its certificate was not verified")
	}
	name, err := d.gate.Agent(state)
	if err == nil && (name == "" || name == Coordinator) {
		err = errors.New("its certificate names no agent")
	}
	return name, err
}

// allowed lists all that one agent may do: ask the coordinator in its own name, hear its own orders and answer them, and
// hear the replies to what it has asked. What is not listed is refused.
func allowed(name string) *server.Permissions {
	t := token(name)
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{Register + "." + t, Renew + "." + t, Report + "." + t}},
		Subscribe: &server.SubjectPermission{Allow: []string{toAgents + t + ".>", inbox(name) + ".>"}},
		Response:  &server.ResponsePermission{MaxMsgs: 1, Expires: replyWithin},
	}
}
