package guard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Ceilings of an agent whose owner has set none, and the highest that can be set.
const (
	// DefaultMaxRate is in requests a second.
	DefaultMaxRate = 1_000
	// DefaultMaxInFlight is in requests.
	DefaultMaxInFlight = 256
	// MaxRate bounds the ceiling of the rate, MaxInFlight that of the requests in flight.
	MaxRate     = 1_000_000
	MaxInFlight = 1_000_000
	// lookupWait bounds the look-up of one name at assignment.
	lookupWait = 5 * time.Second
)

// Own is what the owner of an agent allows it, whatever a coordinator says. The zero value allows loopback and private
// addresses that the scenario names, DefaultMaxRate, DefaultMaxInFlight and no secret.
type Own struct {
	// Allow lists where the agent may send load; empty: to loopback and private addresses alone.
	Allow []Rule
	// MaxRate is the ceiling in requests a second; 0: DefaultMaxRate.
	MaxRate uint32
	// MaxInFlight is the ceiling of requests in flight; 0: DefaultMaxInFlight.
	MaxInFlight uint32
	// Secrets lists those that the agent resolves, each with where it may go.
	Secrets []Grant
	// Resolve looks a host's addresses up; nil: with the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Grant lets the agent resolve one secret and send it to one place.
type Grant struct {
	// Env names a variable, or File a file; exactly one.
	Env, File string
	// To is where it may go.
	To Rule
}

// socketPrefix begins a rule for a Unix socket as people write it.
const socketPrefix = "unix:"

// String is the rule as people write it.
func (r Rule) String() string {
	port := "*"
	if r.Port != 0 {
		port = strconv.Itoa(int(r.Port))
	}
	switch {
	case r.Socket != "":
		return socketPrefix + r.Socket
	case r.Prefix.IsValid() && r.Host == "":
		return net.JoinHostPort(r.Prefix.String(), port)
	default:
		return net.JoinHostPort(r.Host, port)
	}
}

// ParseAllow reads a rule as people write it: host:port, address:port or range:port, the port perhaps "*", or unix:/path for
// a socket.
func ParseAllow(text string) (Rule, error) {
	if path, ok := strings.CutPrefix(text, socketPrefix); ok {
		if fault, _ := scenario.UnixFault("unix://" + path); fault != "" {
			return Rule{}, fmt.Errorf("%q %s; write unix:/run/model.sock", text, fault)
		}
		return Rule{Socket: path}, nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return Rule{}, fmt.Errorf("%q: write host:port, as model.example:443, 10.0.0.0/8:8000 or [fd00::/8]:8000", text)
	}
	r := Rule{}
	if port != "*" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Rule{}, fmt.Errorf("%q: %q is not a port; write a number, or * for every port", text, port)
		}
		r.Port = uint16(n)
	}
	if !strings.Contains(host, "/") {
		r.Host = host
	} else if r.Prefix, err = netip.ParsePrefix(host); err != nil {
		return Rule{}, fmt.Errorf("%q: %q is not a range of addresses", text, host)
	}
	_, err = NewList(r)
	if err != nil {
		return Rule{}, fmt.Errorf("%q: %w", text, err)
	}
	return r, nil
}

// ParseGrant reads a grant as people write it: VARIABLE=host:port, or file:/path=host:port.
func ParseGrant(text string) (Grant, error) {
	name, to, ok := cutLast(text, "=")
	path, isFile := strings.CutPrefix(name, "file:")
	if !ok || name == "" || isFile && path == "" {
		return Grant{}, fmt.Errorf("%q: write VARIABLE=host:port or file:/path=host:port", text)
	}
	rule, err := ParseAllow(to)
	if err != nil {
		return Grant{}, err
	}
	if isFile {
		return Grant{File: path, To: rule}, nil
	}
	return Grant{Env: name, To: rule}, nil
}

func cutLast(text, separator string) (before, after string, found bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}

func (o *Own) maxRate() uint32 { return cmp.Or(o.MaxRate, DefaultMaxRate) }

func (o *Own) maxInFlight() uint32 { return cmp.Or(o.MaxInFlight, DefaultMaxInFlight) }

// InFlightOf is the ceiling of a share of the run's limit: the lower of both.
func (o *Own) InFlightOf(share uint32) uint32 { return min(share, o.maxInFlight()) }

// NewWindow is a ceiling on the agent's own rate; NewInFlight one on what it has under way.
func (o *Own) NewWindow() *Window { return NewWindow(o.maxRate()) }

// NewInFlight is a ceiling on what the agent has under way.
func (o *Own) NewInFlight() *InFlight { return NewInFlight(o.maxInFlight()) }

