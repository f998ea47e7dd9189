package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/loadline/loadline/internal/bus"
	"github.com/loadline/loadline/internal/sim"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// clusterOf is a coordinator and its agents, each in a process of its own.
type clusterOf struct {
	dir         string // the working folder of all
	address     string
	bus         string
	certs       string   // folder of the authority; empty: in the clear
	env         []string // of the agents
	coordinator *process
	agents      []*process
}

// startCluster starts a coordinator and n agents on free ports, with credentials or without. They have joined when it
// returns.
func startCluster(t *testing.T, f files, n int, secured bool, agentFlags ...string) *clusterOf {
	t.Helper()
	c := &clusterOf{dir: f.write(t)}
	if secured {
		c.certs = filepath.Join(c.dir, "certs")
		for _, args := range [][]string{{"init"}, {"client", "alice"}, {"client", "bob"}} {
			if p := execLoadline(t, c.dir, nil, append(append([]string{"certs"}, args...), "--dir", c.certs)...); p.wait() != 0 {
				t.Fatalf("certs %v: %s", args, &p.err)
			}
		}
	}
	c.serve(t, "127.0.0.1:0", "127.0.0.1:0")
	for i := range n {
		c.join(t, fmt.Sprintf("a%d", i+1), agentFlags...)
	}
	c.wantAgents(t, n)
	return c
}

// serve starts the coordinator at addresses, and waits until it serves.
func (c *clusterOf) serve(t *testing.T, listen, nats string) {
	t.Helper()
	c.coordinator = start(t, c.dir, nil, append([]string{"coordinator", "--listen", listen, "--nats-listen", nats, "--data", "kept"}, c.tls("coordinator")...)...)
	said := regexp.MustCompile(`coordinator at (\S+)\nbus at (\S+)\n`)
	c.coordinator.until(t, "it serves", func() bool { return said.MatchString(c.coordinator.out.String()) })
	at := said.FindStringSubmatch(c.coordinator.out.String())
	c.address, c.bus = at[1], at[2]
}

// restart kills the coordinator without a word and starts it again at the same addresses.
func (c *clusterOf) restart(t *testing.T) {
	t.Helper()
	c.coordinator.signal(t, syscall.SIGKILL)
	c.coordinator.wait()
	c.serve(t, c.address, c.bus)
}

// tls are the flags that give the credentials in a folder below the authority's.
func (c *clusterOf) tls(folder string) []string {
	if c.certs == "" {
		return nil
	}
	return []string{"--tls-dir", filepath.Join(c.certs, folder)}
}

// join starts an agent.
func (c *clusterOf) join(t *testing.T, name string, more ...string) *process {
	t.Helper()
	args := append([]string{"agent", "--coordinator", c.address, "--label", "zone=a"}, more...)
	if c.certs == "" {
		args = append(args, "--name", name)
	} else if p := execLoadline(t, c.dir, nil, "certs", "agent", name, "--dir", c.certs); p.wait() != 0 {
		t.Fatalf("certs agent: %s", &p.err)
	}
	p := start(t, c.dir, c.env, append(args, c.tls("agents/"+name)...)...)
	c.agents = append(c.agents, p)
	return p
}

// client are the arguments of a client's command.
func (c *clusterOf) client(args ...string) []string {
	return append(append(args, "--coordinator", c.address), c.tls("clients/alice")...)
}

// ask runs a client's command to its end and wants success.
func (c *clusterOf) ask(t *testing.T, args ...string) string {
	t.Helper()
	p := execLoadline(t, c.dir, nil, c.client(args...)...)
	if p.status != 0 {
		t.Fatalf("%v: exit status %d\n%s%s", args, p.status, &p.out, &p.err)
	}
	return p.out.String()
}

// wantAgents waits until so many agents can be planned with.
func (c *clusterOf) wantAgents(t *testing.T, n int) {
	t.Helper()
	c.coordinator.until(t, fmt.Sprintf("%d agents are there", n), func() bool { return strings.Count(c.ask(t, "agents"), "±") == n })
}

// clusterScenario has as many arrivals as a test can count, at a rate that a busy machine keeps.
func clusterScenario(target *target, rate, seconds int, more string) files {
	return files{"s.yaml": fmt.Sprintf(`name: cluster
targets: [{name: t, url: "%s/v1", protocol: openai-chat, model: m}]
workloads: [{name: w, target: t, synthetic: {input_tokens: {fixed: 8}, output_tokens: {fixed: 4}}}]
load: [{name: main, open: {rate: %d}, duration: %ds}]
slo: [error_rate < 1%%]
%s%s`, target.root, rate, seconds, everyArrival, more)}
}

