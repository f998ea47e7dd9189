package guard

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

func TestRulesAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]Rule{
		"model.example:443": {Host: "model.example", Port: 443},
		"10.0.0.7:8000":     {Host: "10.0.0.7", Port: 8000},
		"[::1]:80":          {Host: "::1", Port: 80},
		"10.0.0.0/8:8000":   {Prefix: netip.MustParsePrefix("10.0.0.0/8"), Port: 8000},
		"[fd00::/8]:*":      {Prefix: netip.MustParsePrefix("fd00::/8")},
		"localhost:*":       {Host: "localhost"},
		"unix:/run/m.sock":  {Socket: "/run/m.sock"},
	} {
		if got, err := ParseAllow(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "host", ":80", "host:", "host:0", "host:65536", "host:http", "10.0.0.1/8:80", "10.0.0.0/33:80", "fd00::/8:80", "a/b:80", "unix:", "unix:m.sock", "unix:/run/"} {
		if rule, err := ParseAllow(text); err == nil {
			t.Errorf("%q is taken for %+v", text, rule)
		}
	}
}

func TestGrantsAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]Grant{
		"KEY=model.example:443":   {Env: "KEY", To: Rule{Host: "model.example", Port: 443}},
		"file:/run/k=10.0.0.7:80": {File: "/run/k", To: Rule{Host: "10.0.0.7", Port: 80}},
		"file:/run/a=b=host:80":   {File: "/run/a=b", To: Rule{Host: "host", Port: 80}},
		"KEY=10.0.0.0/8:*":        {Env: "KEY", To: Rule{Prefix: netip.MustParsePrefix("10.0.0.0/8")}},
	} {
		if got, err := ParseGrant(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "KEY", "=host:80", "file:=host:80", "KEY=host", "KEY="} {
		if grant, err := ParseGrant(text); err == nil {
			t.Errorf("%q is taken for %+v", text, grant)
		}
	}
}

// target makes a scenario with one target and one open phase.
func scenarioTo(url string, rate float64) *pb.Scenario {
	return pb.Scenario_builder{
		Targets: []*pb.Target{pb.Target_builder{Name: new("t"), Url: &url}.Build()},
		Load:    []*pb.Phase{pb.Phase_builder{Name: new("p"), Open: pb.OpenLoad_builder{Rate: &rate}.Build()}.Build()},
	}.Build()
}

