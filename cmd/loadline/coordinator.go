package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/loadline/loadline/agent/workload"
	"github.com/loadline/loadline/cmd/loadline/trust"
	"github.com/loadline/loadline/coordinator"
	"github.com/loadline/loadline/internal/bus"
	"github.com/loadline/loadline/internal/content"
)

// Limits and waits of a coordinator that others reach (T21).
const (
	// maxStreams bounds the calls that one connection has open.
	maxStreams = 256
	// maxConnections bounds those that are open at once; others wait.
	maxConnections = 4096
	// connBuffer is the buffer of each direction of a connection, in bytes: a window of an agent in one system call. With gRPC's own
	// 32 KiB a thousand agents would hold 32 MiB to read into, and as much while something is written to all of them.
	connBuffer = 8 << 10
	// flowWindow is how many bytes the other side may send ahead on a stream or a connection. Left to itself gRPC measures what
	// a connection takes: a ping, and its answer, for every message that comes after a pause, which is each window and each renewal.
	flowWindow = 512 << 10
	// maxHeader bounds the headers of one call, in bytes.
	maxHeader = 16 << 10
	// handshakeWait bounds the making of a connection.
	handshakeWait = 10 * time.Second
	// rarestPing is how rarely a peer may ping; one that does so more often is cut off.
	rarestPing = 10 * time.Second
	// clusterStartAhead is how far a run's start lies ahead once all agents are ready: the order has to reach each of them.
	clusterStartAhead = 500 * time.Millisecond
	// farewell is how long the coordinator still answers when the last run has ended, so that those who watch it can fetch
	// what it has left behind.
	farewell = 3 * time.Second
)

// coordinatorOptions are the flags of coordinator.
type coordinatorOptions struct {
	flags      *flags
	listen     string
	natsListen string
	natsURL    string
	natsCreds  string
	data       string
	filesMax   string
	filesSize  int64 // what filesMax says, in bytes; check sets it
	tlsDir     string
	metrics    string
	log        logOptions
}

func (a *app) coordinatorCommand() *cobra.Command {
	o := &coordinatorOptions{}
	cmd := &cobra.Command{
		Use:   "coordinator",
		Short: "Serve a cluster: take agents, start runs, keep their results",
		Long: `Serve a cluster until a signal comes. Agents and clients reach it by gRPC on --listen; orders to agents travel over NATS, whose
server it brings along on --nats-listen unless --nats-url names one. Without --tls-dir both listen on loopback alone.
Run folders are kept in runs/ of --data, the files of scenarios in files/. Runs that were going on when it ended are taken up again.

ctrl-c or SIGTERM once: no new runs, those that go on drain and are reported. Twice: they stop now. A third time: leave at once.
The exit status is 0 after a signal, 104 for flags or credentials that cannot be used, 1 for anything else.`,
		Example: `  loadline coordinator
  loadline coordinator --listen 0.0.0.0:7400 --nats-listen 0.0.0.0:7401 --tls-dir certs/coordinator --data /var/lib/loadline
  loadline coordinator --nats-url tls://nats.example:4222 --nats-creds coordinator.creds --tls-dir certs/coordinator`,
		Args: noArguments,
		RunE: action(func(ctx context.Context, _ []string) error { return a.serveCoordinator(ctx, o) }),
	}
	f := a.newFlags(cmd, variablePrefix)
	o.flags = f
	f.text(&o.listen, "listen", "127.0.0.1:7400", "address `HOST:PORT` for agents and clients; port 0 takes a free one")
	f.text(&o.natsListen, "nats-listen", "127.0.0.1:7401", "address `HOST:PORT` of the NATS server that is brought along; port 0 takes a free one")
	f.text(&o.natsURL, "nats-url", "", "address `URL` of a NATS server that is there already, instead of --nats-listen")
	f.text(&o.natsCreds, "nats-creds", "", "`FILE` of credentials (.creds) or with the seed of an nkey for --nats-url")
	f.text(&o.data, "data", "loadline-data", "folder `DIR` of everything that is kept")
	f.text(&o.filesMax, "files-max", "20GiB", "most `SIZE` of the files of scenarios that are kept below --data; what no run needs goes first")
	f.text(&o.tlsDir, "tls-dir", "", "folder `DIR` of credentials that loadline certs init has made; without it loopback alone")
	f.text(&o.metrics, "metrics-listen", "", metricsUsage)
	o.log.add(f)
	return cmd
}

