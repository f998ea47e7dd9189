package grpcdriver

import (
	"context"
	"errors"
	"math"
	"net"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/loadline/loadline/agent/wire"
)

// channel is one connection to the target, kept open and opened anew when it breaks.
type channel struct {
	conn   *grpc.ClientConn
	local  wire.Local
	load   atomic.Int64 // calls in progress
	opened atomic.Bool  // a connection has been opened that no call has counted as its own
	failed atomic.Pointer[wire.Error]
}

// newChannel makes a channel. It connects when it is first used.
func (d *Driver) newChannel() (*channel, error) {
	c := &channel{local: d.local}
	secure := insecure.NewCredentials()
	if d.tls != nil {
		secure = &watchedTLS{credentials.NewTLS(d.tls.Clone()), c, d.tls.ServerName}
	}
	steady := backoff.Config{BaseDelay: reconnectPause, Multiplier: 1, MaxDelay: reconnectPause}
	var err error
	c.conn, err = grpc.NewClient("passthrough:///"+d.address,
		grpc.WithTransportCredentials(secure),
		grpc.WithContextDialer(c.dial),
		grpc.WithNoProxy(),
		grpc.WithAuthority(d.authority),
		grpc.WithUserAgent(userAgent),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: steady, MinConnectTimeout: d.limits.Connect}),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableHealthCheck(),
		grpc.WithIdleTimeout(0),
		grpc.WithMaxHeaderListSize(wire.MaxHead),
		grpc.WithStatsHandler(watcher{}),
		grpc.WithPerRPCCredentials(once{}),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(math.MaxInt32)),
	)
	return c, err
}

// dial opens a connection and notes how that went.
func (c *channel) dial(ctx context.Context, address string) (net.Conn, error) {
	nc, err := c.local.Connect(ctx, address)
	var failure *wire.Error
	if errors.As(err, &failure) {
		c.failed.Store(failure)
		return nil, err
	}
	if err == nil {
		c.failed.Store(nil)
		c.opened.Store(true)
	}
	return nc, err
}

// watchedTLS notes why a handshake failed, and checks the certificate against a name of its own, which
// may differ from the authority that is sent.
type watchedTLS struct {
	credentials.TransportCredentials

	channel *channel
	name    string
}

func (w *watchedTLS) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := w.TransportCredentials.ClientHandshake(ctx, w.name, raw)
	if err != nil {
		w.channel.failed.Store(wire.HandshakeError(ctx, err))
	}
	return conn, info, err
}

// Info leaves the server's name out: grpc-go would want it to be the authority.
func (w *watchedTLS) Info() credentials.ProtocolInfo {
	info := w.TransportCredentials.Info()
	return credentials.ProtocolInfo{SecurityProtocol: info.SecurityProtocol}
}

func (w *watchedTLS) Clone() credentials.TransportCredentials {
	return &watchedTLS{w.TransportCredentials.Clone(), w.channel, w.name}
}

// channels are those of a target: a few at first, more when those are full.
type channels struct {
	list atomic.Pointer[[]*channel]
	next atomic.Uint64
	mu   sync.Mutex // held while the list grows
	open func() (*channel, error)
}

// take finds a channel with room, round robin, and counts the call on it; give ends that.
func (c *channels) take() (*channel, error) {
	start := c.next.Add(1)
	for {
		list := *c.list.Load()
		n := uint64(len(list))
		for i := range n {
			one := list[(start+i)%n]
			if one.load.Add(1) <= maxStreams {
				return one, nil
			}
			if n == maxChannels {
				return one, nil // all are full: the server's own limit decides who waits
			}
			one.load.Add(-1)
		}
		if err := c.grow(len(list)); err != nil {
			return nil, err
		}
	}
}

func (c *channel) give() { c.load.Add(-1) }

// grow adds a channel unless somebody else has.
func (c *channels) grow(from int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := *c.list.Load()
	if len(list) != from {
		return nil
	}
	one, err := c.open()
	if err != nil {
		return err
	}
	list = append(list[:from:from], one)
	c.list.Store(&list)
	return nil
}

func (c *channels) start(n int, open func() (*channel, error)) error {
	c.open = open
	c.list.Store(&[]*channel{})
	for i := range n {
		if err := c.grow(i); err != nil {
			return errors.Join(err, c.close())
		}
	}
	return nil
}

func (c *channels) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, one := range *c.list.Load() {
		errs = append(errs, one.conn.Close())
	}
	return errors.Join(errs...)
}
