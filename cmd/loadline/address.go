package main

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// hostPort is an address of a listener or of the coordinator.
type hostPort struct {
	host string
	port int
}

// parseHostPort reads HOST:PORT.
func parseHostPort(flag, text string) (hostPort, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return hostPort{}, fmt.Errorf("--%s %q: write HOST:PORT, as 127.0.0.1:7400", flag, text)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return hostPort{}, fmt.Errorf("--%s %q: %q is not a port", flag, text, port)
	}
	return hostPort{host, int(n)}, nil
}

func (a hostPort) String() string { return net.JoinHostPort(a.host, strconv.Itoa(a.port)) }

// loopback reports whether the host is this machine alone.
func (a hostPort) loopback() bool {
	if a.host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(a.host)
	return err == nil && addr.Unmap().IsLoopback()
}

// checkListener refuses a listener that others reach without credentials.
func (a hostPort) checkListener(flag string, secured bool) error {
	if secured || a.loopback() {
		return nil
	}
	return fmt.Errorf("--%s %s: without TLS anybody who reaches this address could start load from it; make credentials with "+
		"\"loadline certs init --host NAME\" and give --tls-dir, or listen on 127.0.0.1", flag, a)
}

// checkDialled refuses to talk to another machine in the clear.
func (a hostPort) checkDialled(flag string, secured bool) error {
	if secured || a.loopback() {
		return nil
	}
	return fmt.Errorf("--%s %s: without TLS anybody on the way could read and change what is said; give --tls-dir with the folder of your credentials", flag, a)
}
