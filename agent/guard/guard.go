// Package guard keeps an agent within what it may do: which addresses it may load, how fast, how
// many at once, for how long, and with whose secrets.
//
// The guard stands behind everything else. The address is checked where a connection is made, on
// the address actually dialled, so no name, redirect or number form leads around it. The ceilings are
// checked where a request leaves, so a fault in plan or schedule is still held by them.
//
// A guard is made of two things that both must allow: the scenario itself (FromScenario), which holds against faults of
// ours and surprises of name resolution, and what the agent's owner allows (Own), which holds against who writes the
// scenario. An agent within the process of its only user has no owner but that user.
package guard

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"google.golang.org/protobuf/proto"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Limits on what a guard is made of.
const (
	// maxRules bounds an allow-list.
	maxRules = 1024
	// maxHost bounds a host's name, in bytes (RFC 1035).
	maxHost = 253
)

// ErrRefused is what every refusal of an address wraps; its class is measure.ClassRefused.
var ErrRefused = errors.New("refused by the guard")

// Rule allows one host, or a range of addresses, on one port.
type Rule struct {
	// Host is a name or an address in the clear; compared without regard to case. With a name every
	// address that it resolves to is allowed, but for those that are always refused. Empty: any host whose address is in Prefix.
	Host string
	// Prefix is the range that the address must be in; the zero value: any. A range given here is
	// literal: it allows what is otherwise always refused.
	Prefix netip.Prefix
	// Port is the port; 0: any.
	Port uint16
	// Socket is the path of a Unix socket, which is allowed alone; the other fields are then empty.
	Socket string
}

// List says which addresses may be dialled. The zero value allows none.
type List struct{ rules []Rule }

// NewList makes a list of at most 1,024 rules. The error names every rule that makes no sense.
func NewList(rules ...Rule) (*List, error) {
	if len(rules) > maxRules {
		return nil, fmt.Errorf("an allow-list may have at most %d rules", maxRules)
	}
	var errs []error
	l := &List{}
	for i, r := range rules {
		if r.Socket != "" {
			l.rules = append(l.rules, Rule{Socket: r.Socket})
			continue
		}
		r.Host = strings.TrimSuffix(strings.ToLower(r.Host), ".")
		if len(r.Host) > maxHost || r.Host == "" && !r.Prefix.IsValid() {
			errs = append(errs, fmt.Errorf("rule %d: needs a host of at most %d bytes, or a range of addresses", i, maxHost))
		}
		if addr, err := netip.ParseAddr(r.Host); err == nil {
			addr = plain(addr)
			r.Host, r.Prefix = "", netip.PrefixFrom(addr, addr.BitLen())
		}
		if r.Prefix.IsValid() && r.Prefix != r.Prefix.Masked() {
			errs = append(errs, fmt.Errorf("rule %d: %s has bits set behind its length; write %s", i, r.Prefix, r.Prefix.Masked()))
		}
		l.rules = append(l.rules, r)
	}
	return l, errors.Join(errs...)
}

// Check says whether host may be dialled at the address that it has been resolved to. The error
// wraps ErrRefused and names the address.
func (l *List) Check(host string, to netip.AddrPort) error {
	return l.check(host, to, "the scenario names no such target")
}

// check is Check with a reason for what no rule has.
func (l *List) check(host string, to netip.AddrPort, why string) error {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	addr := plain(to.Addr())
	for _, r := range l.rules {
		if r.Socket != "" || r.Port != 0 && r.Port != to.Port() || r.Host != "" && r.Host != host {
			continue
		}
		switch {
		case r.Prefix.IsValid() && r.Prefix.Contains(addr):
			return nil
		case r.Prefix.IsValid():
		default:
			if why = forbidden(addr); why == "" {
				return nil
			}
		}
	}
	return fmt.Errorf("%s: %w: %s", to, ErrRefused, why)
}

// checkSocket says whether a Unix socket may be connected to: it must be named letter by letter, since any
// other on the machine may lead to its administration.
func (l *List) checkSocket(path string) error {
	for _, r := range l.rules {
		if r.Socket != "" && r.Socket == path {
			return nil
		}
	}
	return fmt.Errorf("%s: %w: the scenario names no such socket", path, ErrRefused)
}

// onlySocket is Control for a target at a Unix socket.
func (l *List) onlySocket(network, address string, _ syscall.RawConn) error {
	if network != "unix" {
		return fmt.Errorf("%s %s: %w: the target is at a Unix socket", network, address, ErrRefused)
	}
	return l.checkSocket(address)
}

// Control is a hook for net.Dialer that checks every address right before it is connected to. The
// host is the one whose name was resolved: that of the target's URL.
func (l *List) Control(host string) func(network, address string, _ syscall.RawConn) error {
	return func(network, address string, _ syscall.RawConn) error {
		if network == "unix" {
			return l.checkSocket(address)
		}
		if !strings.HasPrefix(network, "tcp") && !strings.HasPrefix(network, "udp") {
			return fmt.Errorf("%s %s: %w: not an internet address", network, address, ErrRefused)
		}
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%s: %w: not an address and a port", address, ErrRefused)
		}
		return l.Check(host, to)
	}
}

// Guard holds what a scenario allows.
type Guard struct {
	// List are the addresses of its targets.
	List *List
	// Rate is the ceiling of its open phases, in sessions per second; Burst is how many may come at once.
	// Rate 0: it has no open phase.
	Rate, Burst float64
	// MaxInFlight is the ceiling of requests in flight, over all agents.
	MaxInFlight uint32

	own      *Own // nil: the scenario alone counts
	ownList  *List
	overRate atomic.Uint64
}

// defaultInFlight holds where a scenario gives no limit.
const defaultInFlight = scenario.DefaultMaxInFlight

