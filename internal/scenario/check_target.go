package scenario

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// simPresets are the simulators that a sim:// address may name.
func simPresets() []string { return []string{"small", "large", "fragile"} }

func (c *checker) eachTarget() {
	targets := c.s.GetTargets()
	for i, t := range targets {
		at := (*path)(nil).field("targets").index(i)
		c.unique(c.targets, at, i, t.GetName(), "target", len(targets) > 1)
		c.url(at.field("url"), t)
		c.described(at, t)
		if isModel(t.GetProtocol()) && t.GetModel() == "" {
			c.unless(at.field("model"), "is missing: "+protocolName(t.GetProtocol())+" names a model in every request",
				"add model: NAME", at.field("model"), at.field("protocol"))
		}
		if a := t.GetAuth().GetHeader(); a != nil {
			c.headerFault(c.key, at.field("auth").field("header").field("name"), CheckHeaderName(a.GetName()))
		}
		if t.GetProtocol() == pb.Protocol_PROTOCOL_GRPC {
			c.metadata(at.field("headers"), t.GetHeaders(), nil)
		} else {
			c.headers(at.field("headers"), t.GetHeaders(), nil)
		}
		if tls := t.GetTls(); (tls.GetCertFile() == "") != (tls.GetKeyFile() == "") {
			c.key(at.field("tls"), "cert_file and key_file go together", "give both or neither")
		}
		c.connections(at.field("connections"), t)
	}
}

// connections checks that what is said of connections goes together.
func (c *checker) connections(p *path, t *pb.Target) {
	s := t.GetConnections()
	policy := s.GetPolicy()
	if t.GetProtocol() == pb.Protocol_PROTOCOL_GRPC {
		c.calls(p, s)
	}
	c.sources(p.field("source_addresses"), t)
	if s.GetStreams() > 0 && s.GetHttp() == pb.HttpVersion_HTTP_VERSION_HTTP1 {
		c.value(p.field("streams"), "is for HTTP/2", "use http: http2 or auto, or leave streams out")
	}
	if s.GetWarm() > 0 && policy != 0 && policy != pb.ConnectionPolicy_CONNECTION_POLICY_REUSE {
		c.value(p.field("warm"), "opens connections that the policy lets nobody use again", "use policy: reuse, or leave warm out")
	}
	if s.GetMax() > 0 && s.GetWarm() > s.GetMax() {
		c.value(p.field("warm"), "is more than max", "open at most max connections before the start")
	}
}

// maxChannels bounds the connections that the calls to a gRPC target share.
const maxChannels = 256

// calls checks what is said of a gRPC target's connections.
func (c *checker) calls(p *path, s *pb.Connections) {
	if s.GetHttp() != 0 || s.GetStreams() > 0 || len(s.GetSourceAddresses()) > 0 {
		c.key(p, "http, streams and source_addresses are for HTTP", "leave them out")
	}
	shared := s.GetPolicy() <= pb.ConnectionPolicy_CONNECTION_POLICY_REUSE
	if shared && (s.GetMax() > maxChannels || s.GetWarm() > maxChannels) {
		c.value(p, "a gRPC target has at most 256 connections, each for 100 calls at once", "leave max out, or use policy: per-request")
	}
}

// sources checks the addresses from which connections are opened.
func (c *checker) sources(p *path, t *pb.Target) {
	seen := map[netip.Addr]bool{}
	for i, text := range t.GetConnections().GetSourceAddresses() {
		a, err := netip.ParseAddr(text)
		a = a.Unmap()
		switch at := p.index(i); {
		case err != nil:
			c.value(at, "is not an IP address", "write one of the agent's machine, as 127.0.0.2")
		case a.IsUnspecified(), a.IsMulticast(), a.Zone() != "":
			c.value(at, "is not the address of one machine", "write one of the agent's machine, as 127.0.0.2")
		case seen[a]:
			c.value(at, "is there already", "name each address once")
		}
		seen[a] = true
	}
	if _, _, unix := UnixURL(t.GetUrl()); unix && len(seen) > 0 {
		c.key(p, "source_addresses are for internet addresses: a Unix socket has none", "leave them out")
	}
}