// Share is what an assignment wants of an agent.
type Share struct {
	// Weight is the agent's, Of the sum over all agents; at least 1.
	Weight, Of uint64
	// MaxInFlight is its part of the run's limit.
	MaxInFlight uint32
}

// Bind narrows a guard to what the owner allows: both must allow an address, and the ceiling of the rate holds in every
// second. The error lists all that the scenario wants and the owner does not allow, each with the flag that raises it.
func (o *Own) Bind(ctx context.Context, g *Guard, s *pb.Scenario, share Share) error {
	list, err := NewList(o.Allow...)
	if err != nil {
		return err
	}
	g.own, g.ownList = o, list
	var errs []error
	for _, t := range s.GetTargets() {
		if err := o.checkTarget(ctx, g, t); err != nil {
			errs = append(errs, fmt.Errorf("target %s: %w", t.GetName(), err))
		}
	}
	return errors.Join(append(errs, o.checkCeilings(s, share)...)...)
}

// checkTarget refuses a target none of whose addresses may be dialled. A name that cannot be looked up now is left to the
// check of each connection.
func (o *Own) checkTarget(ctx context.Context, g *Guard, t *pb.Target) error {
	rule, err := ruleFor(t.GetUrl())
	if err != nil {
		return err
	}
	if rule.Socket != "" {
		if err := g.checkOwnSocket(rule.Socket); err != nil {
			return fmt.Errorf("%w; its owner allows it with: loadline agent --allow %s", err, rule)
		}
		return nil
	}
	addrs, err := o.lookup(ctx, rule.Host)
	if err != nil {
		return nil
	}
	var refused error
	for _, addr := range addrs {
		err := g.checkOwn(rule.Host, netip.AddrPortFrom(addr, rule.Port))
		if err == nil {
			return nil
		}
		refused = cmp.Or(refused, err)
	}
	if refused == nil {
		return nil
	}
	return fmt.Errorf("%w; its owner allows it with: loadline agent --allow %s", refused, rule)
}

func (o *Own) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupWait)
	defer cancel()
	if o.Resolve != nil {
		return o.Resolve(ctx, host)
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// ErrExcess is wrapped by the error for a change that asks for more than the owner allows.
var ErrExcess = errors.New("more than this agent may do")

// CheckChange refuses a change that asks for more than a ceiling: the rate in sessions a second that all phases have together at its
// instant, that of each new one, and the users. The error names the flag that raises it.
func (o *Own) CheckChange(ch *pb.Change, rate float64, share Share) error {
	brought := pb.Scenario_builder{Load: append([]*pb.Phase{
		pb.Phase_builder{Open: pb.OpenLoad_builder{Rate: new(rate)}.Build()}.Build(),
	}, ch.GetAppended()...)}.Build()
	for _, r := range ch.GetRevisions() {
		switch {
		case r.HasRate():
			brought.SetLoad(append(brought.GetLoad(), pb.Phase_builder{Open: pb.OpenLoad_builder{Rate: new(r.GetRate())}.Build()}.Build()))
		case r.HasUsers():
			brought.SetLoad(append(brought.GetLoad(), pb.Phase_builder{Closed: pb.ClosedLoad_builder{Users: new(r.GetUsers())}.Build()}.Build()))
		}
	}
	if errs := o.checkCeilings(brought, share); len(errs) > 0 {
		return fmt.Errorf("%w: %w", ErrExcess, errors.Join(errs...))
	}
	return nil
}

// checkCeilings refuses a share above the owner's ceilings.
func (o *Own) checkCeilings(s *pb.Scenario, share Share) []error {
	var errs []error
	part := float64(share.Weight) / float64(max(1, share.Of))
	if rate := peak(s) * part; rate > float64(o.maxRate()) {
		errs = append(errs, fmt.Errorf("the share of this agent is %.6g requests a second and its ceiling %d; raise it with: loadline agent --max-rate, or add agents", rate, o.maxRate()))
	}
	users := uint64(0)
	for _, p := range s.GetLoad() {
		users = max(users, uint64(p.GetClosed().GetUsers()))
	}
	if n := (users*share.Weight + max(1, share.Of) - 1) / max(1, share.Of); n > uint64(o.maxInFlight()) {
		errs = append(errs, fmt.Errorf("the share of this agent is %d users and its ceiling %d requests in flight; raise it with: loadline agent --max-in-flight, or add agents", n, o.maxInFlight()))
	}
	// The default limit of a scenario asks for nothing: the lower of both holds. One that somebody wrote is meant.
	if asked := s.GetLimits().GetMaxInFlight(); asked != 0 && asked != defaultInFlight && share.MaxInFlight > o.maxInFlight() {
		errs = append(errs, fmt.Errorf("the share of this agent is limits.max_in_flight %d and its ceiling %d; raise it with: loadline agent --max-in-flight, or add agents", share.MaxInFlight, o.maxInFlight()))
	}
	return errs
}

// checkOwn says whether the owner allows the address that host has been resolved to.
func (g *Guard) checkOwn(host string, to netip.AddrPort) error {
	if len(g.own.Allow) > 0 {
		return g.ownList.check(host, to, "the agent's own list (--allow) does not have it")
	}
	addr := plain(to.Addr())
	if (addr.IsLoopback() || addr.IsPrivate()) && forbidden(addr) == "" {
		return nil
	}
	return fmt.Errorf("%s: %w: without a list of its own (--allow) the agent sends to loopback and private addresses alone", to, ErrRefused)
}

// checkOwnSocket says whether the owner allows a Unix socket. It must stand on the list: behind a socket of the machine may
// be anything, such as what starts containers.
func (g *Guard) checkOwnSocket(path string) error {
	if g.own == nil || g.ownList.checkSocket(path) == nil {
		return nil
	}
	return fmt.Errorf("%s: %w: the agent's own list (--allow) does not have this socket", path, ErrRefused)
}

// controlSocket is a hook for net.Dialer for a target at a Unix socket.
func (g *Guard) controlSocket(network, address string, c syscall.RawConn) error {
	if err := g.List.onlySocket(network, address, c); err != nil {
		return err
	}
	return g.checkOwnSocket(address)
}

// control is a hook for net.Dialer that holds each address against what the owner allows.
func (g *Guard) control(host string) func(network, address string, c syscall.RawConn) error {
	scenario := g.List.Control(host)
	if g.own == nil {
		return scenario
	}
	return func(network, address string, c syscall.RawConn) error {
		if err := scenario(network, address, c); err != nil {
			return err
		}
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%s: %w: not an address and a port", address, ErrRefused)
		}
		return g.checkOwn(host, to)
	}
}

