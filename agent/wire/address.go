package wire

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/loadline/loadline/internal/scenario"
)

// address is the address of a target, taken apart.
type address struct {
	scheme    string // http or https
	host      string // name or address, without brackets
	port      string
	socket    string // path of a Unix socket; empty: there is none
	authority string // what stands in the Host header
	base      string // path, without a slash at the end
}

// parseURL reads a target's address. Its errors never quote it: it may hold a password.
func parseURL(s string) (address, error) {
	if socket, base, ok := scenario.UnixURL(s); ok {
		if fault, hint := scenario.UnixFault(s); fault != "" {
			return address{}, errors.New("url " + fault + "; " + hint)
		}
		return address{scheme: "http", host: "localhost", port: "80", socket: socket, authority: "localhost", base: strings.TrimRight(base, "/")}, nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return address{}, errors.New("url is not valid; write it as http://host:port/path")
	case u.User != nil:
		return address{}, errors.New("url holds credentials; name them under auth instead")
	case u.Scheme != "http" && u.Scheme != "https":
		return address{}, fmt.Errorf("url has the scheme %q; http, https and unix are possible", u.Scheme)
	case u.Hostname() == "":
		return address{}, errors.New("url names no host; write it as http://host:port/path")
	case u.RawQuery != "" || u.Fragment != "":
		return address{}, errors.New("url has a query or a fragment; a query belongs to the path of the request")
	}
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return address{scheme: u.Scheme, host: u.Hostname(), port: port, authority: u.Host, base: strings.TrimRight(u.EscapedPath(), "/")}, nil
}

// control is the hook of a dialler: the guard's, whose errors it marks so that they can be told from others, and
// what a socket needs that is bound to an address of our choice.
func control(guard func(string, string, syscall.RawConn) error, bound bool) func(string, string, syscall.RawConn) error {
	if guard == nil && !bound {
		return nil
	}
	return func(network, address string, rc syscall.RawConn) error {
		if guard != nil {
			if err := guard(network, address, rc); err != nil {
				return &refusal{err}
			}
		}
		if bound {
			return bindLate(rc)
		}
		return nil
	}
}

// errFamily says that there is no source address of a target's kind.
var errFamily = errors.New("connections.source_addresses has no address of the kind of the target's (IPv4, IPv6)")

// source gives the address from which the next connection to an address is opened; nil: the system chooses.
func (c *Client) source(to netip.Addr) (net.Addr, error) {
	n := uint64(len(c.cfg.Sources))
	if n == 0 {
		return nil, nil
	}
	turn := c.sources.Add(1) - 1
	for i := range n {
		if a := c.cfg.Sources[(turn+i)%n]; a.Is4() == to.Is4() {
			return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0)), nil
		}
	}
	return nil, errFamily
}

// parseSources reads the addresses from which connections are to be opened, and finds out whether they are this
// machine's.
func parseSources(list []string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	var errs []error
	for i, text := range list {
		a, err := netip.ParseAddr(text)
		if err == nil {
			a = a.Unmap()
			err = ours(a)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("connections.source_addresses[%d]: %w", i, err))
		}
		addrs = append(addrs, a)
	}
	return addrs, errors.Join(errs...)
}

// ours reports whether a socket can be bound to an address. Nothing is sent.
func ours(a netip.Addr) error {
	pc, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		return fmt.Errorf("%s is not an address of this machine", a)
	}
	return pc.Close()
}

// notOurs reports whether a socket could not be bound to its source address because the machine has no such one.
func notOurs(err error) bool {
	call, ok := errors.AsType[*os.SyscallError](err)
	return ok && call.Syscall == "bind" && errors.Is(err, syscall.EADDRNOTAVAIL)
}
