package bus

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// startTimeout bounds the start of the embedded server.
	startTimeout = 10 * time.Second
	// maxConnections bounds those to the server; one an agent, and room for those that are being replaced.
	maxConnections = 4096
	// maxSubscriptions bounds those of one connection: an agent has one an order, and its inbox.
	maxSubscriptions = 64
	// maxControlLine bounds a line of the protocol, in bytes.
	maxControlLine = 4096
	// handshakeWait bounds a TLS handshake and the wait for a client's credentials, in seconds.
	handshakeWait = 5
)

// Embedded is a NATS server within this process.
type Embedded struct {
	server *server.Server
	token  string // of connections within the process, where the server lets nobody in without credentials
}

// StartEmbedded starts a server without a listener: only Option reaches it. Stop ends it.
func StartEmbedded() (*Embedded, error) {
	return startServer(&server.Options{ServerName: "loadline-embedded", DontListen: true}, "")
}

// Listening says how a server with a listener is to be.
type Listening struct {
	// Host and Port to listen on; port 0 takes a free one.
	Host string
	Port int
	// Gate says who may come in; nil: anybody, for loopback alone.
	Gate *Gate
	// Log takes refusals.
	Log *slog.Logger
}

// StartListening starts a server with a listener for clients and nothing else: no JetStream, no routes, gateways, leaf
// nodes, websockets or monitoring. Stop ends it.
func StartListening(l Listening) (*Embedded, error) {
	options := &server.Options{
		ServerName: "loadline", Host: l.Host, Port: l.Port, MaxConn: maxConnections, MaxSubs: maxSubscriptions,
		MaxControlLine: maxControlLine, AuthTimeout: handshakeWait,
	}
	if l.Port == 0 {
		options.Port = server.RANDOM_PORT
	}
	options.Cluster.NoAdvertise = true // agents come by the address that they were given
	token := ""
	if l.Gate != nil {
		token = rand.Text()
		options.TLSConfig, options.TLS, options.TLSVerify, options.TLSTimeout = l.Gate.TLS, true, true, handshakeWait
		options.CustomClientAuthentication = &doorkeeper{gate: *l.Gate, token: token, log: l.Log.With("component", "bus")}
	}
	return startServer(options, token)
}

func startServer(options *server.Options, token string) (*Embedded, error) {
	options.NoSigs = true // signals are the command's business
	options.NoLog = true
	options.MaxPayload = MaxMessage + 64<<10
	s, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("create the embedded bus: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(startTimeout) {
		s.Shutdown()
		if !options.DontListen {
			return nil, fmt.Errorf("the bus cannot listen on %s", net.JoinHostPort(options.Host, strconv.Itoa(options.Port)))
		}
		return nil, errors.New("the embedded bus did not become ready")
	}
	return &Embedded{server: s, token: token}, nil
}

// Option makes Connect reach this server within the process, as the coordinator where that matters.
func (e *Embedded) Option() Option {
	return func(o *nats.Options) error {
		o.Token = e.token
		return nats.InProcessServer(e.server)(o)
	}
}

// Addr is the address of the listener; nil: there is none.
func (e *Embedded) Addr() net.Addr { return e.server.Addr() }

// Stop ends the server and waits until it is gone.
func (e *Embedded) Stop() {
	e.server.Shutdown()
	e.server.WaitForShutdown()
}
