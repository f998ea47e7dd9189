package guard_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/loadline/loadline/agent/guard"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func targets(urls ...string) *pb.Scenario {
	s := &pb.Scenario{}
	for i, u := range urls {
		s.SetTargets(append(s.GetTargets(), pb.Target_builder{Name: new("t" + string(rune('0'+i))), Url: &u}.Build()))
	}
	return s
}

func newGuard(t *testing.T, urls ...string) *guard.Guard {
	t.Helper()
	g, err := guard.FromScenario(targets(urls...), nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestOnlyTheScenariosHostsAndPortsAreAllowed(t *testing.T) {
	g := newGuard(t, "http://127.0.0.1:8000/v1", "https://Model.Example./v1", "http://[::1]:9000", "http://10.0.0.7")
	tests := []struct {
		host, address string
		allowed       bool
	}{
		{"127.0.0.1", "127.0.0.1:8000", true},
		{"127.0.0.1", "127.0.0.1:8001", false},
		{"127.0.0.1", "127.0.0.2:8000", false},
		{"127.0.0.1", "[::ffff:127.0.0.1]:8000", true}, // the same address in the clothes of version 6
		{"::1", "[::1]:9000", true},
		{"::1", "[::1]:8000", false},
		{"10.0.0.7", "10.0.0.7:80", true},
		{"10.0.0.7", "10.0.0.8:80", false},
		{"model.example", "93.184.216.34:443", true},
		{"MODEL.example.", "93.184.216.34:443", true},
		{"model.example", "192.168.3.4:443", true}, // a model server may well have a private address
		{"model.example", "93.184.216.34:80", false},
		{"other.example", "93.184.216.34:443", false},
		{"", "93.184.216.34:443", false},
	}
	for _, tt := range tests {
		err := g.List.Check(tt.host, netip.MustParseAddrPort(tt.address))
		if (err == nil) != tt.allowed || err != nil && !errors.Is(err, guard.ErrRefused) {
			t.Errorf("%s at %s: %v, want allowed %v", tt.host, tt.address, err, tt.allowed)
		}
	}
}

// alwaysRefused are addresses that no name may lead to, in all the forms that reach them.
func alwaysRefused() []string {
	return []string{
		"169.254.169.254", "169.254.170.2", "169.254.0.1", "::ffff:169.254.169.254", "::ffff:a9fe:a9fe",
		"64:ff9b::169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "64:ff9b:1:7::a9fe:a9fe",
		"2002:a9fe:a9fe::", "2002:a9fe:a9fe::1", "::a9fe:a9fe", "fd12:3456::5efe:169.254.169.254", "fd12:3456::200:5efe:a9fe:a9fe",
		"2001:0:4136:e378:8000:63bf:5601:5601", // Teredo: the address is inverted
		"fe80::1", "fe80::a9fe:a9fe", "febf::1", "fe80::1%eth0", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
		"100.100.100.200", "168.63.129.16", "192.0.0.192", "0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "255.255.255.255",
		"240.0.0.1", "ff02::1", "64:ff9b::6464:64c8", "::ffff:0.0.0.0",
	}
}

func TestNoNameLeadsToAnAddressThatIsAlwaysRefused(t *testing.T) {
	g := newGuard(t, "http://model.example:80", "http://10.0.0.7")
	for _, address := range alwaysRefused() {
		err := g.List.Check("model.example", netip.AddrPortFrom(netip.MustParseAddr(address), 80))
		if !errors.Is(err, guard.ErrRefused) {
			t.Errorf("%s: %v, want it refused", address, err)
		}
	}
}

func TestAnAddressThatTheScenarioNamesIsAllowed(t *testing.T) {
	for _, address := range alwaysRefused() {
		if strings.Contains(address, "%") {
			continue
		}
		addr := netip.MustParseAddr(address)
		g := newGuard(t, "http://"+netip.AddrPortFrom(addr, 80).String())
		if err := g.List.Check(address, netip.AddrPortFrom(addr, 80)); err != nil {
			t.Errorf("%s: %v, want it allowed where the scenario names it", address, err)
		}
	}
	// A name beside it gains nothing from it.
	g := newGuard(t, "http://169.254.169.254:80", "http://model.example:81")
	if err := g.List.Check("model.example", netip.MustParseAddrPort("169.254.169.254:81")); err == nil {
		t.Error("a name leads to an address that is allowed on another port")
	}
}

func TestOtherWaysToWriteAnAddressAreNames(t *testing.T) {
	// The system's resolver may take these for 169.254.169.254; what counts is where they lead.
	for _, host := range []string{"2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "0xa9.0xfe.0xa9.0xfe", "169.254.43518", "169.16689662", "0xA9FEA9FE"} {
		g := newGuard(t, "http://"+host)
		if err := g.List.Check(host, netip.MustParseAddrPort("169.254.169.254:80")); !errors.Is(err, guard.ErrRefused) {
			t.Errorf("%s: %v, want it refused", host, err)
		}
	}
}

func TestTheControlHook(t *testing.T) {
	g := newGuard(t, "http://127.0.0.1:8000")
	control, err := g.Control("http://127.0.0.1:8000/v1")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		network, address string
		allowed          bool
	}{
		{"tcp4", "127.0.0.1:8000", true},
		{"tcp4", "127.0.0.1:8001", false},
		{"unix", "/run/docker.sock", false},
		{"tcp4", "model.example:8000", false}, // not resolved: never reaches a dialer's hook
	}
	for _, tt := range tests {
		if err := control(tt.network, tt.address, nil); (err == nil) != tt.allowed || err != nil && !errors.Is(err, guard.ErrRefused) {
			t.Errorf("%s %s: %v, want allowed %v", tt.network, tt.address, err, tt.allowed)
		}
	}
}

// A name that answers differently each time is checked each time, on the address dialled: the first
// answer is a server of ours and is reached, the second is the metadata service.
func TestANameThatChangesItsAnswerIsCheckedAtEveryDial(t *testing.T) {
	server, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	port := server.Addr().(*net.TCPAddr).AddrPort().Port()
	answers := [][4]byte{{127, 0, 0, 1}, {169, 254, 169, 254}, {0, 0, 0, 0}}
	at := 0
	address := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	list, err := guard.NewList(guard.Rule{Host: "rebind.example", Port: port})
	if err != nil {
		t.Fatal(err)
	}
	dialer := &net.Dialer{
		Control: list.Control("rebind.example"), Timeout: 5 * time.Second,
		Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			return answering(answers[at]), nil
		}},
	}
	for ; at < len(answers); at++ {
		conn, err := dialer.DialContext(t.Context(), "tcp4", "rebind.example:"+strings.TrimPrefix(address.String(), "127.0.0.1:"))
		if err == nil {
			_ = conn.Close()
		}
		if at == 0 && err != nil || at > 0 && !errors.Is(err, guard.ErrRefused) {
			t.Errorf("answer %v: %v", answers[at], err)
		}
	}
}

