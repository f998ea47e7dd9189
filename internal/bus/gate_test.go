package bus

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
)

func TestNobodyComesInAsTheCoordinator(t *testing.T) {
	verified := tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}, PeerCertificates: []*x509.Certificate{{}}}
	for _, c := range []struct {
		name  string
		err   error
		state tls.ConnectionState
		let   bool
	}{
		{"a1", nil, verified, true},
		{"a1", nil, tls.ConnectionState{PeerCertificates: verified.PeerCertificates}, false},
		{"a1", errors.New("no"), verified, false},
		{"", nil, verified, false},
		{Coordinator, nil, verified, false},
	} {
		d := &doorkeeper{gate: Gate{Agent: func(tls.ConnectionState) (string, error) { return c.name, c.err }}}
		if name, err := d.agent(c.state); (err == nil) != c.let {
			t.Errorf("%q, %v: %q, %v", c.name, c.err, name, err)
		}
	}
}

// TestSubjectsOfNamesNeverOverlap wants the lists of two agents to have nothing in common, whatever their names.
func TestSubjectsOfNamesNeverOverlap(t *testing.T) {
	names := []string{"a", "a.b", "a%2Eb", "a.*", "a.>", "*", ">", "a b", "a.b.c", "coordinator.a", "A"}
	for i, one := range names {
		for j, other := range names {
			if i == j {
				continue
			}
			for k, subject := range allowed(one).Publish.Allow {
				if subject == allowed(other).Publish.Allow[k] {
					t.Errorf("%q and %q both publish %s", one, other, subject)
				}
			}
			if inbox(one) == inbox(other) || Agent(one, Stop) == Agent(other, Stop) {
				t.Errorf("%q and %q hear the same", one, other)
			}
		}
	}
}
