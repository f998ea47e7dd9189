package main

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/loadline/loadline/internal/bus"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// TestFaultsOfTheNetwork breaks the ways between real processes: of results, of the bus, of both, one way or both ways.
func TestFaultsOfTheNetwork(t *testing.T) {
	t.Parallel()
	faultsAtOnce(t, map[string]func(*testing.T){
		"nothing passes":                    func(t *testing.T) { isolate(t, up, down) },
		"nobody is left, and comes back":    comeBack,
		"nothing comes from the agent":      func(t *testing.T) { isolate(t, up) },
		"nothing reaches the agent":         func(t *testing.T) { isolate(t, down) },
		"NATS ends":                         endNATS,
		"a slow and narrow way":             slowWay,
		"connections are cut again":         cutAgain,
		"a stop without the bus":            func(t *testing.T) { stopWithout(t, true, false, 2*time.Second) },
		"a stop without the results stream": func(t *testing.T) { stopWithout(t, false, true, 2*time.Second) },
		"a stop without both":               func(t *testing.T) { stopWithout(t, true, true, 5*time.Second) },
	})
}

// playLonely plays 50 arrivals a second for so many seconds with one agent, all of whose ways are through a proxy.
func playLonely(t *testing.T, seconds int) (*tally, *clusterOf, *ways, *played) {
	w := serveTally(t)
	c := startCluster(t, w.scenario(50, seconds, "poisson", "limits: {max_lateness: 1s}\n"), 0, false)
	c.story(t)
	way := c.joinThrough(t, "a1", "127.0.0.2")
	c.wantAgents(t, 1)
	return w, c, way, c.play(t, w)
}

// isolate (R4) holds back what goes to or from the only agent, over both of its ways: it stops by itself within its lease,
// goes on when it is heard again, and nothing that it has counted is lost.
func isolate(t *testing.T, held ...direction) {
	w, _, way, p := playLonely(t, 10)
	time.Sleep(500 * time.Millisecond)
	since := time.Now()
	way.both(func(p *faultProxy) { p.hold(held...) })
	w.noLoadAfter(t, "isolated", since, 5*time.Second)
	way.both(func(p *faultProxy) { p.hold() })
	s := p.end(t)
	w.compare(t, s)
	if len(s.GetAgents()[0].GetLost()) == 0 && s.GetArrivals().GetMissed() == 0 {
		t.Errorf("nothing is missed and nothing is lost: %v", s.GetArrivals())
	}
}

// comeBack (R1) isolates the only agent until it is given up: nothing starts the load again, but the run waits, says so, and
// everything that the agent has started is in the result when it is heard again.
func comeBack(t *testing.T) {
	w, c, way, p := playLonely(t, 20)
	time.Sleep(1500 * time.Millisecond)
	since := time.Now()
	way.both(func(p *faultProxy) { p.hold(up, down) })
	c.coordinator.until(t, "the run waits for who was lost", func() bool { return strings.Contains(c.coordinator.err.String(), "no agent is left to play it") })
	time.Sleep(time.Until(since.Add(10 * time.Second)))
	way.both(func(p *faultProxy) { p.hold() })
	s := p.end(t)
	w.compare(t, s)
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_PARTIAL)
	if !strings.Contains(p.err.String()+p.out.String(), "waiting up to 15s for results of those that were lost: a1") {
		t.Errorf("who watches is not told what the run waits for:\n%s%s", &p.out, &p.err)
	}
	if seen := uint64(len(w.all())); seen != s.GetArrivals().GetStarted() {
		t.Errorf("the target saw %d, and the result holds %d: %v", seen, s.GetArrivals().GetStarted(), s.GetReasons())
	}
	if lost := s.GetAgents()[0].GetLost(); len(lost) != 1 || lost[0].GetArrivals() != s.GetArrivals().GetLost() || lost[0].GetArrivals() == 0 {
		t.Errorf("the stretch that was lost is not named once: %v of %v", lost, s.GetArrivals())
	}
	if w.last().Sub(since) > 5*time.Second+slack {
		t.Errorf("the load went on %v after the agent was isolated", w.last().Sub(since))
	}
}