// Bucket is the ceiling of the open phases; nil: there is none.
func (g *Guard) Bucket() *Bucket {
	if g.Rate == 0 {
		return nil
	}
	b := NewBucket(g.Rate, g.Burst)
	if g.own != nil {
		b.ceiling, b.over = g.own.NewWindow(), &g.overRate
	}
	return b
}

// OverRate is how often something met the owner's ceiling of the rate in a bucket of this guard.
func (g *Guard) OverRate() uint64 { return g.overRate.Load() }

// BindSecrets narrows secrets to those that the owner lets the agent resolve, and each of them to a scenario that sends
// it nowhere else than it may go. The error names the flag that allows it.
func (o *Own) BindSecrets(s *pb.Scenario, resolve workload.Secrets) workload.Secrets {
	places := placesOf(s)
	return func(ref *pb.SecretRef) (string, error) {
		source, name := "environment variable "+ref.GetEnv(), ref.GetEnv()
		if ref.HasFile() {
			source, name = "file "+ref.GetFile(), "file:"+ref.GetFile()
		}
		to := places(ref)
		if len(to) == 0 {
			return "", fmt.Errorf("%s: no target of the scenario takes it", source)
		}
		for _, place := range to {
			if !o.grants(ref, place) {
				return "", fmt.Errorf("%s: the agent may not send it to %s; its owner allows it with: loadline agent --secret %s=%s", source, place, name, place)
			}
		}
		return resolve(ref)
	}
}

func (o *Own) grants(ref *pb.SecretRef, place Rule) bool {
	for _, g := range o.Secrets {
		same := ref.HasEnv() && g.Env == ref.GetEnv() || ref.HasFile() && g.File == ref.GetFile()
		if same && g.To.covers(place) {
			return true
		}
	}
	return false
}

// covers reports whether every address that a place can stand for is in the rule: names are compared as names, addresses
// as addresses. A name is never within a range, for nobody knows what it will resolve to.
func (r Rule) covers(place Rule) bool {
	if r.Socket != "" || place.Socket != "" {
		return r.Socket == place.Socket
	}
	if r.Port != 0 && r.Port != place.Port {
		return false
	}
	addr, err := netip.ParseAddr(place.Host)
	if err != nil {
		return r.Host != "" && strings.EqualFold(strings.TrimSuffix(r.Host, "."), strings.TrimSuffix(place.Host, "."))
	}
	if own, err := netip.ParseAddr(r.Host); err == nil {
		return plain(own) == plain(addr)
	}
	return r.Prefix.IsValid() && r.Prefix.Contains(plain(addr))
}
