package wire

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"time"

	"github.com/loadline/loadline/internal/measure"
)

// open dials a connection, TLS included, within ex.lim.
func (c *Client) open(ctx context.Context, ex *Exchange) (*conn, error) {
	nc, err := c.dial(ctx, ex)
	if err != nil {
		return nil, err
	}
	raw := newRaw(nc, c.cfg.Local.Now, &c.bufs, &c.stamps)
	raw.lim = &ex.lim
	cn := newConn(raw)
	if c.secure {
		begin := c.cfg.Local.Now()
		if err := c.handshake(ctx, ex, cn); err != nil {
			cn.close()
			return nil, err
		}
		ex.Handshake = time.Duration(c.cfg.Local.Now() - begin)
	}
	if cn.http2 || c.cfg.HTTP == HTTP2 {
		if err := c.upgrade(ctx, cn); err != nil {
			cn.close()
			return nil, err
		}
	}
	ex.NewConnection, ex.Connected = true, c.cfg.Local.Now()
	return cn, nil
}

// upgrade hands a new connection over to HTTP/2.
func (c *Client) upgrade(ctx context.Context, cn *conn) error {
	cn.raw.share()
	var err error
	cn.h2, err = c.h2.adopt(ctx, cn, c.addr, c.cfg.Policy == Reuse)
	return err
}

// dial opens the socket within ex.lim.
func (c *Client) dial(ctx context.Context, ex *Exchange) (net.Conn, error) {
	var nc net.Conn
	var err error
	lim := ex.lim
	by := c.deadline(lim)
	if c.cfg.Local.Dial != nil {
		dctx, cancel := ctx, func() {}
		if !by.IsZero() {
			dctx, cancel = context.WithDeadline(ctx, by)
		}
		defer cancel()
		network, addr := c.where()
		nc, err = c.cfg.Local.Dial(dctx, network, addr)
	} else {
		nc, err = c.dialNames(ctx, by, ex)
	}
	if err != nil {
		late := c.cfg.Local.Now() >= lim.at || isTimeout(err)
		return nil, classifyDial(ctx, err, late, lim.class)
	}
	return nc, nil
}

// where is what is dialled.
func (c *Client) where() (network, addr string) {
	if c.socket != "" {
		return "unix", c.socket
	}
	return "tcp", c.addr
}

// deadline is a limit as a moment of the wall clock; never is the zero time.
func (c *Client) deadline(lim limit) time.Time {
	if lim == never {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(lim.at - c.cfg.Local.Now()))
}

// handshake puts TLS on a new connection and notes whether the peer chose HTTP/2.
func (c *Client) handshake(ctx context.Context, ex *Exchange, cn *conn) error {
	if !cn.raw.enter(ctx) {
		return canceled(ctx)
	}
	tc := tls.Client(cn.raw, c.tls)
	err := tc.Handshake()
	if !cn.raw.leave() {
		return canceled(ctx)
	}
	if err != nil && c.cfg.HTTP == HTTP2 && isAlert(err) && strings.Contains(err.Error(), textNoProtocol) {
		return errNoHTTP2()
	}
	if err != nil {
		return classify(ctx, err, stageTLS, ex.lim, true)
	}
	cn.secure(tc)
	chosen := tc.ConnectionState().NegotiatedProtocol
	if cn.http2 = chosen == "h2"; !cn.http2 && c.cfg.HTTP == HTTP2 {
		return errNoHTTP2()
	}
	return nil
}

// textNoProtocol is the alert of a server that speaks nothing of what it was offered (RFC 7301, 3.2), in
// the words of crypto/tls, which does not export its number.
const textNoProtocol = "no application protocol"

func errNoHTTP2() error {
	return fail(measure.ClassTLS, "the server does not speak HTTP/2, which connections.http asks for: use auto or http1")
}

// tlsFor is the TLS configuration of a client: what was given, the name of the host, and the
// protocols offered.
func tlsFor(cfg Config, host string) *tls.Config {
	t := cfg.TLS
	if t == nil {
		t = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t = t.Clone()
	if t.ServerName == "" {
		t.ServerName = host
	}
	t.NextProtos = []string{"h2", "http/1.1"}
	switch cfg.HTTP {
	case HTTP1:
		t.NextProtos = t.NextProtos[1:]
	case HTTP2:
		t.NextProtos = t.NextProtos[:1]
	}
	if t.ClientSessionCache == nil {
		t.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	return t
}