// check reads the flags and the credentials, and tells all that is wrong at once.
func (o *coordinatorOptions) check() (listen, natsListen hostPort, own *trust.Credentials, err error) {
	own, credsErr := credentialsOf(o.tlsDir, trust.Coordinator)
	listen, listenErr := parseHostPort("listen", o.listen)
	if listenErr == nil {
		listenErr = listen.checkListener("listen", o.tlsDir != "")
	}
	var natsErr error
	switch {
	case o.natsURL != "" && o.flags.given("nats-listen"):
		natsErr = errors.New("--nats-listen and --nats-url: give one of them")
	case o.natsURL != "":
		natsErr = checkBusURL("--nats-url", o.natsURL, own != nil)
	case o.natsCreds != "":
		natsErr = errors.New("--nats-creds is for --nats-url")
	default:
		natsListen, natsErr = parseHostPort("nats-listen", o.natsListen)
		if natsErr == nil {
			natsErr = natsListen.checkListener("nats-listen", o.tlsDir != "")
		}
	}
	size, sizeErr := parseSize("files-max", o.filesMax)
	o.filesSize = size
	return listen, natsListen, own, errors.Join(credsErr, listenErr, natsErr, sizeErr, checkMetricsListener(o.metrics))
}

// checkBusURL refuses a server that is reached in the clear from elsewhere, and passwords that agents would be told.
func checkBusURL(flag, text string, secured bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "nats" && u.Scheme != "tls":
		return fmt.Errorf("%s: write nats://HOST:PORT or tls://HOST:PORT", flag)
	case u.User != nil:
		return fmt.Errorf("%s: leave out user and password; give a file with --nats-creds", flag)
	case u.Scheme == "nats" && !secured && !(hostPort{host: u.Hostname()}).loopback():
		return fmt.Errorf("%s %s: without TLS anybody on the way could give orders to the agents; write tls:// or give --tls-dir", flag, text)
	}
	return nil
}

// serveCoordinator is the command coordinator.
func (a *app) serveCoordinator(ctx context.Context, o *coordinatorOptions) error {
	log, logErr := o.log.logger(a.stderr)
	listen, natsListen, own, err := o.check()
	if err := errors.Join(logErr, err); err != nil {
		return badInput("%w", err)
	}
	warnOfEnd(log, own, time.Now())
	signals := a.listen()
	s := &station{log: log, own: own}
	if err := s.start(ctx, o, listen, natsListen); err != nil {
		return errors.Join(err, s.stop())
	}
	metrics, err := serveMetrics(o.metrics, func() []sample { return coordinatorSamples(s.coordinator.Counts()) })
	if err != nil {
		return errors.Join(err, s.stop())
	}
	defer metrics.close()
	metrics.announce(a.stdout)
	fmt.Fprintf(a.stdout, "coordinator at %s\n", s.listener.Addr())
	if s.nats != nil {
		fmt.Fprintf(a.stdout, "bus at %s\n", s.nats.Addr())
	}
	select {
	case err := <-s.served:
		return errors.Join(fmt.Errorf("the listener has failed: %w", err), s.stop())
	case <-signals:
	}
	return s.leave(ctx, signals)
}

// station is a coordinator that others reach.
type station struct {
	log         *slog.Logger
	own         *trust.Credentials // nil: none
	data        *coordinator.Data
	nats        *bus.Embedded // nil: one that is there already
	conn        *bus.Conn
	coordinator *coordinator.Coordinator
	server      *grpc.Server
	listener    net.Listener
	serving     sync.WaitGroup
	served      chan error
}

