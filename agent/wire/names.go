package wire

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/loadline/loadline/internal/measure"
)

const (
	// nameTTL is how long the addresses of a name are used before it is looked up again. Package net does not
	// tell the time to live of the record; this is as short as that of names that change on purpose.
	nameTTL = 5 * time.Second
	// maxAddrs bounds the addresses that are used of one name.
	maxAddrs = 64
	// leastTry is the least time for an attempt on one of several addresses.
	leastTry = 2 * time.Second
)

// names keeps the addresses of a client's host and hands them out in turn.
type names struct {
	host  string
	fixed bool // host is an address
	ask   func(ctx context.Context, host string) ([]netip.Addr, error)

	mu    sync.Mutex
	under *lookup // the lookup under way; nil: none
	addrs []netip.Addr
	bad   map[netip.Addr]bool // no connection came about since the latest lookup
	until measure.Instant
	turn  int
}

func (n *names) init(host string, r *net.Resolver) {
	n.host = host
	if r == nil {
		r = net.DefaultResolver
	}
	if a, err := netip.ParseAddr(host); err == nil {
		n.addrs, n.fixed = []netip.Addr{a}, true
	}
	n.ask = func(ctx context.Context, host string) ([]netip.Addr, error) {
		return r.LookupNetIP(ctx, "ip", host)
	}
}

// lookup is a question to the name server, and what came of it once done is closed.
type lookup struct {
	done  chan struct{}
	err   error
	ended bool // it ended only because the exchange that did it did
}

// resolve gives the addresses to be tried, in order, and whether the name was looked up for it. Exchanges that
// need the same lookup share it; a failure is told to all of them and not kept. Where the lookup ended
// only because the exchange that did it did, another does it again.
func (n *names) resolve(ctx context.Context, now func() measure.Instant) ([]netip.Addr, bool, error) {
	if n.fixed {
		return n.addrs, false, nil
	}
	for looked := false; ; looked = true {
		if addrs := n.cached(now()); addrs != nil {
			return addrs, looked, nil
		}
		l, mine := n.join()
		if mine {
			return n.look(ctx, l, now)
		}
		select {
		case <-l.done:
		case <-ctx.Done():
			return nil, true, ctx.Err()
		}
		if l.err != nil && !l.ended {
			return nil, true, l.err
		}
	}
}

// join gives the lookup under way; with mine it is the caller's to do.
func (n *names) join() (l *lookup, mine bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.under != nil {
		return n.under, false
	}
	n.under = &lookup{done: make(chan struct{})}
	return n.under, true
}

// look asks for the addresses and keeps them.
func (n *names) look(ctx context.Context, l *lookup, now func() measure.Instant) ([]netip.Addr, bool, error) {
	found, err := n.ask(ctx, n.host)
	if err == nil && len(found) == 0 {
		err = &net.DNSError{Err: "the name has no address", Name: n.host, IsNotFound: true}
	}
	l.err, l.ended = err, ctx.Err() != nil
	for i := range found {
		found[i] = found[i].Unmap()
	}
	n.mu.Lock()
	if err == nil {
		n.addrs, n.until = found[:min(len(found), maxAddrs)], now()+measure.Instant(nameTTL)
		clear(n.bad)
	}
	n.under = nil
	n.mu.Unlock()
	close(l.done)
	if err != nil {
		return nil, true, err
	}
	return n.cached(now()), true, nil
}

// cached gives the addresses beginning with the one whose turn it is, those that failed last; nil: they
// must be looked up. Where the clock was set back, to the start of a run, they are too.
func (n *names) cached(now measure.Instant) []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.addrs) == 0 || now >= n.until || n.until-now > measure.Instant(nameTTL) {
		return nil
	}
	order, failed := make([]netip.Addr, 0, len(n.addrs)), []netip.Addr(nil)
	for i := range n.addrs {
		if a := n.addrs[(n.turn+i)%len(n.addrs)]; n.bad[a] {
			failed = append(failed, a)
		} else {
			order = append(order, a)
		}
	}
	n.turn = (n.turn + 1) % len(n.addrs)
	return append(order, failed...)
}

// failed notes that no connection to an address came about.
func (n *names) failed(a netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bad == nil {
		n.bad = map[netip.Addr]bool{}
	}
	n.bad[a] = true
}

// dialNames opens a socket to one of the host's addresses, which are tried in turn. by is zero for
// no limit.
func (c *Client) dialNames(ctx context.Context, by time.Time, ex *Exchange) (net.Conn, error) {
	if !by.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, by)
		defer cancel()
	}
	if c.socket != "" {
		return c.dialer.DialContext(ctx, "unix", c.socket)
	}
	nc, lookup, err := c.names.dial(ctx, by, c.cfg.Local.Now, func(a netip.Addr, until time.Time) (net.Conn, error) {
		d := c.dialer
		var err error
		if d.LocalAddr, err = c.source(a); err != nil {
			return nil, &unusable{err}
		}
		d.Deadline = until
		return d.DialContext(ctx, "tcp", net.JoinHostPort(a.String(), c.port))
	})
	ex.Lookup = lookup
	return nc, err
}

// unusable says that an address cannot be tried from here; its like is not held against it.
type unusable struct{ error }

func (u *unusable) Unwrap() error { return u.error }

// dial looks the name up and tries one address after the other, each until a moment of its own where by is not zero, and says
// how long the lookup took; 0: there was none. What it returns on failure is what the first address gave.
func (n *names) dial(ctx context.Context, by time.Time, now func() measure.Instant, try func(a netip.Addr, until time.Time) (net.Conn, error)) (nc net.Conn, lookup time.Duration, err error) {
	begin := now()
	addrs, looked, err := n.resolve(ctx, now)
	if looked {
		lookup = time.Duration(now() - begin)
	}
	if err != nil {
		return nil, lookup, err
	}
	var first error
	for i, a := range addrs {
		var until time.Time
		if rest := len(addrs) - i; !by.IsZero() && rest > 1 {
			until = time.Now().Add(max(time.Until(by)/time.Duration(rest), leastTry))
		}
		nc, err := try(a, until)
		if err == nil {
			return nc, lookup, nil
		}
		own, skipped := errors.AsType[*unusable](err)
		if skipped {
			err = own.error
		}
		if first == nil {
			first = err
		}
		if skipped {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		n.failed(a)
	}
	if first == nil {
		first = errors.New("the name has no address")
	}
	return nil, lookup, first
}