var runLine = regexp.MustCompile(`run (\S+) of cluster`)

// begin starts run with the lines of progress and waits until the target has seen load.
func (c *clusterOf) begin(t *testing.T, target *target, more ...string) (p *process, id string) {
	t.Helper()
	p = start(t, c.dir, nil, c.client(append([]string{"run", "s.yaml", "--plain", "--out", "r"}, more...)...)...)
	p.until(t, "there is load", func() bool { return target.begun() > 10 && runLine.MatchString(p.err.String()) })
	return p, runLine.FindStringSubmatch(p.err.String())[1]
}

// TestACluster plays an example with three agents, in the clear on loopback and with credentials.
func TestACluster(t *testing.T) {
	for name, secured := range map[string]bool{"in the clear": false, "with credentials": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := serveSim(t, nil)
			c := startCluster(t, clusterScenario(target, 30, 2, ""), 3, secured)
			p := &played{dir: c.dir, folder: filepath.Join(c.dir, "r")}
			p.process = execLoadline(t, c.dir, nil, c.client("run", "s.yaml", "--out", "r", "--agents", "3")...)
			p.read(t)
			p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
			p.wantVerdict(t, 0)
			seen := target.arrivals(t, p.summary.GetRunId())
			wantOnce(t, seen)
			if len(seen) != 60 || p.summary.GetArrivals().GetStarted() != 60 || len(p.summary.GetAgents()) != 3 {
				t.Errorf("%d arrivals at the target, %v started by %d agents, want 60 by 3", len(seen), p.summary.GetArrivals(), len(p.summary.GetAgents()))
			}
			sameFolders(t, filepath.Join(c.dir, "kept", "runs", p.summary.GetRunId()), p.folder)
			if text := c.ask(t, "runs"); !strings.Contains(text, p.summary.GetRunId()) || !strings.Contains(text, "complete") {
				t.Errorf("runs: %s", text)
			}
			var agents struct {
				Agents []struct {
					Info struct {
						Name   string
						Labels map[string]string
					}
				}
			}
			if err := json.Unmarshal([]byte(c.ask(t, "agents", "--json")), &agents); err != nil || len(agents.Agents) != 3 || agents.Agents[0].Info.Labels["zone"] != "a" {
				t.Errorf("agents: %+v, %v", agents, err)
			}
			c.wantGoodEnd(t)
		})
	}
}

// wantGoodEnd ends agents and coordinator by a signal, and wants them to leave in good order.
func (c *clusterOf) wantGoodEnd(t *testing.T) {
	t.Helper()
	for _, p := range append(slices.Clone(c.agents), c.coordinator) {
		p.signal(t, syscall.SIGTERM)
		if status := p.wait(); status != 0 {
			t.Errorf("exit status %d after SIGTERM\n%s", status, &p.err)
		}
	}
}