func (s *station) start(ctx context.Context, o *coordinatorOptions, listen, natsListen hostPort) (err error) {
	if s.data, err = coordinator.OpenData(o.data); err != nil {
		return badInput("--data: %w", err)
	}
	files, err := o.openFiles(s.data)
	if err != nil {
		return err
	}
	if s.listener, err = net.Listen("tcp", listen.String()); err != nil {
		return badInput("cannot listen: %w; choose another address: --listen 127.0.0.1:0 takes a free port", err)
	}
	entrance := &coordinator.Entrance{Version: buildVersion().Version, Log: s.log, TLS: s.own != nil}
	if err := s.startBus(o, natsListen, entrance); err != nil {
		return err
	}
	s.coordinator, err = coordinator.New(ctx, coordinator.Config{
		Bus: s.conn, Folder: folders("", s.data.Runs()), Resume: s.data.Runs(), StartAhead: clusterStartAhead,
		Files: files, ExpectedTokens: workload.Expected, Version: buildVersion().Version, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.server = grpc.NewServer(serverOptions(s.own)...)
	s.coordinator.Register(s.server)
	entrance.Register(s.server)
	grpc_health_v1.RegisterHealthServer(s.server, health.NewServer())
	reflection.Register(s.server)
	s.served = make(chan error, 1)
	limited := netutil.LimitListener(s.listener, maxConnections)
	s.serving.Go(func() { s.served <- s.server.Serve(limited) })
	s.log.Info("coordinator serves", "address", s.listener.Addr(), "tls", s.own != nil, "data", o.data)
	return nil
}

// openFiles opens the folder of the files that scenarios name.
func (o *coordinatorOptions) openFiles(data *coordinator.Data) (*content.Store, error) {
	files, err := content.Open(data.Files(), o.filesSize)
	if err != nil {
		return nil, badInput("--data: %w", err)
	}
	return files, nil
}

// startBus brings a NATS server along, or connects to the one that is there.
func (s *station) startBus(o *coordinatorOptions, listen hostPort, entrance *coordinator.Entrance) (err error) {
	if o.natsURL != "" {
		entrance.URLs = []string{o.natsURL}
		options, err := busOptions(s.own, o.natsCreds)
		if err != nil {
			return badInput("--nats-creds: %w", err)
		}
		s.conn, err = bus.Connect(o.natsURL, bus.Coordinator, s.log, options...)
		return err
	}
	listening := bus.Listening{Host: listen.host, Port: listen.port, Log: s.log}
	if s.own != nil {
		listening.Gate = &bus.Gate{TLS: s.own.Server(), Agent: trust.AgentOf}
	}
	if s.nats, err = bus.StartListening(listening); err != nil {
		return badInput("%w; choose another address: --nats-listen 127.0.0.1:0 takes a free port", err)
	}
	entrance.Port = uint32(s.nats.Addr().(*net.TCPAddr).Port)
	s.conn, err = bus.Connect("", bus.Coordinator, s.log, s.nats.Option())
	return err
}

// busOptions are those of a connection to a NATS server that is there already.
func busOptions(own *trust.Credentials, creds string) ([]bus.Option, error) {
	var options []bus.Option
	if own != nil {
		options = append(options, bus.WithTLS(own.DialBus()))
	}
	if creds == "" {
		return options, nil
	}
	option, err := bus.WithCredentials(creds)
	return append(options, option), err
}

// serverOptions limit what the other side may do, and with credentials let in only holders of others of the same authority.
func serverOptions(own *trust.Credentials) []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(coordinator.MaxResultsMessage), grpc.MaxConcurrentStreams(maxStreams), grpc.MaxHeaderListSize(maxHeader),
		grpc.ConnectionTimeout(handshakeWait), grpc.WaitForHandlers(true),
		grpc.ReadBufferSize(connBuffer), grpc.WriteBufferSize(connBuffer),
		grpc.StaticStreamWindowSize(flowWindow), grpc.StaticConnWindowSize(flowWindow),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: rarestPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: aliveEvery, Timeout: aliveWait}),
	}
	if own == nil {
		return options
	}
	options = append(options, grpc.Creds(credentials.NewTLS(own.Server())))
	return append(options, coordinator.Access(identify)...)
}

// identify says who is at the other end of a connection, in the coordinator's words.
func identify(state tls.ConnectionState) (coordinator.Role, string, error) {
	id, err := trust.Peer(state)
	return coordinator.Role(id.Role), id.Name, err
}

// leave ends everything in good order. Another signal hardens it, a third one waits for nothing.
func (s *station) leave(ctx context.Context, signals <-chan os.Signal) error {
	s.log.Info("told to end: no new runs; those that go on drain; another signal stops them now")
	ctx, hurry := context.WithCancel(ctx)
	defer hurry()
	left := make(chan error, 1)
	go func() {
		if s.coordinator.Drain(ctx, "the coordinator was told to end") > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(farewell):
			}
		}
		left <- s.stop()
	}()
	for again := 1; ; again++ {
		select {
		case err := <-left:
			return err
		case <-signals:
		}
		hurry()
		if again > 1 {
			return &failure{status: statusStopped, err: errors.New("left at once; the journals are valid up to the last acknowledged second")}
		}
		s.log.Warn("told to end again: runs stop now; another signal leaves at once")
	}
}

// stop ends everything that was started, in the opposite order, and waits for it.
func (s *station) stop() error {
	if s.coordinator != nil {
		s.coordinator.Close()
	}
	var err error
	switch {
	case s.served != nil:
		s.server.Stop()
	case s.listener != nil:
		err = s.listener.Close()
	}
	s.serving.Wait()
	if s.conn != nil {
		s.conn.Close()
	}
	if s.nats != nil {
		s.nats.Stop()
	}
	if s.data != nil {
		err = errors.Join(err, s.data.Close())
	}
	return err
}
