package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/loadline/loadline/internal/bus"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// busOf starts a bus with the coordinator's credentials and returns its address and the coordinator's connection.
func busOf(t *testing.T, own *Credentials) (address string, coordinator *bus.Conn) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	server, err := bus.StartListening(bus.Listening{
		Host: "127.0.0.1", Log: log, Gate: &bus.Gate{TLS: own.Server(), Agent: AgentOf},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	coordinator, err = bus.Connect("", bus.Coordinator, log, server.Option())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(coordinator.Close)
	return "nats://" + server.Addr().String(), coordinator
}

// client is a connection that does what it likes.
type client struct {
	*nats.Conn
	mu      sync.Mutex
	refused []string
}

func (c *client) fault(_ *nats.Conn, _ *nats.Subscription, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = append(c.refused, err.Error())
}

// refusals returns and forgets what the server has refused so far.
func (c *client) refusals(t *testing.T) []string {
	t.Helper()
	if err := c.Flush(); err != nil { // the server answers in order
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond) // the handler runs on a goroutine of its own
	c.mu.Lock()
	defer c.mu.Unlock()
	refused := c.refused
	c.refused = nil
	return refused
}

func connectRaw(address string, config *tls.Config, options ...nats.Option) (*client, error) {
	c := &client{}
	options = append(options, nats.ErrorHandler(c.fault), nats.Timeout(5*time.Second), nats.NoReconnect())
	if config != nil {
		options = append(options, nats.Secure(config))
	}
	conn, err := nats.Connect(address, options...)
	c.Conn = conn
	return c, err
}

func mustConnect(t *testing.T, address string, own *Credentials) *client {
	t.Helper()
	c, err := connectRaw(address, own.Dial())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestTheBusLetsOnlyAgentsOfTheAuthorityIn(t *testing.T) {
	a, folders := cluster(t)
	_, strangers := cluster(t)
	address, _ := busOf(t, load(t, folders["coordinator"], Coordinator))
	agent := load(t, folders["a1"], Agent)
	expired := issue(t, a, Order{Identity: Identity{Agent, "old"}, Valid: time.Millisecond})
	time.Sleep(2 * time.Millisecond)
	old, err := Read(expired, Agent, time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	nobody := &tls.Config{RootCAs: agent.pool}
	for name, config := range map[string]*tls.Config{
		"no TLS": nil, "no certificate": nobody, "expired": old.Dial(),
		"another authority": {Certificates: load(t, strangers["a1"], Agent).Dial().Certificates, RootCAs: agent.pool},
		"a client":          load(t, folders["alice"], Client).Dial(),
		"the coordinator":   load(t, folders["coordinator"], Coordinator).Dial(),
	} {
		for _, with := range [][]nats.Option{nil, {nats.Token("")}, {nats.UserInfo("a1", "")}, {nats.Token("token")}} {
			if c, err := connectRaw(address, config, with...); err == nil {
				c.Close()
				t.Errorf("%s: was let in", name)
			}
		}
	}
	if c, err := connectRaw(address, agent.Dial()); err != nil {
		t.Errorf("an agent of the authority: %v", err)
	} else {
		c.Close()
	}
}

func TestAnAgentTalksToNoOtherBus(t *testing.T) {
	a, folders := cluster(t)
	_, strangers := cluster(t)
	agent := load(t, folders["a1"], Agent)
	if err := os.Rename(folders["coordinator"], folders["coordinator"]+".before"); err != nil {
		t.Fatal(err)
	}
	elsewhere := issue(t, a, Order{Identity: Identity{Coordinator, "coordinator"}, Hosts: []string{"elsewhere.example", "192.0.2.1"}, Valid: time.Hour})
	for name, server := range map[string]*Credentials{
		"another authority": load(t, strangers["coordinator"], Coordinator),
		"an agent":          load(t, folders["a2"], Agent),
		"another address":   load(t, elsewhere, Coordinator),
	} {
		address, _ := busOf(t, server)
		if c, err := connectRaw(address, agent.Dial()); err == nil {
			c.Close()
			t.Errorf("%s: the agent talks to it", name)
		}
	}
}

// TestSubjects tries every subject of the bus as agent a1: its own are open to it, all others are not.
func TestSubjects(t *testing.T) {
	_, folders := cluster(t)
	address, _ := busOf(t, load(t, folders["coordinator"], Coordinator))
	a1 := mustConnect(t, address, load(t, folders["a1"], Agent))
	own := []string{bus.Register + ".a1", bus.Renew + ".a1", bus.Report + ".a1"}
	others := []string{
		bus.Register, bus.Register + ".a2", bus.Renew + ".a2", bus.Report + ".a2", bus.Register + ".coordinator", bus.Register + ".a1.x",
		"loadline.v1.inbox.a1.x", "loadline.v1.inbox.a2.x", "loadline.v1.inbox.coordinator.x", "_INBOX.x", "x",
		"$JS.API.INFO", "$JS.API.STREAM.CREATE.x", "$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO", "$SRV.PING", "$KV.x.y",
	}
	for _, verb := range []bus.Verb{bus.Assign, bus.Start, bus.Stop} {
		for _, name := range []string{"a1", "a2", "coordinator"} {
			others = append(others, bus.Agent(name, verb))
		}
	}
	for _, subject := range own {
		if err := a1.Publish(subject, nil); err != nil || len(a1.refusals(t)) > 0 {
			t.Errorf("publish %s: refused to its owner", subject)
		}
	}
	for _, subject := range others {
		if err := a1.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		if refused := a1.refusals(t); len(refused) != 1 || !strings.Contains(strings.ToLower(refused[0]), "permissions violation") {
			t.Errorf("publish %s: not refused: %v", subject, refused)
		}
	}
	listen := map[string]bool{
		"loadline.v1.agent.a1.assign": true, "loadline.v1.agent.a1.*": true, "loadline.v1.agent.a1.>": true, "loadline.v1.inbox.a1.>": true, "loadline.v1.inbox.a1.x.y": true,
		"loadline.v1.agent.a2.assign": false, "loadline.v1.agent.*.assign": false, "loadline.v1.agent.>": false, "loadline.v1.agent.*.>": false,
		"loadline.v1.inbox.a2.>": false, "loadline.v1.inbox.coordinator.>": false, "loadline.v1.inbox.>": false, "_INBOX.>": false,
		bus.Register + ".*": false, bus.Renew + ".a1": false, "loadline.>": false, ">": false, "*": false, "*.*.agent.a1.*": false,
		"$SYS.>": false, "$JS.>": false,
	}
	for subject, allowed := range listen {
		for _, queue := range []string{"", "workers"} {
			sub, err := a1.QueueSubscribeSync(subject, queue)
			if queue == "" {
				sub, err = a1.SubscribeSync(subject)
			}
			if err != nil {
				t.Fatal(err)
			}
			if refused := len(a1.refusals(t)) > 0; refused == allowed {
				t.Errorf("subscribe %s (queue %q): refused %v, want %v", subject, queue, refused, !allowed)
			}
			_ = sub.Unsubscribe() // the server may have done it
		}
	}
}

// TestAnAgentHearsNothingOfAnother is the same from the other side: what goes to a2 does not reach a1.
func TestAnAgentHearsNothingOfAnother(t *testing.T) {
	_, folders := cluster(t)
	address, coordinator := busOf(t, load(t, folders["coordinator"], Coordinator))
	a1 := mustConnect(t, address, load(t, folders["a1"], Agent))
	heard := make(chan *nats.Msg, 16)
	for _, subject := range []string{">", "loadline.v1.agent.*.stop", "loadline.v1.agent.a2.stop"} {
		if _, err := a1.ChanSubscribe(subject, heard); err != nil {
			t.Fatal(err)
		}
	}
	a1.refusals(t)
	log := slog.New(slog.DiscardHandler)
	a2, err := bus.Connect(address, "a2", log, bus.WithTLS(load(t, folders["a2"], Agent).Dial()))
	if err != nil {
		t.Fatal(err)
	}
	defer a2.Close()
	err = bus.Serve(a2, bus.Agent("a2", bus.Stop), func(*pb.StopRequest) *pb.StopResponse { return pb.StopResponse_builder{Accepted: true}.Build() })
	if err != nil {
		t.Fatal(err)
	}
	var reply pb.StopResponse
	if err := coordinator.Call(t.Context(), bus.Agent("a2", bus.Stop), &pb.StopRequest{}, &reply); err != nil || !reply.GetAccepted() {
		t.Fatalf("the order did not reach its agent: %v", err)
	}
	a1.refusals(t)
	if len(heard) > 0 {
		t.Errorf("a1 heard %s", (<-heard).Subject)
	}
}

// TestWhatAMessageSaysOfItsSenderCountsForNothing sends requests in another's name, and with replies to another's orders.
func TestWhatAMessageSaysOfItsSenderCountsForNothing(t *testing.T) {
	_, folders := cluster(t)
	address, coordinator := busOf(t, load(t, folders["coordinator"], Coordinator))
	var mu sync.Mutex
	var taken []string
	err := bus.Serve(coordinator, bus.Renew, func(q *pb.RenewRequest) *pb.RenewResponse {
		mu.Lock()
		defer mu.Unlock()
		taken = append(taken, q.GetAgent())
		return &pb.RenewResponse{}
	})
	if err != nil {
		t.Fatal(err)
	}
	a1, a2 := mustConnect(t, address, load(t, folders["a1"], Agent)), mustConnect(t, address, load(t, folders["a2"], Agent))
	orders, err := a2.SubscribeSync(bus.Agent("a2", bus.Stop))
	if err != nil {
		t.Fatal(err)
	}
	a2.refusals(t)
	renew := func(agent string) []byte {
		data, err := proto.Marshal(pb.RenewRequest_builder{Agent: agent}.Build())
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, m := range []struct{ reply, agent string }{
		{"loadline.v1.inbox.a1.r", "a2"}, {"", "a1"}, {bus.Agent("a2", bus.Stop), "a1"}, {"loadline.v1.inbox.a1.r", ""},
	} {
		if err := a1.PublishMsg(&nats.Msg{Subject: bus.Renew + ".a1", Reply: m.reply, Data: renew(m.agent)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a1.PublishRequest(bus.Renew+".a1", "loadline.v1.inbox.a1.r", renew("a1")); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for done := false; !done && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		mu.Lock()
		done = len(taken) > 0
		mu.Unlock()
	}
	mu.Lock()
	defer mu.Unlock()
	if len(taken) != 1 || taken[0] != "a1" {
		t.Errorf("taken were the requests of %v, want the honest one of a1 alone", taken)
	}
	if m, err := orders.NextMsg(10 * time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("the coordinator was made to send %v to a2", m)
	}
}

// TestTheBusHasNoOtherDoor wants nothing but the protocol of clients behind the listener.
func TestTheBusHasNoOtherDoor(t *testing.T) {
	_, folders := cluster(t)
	address, _ := busOf(t, load(t, folders["coordinator"], Coordinator))
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	greeting := make([]byte, 4096)
	n, err := conn.Read(greeting)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"jetstream", "leafnode", "cluster", `"tls_available":true`} {
		if strings.Contains(string(greeting[:n]), bad) {
			t.Errorf("the greeting offers %s: %s", bad, greeting[:n])
		}
	}
	if !strings.Contains(string(greeting[:n]), `"tls_required":true`) {
		t.Errorf("the greeting does not demand TLS: %s", greeting[:n])
	}
}

// TestAnAgentThatCouldServeIsNoCoordinator gives an agent a certificate as an authority of today never makes it: the role
// alone keeps it from standing in for the coordinator.
func TestAnAgentThatCouldServeIsNoCoordinator(t *testing.T) {
	a, folders := cluster(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := a.template(Order{Identity: Identity{Agent, "a3"}, Valid: time.Hour}, time.Now())
	template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	server := load(t, folders["coordinator"], Coordinator)
	server.pair = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	address, _ := busOf(t, server)
	c, err := connectRaw(address, load(t, folders["a1"], Agent).Dial())
	if err == nil {
		c.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "not a coordinator") {
		t.Errorf("an agent took an agent for the coordinator: %v", err)
	}
}
