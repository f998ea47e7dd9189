package main

import (
	"encoding/binary"
	"slices"
	"syscall"
	"unsafe"
)

// Of HTTP/2 (RFC 9113): types of frames, flags and settings.
const (
	frameHead    = 9
	frameData    = 0x0
	frameHeaders = 0x1
	frameReset   = 0x3
	frameSet     = 0x4
	framePing    = 0x6
	frameWindow  = 0x8

	flagEnd, flagAck, flagEndHeaders = 0x1, 0x1, 0x4

	setInitialWindow = 0x4
	firstWindow      = 65535
)

const (
	prefaceLen = 24
	// allowance is what a client may send on a connection before it is allowed as much again.
	allowance = 1 << 24
	// maxPending is what waits in a connection's buffer before no more is put in.
	maxPending = 64 << 10
)

// grpcServer answers every call with the same messages, in the same loop as the saturator, and as little of
// HTTP/2 as that takes: request headers are not looked at, so neither is their compression; flow control
// of the answers is kept.
type grpcServer struct {
	gate

	conns  [maxFD]grpcConn
	active []int // connections with something to write
	counts *counts
	read   []byte
	// head begins an answer; each part is a run of messages, a frame each; tail ends it.
	head, tail []byte
	parts      []grpcPart
	unary      bool
}

// grpcPart is what is written at once: bytes with frames of which the stream is still to be set.
type grpcPart struct {
	bytes  []byte
	frames []int // where they begin
	cost   int   // what they take of the windows
	events int
}

// grpcConn is one connection; the zero value is a closed one.
type grpcConn struct {
	begun   bool
	listed  bool // it is among the active
	blocked bool
	have    []byte // a frame that has not come as a whole
	out     []byte // not written yet
	// window is what the client lets be sent on the connection, initial what on a new stream.
	window, initial int
	received        int
	streams         []grpcStream
}

// grpcStream is one answer under way.
type grpcStream struct {
	id           uint32
	window, next int
	asked        bool // the request is here as a whole
}

func frame(kind, flags byte, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	return append(append(b, flags, 0, 0, 0, 0), payload...)
}

func newGRPCServer(g gate, events, each int, c *counts) *grpcServer {
	s := &grpcServer{gate: g, counts: c, read: make([]byte, 64<<10), unary: events == 0}
	literal := func(b []byte, name, value string) []byte { // without indexing, with a new name
		b = append(append(b, 0, byte(len(name))), name...)
		return append(append(b, byte(len(value))), value...)
	}
	s.head = frame(frameHeaders, flagEndHeaders, literal([]byte{0x88}, "content-type", "application/grpc")) // 0x88: status 200
	s.tail = frame(frameHeaders, flagEndHeaders|flagEnd, literal(nil, "grpc-status", "0"))
	message := frame(frameData, 0, grpcResponse(s.unary))
	for left := max(events, 1); left > 0; {
		n := min(left, max(each, 1))
		left -= n
		p := grpcPart{cost: n * (len(message) - frameHead), events: n}
		for range n {
			p.frames = append(p.frames, len(p.bytes))
			p.bytes = append(p.bytes, message...)
		}
		s.parts = append(s.parts, p)
	}
	if s.unary {
		s.parts[0].events = 0
	}
	return s
}

func (s *grpcServer) working() bool { return len(s.active) > 0 }

func (s *grpcServer) handle(fd int, events uint32) {
	if fd == s.listener {
		s.accept(func(fd int) {
			s.conns[fd] = grpcConn{window: firstWindow, initial: firstWindow}
			s.counts.Conns++
		})
		return
	}
	c := &s.conns[fd]
	if events&syscall.EPOLLOUT != 0 && c.blocked {
		c.blocked = false
		s.list(fd, c)
	}
	if events&(syscall.EPOLLIN|syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		if !receive(fd, s.read, &c.have, func(b []byte) ([]byte, bool) { return s.frames(c, b) }) {
			s.drop(fd, c)
			return
		}
		s.list(fd, c)
	}
}

// list puts a connection among those with something to write.
func (s *grpcServer) list(fd int, c *grpcConn) {
	if !c.listed && !c.blocked {
		c.listed = true
		s.active = append(s.active, fd)
	}
}

// frames takes the whole frames in b and returns what is left over; false: this is no client of ours.
func (s *grpcServer) frames(c *grpcConn, b []byte) ([]byte, bool) {
	if !c.begun {
		if len(b) < prefaceLen {
			return b, true
		}
		b, c.begun = b[prefaceLen:], true
		c.out = append(c.out, frame(frameSet, 0, nil)...)
		c.out = append(c.out, frame(frameWindow, 0, binary.BigEndian.AppendUint32(nil, allowance))...)
	}
	for len(b) >= frameHead {
		size := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		if size > len(s.read) {
			return nil, false
		}
		if len(b) < frameHead+size {
			break
		}
		id := binary.BigEndian.Uint32(b[5:])
		if !s.take(c, b[3], b[4], id, b[frameHead:frameHead+size]) {
			return nil, false
		}
		b = b[frameHead+size:]
	}
	return b, true
}

