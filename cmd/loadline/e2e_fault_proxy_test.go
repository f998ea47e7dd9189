package main

import (
	"net"
	"sync"
	"testing"
	"time"
)

// direction is one way of a faulty connection.
type direction int

const (
	up   direction = iota // from the client to the server
	down                  // from the server to the client
)

// faultProxy forwards connections, and breaks them as a network does: it cuts, holds back as if every packet were lost,
// delays, and lets through only so much, each way by itself.
type faultProxy struct {
	address string
	mu      sync.Mutex
	changed *sync.Cond
	conns   map[net.Conn]bool
	closed  bool
	held    [2]bool
	delay   [2]time.Duration
	pace    [2]int // bytes a second; 0: as many as come
}

// serveFaultProxy listens on an address, which may have port 0, until the test ends.
func serveFaultProxy(t *testing.T, listen, to string) *faultProxy {
	t.Helper()
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		t.Skipf("this machine does not listen on %s: %v", listen, err)
	}
	p := &faultProxy{address: listener.Addr().String(), conns: map[net.Conn]bool{}}
	p.changed = sync.NewCond(&p.mu)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // closed by the cleanup
			}
			serving.Go(func() { p.serve(client, to) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.set(func() { p.closed = true })
		p.cut()
		serving.Wait()
	})
	return p
}

func (p *faultProxy) serve(client net.Conn, to string) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	p.set(func() { p.conns[client], p.conns[server] = true, true })
	defer p.set(func() {
		delete(p.conns, client)
		delete(p.conns, server)
	})
	var both sync.WaitGroup
	both.Go(func() { p.forward(up, client, server) })
	both.Go(func() { p.forward(down, server, client) })
	both.Wait()
}

// forward copies one way until either end closes.
func (p *faultProxy) forward(d direction, from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 4<<10)
	for {
		n, err := from.Read(buffer)
		pause, ok := p.pass(d, n)
		if err != nil || !ok {
			return
		}
		time.Sleep(pause)
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// pass waits while that way is held, and says how long to wait besides.
func (p *faultProxy) pass(d direction, n int) (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.held[d] && !p.closed {
		p.changed.Wait()
	}
	pause := p.delay[d]
	if p.pace[d] > 0 {
		pause += time.Duration(n) * time.Second / time.Duration(p.pace[d])
	}
	return pause, !p.closed
}

// set changes the proxy and wakes who waits for it.
func (p *faultProxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.changed.Broadcast()
}

// hold keeps back what goes these ways: nothing arrives, and nobody is told.
func (p *faultProxy) hold(ways ...direction) {
	p.set(func() {
		p.held = [2]bool{}
		for _, d := range ways {
			p.held[d] = true
		}
	})
}

// cut ends every connection; new ones are taken.
func (p *faultProxy) cut() {
	p.set(func() {
		for c := range p.conns {
			c.Close()
		}
	})
}

// slow delays each piece, and lets through so many bytes a second.
func (p *faultProxy) slow(delay time.Duration, pace int) {
	p.set(func() {
		for _, d := range []direction{up, down} {
			p.delay[d], p.pace[d] = delay, pace
		}
	})
}

// ways are the two proxies on an agent's way: of its results and of the bus.
type ways struct{ results, bus *faultProxy }

// both does something to both.
func (w *ways) both(do func(*faultProxy)) {
	do(w.results)
	do(w.bus)
}

// joinThrough starts an agent that reaches the coordinator over proxies of its own, at the address 127.0.0.HOST.
func (c *clusterOf) joinThrough(t *testing.T, name, host string, more ...string) *ways {
	t.Helper()
	said := servesAt.FindStringSubmatch(c.coordinator.out.String())
	at := func(address string) *faultProxy {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		return serveFaultProxy(t, net.JoinHostPort(host, port), address)
	}
	w := &ways{results: at(said[1]), bus: at(said[2])}
	direct := c.address
	c.address = w.results.address
	c.join(t, name, more...)
	c.address = direct
	return w
}