// sameFolders wants two folders to have the same files.
func sameFolders(t *testing.T, one, other string) {
	t.Helper()
	list := func(folder string) (all map[string][]byte) {
		all = map[string][]byte{}
		err := fs.WalkDir(os.DirFS(folder), ".", func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				all[name] = read(t, folder, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	a, b := list(one), list(other)
	for name, data := range a {
		if !bytes.Equal(data, b[name]) {
			t.Errorf("%s differs: %d and %d bytes", name, len(data), len(b[name]))
		}
	}
	if len(a) != len(b) {
		t.Errorf("%d files in %s, %d in %s", len(a), one, len(b), other)
	}
}

// TestAKilledAgentIsNamed kills an agent in the middle of a run: the report says which one and what is missing.
func TestAKilledAgentIsNamed(t *testing.T) {
	t.Parallel()
	target := serveSim(t, nil)
	c := startCluster(t, clusterScenario(target, 20, 6, "drain: 1s\n"), 3, false)
	p := &played{dir: c.dir, folder: filepath.Join(c.dir, "r")}
	p.process, _ = c.begin(t, target)
	c.agents[1].signal(t, syscall.SIGKILL)
	p.wait()
	p.read(t)
	if p.summary.GetState() == pb.SummaryState_SUMMARY_STATE_COMPLETE {
		t.Error("the run is complete, and one of its agents was killed")
	}
	if text := strings.Join(p.summary.GetReasons(), "\n"); !strings.Contains(text, "a2") {
		t.Errorf("the reasons do not name a2: %s", text)
	}
	wantOnce(t, target.arrivals(t, p.summary.GetRunId()))
}

// TestWatchTakesUpAgain kills the client that started a run; the run goes on, and watch sees it through.
func TestWatchTakesUpAgain(t *testing.T) {
	t.Parallel()
	target := serveSim(t, nil)
	c := startCluster(t, clusterScenario(target, 20, 4, ""), 2, true)
	p, id := c.begin(t, target)
	p.signal(t, syscall.SIGKILL)
	p.wait()
	watch := &played{dir: c.dir, folder: filepath.Join(c.dir, "runs", id)}
	watch.process = execLoadline(t, c.dir, nil, c.client("watch", id, "--plain")...)
	watch.read(t)
	watch.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	if n := watch.summary.GetArrivals().GetStarted(); n != 80 {
		t.Errorf("%d started, want 80", n)
	}
	if !strings.Contains(watch.err.String(), "of cluster") {
		t.Errorf("the view does not name the scenario: %s", &watch.err)
	}
	// Its folder is here now: watching once more only tells the verdict.
	if again := execLoadline(t, c.dir, nil, c.client("watch", id, "--json")...); again.status != watch.status || !strings.Contains(again.out.String(), id) {
		t.Errorf("watch again: exit status %d, want %d\n%s", again.status, watch.status, &again.err)
	}
	for _, bad := range []string{"none", "../" + id, "."} {
		if p := execLoadline(t, c.dir, nil, c.client("watch", bad)...); p.status == 0 {
			t.Errorf("watch %s succeeds", bad)
		}
	}
}

// TestAnotherClientStops stops a run from a second client, and leaves a watcher alone.
func TestAnotherClientStops(t *testing.T) {
	t.Parallel()
	target := serveSim(t, nil)
	c := startCluster(t, clusterScenario(target, 20, 60, "drain: 1s\n"), 2, true)
	p, id := c.begin(t, target)
	watcher := start(t, c.dir, nil, c.client("watch", id, "--plain", "--out", "w")...)
	watcher.until(t, "it watches", func() bool { return strings.Contains(watcher.err.String(), "running") })
	watcher.signal(t, os.Interrupt)
	if status := watcher.wait(); status != statusStopped || !strings.Contains(watcher.err.String(), "takes up again") {
		t.Errorf("watch ends with %d: %s", status, &watcher.err)
	}
	bob := execLoadline(t, c.dir, nil, "stop", "--all", "--now", "--reason", "enough seen", "--coordinator", c.address, "--tls-dir", filepath.Join(c.certs, "clients", "bob"))
	if bob.status != 0 || !strings.Contains(bob.out.String(), id) {
		t.Errorf("stop: %d %s%s", bob.status, &bob.out, &bob.err)
	}
	if status := p.wait(); status != statusStopped {
		t.Errorf("the run ends with %d, want %d\n%s", status, statusStopped, &p.err)
	}
	s := summaryOf(t, filepath.Join(c.dir, "r"))
	if text := strings.Join(s.GetReasons(), "\n"); !strings.Contains(text, "enough seen") {
		t.Errorf("the reasons do not say why: %s", text)
	}
}

// TestTheCoordinatorLeavesInGoodOrder signals the coordinator in the middle of a run: the run drains and is reported.
func TestTheCoordinatorLeavesInGoodOrder(t *testing.T) {
	t.Parallel()
	target := serveSim(t, nil)
	c := startCluster(t, clusterScenario(target, 20, 60, "drain: 1s\n"), 2, false)
	p := &played{dir: c.dir, folder: filepath.Join(c.dir, "r")}
	p.process, _ = c.begin(t, target)
	c.coordinator.signal(t, syscall.SIGTERM)
	if status := p.wait(); status != statusStopped {
		t.Errorf("the run ends with %d, want %d\n%s", status, statusStopped, &p.err)
	}
	p.read(t)
	if status := c.coordinator.wait(); status != 0 {
		t.Errorf("the coordinator ends with %d\n%s", status, &c.coordinator.err)
	}
}

// TestOwnersAndStrangers tries what an agent's owner, a coordinator or a client must refuse.
func TestOwnersAndStrangers(t *testing.T) {
	t.Parallel()
	target := serveSim(t, nil)
	f := clusterScenario(target, 200, 2, "")
	f["sim.yaml"] = "name: s\ntargets: [{name: t, url: 'sim://small', protocol: openai-chat, model: m}]\nworkloads: [{name: w, target: t, synthetic: {input_tokens: {fixed: 8}, output_tokens: {fixed: 4}}}]\nload: [{name: main, open: {rate: 1}, duration: 1s}]\n"
	c := startCluster(t, f, 1, true, "--max-rate", "100", "--allow", "127.0.0.1:1")
	if p := execLoadline(t, c.dir, nil, "certs", "init", "--dir", "other"); p.status != 0 {
		t.Fatal(&p.err)
	}
	if p := execLoadline(t, c.dir, nil, "certs", "agent", "a1", "--dir", "other"); p.status != 0 {
		t.Fatal(&p.err)
	}
	readable := filepath.Join(c.certs, "clients", "bob", "key.pem")
	if err := os.Chmod(readable, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]struct {
		args []string
		want []string
	}{
		"a listener for everybody": {[]string{"coordinator", "--listen", "0.0.0.0:0", "--nats-listen", "127.0.0.1:0"}, []string{"--listen", "loadline certs init"}},
		"a bus for everybody":      {[]string{"coordinator", "--listen", "127.0.0.1:0", "--nats-listen", ":0"}, []string{"--nats-listen", "--tls-dir"}},
		"another machine in clear": {[]string{"agents", "--coordinator", "192.0.2.1:7400"}, []string{"--tls-dir"}},
		"an agent of another":      {[]string{"agent", "--coordinator", c.address, "--tls-dir", "other/agents/a1"}, []string{"do not trust each other"}},
		"an agent as client":       {[]string{"agents", "--coordinator", c.address, "--tls-dir", filepath.Join(c.certs, "agents", "a1")}, []string{"certs client"}},
		"an agent of another name": {[]string{"agent", "--coordinator", c.address, "--name", "a9", "--tls-dir", filepath.Join(c.certs, "agents", "a1")}, []string{"certs agent a9"}},
		"a key for everybody":      {[]string{"agents", "--coordinator", c.address, "--tls-dir", filepath.Join(c.certs, "clients", "bob")}, []string{"chmod 600"}},
		"a simulator elsewhere":    {c.client("run", "sim.yaml"), []string{"loadline sim"}},
		"no coordinator":           {[]string{"runs"}, []string{"--coordinator"}},
		"all flags at once":        {[]string{"agent", "--coordinator", "127.0.0.1:1", "--allow", "x", "--secret", "y", "--max-rate", "0", "--label", "z"}, []string{"--allow", "--secret", "--max-rate", "--label"}},
		"no number":                {c.client("rate", "x", "fast"), []string{"sessions a second"}},
		"a password in an address": {[]string{"coordinator", "--nats-url", "nats://u:p@127.0.0.1:1"}, []string{"--nats-creds"}},
		"NATS elsewhere in clear":  {[]string{"coordinator", "--nats-url", "nats://192.0.2.1:4222"}, []string{"tls://"}},
	} {
		p := execLoadline(t, c.dir, nil, try.args...)
		if p.status != statusBadInput {
			t.Errorf("%s: exit status %d, want %d\n%s%s", name, p.status, statusBadInput, &p.out, &p.err)
		}
		for _, text := range try.want {
			if !strings.Contains(p.err.String(), text) {
				t.Errorf("%s: the message does not say %q: %s", name, text, &p.err)
			}
		}
	}
	// The owner of a1 allows another address, and half the rate: whoever starts the run is told both.
	p := execLoadline(t, c.dir, nil, c.client("run", "s.yaml", "--out", "r")...)
	said := p.out.String() + p.err.String()
	if p.status == 0 || !strings.Contains(said, "--max-rate") || !strings.Contains(said, "--allow") || !strings.Contains(said, "a1") {
		t.Errorf("exit status %d; the refusal does not name both flags and the agent:\n%s", p.status, said)
	}
	if n := target.begun(); n != 0 {
		t.Errorf("%d requests reached a target that the owner does not allow", n)
	}
}

// TestASecretIsTheAgentsAlone gives a key to one agent and its host; the client and the coordinator never see it.
func TestASecretIsTheAgentsAlone(t *testing.T) {
	t.Parallel()
	const canary = "canary-5f1c"
	target := serveSim(t, func(c *sim.Config) { c.APIKey = canary })
	f := clusterScenario(target, 20, 1, "")
	f["s.yaml"] = strings.Replace(f["s.yaml"], "model: m}", "model: m, auth: {bearer: {env: THE_KEY}}}", 1)
	c := startCluster(t, f, 0, false)
	c.env = []string{"THE_KEY=" + canary}
	bare := c.join(t, "a1")
	c.wantAgents(t, 1)
	refused := execLoadline(t, c.dir, nil, c.client("run", "s.yaml", "--out", "refused")...)
	grant := "--secret THE_KEY=" + strings.TrimPrefix(target.root, "http://")
	if said := refused.out.String() + refused.err.String(); refused.status == 0 || !strings.Contains(strings.Join(strings.Fields(said), " "), grant) {
		t.Errorf("exit status %d; the refusal does not name %s:\n%s", refused.status, grant, said)
	}
	bare.signal(t, syscall.SIGTERM)
	bare.wait()
	c.join(t, "a2", strings.Fields(grant)...)
	p := &played{dir: c.dir, folder: filepath.Join(c.dir, "r")}
	c.coordinator.until(t, "a2 is there alone", func() bool {
		agents := c.ask(t, "agents")
		return strings.Contains(agents, "a2") && !strings.Contains(agents, "a1") && strings.Contains(agents, "±")
	})
	p.process = execLoadline(t, c.dir, nil, c.client("run", "s.yaml", "--out", "r")...)
	p.read(t)
	if n := p.summary.GetRequests().GetSucceeded(); n != 20 {
		t.Errorf("%d requests succeeded, want 20: %v", n, p.summary.GetReasons())
	}
	for _, process := range append(slices.Clone(c.agents), c.coordinator, p.process, refused) {
		if strings.Contains(process.out.String()+process.err.String(), canary) {
			t.Errorf("the key was printed by %v", process.cmd.Args)
		}
	}
	err := fs.WalkDir(os.DirFS(c.dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && bytes.Contains(read(t, c.dir, name), []byte(canary)) {
			t.Errorf("the key stands in %s", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestANATSServerThatIsThereAlready plays a run over a NATS server of somebody else's.
func TestANATSServerThatIsThereAlready(t *testing.T) {
	t.Parallel()
	target := serveSim(t, nil)
	server, err := bus.StartListening(bus.Listening{Host: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	c := &clusterOf{dir: clusterScenario(target, 20, 1, "").write(t)}
	c.coordinator = start(t, c.dir, nil, "coordinator", "--listen", "127.0.0.1:0", "--nats-url", "nats://"+server.Addr().String(), "--log", "json")
	said := regexp.MustCompile(`coordinator at (\S+)\n`)
	c.coordinator.until(t, "it serves", func() bool { return said.MatchString(c.coordinator.out.String()) })
	c.address = said.FindStringSubmatch(c.coordinator.out.String())[1]
	c.join(t, "a1")
	c.wantAgents(t, 1)
	p := &played{dir: c.dir, folder: filepath.Join(c.dir, "r")}
	p.process = execLoadline(t, c.dir, []string{"LOADLINE_COORDINATOR=" + c.address}, "run", "s.yaml", "--out", "r")
	p.read(t)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	c.wantGoodEnd(t)
	for line := range strings.Lines(c.coordinator.err.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line of the log is no JSON: %s", line)
		}
	}
}

// proxy forwards connections to an address, until they are cut.
type proxy struct {
	address string
	mu      sync.Mutex
	conns   []net.Conn
	made    int
}

// serveProxy serves a proxy until the test ends.
func serveProxy(t *testing.T, to string) *proxy {
	t.Helper()
	p := &proxy{}
	p.address = serveRaw(t, func(client net.Conn) {
		server, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.conns, p.made = append(p.conns, client, server), p.made+1
		p.mu.Unlock()
		var up sync.WaitGroup
		up.Go(func() {
			_, _ = io.Copy(server, client)
			server.Close()
		})
		_, _ = io.Copy(client, server)
		client.Close()
		up.Wait()
	})
	t.Cleanup(p.cut)
	return p
}

// count is how many connections were made so far.
func (p *proxy) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.made
}

// cut ends every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// TestAClientSurvivesItsDisconnection cuts the connection of a client several times; it sees every second all the same.
func TestAClientSurvivesItsDisconnection(t *testing.T) {
	t.Parallel()
	target := serveSim(t, nil)
	c := startCluster(t, clusterScenario(target, 20, 5, ""), 1, true)
	way := serveProxy(t, c.address)
	p := &played{dir: c.dir, folder: filepath.Join(c.dir, "r")}
	p.process = start(t, c.dir, nil, append([]string{"run", "s.yaml", "--json", "--out", "r", "--coordinator", way.address}, c.tls("clients/alice")...)...)
	shown := func(second int) int {
		return strings.Count(p.err.String(), fmt.Sprintf(`"elapsed_seconds":%d,`, second))
	}
	for second := 1; second < 4; second++ {
		p.until(t, "a second was shown", func() bool { return shown(second) > 0 })
		way.cut()
	}
	p.wait()
	p.read(t)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	for second := 1; second < 5; second++ {
		if n := shown(second); n != 1 {
			t.Errorf("second %d was shown %d times\n%s", second, n, &p.err)
		}
	}
	if made := way.count(); made < 4 {
		t.Errorf("%d connections were made, and three were cut", made)
	}
}