// take acts on one frame.
func (s *grpcServer) take(c *grpcConn, kind, flags byte, id uint32, payload []byte) bool {
	switch kind {
	case frameHeaders:
		c.streams = append(c.streams, grpcStream{id: id, window: c.initial})
		s.asked(c, flags, id)
	case frameData:
		s.asked(c, flags, id)
		if c.received += len(payload); c.received > allowance/2 {
			c.out = append(c.out, frame(frameWindow, 0, binary.BigEndian.AppendUint32(nil, uint32(c.received)))...)
			c.received = 0
		}
	case frameReset:
		c.streams = slices.DeleteFunc(c.streams, func(x grpcStream) bool { return x.id == id })
	case framePing:
		if flags&flagAck == 0 {
			c.out = append(c.out, frame(framePing, flagAck, payload)...)
		}
	case frameSet:
		return s.settings(c, flags, payload)
	case frameWindow:
		if len(payload) != 4 {
			return false
		}
		c.widen(id, int(binary.BigEndian.Uint32(payload)))
	}
	return true
}

// asked notes the end of a request.
func (s *grpcServer) asked(c *grpcConn, flags byte, id uint32) {
	if flags&flagEnd == 0 {
		return
	}
	for i := range c.streams {
		if one := &c.streams[len(c.streams)-1-i]; one.id == id { // mostly the last
			one.asked = true
			s.counts.Requests++
			return
		}
	}
}

func (s *grpcServer) settings(c *grpcConn, flags byte, payload []byte) bool {
	if flags&flagAck != 0 {
		return true
	}
	for ; len(payload) >= 6; payload = payload[6:] {
		if binary.BigEndian.Uint16(payload) == setInitialWindow {
			initial := int(binary.BigEndian.Uint32(payload[2:]))
			for i := range c.streams {
				c.streams[i].window += initial - c.initial
			}
			c.initial = initial
		}
	}
	c.out = append(c.out, frame(frameSet, flagAck, nil)...)
	return len(payload) == 0
}

func (c *grpcConn) widen(id uint32, by int) {
	if id == 0 {
		c.window += by
		return
	}
	for i := range c.streams {
		if c.streams[i].id == id {
			c.streams[i].window += by
			return
		}
	}
}

// writeAll writes some more to each connection that has something, in turn.
func (s *grpcServer) writeAll() {
	kept := s.active[:0]
	for _, fd := range s.active {
		c := &s.conns[fd]
		if !c.listed {
			continue // dropped
		}
		c.listed = false
		s.fill(c)
		switch {
		case len(c.out) == 0:
		case !s.write(fd, c):
			s.drop(fd, c)
		case !c.blocked:
			c.listed = true
			kept = append(kept, fd)
		}
	}
	s.active = kept
}

// fill puts a part of each answer under way into the connection's buffer.
func (s *grpcServer) fill(c *grpcConn) {
	kept := c.streams[:0]
	for _, one := range c.streams {
		s.part(c, &one)
		if one.next < len(s.parts) {
			kept = append(kept, one)
		}
	}
	c.streams = kept
}

// part puts the next part of an answer into the buffer, as far as windows and room go.
func (s *grpcServer) part(c *grpcConn, one *grpcStream) {
	if !one.asked || len(c.out) > maxPending {
		return
	}
	p := &s.parts[one.next]
	if p.cost > c.window || p.cost > one.window {
		return
	}
	c.window, one.window = c.window-p.cost, one.window-p.cost
	if one.next == 0 {
		c.out = appendFor(c.out, s.head, one.id)
	}
	at := len(c.out)
	c.out = append(c.out, p.bytes...)
	for _, f := range p.frames {
		binary.BigEndian.PutUint32(c.out[at+f+5:], one.id)
	}
	s.counts.Events += uint64(p.events)
	if one.next++; one.next == len(s.parts) {
		c.out = appendFor(c.out, s.tail, one.id)
	}
}

// appendFor appends a frame for a stream.
func appendFor(b, frame []byte, id uint32) []byte {
	at := len(b)
	b = append(b, frame...)
	binary.BigEndian.PutUint32(b[at+5:], id)
	return b
}

// write writes what waits; false: the connection is broken.
func (s *grpcServer) write(fd int, c *grpcConn) bool {
	r, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&c.out[0])), uintptr(len(c.out)))
	switch {
	case errno == syscall.EINTR:
		return true
	case errno == syscall.EAGAIN:
		c.blocked = true
		return true
	case errno != 0:
		return false
	}
	if n := copy(c.out, c.out[r:]); n > 0 {
		c.out, c.blocked = c.out[:n], true
		return true
	}
	c.out = c.out[:0]
	return true
}

func (s *grpcServer) drop(fd int, c *grpcConn) {
	syscall.Close(fd)
	*c = grpcConn{}
}
