package wire

import (
	"sync"
	"time"

	"github.com/loadline/loadline/internal/measure"
)

// sweepRest is the least time between two looks for connections that are too old: each looks at all of them.
const sweepRest = 100 * time.Millisecond

// pool keeps idle HTTP/1.1 connections, the one used last on top.
type pool struct {
	idleFor time.Duration

	mu     sync.Mutex
	idle   []*conn
	sweep  *time.Timer
	closed bool
}

// take returns the idle connection used last, or nil. Those that are too old are closed here. Whether the peer
// has closed it is found out right before it is used.
func (p *pool) take(now measure.Instant) *conn {
	for {
		cn := p.pop()
		if cn == nil || now-cn.idle <= measure.Instant(p.idleFor) {
			return cn
		}
		cn.close()
	}
}

func (p *pool) pop() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	cn := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return cn
}

// put gives a connection back.
func (p *pool) put(cn *conn, now measure.Instant) {
	cn.idle = now
	cn.rest()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= MaxIdle {
		cn.close()
		return
	}
	p.idle = append(p.idle, cn)
	if p.sweep == nil {
		p.sweep = time.AfterFunc(p.idleFor, func() { p.expire(cn.raw.now) })
	}
}

// expire closes the connections that have been idle for too long; they are at the bottom.
func (p *pool) expire(now func() measure.Instant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	t, n := now(), 0
	for _, cn := range p.idle {
		// The clock is set back once, to the start of the run; a connection from before ages anew.
		cn.idle = min(cn.idle, t)
	}
	for n < len(p.idle) && t-p.idle[n].idle >= measure.Instant(p.idleFor) {
		p.idle[n].close()
		n++
	}
	left := copy(p.idle, p.idle[n:])
	clear(p.idle[left:])
	p.idle = p.idle[:left]
	if left == 0 {
		p.sweep = nil
		return
	}
	p.sweep.Reset(max(p.idleFor-time.Duration(t-p.idle[0].idle), min(p.idleFor, sweepRest)))
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.sweep != nil {
		p.sweep.Stop()
	}
	for _, cn := range p.idle {
		cn.close()
	}
	p.idle = nil
}
