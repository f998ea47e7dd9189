package scenario

import (
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
		c.url(at.field("url"), t.GetUrl())
		if isModel(t.GetProtocol()) && t.GetModel() == "" {
			c.unless(at.field("model"), "is missing: "+protocolName(t.GetProtocol())+" names a model in every request",
				"add model: NAME", at.field("model"), at.field("protocol"))
		}
		c.headers(at.field("headers"), t.GetHeaders(), nil)
		if a := t.GetAuth().GetHeader(); a != nil {
			c.headerName(at.field("auth").field("header").field("name"), a.GetName())
		}
		if tls := t.GetTls(); (tls.GetCertFile() == "") != (tls.GetKeyFile() == "") {
			c.key(at.field("tls"), "cert_file and key_file go together", "give both or neither")
		}
	}
}

// url checks the address of a target. Messages do not repeat it where it may hold a password.
func (c *checker) url(p *path, s string) {
	if s == "" {
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
	case u.Scheme == "grpc" || u.Scheme == "grpcs":
		c.value(p, u.Scheme+":// is not in this version", "use http://, https:// or sim://")
	case u.Scheme != "http" && u.Scheme != "https":
		c.value(p, "must begin with http://, https:// or sim://", schemeHint(s, u))
	case u.Hostname() == "":
		c.value(p, "has no host", "write it as http://127.0.0.1:8000/v1")
	case !validPort(u):
		c.value(p, "has a port outside 1…65535", "")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		c.value(p, "must end with its path: the paths of requests are appended", "put a query into http.path")
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
		c.value(p, "no simulator is called "+quote(u.Host), didYouMean(u.Host, presets)+"write sim:// and one of "+list(presets, "and"))
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

// headers checks names and values. slots tells which placeholders the values may hold; nil: none.
func (c *checker) headers(p *path, headers map[string]*pb.HeaderValue, slots *slots) {
	seen := map[string]string{}
	for _, name := range sortedHeaders(headers) {
		at, v := p.key(name), headers[name]
		if !c.headerName(at, name) {
			continue
		}
		if other, ok := seen[strings.ToLower(name)]; ok {
			c.key(at, "is "+quote(other)+" again: the names of headers have no case", "keep one of the two")
			continue
		}
		seen[strings.ToLower(name)] = name
		if v.HasValue() {
			c.headerValue(at, name, v.GetValue(), slots)
		}
	}
}

func (c *checker) headerName(p *path, name string) bool {
	switch lower := strings.ToLower(name); {
	case name == "" || strings.Trim(name, headerChars) != "":
		c.key(p, quote(name)+" is not the name of a header", "use letters, digits and hyphens")
	case contains([]string{"content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"}, lower):
		c.key(p, name+" is set by the HTTP client itself", "leave it out")
	case strings.HasPrefix(lower, "x-loadline-"):
		c.key(p, "headers that begin with X-Loadline- are loadline's own", "choose another name")
	default:
		return true
	}
	return false
}

// headerChars are the characters of a header's name (RFC 9110, token).
const headerChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"

func (c *checker) headerValue(p *path, name, v string, slots *slots) {
	switch {
	case isSecretHeader(name) && v != "" && (slots == nil || !strings.Contains(v, "{{")):
		c.hide(v)
		c.value(p, "a secret must not stand in the scenario", secretHint(name))
	case strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		c.value(p, "a header's value must not hold line ends or control characters", "")
	default:
		c.placeholders(p, v, slots)
	}
}

// isSecretHeader reports whether a header's value is most likely a credential.
func isSecretHeader(name string) bool {
	n := strings.ToLower(name)
	return contains([]string{"authorization", "proxy-authorization", "cookie", "token", "apikey", "x-apikey"}, n) ||
		strings.HasSuffix(n, "api-key") || strings.HasSuffix(n, "-token") || strings.HasSuffix(n, "-secret") || strings.HasSuffix(n, "password")
}

func secretHint(name string) string {
	if strings.EqualFold(name, "authorization") {
		return "use auth: {bearer: {env: NAME}} at the target, or Authorization: {env: NAME} with the whole value in the variable"
	}
	return "write " + name + ": {env: NAME}; the variable is read on the agent and its value never leaves it"
}
