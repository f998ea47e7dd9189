// Package bus is the connection over which coordinator and agents exchange intent: small, rare,
// repeatable requests over NATS. Data never travels here. The subjects and the messages behind
// them stand in subjects.go alone.
package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
)

// Limits of the bus.
const (
	// MaxMessage bounds one message, in bytes. A scenario of 1 MiB and its roster fit.
	MaxMessage = 4 << 20
	// tryTimeout bounds one try of a request; Call repeats tries.
	tryTimeout = time.Second
	// retryPause is the pause between two tries that failed at once.
	retryPause = 20 * time.Millisecond
	// pingEvery and maxPings find a half-open connection within six seconds.
	pingEvery = 2 * time.Second
	maxPings  = 2
	// pendingMessages and pendingBytes bound what waits for one subscription's handler.
	pendingMessages = 4096
	pendingBytes    = 64 << 20
)

// Conn is one connection to the bus. It is safe for concurrent use.
type Conn struct {
	nats *nats.Conn
	log  *slog.Logger
}

// Option changes how Connect connects.
type Option = nats.Option

// WithTLS makes a connection speak TLS alone. The configuration holds whom to trust and, where the server asks for it,
// a certificate of our own.
func WithTLS(config *tls.Config) Option { return nats.Secure(config) }

// WithCredentials shows a server what a file of credentials or a seed of an nkey holds.
func WithCredentials(path string) (Option, error) {
	if strings.HasSuffix(path, ".creds") {
		return nats.UserCredentials(path), nil
	}
	return nats.NkeyOptionFromSeed(path)
}

// Connect connects to a NATS server at url, or within the process by options such as
// (*Embedded).Option. The name is the agent's, or Coordinator; replies arrive on an inbox of that name.
// It reconnects without end and buffers nothing while it is away, so that no
// stale order is delivered after a reconnection; callers repeat what must arrive.
// Faults that NATS reports asynchronously are logged.
func Connect(url, name string, log *slog.Logger, options ...Option) (*Conn, error) {
	c := &Conn{log: log.With("component", "bus", "client", name)}
	options = append([]nats.Option{
		nats.Name(name),
		nats.CustomInboxPrefix(inbox(name)),
		nats.IgnoreAuthErrorAbort(), // a server that is being set up anew may refuse for a while
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(pingEvery),
		nats.MaxPingsOutstanding(maxPings),
		nats.ErrorHandler(c.fault),
		nats.DisconnectErrHandler(c.disconnected),
		nats.ReconnectHandler(func(*nats.Conn) { c.log.Info("bus connection is back") }),
	}, options...)
	nc, err := nats.Connect(url, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to the bus: %w", err)
	}
	c.nats = nc
	return c, nil
}

func (c *Conn) fault(_ *nats.Conn, sub *nats.Subscription, err error) {
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	c.log.Error("bus fault", "subject", subject, "error", err)
}

func (c *Conn) disconnected(_ *nats.Conn, err error) {
	if err != nil {
		c.log.Warn("bus connection lost; reconnecting", "error", err)
	}
}

// Close delivers what is under way, ends every subscription and closes the connection.
func (c *Conn) Close() { c.nats.Close() }

// Call sends request to subject and fills reply in. It repeats the request until it is answered
// or ctx ends; the error is then ctx's, with the last fault. Handlers see repeats.
func (c *Conn) Call(ctx context.Context, subject string, request, reply proto.Message) error {
	to, err := address(subject, request)
	if err != nil {
		return err
	}
	data, err := proto.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode request to %s: %w", subject, err)
	}
	if len(data) > MaxMessage {
		return fmt.Errorf("request to %s has %d bytes, more than the limit of %d", subject, len(data), MaxMessage)
	}
	for {
		message, err := c.try(ctx, to, data)
		if err == nil {
			return decode(message.Data, reply)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer from %s: %w (last fault: %w)", subject, context.Cause(ctx), err)
		case <-time.After(retryPause):
		}
	}
}

func (c *Conn) try(ctx context.Context, subject string, data []byte) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	return c.nats.RequestWithContext(ctx, subject, data)
}

func decode(data []byte, into proto.Message) error {
	if len(data) > MaxMessage {
		return fmt.Errorf("message has %d bytes, more than the limit of %d", len(data), MaxMessage)
	}
	if err := proto.Unmarshal(data, into); err != nil {
		return fmt.Errorf("decode %s: %w", into.ProtoReflect().Descriptor().Name(), err)
	}
	return nil
}

// message is a pointer to a generated message of type T.
type message[T any] interface {
	*T
	proto.Message
}

// Serve answers requests to subject with handler until the connection is closed. Calls of one
// subscription do not overlap, so a handler must be quick. A request that cannot be decoded is
// logged and left unanswered; so is one that came on another agent's subject than it says.
func Serve[Q, R any, PQ message[Q], PR message[R]](c *Conn, subject string, handler func(PQ) PR) error {
	sub, err := c.nats.Subscribe(served(subject), func(m *nats.Msg) {
		request := PQ(new(Q))
		if err := decode(m.Data, request); err != nil {
			c.log.Error("request not understood", "subject", m.Subject, "error", err)
			return
		}
		if err := checkSender(subject, m.Subject, m.Reply, request); err != nil {
			c.log.Error("request dropped", "error", err)
			return
		}
		if err := c.respond(m, handler(request)); err != nil {
			c.log.Error("answer not sent", "subject", subject, "error", err)
		}
	})
	if err != nil {
		return fmt.Errorf("serve %s: %w", subject, err)
	}
	if err := sub.SetPendingLimits(pendingMessages, pendingBytes); err != nil {
		return fmt.Errorf("serve %s: %w", subject, err)
	}
	// The server must know of the subscription before anyone is told that we serve it.
	if err := c.nats.Flush(); err != nil {
		return fmt.Errorf("serve %s: %w", subject, err)
	}
	return nil
}

func (c *Conn) respond(m *nats.Msg, reply proto.Message) error {
	data, err := proto.Marshal(reply)
	if err != nil {
		return err
	}
	if err := m.Respond(data); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return err
	}
	return nil
}