// endNATS (R6): a NATS server of somebody else's ends for longer than a lease and comes back; the run does not notice.
func endNATS(t *testing.T) {
	w := serveTally(t)
	server, err := bus.StartListening(bus.Listening{Host: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	address := server.Addr().(*net.TCPAddr)
	outage := time.Duration(tortured(t, "LOADLINE_TORTURE_GONE", int(stretched(9*time.Second, time.Minute).Seconds()))) * time.Second
	if outage > 3*time.Minute {
		t.Fatalf("NATS gone for %v: no process of a test lives longer than %v", outage, processLimit)
	}
	c := &clusterOf{dir: w.scenario(60, int((outage + 5*time.Second).Seconds()), "poisson", "limits: {max_lateness: 1s}\n").write(t)}
	c.coordinator = start(t, c.dir, nil, "coordinator", "--listen", "127.0.0.1:0", "--nats-url", "nats://"+address.String(), "--data", "kept")
	c.story(t)
	said := regexp.MustCompile(`coordinator at (\S+)\n`)
	c.coordinator.until(t, "it serves", func() bool { return said.MatchString(c.coordinator.out.String()) })
	c.address = said.FindStringSubmatch(c.coordinator.out.String())[1]
	for _, name := range []string{"a1", "a2", "a3"} {
		c.join(t, name)
	}
	c.wantAgents(t, 3)
	p := c.play(t, w)
	time.Sleep(time.Second)
	server.Stop()
	time.Sleep(outage)
	again, err := bus.StartListening(bus.Listening{Host: "127.0.0.1", Port: address.Port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Stop)
	absent := w.compare(t, p.end(t))
	fmt.Printf("NATS gone for %v: %d of %d arrivals absent, %d missed, %d changes\n", outage, absent, p.summary.GetArrivals().GetDue(),
		p.summary.GetArrivals().GetMissed(), len(p.summary.GetChanges()))
	if absent != 0 {
		t.Errorf("%d arrivals are absent", absent)
	}
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
	if n := len(p.summary.GetChanges()); n != 0 {
		t.Errorf("the run noticed: %v", p.summary.GetChanges())
	}
}

// slowWay (R8): 150 ms and 40 kB/s are enough for an agent.
func slowWay(t *testing.T) {
	w := serveTally(t)
	c := startCluster(t, w.scenario(50, 6, "poisson", everyArrival), 1, false)
	c.story(t)
	way := c.joinThrough(t, "a2", "127.0.0.2")
	c.wantAgents(t, 2)
	way.both(func(p *faultProxy) { p.slow(150*time.Millisecond, 40<<10) })
	p := c.play(t, w)
	if absent := w.compare(t, p.end(t)); absent != 0 {
		t.Errorf("%d arrivals are absent", absent)
	}
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
}

// cutAgain (R1): connections that break again and again, of results and bus in turn, lose and double nothing.
func cutAgain(t *testing.T) {
	w := serveTally(t)
	c := startCluster(t, w.scenario(50, 6, "poisson", everyArrival), 1, false)
	c.story(t)
	way := c.joinThrough(t, "a2", "127.0.0.2")
	c.wantAgents(t, 2)
	p := c.play(t, w)
	for range 8 {
		way.results.cut()
		time.Sleep(300 * time.Millisecond)
		way.bus.cut()
		time.Sleep(300 * time.Millisecond)
	}
	if absent := w.compare(t, p.end(t)); absent != 0 {
		t.Errorf("%d arrivals are absent", absent)
	}
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
}

// stopWithout (R7) stops a run while the bus, the results stream or both pass nothing: the last start lies within the bound.
func stopWithout(t *testing.T, noBus, noResults bool, bound time.Duration) {
	w := serveTally(t)
	c := startCluster(t, w.scenario(100, 60, "poisson", "limits: {max_lateness: 1s}\n"), 0, false)
	c.story(t)
	way := c.joinThrough(t, "a1", "127.0.0.2")
	c.wantAgents(t, 1)
	p := c.play(t, w)
	if noBus {
		way.bus.hold(up, down)
	}
	if noResults {
		way.results.hold(up, down)
	}
	since := time.Now()
	c.ask(t, "stop", "--all", "--now")
	w.noLoadAfter(t, "stop", since, bound)
	way.both(func(p *faultProxy) { p.hold() })
	s := p.end(t)
	if p.status != statusStopped {
		t.Errorf("the run ends with %d\n%s", p.status, &p.err)
	}
	if !noBus || !noResults {
		w.compare(t, s)
		return
	}
	// What the agent has started after the stop lies behind the report's end; the report says that it is not whole.
	t.Logf("the report: %v, %v, %q", s.GetState(), s.GetArrivals(), s.GetReasons())
	if !strings.Contains(strings.Join(s.GetReasons(), "\n"), "a1") {
		t.Errorf("the reasons do not name a1: %q", s.GetReasons())
	}
}

// TestFaultsOfStrangers puts two agents of one name, garbage and a full disk before a coordinator; the others go on.
func TestFaultsOfStrangers(t *testing.T) {
	t.Parallel()
	faultsAtOnce(t, map[string]func(*testing.T){
		"two agents of one name": twins,
		"garbage at both ports":  garbage,
	})
}

// twins (R12): the second agent of a name is refused for as long as the first is alive, and the load stays as planned.
func twins(t *testing.T) {
	w := serveTally(t)
	c := startCluster(t, w.scenario(60, 5, "constant", everyArrival), 2, false)
	c.story(t)
	p := c.play(t, w)
	twin := c.join(t, "a1")
	twin.until(t, "it is refused", func() bool { return strings.Contains(twin.err.String(), "--name") })
	if absent := w.compare(t, p.end(t)); absent != 0 || p.summary.GetArrivals().GetDue() != 300 {
		t.Errorf("%d absent: %v", absent, p.summary.GetArrivals())
	}
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
}

// garbage (R17): whatever strangers write to the ports of a coordinator, the run goes on.
func garbage(t *testing.T) {
	w := serveTally(t)
	c := startCluster(t, w.scenario(60, 5, "constant", everyArrival), 2, false)
	c.story(t)
	p := c.play(t, w)
	said := servesAt.FindStringSubmatch(c.coordinator.out.String())
	for _, address := range said[1:] {
		for _, text := range []string{
			"\x00\xff\x16\x03\x01", "GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
			"CONNECT {}\r\nSUB > 1\r\nPUB loadline.v1.coordinator.renew.a1 5\r\n\xff\xff\xff\xff\xff\r\nPUB loadline.v1.coordinator.report.a1 3\r\nabc\r\n" +
				"PUB loadline.v1.coordinator.register.a1 reply 4\r\n\x0a\xff\xff\xff\r\nPUB loadline.v1.agent.a1.change reply 3\r\n\x0a\x01\xff\r\nPUB loadline.v1.agent.a2.start reply 0\r\n\r\n",
			strings.Repeat("A", 100_000),
		} {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
			_, _ = conn.Write([]byte(text)) // it may be cut off at once
			drainConn(conn)
			conn.Close()
		}
	}
	if absent := w.compare(t, p.end(t)); absent != 0 {
		t.Errorf("%d arrivals are absent", absent)
	}
	p.wantState(t, pb.SummaryState_SUMMARY_STATE_COMPLETE)
}