// answering is a connection to a name server that gives every question about an address one answer.
func answering(a [4]byte) net.Conn {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		buffer := make([]byte, 2+4096) // over a stream each message has its length before it
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buffer[2:n]) != nil || len(m.Questions) != 1 {
			return
		}
		m.Response, m.Additionals = true, nil
		if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: a},
			}}
		}
		reply, err := m.AppendPack([]byte{0, 0})
		if err != nil {
			return
		}
		reply[0], reply[1] = byte((len(reply)-2)>>8), byte(len(reply)-2)
		_, _ = server.Write(reply)
	}()
	return client
}

func TestRangesAreLiteral(t *testing.T) {
	list, err := guard.NewList(guard.Rule{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Port: 80}, guard.Rule{Host: "lab.example", Prefix: netip.MustParsePrefix("169.254.7.0/24")})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		host, address string
		allowed       bool
	}{
		{"any.example", "10.1.2.3:80", true},
		{"any.example", "10.1.2.3:81", false},
		{"any.example", "10.2.2.3:80", false},
		{"lab.example", "169.254.7.9:1234", true},
		{"lab.example", "169.254.8.9:1234", false},
		{"any.example", "169.254.7.9:1234", false},
	}
	for _, tt := range tests {
		if err := list.Check(tt.host, netip.MustParseAddrPort(tt.address)); (err == nil) != tt.allowed {
			t.Errorf("%s at %s: %v, want allowed %v", tt.host, tt.address, err, tt.allowed)
		}
	}
	if err := new(guard.List).Check("a", netip.MustParseAddrPort("1.2.3.4:80")); err == nil {
		t.Error("an empty list allows something")
	}
}

func TestRulesThatMakeNoSense(t *testing.T) {
	_, err := guard.NewList(guard.Rule{Port: 80}, guard.Rule{Prefix: netip.MustParsePrefix("10.1.2.3/8")}, guard.Rule{Host: strings.Repeat("a", 254)})
	if err == nil || strings.Count(err.Error(), "\n") != 2 || !strings.Contains(err.Error(), "write 10.0.0.0/8") {
		t.Errorf("error = %v, want three", err)
	}
	if _, err := guard.NewList(make([]guard.Rule, 1025)...); err == nil {
		t.Error("1,025 rules were taken")
	}
}

