package sim

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"

	_ "google.golang.org/grpc/encoding/gzip" // packed requests are read

	simpb "github.com/loadline/loadline/proto/loadline/sim/v1"
)

// ServeGRPC serves the echo and the token service of loadline.sim.v1, reflection and health by gRPC
// without TLS on the listener until the context ends, as Serve does HTTP. Both may serve one server.
func (s *Server) ServeGRPC(ctx context.Context, ln net.Listener) error {
	conns := &connSet{Listener: &refusingListener{Listener: ln, server: s}, open: map[string]net.Conn{}}
	web := grpc.NewServer(
		grpc.MaxRecvMsgSize(MaxBody), grpc.MaxHeaderListSize(MaxHeader), grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(headerTimeout), grpc.UnaryInterceptor(s.healthThaws), grpc.InTapHandle(s.callReached(conns)),
		grpc.ReadBufferSize(readAtOnce),
	)
	simpb.RegisterEchoServiceServer(web, &echoService{server: s, conns: conns})
	simpb.RegisterGeneratorServiceServer(web, &generatorService{server: s, conns: conns})
	reflection.Register(web)
	healthpb.RegisterHealthServer(web, health.NewServer())
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(conns) }()
	var err error
	select {
	case <-ctx.Done():
		s.Close()
		web.Stop()
		<-failed
	case err = <-failed:
		s.Close()
		web.Stop()
	}
	return err
}

// readAtOnce is how many bytes of frames are read at once. A read has the stamp of the end of what it takes, so where calls
// have gathered on a busy machine, few of them should share one: this is one or two. What is longer than that is read as a whole.
const readAtOnce = 256

type begunKey struct{}

// callReached notes when a call reached this machine. It is run by the goroutine that reads the connection, before the next
// read, so the stamp of the latest read is that of the call's header; when the handler runs, it may be another's.
func (s *Server) callReached(conns *connSet) tap.ServerInHandle {
	return func(ctx context.Context, _ *tap.Info) (context.Context, error) {
		return context.WithValue(ctx, begunKey{}, s.reached(conns.of(ctx), s.clock.now())), nil
	}
}

// healthThaws keeps health waiting in a freeze; reflection answers, it belongs to the instrument.
func (s *Server) healthThaws(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if info.FullMethod == healthpb.Health_Check_FullMethodName {
		sleep := sleeper{clock: s.clock, ctx: ctx, gone: ctx.Done(), stop: s.stop}
		defer sleep.close()
		if _, err := sleep.thaw(); err != nil {
			return nil, err
		}
	}
	return handler(ctx, req)
}

// connSet knows the open connections by their peers, so that a fault can reset one.
type connSet struct {
	net.Listener

	mu   sync.Mutex
	open map[string]net.Conn
}

func (c *connSet) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[conn.RemoteAddr().String()] = conn
	return &knownConn{Conn: conn, set: c}, nil
}

// of is the connection of a call; nil: it is gone.
func (c *connSet) of(ctx context.Context) net.Conn {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[p.Addr.String()]
}

// knownConn leaves the set when it is closed.
type knownConn struct {
	net.Conn

	set *connSet
}

func (k *knownConn) Close() error {
	k.set.mu.Lock()
	delete(k.set.open, k.RemoteAddr().String())
	k.set.mu.Unlock()
	return k.Conn.Close()
}

// rpc is one call and its answer.
type rpc struct {
	server *Server
	conns  *connSet
	ctx    context.Context // of the call; an rpc lives exactly as long
	sleep  sleeper
	key    uint64
	fault  *Fault
	sent   int // messages
	out    *emission
	end    ending
}

// call wraps an answer with everything that all measured calls share.
func (s *Server) call(ctx context.Context, conns *connSet, r route, answer func(*rpc) error) error {
	conn := conns.of(ctx)
	begun, ok := ctx.Value(begunKey{}).(int64)
	if !ok {
		begun = s.clock.now()
	}
	x := &rpc{server: s, conns: conns, ctx: ctx}
	x.sleep = sleeper{clock: s.clock, ctx: ctx, gone: ctx.Done(), stop: s.stop}
	number, epoch, ok := s.ledger.begin(r, begun)
	x.key = mix(number)
	arrival := x.tag(headerArrival)
	if arrival != "" {
		x.key = mix(hashText(arrival))
	}
	x.end = ending{epoch: epoch, route: r, begun: begun, run: x.tag(headerRun), arrival: arrival}
	x.out = newEmission(s.ledger, &x.end, conn, 0)
	defer x.close()
	if !ok {
		return x.conclude(tooMany())
	}
	x.fault = s.faultWhere(number, x.key, speaksGRPC)
	err := x.before()
	if err == nil {
		err = answer(x)
	}
	return x.conclude(err)
}

func (x *rpc) close() {
	x.out.settle(&x.sleep)
	x.sleep.close()
	x.server.ledger.end(&x.end)
}

// tag is a value of the call's metadata.
func (x *rpc) tag(name string) string {
	if values := metadata.ValueFromIncomingContext(x.ctx, name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// arrived notes the arrival with the digest of its first message.
func (x *rpc) arrived(m proto.Message) {
	arrival := x.tag(headerArrival)
	if arrival == "" {
		return
	}
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m) // it was read from the wire: it encodes
	sum := sha256.Sum256(b)
	x.server.ledger.arrival(x.tag(headerRun), arrival, binary.BigEndian.Uint64(sum[:]))
}

// send sends a message, after a freeze if there is one.
func (x *rpc) send(write func() error) error {
	if _, err := x.sleep.thaw(); err != nil {
		return err
	}
	if err := x.out.send(x.server.clock.now(), 1, write); err != nil {
		return err
	}
	x.sent++
	return nil
}

// echoes waits as long as an echo takes.
func (x *rpc) echoes() error {
	law := x.server.cfg.Echo
	if law.zero() {
		return nil
	}
	calendar := &x.sleep.clock.calendar
	_, err := x.sleep.until(calendar.wall(calendar.working(x.server.clock.now()) + law.draw(rngOf(x.server, x.key))))
	return err
}

// reset ends the connection of the call by RST, and with it every call on it.
func (x *rpc) reset() error {
	if conn := x.conns.of(x.ctx); conn != nil {
		resetConn(conn)
	}
	return errBroken
}