func bind(t testing.TB, own *Own, s *pb.Scenario, share Share) (*Guard, error) {
	t.Helper()
	g, err := FromScenario(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g, own.Bind(context.Background(), g, s, share)
}

// inOwn is what the owner allows, said again in another way: the oracle of the test below.
func inOwn(own *Own, host string, to netip.AddrPort) bool {
	always := func(a netip.Addr) bool {
		return !slices.ContainsFunc([]string{"169.254.0.0/16", "100.100.100.200/32"}, func(p string) bool { return netip.MustParsePrefix(p).Contains(a) })
	}
	if len(own.Allow) == 0 {
		return slices.ContainsFunc([]string{"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}, func(p string) bool { return netip.MustParsePrefix(p).Contains(to.Addr()) })
	}
	for _, r := range own.Allow {
		if r.Port != 0 && r.Port != to.Port() {
			continue
		}
		if r.Prefix.IsValid() && r.Prefix.Contains(to.Addr()) || r.Host == to.Addr().String() || r.Host == host && always(to.Addr()) && net4(r.Host) == nil {
			return true
		}
	}
	return false
}

func net4(host string) *netip.Addr {
	if a, err := netip.ParseAddr(host); err == nil {
		return &a
	}
	return nil
}

// TestNoScenarioLeadsOutsideTheOwnersList draws lists, scenarios and resolutions: not one address is dialled that the
// owner does not allow, whatever the scenario says (T4).
func TestNoScenarioLeadsOutsideTheOwnersList(t *testing.T) {
	names := []string{"model.example", "other.example", "127.0.0.1", "10.0.0.7", "192.0.2.9", "8.8.8.8", "169.254.169.254"}
	addrs := []string{"127.0.0.1", "127.9.9.9", "10.0.0.7", "10.1.0.7", "172.20.0.1", "192.168.1.1", "192.0.2.9", "8.8.8.8", "169.254.169.254", "100.100.100.200"}
	ports := []int{80, 443, 8000}
	let, refused := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		own := &Own{Resolve: func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("not now") }}
		for range rapid.IntRange(0, 3).Draw(rt, "rules") {
			host := rapid.SampledFrom(append(slices.Clone(names), "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "0.0.0.0/0")).Draw(rt, "host")
			port := rapid.SampledFrom([]string{"80", "443", "*"}).Draw(rt, "port")
			rule, err := ParseAllow(host + ":" + port)
			if err != nil {
				rt.Fatal(err)
			}
			own.Allow = append(own.Allow, rule)
		}
		host := rapid.SampledFrom(names).Draw(rt, "target")
		url := fmt.Sprintf("http://%s:%d/v1", host, rapid.SampledFrom(ports).Draw(rt, "target port"))
		g, _ := bind(t, own, scenarioTo(url, 1), Share{Weight: 1, Of: 1}) // a coordinator that goes on all the same
		control, err := g.Control(url)
		if err != nil {
			rt.Fatal(err)
		}
		for range 8 {
			to := netip.AddrPortFrom(netip.MustParseAddr(rapid.SampledFrom(addrs).Draw(rt, "resolved")), uint16(rapid.SampledFrom(ports).Draw(rt, "dialled port")))
			if err := control("tcp4", to.String(), nil); err != nil {
				if !errors.Is(err, ErrRefused) {
					rt.Fatalf("%s: %v", to, err)
				}
				refused++
				continue
			}
			let++
			if !inOwn(own, host, to) {
				rt.Fatalf("%s of %s was dialled, and the owner allows %+v", to, url, own.Allow)
			}
		}
	})
	if let == 0 || refused == 0 {
		t.Errorf("%d let, %d refused: the test does not try both", let, refused)
	}
}

func TestRefusalsAtAssignmentNameTheFlag(t *testing.T) {
	resolve := func(_ context.Context, host string) ([]netip.Addr, error) {
		if host == "unknown.example" {
			return nil, errors.New("no such host")
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.9")}, nil
	}
	closed := func(users uint32) *pb.Scenario {
		s := scenarioTo("http://127.0.0.1:80", 1)
		s.SetLoad([]*pb.Phase{pb.Phase_builder{Name: new("p"), Closed: pb.ClosedLoad_builder{Users: &users}.Build()}.Build()})
		return s
	}
	limited := func(n uint32) *pb.Scenario {
		s := scenarioTo("http://127.0.0.1:80", 1)
		s.SetLimits(pb.Limits_builder{MaxInFlight: &n}.Build())
		return s
	}
	for name, c := range map[string]struct {
		own   Own
		s     *pb.Scenario
		share Share
		want  []string // empty: taken on
	}{
		"loopback":                   {Own{}, scenarioTo("http://127.0.0.1:80", 1000), Share{Weight: 1, Of: 1}, nil},
		"private":                    {Own{}, scenarioTo("http://10.0.0.7:80", 1), Share{Weight: 1, Of: 1}, nil},
		"public without a list":      {Own{}, scenarioTo("http://192.0.2.9:80", 1), Share{Weight: 1, Of: 1}, []string{"--allow 192.0.2.9:80"}},
		"a name for a public one":    {Own{}, scenarioTo("https://model.example", 1), Share{Weight: 1, Of: 1}, []string{"--allow model.example:443"}},
		"a name that may come":       {Own{}, scenarioTo("https://unknown.example", 1), Share{Weight: 1, Of: 1}, nil},
		"on the list":                {Own{Allow: []Rule{{Host: "model.example", Port: 443}}}, scenarioTo("https://model.example", 1), Share{Weight: 1, Of: 1}, nil},
		"another port":               {Own{Allow: []Rule{{Host: "model.example", Port: 80}}}, scenarioTo("https://model.example", 1), Share{Weight: 1, Of: 1}, []string{"--allow"}},
		"a list leaves out loopback": {Own{Allow: []Rule{{Host: "model.example", Port: 80}}}, scenarioTo("http://127.0.0.1:80", 1), Share{Weight: 1, Of: 1}, []string{"--allow 127.0.0.1:80"}},
		"rate":                       {Own{}, scenarioTo("http://127.0.0.1:80", 1001), Share{Weight: 1, Of: 1}, []string{"--max-rate"}},
		"half of a rate":             {Own{}, scenarioTo("http://127.0.0.1:80", 2000), Share{Weight: 1, Of: 2}, nil},
		"raised rate":                {Own{MaxRate: 5000}, scenarioTo("http://127.0.0.1:80", 5000), Share{Weight: 1, Of: 1}, nil},
		"users":                      {Own{}, closed(257), Share{Weight: 1, Of: 1}, []string{"--max-in-flight"}},
		"half of the users":          {Own{}, closed(512), Share{Weight: 1, Of: 2}, nil},
		"in flight by default":       {Own{}, limited(defaultInFlight), Share{Weight: 1, Of: 1, MaxInFlight: defaultInFlight}, nil},
		"in flight as asked":         {Own{}, limited(20_000), Share{Weight: 1, Of: 2, MaxInFlight: 10_000}, []string{"--max-in-flight"}},
		"a socket":                   {Own{}, scenarioTo("unix:///run/m.sock", 1), Share{Weight: 1, Of: 1}, []string{"--allow unix:/run/m.sock"}},
		"a socket on the list":       {Own{Allow: []Rule{{Socket: "/run/m.sock"}}}, scenarioTo("unix:///run/m.sock:/v1", 1), Share{Weight: 1, Of: 1}, nil},
		"another socket":             {Own{Allow: []Rule{{Socket: "/run/n.sock"}}}, scenarioTo("unix:///run/m.sock", 1), Share{Weight: 1, Of: 1}, []string{"--allow"}},
		"all at once":                {Own{}, scenarioTo("http://192.0.2.9:80", 5000), Share{Weight: 1, Of: 1}, []string{"--allow", "--max-rate"}},
	} {
		c.own.Resolve = resolve
		_, err := bind(t, &c.own, c.s, c.share)
		if (err == nil) != (len(c.want) == 0) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, flag := range c.want {
			if !strings.Contains(err.Error(), flag) {
				t.Errorf("%s: %v does not name %s", name, err, flag)
			}
		}
	}
}

// A target at a socket is dialled where the owner has it on the list, and nowhere else.
func TestSocketsMustStandOnTheOwnersList(t *testing.T) {
	for _, c := range []struct {
		own           *Own
		network, path string
		want          bool
	}{
		{nil, "unix", "/run/m.sock", true},
		{&Own{}, "unix", "/run/m.sock", false},
		{&Own{Allow: []Rule{{Socket: "/run/m.sock"}}}, "unix", "/run/m.sock", true},
		{&Own{Allow: []Rule{{Socket: "/run/m.sock"}}}, "unix", "/var/run/docker.sock", false},
		{&Own{Allow: []Rule{{Socket: "/run/m.sock"}}}, "tcp4", "127.0.0.1:80", false},
	} {
		s := scenarioTo("unix:///run/m.sock", 1)
		g, err := FromScenario(s, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.own != nil {
			_ = c.own.Bind(t.Context(), g, s, Share{Weight: 1, Of: 1}) // a coordinator that goes on all the same
		}
		control, err := g.Control("unix:///run/m.sock")
		if err != nil {
			t.Fatal(err)
		}
		if err := control(c.network, c.path, nil); (err == nil) != c.want {
			t.Errorf("%+v %s %s: %v", c.own, c.network, c.path, err)
		}
	}
}

// TestWindowHoldsInEverySecond takes at any instants: no second, wherever it begins, has more than the ceiling (T7).
func TestWindowHoldsInEverySecond(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.Uint32Range(1, 20).Draw(rt, "limit")
		w, now := NewWindow(limit), measure.Instant(rapid.Int64Range(-3e9, 3e9).Draw(rt, "begin"))
		var taken []measure.Instant
		for range rapid.IntRange(1, 200).Draw(rt, "steps") {
			now += measure.Instant(rapid.OneOf(rapid.Int64Range(0, 10), rapid.Int64Range(0, 3e8), rapid.SampledFrom([]int64{1e9 - 2, 1e9 - 1, 1e9, 1e9 + 1})).Draw(rt, "pause"))
			free := w.Free()
			took := w.Take(now)
			if took != (free <= now) {
				rt.Fatalf("free at %d, and taking at %d gave %v", free, now, took)
			}
			if took {
				taken = append(taken, now)
			}
		}
		for i, at := range taken {
			if last := i + int(limit); last < len(taken) && taken[last]-at <= 1e9 {
				rt.Fatalf("%d within a second, the ceiling is %d", limit+1, limit)
			}
		}
	})
}

func TestSecretsGoWhereTheOwnerSaysAlone(t *testing.T) {
	resolve := func(ref *pb.SecretRef) (string, error) { return "value of " + ref.GetEnv() + ref.GetFile(), nil }
	key, file := pb.SecretRef_builder{Env: new("KEY")}.Build(), pb.SecretRef_builder{File: new("/run/k")}.Build()
	auth := func(url string, ref *pb.SecretRef) *pb.Scenario {
		s := scenarioTo(url, 1)
		s.GetTargets()[0].SetAuth(pb.Auth_builder{Bearer: ref}.Build())
		return s
	}
	header := func(url string) *pb.Scenario {
		s := scenarioTo("http://10.0.0.7:80", 1)
		s.SetTargets(append(s.GetTargets(), pb.Target_builder{Name: new("u"), Url: &url, Headers: map[string]*pb.HeaderValue{"x": pb.HeaderValue_builder{Env: new("KEY")}.Build()}}.Build()))
		return s
	}
	workloadHeader := func(url string) *pb.Scenario {
		s := scenarioTo(url, 1)
		w := pb.Workload_builder{Target: new("t"), Http: pb.HttpRequest_builder{Headers: map[string]*pb.HeaderValue{"x": pb.HeaderValue_builder{Env: new("KEY")}.Build()}}.Build()}
		s.SetWorkloads([]*pb.Workload{w.Build()})
		return s
	}
	grant := func(text string) Own {
		g, err := ParseGrant(text)
		if err != nil {
			t.Fatal(err)
		}
		return Own{Secrets: []Grant{g}}
	}
	for name, c := range map[string]struct {
		own  Own
		s    *pb.Scenario
		ref  *pb.SecretRef
		want bool
	}{
		"granted":                      {grant("KEY=10.0.0.7:80"), auth("http://10.0.0.7/v1", key), key, true},
		"no grant":                     {Own{}, auth("http://10.0.0.7/v1", key), key, false},
		"grant of another":             {grant("OTHER=10.0.0.7:80"), auth("http://10.0.0.7/v1", key), key, false},
		"to another host":              {grant("KEY=10.0.0.7:80"), auth("http://10.0.0.8/v1", key), key, false},
		"to another port":              {grant("KEY=10.0.0.7:80"), auth("http://10.0.0.7:81/v1", key), key, false},
		"in a range":                   {grant("KEY=10.0.0.0/8:*"), auth("http://10.0.0.7/v1", key), key, true},
		"a name is in no range":        {grant("KEY=0.0.0.0/0:*"), auth("http://model.example/v1", key), key, false},
		"a name, whatever its case":    {grant("KEY=model.example:443"), auth("https://MODEL.example/v1", key), key, true},
		"a file":                       {grant("file:/run/k=10.0.0.7:80"), auth("http://10.0.0.7/v1", file), file, true},
		"a variable is no file":        {grant("/run/k=10.0.0.7:80"), auth("http://10.0.0.7/v1", file), file, false},
		"a header of another target":   {grant("KEY=10.0.0.7:80"), header("http://192.0.2.9"), key, false},
		"a header of that target":      {grant("KEY=192.0.2.9:80"), header("http://192.0.2.9"), key, true},
		"a header of a workload":       {grant("KEY=10.0.0.7:80"), workloadHeader("http://10.0.0.7"), key, true},
		"a header of another workload": {grant("KEY=10.0.0.7:80"), workloadHeader("http://10.0.0.8"), key, false},
		"to a socket":                  {grant("KEY=unix:/run/m.sock"), auth("unix:///run/m.sock", key), key, true},
		"to another socket":            {grant("KEY=unix:/run/n.sock"), auth("unix:///run/m.sock", key), key, false},
		"a range is no socket":         {grant("KEY=0.0.0.0/0:*"), auth("unix:///run/m.sock", key), key, false},
		"nobody takes it":              {grant("KEY=10.0.0.7:80"), scenarioTo("http://10.0.0.7", 1), key, false},
	} {
		value, err := c.own.BindSecrets(c.s, resolve)(c.ref)
		if (err == nil) != c.want || (value != "") != c.want {
			t.Errorf("%s: %q, %v", name, value, err)
		}
	}
}