func TestURLsThatNameNoAddress(t *testing.T) {
	for url, want := range map[string]string{
		"http:///v1":                 "targets[0].url: the URL has no host",
		"sim://small":                "targets[0].url: no port is known for sim://; write it",
		"http://a:0":                 `targets[0].url: "0" is not a port`,
		"http://a:70000":             `targets[0].url: "70000" is not a port`,
		"http://u:secret@a:b:c/\x7f": "targets[0].url: not a URL",
	} {
		if _, err := guard.FromScenario(targets(url), nil); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", url, err, want)
		}
	}
	g, err := guard.FromScenario(targets("sim://small"), map[string]string{"t0": "http://127.0.0.1:4444"})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.List.Check("127.0.0.1", netip.MustParseAddrPort("127.0.0.1:4444")); err != nil {
		t.Errorf("the address that stands in: %v", err)
	}
}

// A new rate of an appended phase raises the ceiling as one of the scenario's does.
func TestTheCeilingFollowsAppendedPhases(t *testing.T) {
	s := pb.Scenario_builder{}.Build()
	g := &guard.Guard{}
	rate := 50.0
	g.Follow(s, pb.Change_builder{Appended: []*pb.Phase{pb.Phase_builder{Open: pb.OpenLoad_builder{Rate: &rate}.Build()}.Build()}}.Build())
	before := g.Rate
	g.Follow(s, pb.Change_builder{Revisions: []*pb.Revision{pb.Revision_builder{Phase: 0, Rate: &rate}.Build()}}.Build())
	if before != 100 || g.Rate != 200 {
		t.Errorf("ceiling %v, then %v", before, g.Rate)
	}
}

func TestCeilingsFollowFromTheScenario(t *testing.T) {
	open := func(o pb.OpenLoad_builder) *pb.Phase { return pb.Phase_builder{Open: o.Build()}.Build() }
	later := open(pb.OpenLoad_builder{Rate: new(30.0)})
	later.SetAt(durationpb.New(time.Second))
	tests := map[string]struct {
		load        []*pb.Phase
		rate, burst float64
	}{
		"closed": {[]*pb.Phase{pb.Phase_builder{Closed: &pb.ClosedLoad{}}.Build()}, 0, 0},
		"rate":   {[]*pb.Phase{open(pb.OpenLoad_builder{Rate: new(50.0)})}, 100, 32 + 25},
		"the highest of several": {[]*pb.Phase{
			open(pb.OpenLoad_builder{Rate: new(50.0)}),
			open(pb.OpenLoad_builder{Ramp: pb.Ramp_builder{From: new(80.0), To: new(10.0)}.Build()}),
			open(pb.OpenLoad_builder{Steps: pb.Steps_builder{From: new(1.0), To: new(60.0)}.Build()}),
			open(pb.OpenLoad_builder{Spike: pb.Spike_builder{Base: new(1.0), Peak: new(70.0)}.Build()}),
		}, 160, 32 + 40},
		"overlapping ones together": {[]*pb.Phase{open(pb.OpenLoad_builder{Rate: new(50.0)}), later}, 160, 32 + 40},
		"sine, bursty": {[]*pb.Phase{open(pb.OpenLoad_builder{
			Sine: pb.Sine_builder{Mean: new(50.0), Amplitude: new(30.0)}.Build(), Cv: new(2.0),
		})}, 160, 128 + 40},
	}
	for name, tt := range tests {
		s := targets("http://a")
		s.SetLoad(tt.load)
		g, err := guard.FromScenario(s, nil)
		if err != nil || g.Rate != tt.rate || g.Burst != tt.burst || g.MaxInFlight != 10_000 {
			t.Errorf("%s: %+v, %v, want rate %v, burst %v", name, g, err, tt.rate, tt.burst)
		}
	}
}

// TestUnixSocketsMustBeNamed: only the sockets of the scenario, letter by letter.
func TestUnixSocketsMustBeNamed(t *testing.T) {
	g := newGuard(t, "unix:///run/model.sock:/v1", "http://127.0.0.1:8000")
	control, err := g.Control("unix:///run/model.sock:/v1")
	if err != nil {
		t.Fatal(err)
	}
	for address, allowed := range map[string]bool{
		"/run/model.sock": true, "/run/./model.sock": false, "/run/docker.sock": false, "@model": false, "": false, "127.0.0.1:8000": false,
	} {
		if err := control("unix", address, nil); (err == nil) != allowed || err != nil && !errors.Is(err, guard.ErrRefused) {
			t.Errorf("%q: %v, want allowed %v", address, err, allowed)
		}
	}
	if err := control("tcp4", "127.0.0.1:8000", nil); !errors.Is(err, guard.ErrRefused) {
		t.Errorf("a socket's target at an internet address: %v", err)
	}
	if _, err := g.Control("unix://model.sock"); err == nil {
		t.Error("a relative path is taken")
	}
	if err := newGuard(t, "http://127.0.0.1:8000").List.Control("127.0.0.1")("unix", "/run/model.sock", nil); !errors.Is(err, guard.ErrRefused) {
		t.Errorf("a socket that nobody named: %v", err)
	}
}