// url checks the address of a target. Messages do not repeat it where it may hold a password.
func (c *checker) url(p *path, t *pb.Target) {
	s, protocol := t.GetUrl(), t.GetProtocol()
	if s == "" {
		return
	}
	if _, _, unix := UnixURL(s); unix {
		c.unixURL(p, t)
		return
	}
	u, err := url.Parse(s)
	if err != nil || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		c.urlSecret(s)
		c.value(p, "is not a URL", "write it as http://127.0.0.1:8000/v1")
		return
	}
	switch {
	case u.User != nil:
		c.urlSecret(s)
		c.value(p, "holds credentials; they would end up in files and logs", "remove what stands before @ and use auth: {basic: {user: NAME, password: {env: NAME}}}")
	case u.Scheme == "sim":
		c.sim(p, u)
	case protocol == pb.Protocol_PROTOCOL_GRPC:
		c.grpcURL(p, u)
	case u.Scheme == "grpc" || u.Scheme == "grpcs":
		c.unless(p, u.Scheme+":// is for protocol grpc", "use http://, https://, unix:// or sim://, or protocol: grpc", p, p.up.field("protocol"))
	case u.Scheme != "http" && u.Scheme != "https":
		c.value(p, "must begin with http://, https://, unix:// or sim://", schemeHint(s, u))
	case u.Hostname() == "":
		c.value(p, "has no host", "write it as http://127.0.0.1:8000/v1")
	case !validPort(u):
		c.value(p, "has a port outside 1…65535", "")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		c.value(p, "must end with its path: the paths of requests are appended", "put a query into http.path")
	}
}

// unixURL checks the address of a Unix socket.
func (c *checker) unixURL(p *path, t *pb.Target) {
	switch fault, hint := UnixFault(t.GetUrl()); {
	case t.GetProtocol() == pb.Protocol_PROTOCOL_GRPC:
		c.unless(p, "unix:// is for HTTP: gRPC over a Unix socket is not in this version", "use grpc:// or grpcs://", p, p.up.field("protocol"))
	case fault != "":
		c.value(p, fault, hint)
	case t.HasTls():
		c.key(p.up.field("tls"), "a Unix socket is spoken to without TLS", "leave tls out")
	}
}

func schemeHint(s string, u *url.URL) string {
	if u.Scheme == "" || u.Opaque != "" {
		return "write http://" + strings.TrimPrefix(s, "//")
	}
	return ""
}

func validPort(u *url.URL) bool {
	if strings.HasSuffix(u.Host, ":") {
		return false
	}
	port := u.Port()
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// sim checks sim://PRESET.
func (c *checker) sim(p *path, u *url.URL) {
	presets := simPresets()
	switch {
	case !contains(presets, u.Host):
		c.value(p, "no simulator is called "+quote(u.Host), DidYouMean(u.Host, presets)+"write sim:// and one of "+list(presets, "and"))
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		c.value(p, "a simulator's address ends with its name", "write sim://"+u.Host)
	}
}

func protocolName(p pb.Protocol) string {
	return choiceName(p.Descriptor().Values().ByNumber(p.Number()))
}

// urlSecret hides what stands before the @ of an address.
func (c *checker) urlSecret(s string) {
	if at := strings.LastIndex(s, "@"); at >= 0 {
		start := 0
		if i := strings.Index(s, "://"); i >= 0 && i+3 <= at {
			start = i + 3
		}
		c.hide(s[start:at])
	}
}

// hide masks a text in every excerpt.
func (c *checker) hide(secret string) {
	const least = 4 // a shorter one would mask words at random
	if len(secret) >= least {
		c.secrets = append(c.secrets, secret)
	}
}
