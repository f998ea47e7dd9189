package rpc

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/loadline/loadline/agent/wire"
	"github.com/loadline/loadline/internal/measure"
)

// conn is one HTTP/2 connection.
type conn struct {
	pool      *Pool
	slot      *slot
	nc        net.Conn
	lookup    time.Duration
	handshake time.Duration
	ready     chan struct{} // closed when the server's settings have come
	gone      chan struct{} // closed when the connection is of no use any more
	kick      chan struct{} // there is something to write

	// Of the goroutine that reads.
	in      *wire.Socket
	br      *bufio.Reader
	fr      *http2.Framer
	greeted bool
	dec     *hpack.Decoder
	section section // the one being read
	got     int     // what came since the server was last told so

	mu      sync.Mutex
	calls   map[uint32]*Call
	last    *Call // the one looked up last
	nextID  uint32
	out     []byte // to be written
	spare   []byte
	err     *wire.Error
	leaving bool // takes no more calls
	hungry  bool // some call may wait for room
	window  int64
	initial int64
	largest int // frame
	most    uint32
	enc     *hpack.Encoder
	packing bytes.Buffer
	blocks  map[*Fields]block
	table   uint64 // counts the changes of the encoder's table
	resized bool
}

// block is how fields are packed as long as the table is the same.
type block struct {
	table uint64
	bytes []byte
}

const (
	defaultWindow, defaultFrame = 65535, 16384
	maxWindow                   = 1<<31 - 1
	frameHead                   = 9
	headerTable                 = 4096
	// maxID is the last stream of a connection.
	maxID = 1<<31 - 1
)

func newConn(p *Pool, s *slot) *conn {
	c := &conn{
		pool: p, slot: s, ready: make(chan struct{}), gone: make(chan struct{}), kick: make(chan struct{}, 1),
		calls: map[uint32]*Call{}, nextID: 1, window: defaultWindow, initial: defaultWindow, largest: defaultFrame, most: MaxStreams,
		blocks: map[*Fields]block{},
	}
	c.enc = hpack.NewEncoder(&c.packing)
	return c
}

// secure puts TLS on the connection, where the target has it.
func (c *conn) secure(ctx context.Context, in *wire.Socket) error {
	var nc net.Conn = in
	if cfg := c.pool.cfg.TLS; cfg != nil {
		begun := c.pool.now()
		secure := tls.Client(nc, cfg)
		if err := secure.HandshakeContext(ctx); err != nil {
			return wire.HandshakeError(ctx, err)
		}
		if got := secure.ConnectionState().NegotiatedProtocol; got != "h2" {
			return &wire.Error{Class: measure.ClassTLS, Err: errors.New("the server does not offer HTTP/2 (ALPN h2)")}
		}
		nc, c.handshake = secure, time.Duration(c.pool.now()-begun)
	}
	c.nc, c.in = nc, in
	c.br = bufio.NewReaderSize(nc, readBuffer)
	c.fr = http2.NewFramer(nil, c.br)
	c.fr.SetReuseFrames()
	c.fr.SetMaxReadFrameSize(defaultFrame)
	c.dec = hpack.NewDecoder(headerTable, func(f hpack.HeaderField) { c.section.emit(f) })
	c.dec.SetMaxStringLength(wire.MaxHead)
	return nil
}

// greet queues the preface, before anything else can be.
func (c *conn) greet() {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := append(c.out, http2.ClientPreface...)
	set := func(id http2.SettingID, v uint32) {
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(id)), v)
	}
	b = appendHead(b, 3*6, http2.FrameSettings, 0, 0)
	set(http2.SettingEnablePush, 0)
	set(http2.SettingInitialWindowSize, streamWindow)
	set(http2.SettingMaxHeaderListSize, wire.MaxHead)
	c.out = appendWord(b, http2.FrameWindowUpdate, 0, connWindow-defaultWindow)
	c.push()
}

func appendHead(b []byte, size int, kind http2.FrameType, flags http2.Flags, id uint32) []byte {
	b = append(b, byte(size>>16), byte(size>>8), byte(size), byte(kind), byte(flags))
	return binary.BigEndian.AppendUint32(b, id)
}

// appendWord appends a frame of four bytes.
func appendWord(b []byte, kind http2.FrameType, id, word uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHead(b, 4, kind, 0, id), word)
}

// push has what is queued written; the lock is held.
func (c *conn) push() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// write is the goroutine that writes.
func (c *conn) write() {
	for {
		select {
		case <-c.kick:
		case <-c.gone:
			return
		}
		c.mu.Lock()
		if len(c.calls) > 1 {
			// Others that are ready to run may have something to send too: one system call for all of
			// them takes a fraction of the time of one each.
			c.mu.Unlock()
			runtime.Gosched()
			c.mu.Lock()
		}
		for len(c.out) > 0 && c.err == nil {
			b := c.out
			c.out, c.spare = c.spare[:0], nil
			c.feed()
			c.mu.Unlock()
			_, err := c.nc.Write(b)
			if err != nil {
				c.fail(wire.BrokenError(err))
			}
			c.mu.Lock()
			if cap(b) <= maxQueued {
				c.spare = b[:0]
			}
		}
		c.mu.Unlock()
	}
}

// feed wakes the calls that wait for room; the lock is held.
func (c *conn) feed() {
	if !c.hungry {
		return
	}
	c.hungry = false
	for _, call := range c.calls {
		if call.hungry {
			call.hungry = false
			call.rouse()
		}
	}
}

// fail ends the connection and all its calls.
func (c *conn) fail(err *wire.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broke(err)
}

func (c *conn) broke(err *wire.Error) {
	if c.err != nil {
		return
	}
	c.err, c.leaving = err, true
	c.slot.conn.CompareAndSwap(c, nil)
	for _, call := range c.calls {
		c.end(call, err)
	}
	close(c.gone)
	// Closing TLS may wait for the peer. The failure is known; that of closing adds nothing.
	c.pool.tasks.Go(func() { _ = c.nc.Close() })
}

func (c *conn) failure() *wire.Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// violated ends a connection whose server breaks the protocol.
func (c *conn) violated(code http2.ErrCode, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	b := appendHead(nil, 8, http2.FrameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, 0), uint32(code))
	_ = c.nc.SetWriteDeadline(time.Now().Add(time.Second)) // a courtesy; the connection is given up anyway
	_, _ = c.nc.Write(b)
	c.broke(&wire.Error{Class: measure.ClassMalformed, Err: fmt.Errorf("the server breaks HTTP/2: %s", what)})
}

// settle makes the connection the slot's own, unless it has gone again.
func (c *conn) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.leaving {
		c.slot.conn.Store(c)
	}
}

// leave lets the calls under way end and takes no more.
func (c *conn) leave() {
	c.leaving = true
	c.slot.conn.CompareAndSwap(c, nil)
	c.empty()
}

// empty closes a connection that is left when its last call has ended; the lock is held.
func (c *conn) empty() {
	if c.leaving && len(c.calls) == 0 {
		c.broke(errClosed)
	}
}

// end ends a call; the lock is held.
func (c *conn) end(call *Call, err error) {
	if call.over {
		return
	}
	call.over, call.err = true, err
	delete(c.calls, call.id)
	if c.last == call {
		c.last = nil
	}
	call.rouse()
	c.empty()
}

// reset ends a call and tells the server; the lock is held.
func (c *conn) reset(call *Call, code http2.ErrCode, err error) {
	if call.over {
		return
	}
	c.out = appendWord(c.out, http2.FrameRSTStream, call.id, uint32(code))
	c.push()
	c.end(call, err)
}

func (c *Call) rouse() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
