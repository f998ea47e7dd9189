// Package trust makes and reads the credentials of a cluster: a private authority, and one certificate for the
// coordinator, each agent and each client. Whoever holds a certificate is who it says, on gRPC and on the bus alike; what
// a message says of its sender counts for nothing.
//
// A folder of credentials holds ca.pem, cert.pem and key.pem. The authority's own folder holds ca.pem and ca.key, and the
// folders of those it has made credentials for; ca.key is needed to make more and belongs on no machine of the cluster.
package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Role is what a certificate lets its holder be.
type Role string

// The roles.
const (
	// Coordinator serves; there may be several certificates of it.
	Coordinator Role = "coordinator"
	// Agent plays shares of runs and sends results, in its own name.
	Agent Role = "agent"
	// Client starts, watches and stops runs.
	Client Role = "client"
)

// scheme begins the URI in a certificate that says who its holder is: loadline://agent/a1.
const scheme = "loadline"

// names are those that fit a subject of the bus, a file name and a certificate.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Identity is who holds a certificate.
type Identity struct {
	Role Role
	Name string
}

// String is the identity as people read it.
func (i Identity) String() string { return string(i.Role) + " " + i.Name }

func (i Identity) uri() *url.URL {
	return &url.URL{Scheme: scheme, Host: string(i.Role), Path: "/" + i.Name}
}

// Check refuses names that do not fit.
func (i Identity) Check() error {
	switch {
	case !names.MatchString(i.Name):
		return fmt.Errorf("name %q: use 1 to 64 letters, digits, dots, hyphens or underscores, and begin with a letter or digit", i.Name)
	case i.Role == Agent && i.Name == string(Coordinator):
		return errors.New(`an agent cannot be named "coordinator": choose another name`)
	}
	return nil
}

// Of reads the identity of a certificate that has been verified. There must be exactly one.
func Of(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != scheme {
		return Identity{}, errors.New("the certificate does not say who its holder is; make one with: loadline certs")
	}
	u := cert.URIs[0]
	id := Identity{Role: Role(u.Host), Name: strings.TrimPrefix(u.Path, "/")}
	if id.Role != Coordinator && id.Role != Agent && id.Role != Client {
		return Identity{}, fmt.Errorf("the certificate is for an unknown role %q", u.Host)
	}
	return id, id.Check()
}

// Peer is the identity at the other end of a verified connection.
func Peer(state tls.ConnectionState) (Identity, error) {
	if len(state.VerifiedChains) == 0 || len(state.PeerCertificates) == 0 {
		return Identity{}, errors.New("no verified certificate was shown")
	}
	return Of(state.PeerCertificates[0])
}

// AgentOf is the name of the agent at the other end of a verified connection.
func AgentOf(state tls.ConnectionState) (string, error) {
	id, err := Peer(state)
	if err == nil && id.Role != Agent {
		err = fmt.Errorf("the certificate is that of %s, not of an agent", id)
	}
	return id.Name, err
}

// Credentials are what one folder holds.
type Credentials struct {
	// Identity is who we are.
	Identity Identity
	// Ends is when the certificate ends.
	Ends time.Time

	pair tls.Certificate
	pool *x509.CertPool
}

// Server is the configuration of a server that lets in only holders of a certificate of the same authority.
func (c *Credentials) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{c.pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: c.pool,
	}
}

// Dial is the configuration of a client that talks to the coordinator of the same authority alone, under the name or
// address that it dials.
func (c *Credentials) Dial() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{c.pair}, RootCAs: c.pool,
		VerifyConnection: func(state tls.ConnectionState) error {
			id, err := Peer(state)
			if err == nil && id.Role != Coordinator {
				err = fmt.Errorf("the server is %s, not a coordinator", id)
			}
			return err
		},
	}
}

// DialBus is Dial for a bus that may be a server of somebody else's, of which only the authority is known.
func (c *Credentials) DialBus() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{c.pair}, RootCAs: c.pool}
}