// FromScenario makes a guard of a scenario that has been validated: exactly the hosts and ports of
// its targets, and ceilings that its own schedule cannot meet. Addresses stand in for the url of a target, by its name; nil: none do.
//
// The ceiling of the rate is twice the highest planned rate R, with a burst of 32·max(1, cv²) and
// what a pacer may release after a stall, 2·R·max_lateness. For arrivals of coefficient of variation cv the
// excess over a bucket draining at 2R is a random walk of drift −R and variance R·cv², which ever passes b with
// probability exp(−2b/cv²) (Kingman's bound): e⁻⁶⁴ here.
func FromScenario(s *pb.Scenario, addresses map[string]string) (*Guard, error) {
	var rules []Rule
	var errs []error
	for i, t := range s.GetTargets() {
		address := t.GetUrl()
		if other := addresses[t.GetName()]; other != "" {
			address = other
		}
		rule, err := ruleFor(address)
		if err != nil {
			errs = append(errs, fmt.Errorf("targets[%d].url: %w", i, err))
			continue
		}
		rules = append(rules, rule)
	}
	list, err := NewList(rules...)
	errs = append(errs, err)
	g := &Guard{List: list, MaxInFlight: s.GetLimits().GetMaxInFlight()}
	if g.MaxInFlight == 0 {
		g.MaxInFlight = defaultInFlight
	}
	g.Rate, g.Burst = ceiling(s)
	return g, errors.Join(errs...)
}

// Control is a hook for net.Dialer for the target at an address such as https://host/v1: the scenario's list and the
// owner's must have the address that is dialled.
func (g *Guard) Control(address string) (func(network, address string, _ syscall.RawConn) error, error) {
	rule, err := ruleFor(address)
	if err != nil {
		return nil, err
	}
	if rule.Socket != "" {
		return g.controlSocket, nil
	}
	return g.control(rule.Host), nil
}

// ruleFor allows the host and port of a URL, or its Unix socket.
func ruleFor(address string) (Rule, error) {
	if socket, _, ok := scenario.UnixURL(address); ok {
		if fault, _ := scenario.UnixFault(address); fault != "" {
			return Rule{}, errors.New("the URL " + fault)
		}
		return Rule{Socket: socket}, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return Rule{}, errors.New("not a URL") // url's own error quotes it, password and all
	}
	port := u.Port()
	switch {
	case u.Hostname() == "":
		return Rule{}, errors.New("the URL has no host")
	case port != "":
	case u.Scheme == "http":
		port = "80"
	case u.Scheme == "https" || u.Scheme == "grpcs":
		port = "443"
	default:
		return Rule{}, fmt.Errorf("no port is known for %s://; write it", u.Scheme)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Rule{}, fmt.Errorf("%q is not a port", port)
	}
	return Rule{Host: u.Hostname(), Port: uint16(n)}, nil
}

// ceiling is the rate and burst that no schedule of the scenario's open phases exceeds.
func ceiling(s *pb.Scenario) (rate, burst float64) {
	highest, cv := peak(s), 1.0
	if highest == 0 {
		return 0, 0
	}
	for _, p := range s.GetLoad() {
		cv = max(cv, p.GetOpen().GetCv())
	}
	lateness := scenario.DefaultMaxLateness.Seconds()
	if s.GetLimits().HasMaxLateness() {
		lateness = s.GetLimits().GetMaxLateness().AsDuration().Seconds()
	}
	return 2 * highest, math.Ceil(32*cv*cv + 2*highest*lateness)
}

// peak is the highest planned rate of the open phases, over all agents; 0: there is none, or none is known.
func peak(s *pb.Scenario) float64 {
	overlap, sum, highest := false, 0.0, 0.0
	for _, p := range s.GetLoad() {
		if !p.HasOpen() {
			continue
		}
		rate := peakRate(p.GetOpen())
		sum += rate
		highest = max(highest, rate)
		overlap = overlap || p.HasAt()
	}
	if overlap {
		return sum
	}
	return highest
}

// Follow raises the ceiling of the rate by what a change brings: each appended phase and each new rate, on top of what there was,
// since they may overlap. A change is the run's own intent, as its scenario is.
func (g *Guard) Follow(s *pb.Scenario, ch *pb.Change) {
	brought := pb.Scenario_builder{Limits: s.GetLimits(), Load: ch.GetAppended()}.Build()
	for _, r := range ch.GetRevisions() {
		if !r.HasRate() {
			continue
		}
		var open *pb.OpenLoad // that of an appended phase its own change has told
		if int(r.GetPhase()) < len(s.GetLoad()) {
			open = s.GetLoad()[r.GetPhase()].GetOpen()
		}
		rate := pb.OpenLoad_builder{Rate: proto.Float64(r.GetRate()), Cv: proto.Float64(open.GetCv())}.Build()
		brought.SetLoad(append(brought.GetLoad(), pb.Phase_builder{Open: rate}.Build()))
	}
	rate, burst := ceiling(brought)
	g.Rate, g.Burst = g.Rate+rate, g.Burst+burst
}

// peakRate is the highest rate of a shape.
func peakRate(o *pb.OpenLoad) float64 {
	switch o.WhichShape() {
	case pb.OpenLoad_Rate_case:
		return o.GetRate()
	case pb.OpenLoad_Ramp_case:
		return max(o.GetRamp().GetFrom(), o.GetRamp().GetTo())
	case pb.OpenLoad_Steps_case:
		return max(o.GetSteps().GetFrom(), o.GetSteps().GetTo())
	case pb.OpenLoad_Spike_case:
		return max(o.GetSpike().GetBase(), o.GetSpike().GetPeak())
	case pb.OpenLoad_Sine_case:
		return o.GetSine().GetMean() + o.GetSine().GetAmplitude()
	default:
		return 0
	}
}
