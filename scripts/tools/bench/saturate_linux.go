package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// maxFD bounds the connections of the saturation server.
const maxFD = 4096

// burst is how many parts of one answer are written in a row. A reader that sleeps is woken by the first
// one; one at a time to each connection the server would wake it for every part, and be the limit.
const burst = 32

// edge is the events a connection is watched for, edge-triggered, so that one registration lasts for
// its whole life. The conversion is needed because syscall.EPOLLET is negative.
const edge = syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | (1 << 31)

// saturator answers prepared bytes in one loop on one thread, without the scheduler, the netpoller or a
// sleep: wait, read, write, by raw system calls. It must be faster than the fastest client, or one
// measures it; idle says by how much it is. Spinning, it never has to be woken at the client's cost.
type saturator struct {
	gate

	parts parts
	conns [maxFD]satConn
	// active are the connections with an answer of several parts under way.
	active []int
	counts *counts
	read   []byte
}

// gate is a listening socket and the set of events that is waited for.
type gate struct {
	poll, listener int
	address        string
}

// worker is what a server does in the loop.
type worker interface {
	// handle takes the events of one connection.
	handle(fd int, events uint32)
	// writeAll writes some more of every answer under way.
	writeAll()
	// working says whether there is one.
	working() bool
}

// satConn is one connection; the zero value is a closed one.
type satConn struct {
	// have is a request that has not come as a whole.
	have []byte
	// next and offset say which part of the answer is to be written, and from where.
	next, offset  int
	busy, blocked bool
}

// runSaturator is the server: ADDRESS is said on w, counts are kept in the file COUNTS. It ends with ctx or
// after LIFETIME.
func runSaturator(ctx context.Context, w io.Writer, args []string) error {
	if len(args) != 5 {
		return errors.New("usage: " + saturatorCommand + " COUNTS LIFETIME PROTOCOL EVENTS EVENTS-A-WRITE")
	}
	lifetime, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	events, err1 := strconv.Atoi(args[3])
	each, err2 := strconv.Atoi(args[4])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	counts, err := mapCounts(args[0])
	if err != nil {
		return err
	}
	g, err := listen()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, g.address); err != nil {
		return err
	}
	debug.SetGCPercent(-1)
	if args[2] == protocolGRPC {
		spin(ctx, lifetime, newGRPCServer(g, events, each, counts), g, counts)
		return nil
	}
	spin(ctx, lifetime, newSaturator(g, events, each, counts), g, counts)
	return nil
}

func newSaturator(g gate, events, each int, c *counts) *saturator {
	return &saturator{gate: g, parts: newParts(events, each), read: make([]byte, 64<<10), counts: c}
}

func mapCounts(path string) (*counts, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	mem, err := syscall.Mmap(int(f.Fd()), 0, countsSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*counts)(unsafe.Pointer(&mem[0])), nil
}

func listen() (gate, error) {
	var g gate
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return g, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return g, err
	}
	if err := syscall.Listen(fd, 1024); err != nil {
		return g, err
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return g, err
	}
	if g.poll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return g, err
	}
	g.listener, g.address = fd, fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}
	return g, syscall.EpollCtl(g.poll, syscall.EPOLL_CTL_ADD, fd, &ev)
}

// threadCPU is the CPU time of this thread, to which the server is locked.
func threadCPU() time.Duration {
	const clockThreadCPU = 3 // CLOCK_THREAD_CPUTIME_ID
	var t syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockThreadCPU, uintptr(unsafe.Pointer(&t)), 0)
	return time.Duration(t.Nano())
}

// spin is the loop. It reads the clocks only where work begins and where it ends, so a full server pays nothing for it.
func spin(ctx context.Context, lifetime time.Duration, s worker, g gate, c *counts) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begun := time.Now()
	events := make([]syscall.EpollEvent, 256)
	idle, since := true, moment{cpu: threadCPU()}
	for turn := uint(0); ; turn++ {
		if turn%8192 == 0 && (ctx.Err() != nil || time.Since(begun) > lifetime) {
			return
		}
		r, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(g.poll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
		n := int(r)
		if errno != 0 {
			n = 0
		}
		if works := n > 0 || s.working(); works == idle {
			now := moment{time.Since(begun), threadCPU()}
			c.turned(idle, since, now)
			idle, since = !works, now
		}
		for _, e := range events[:n] {
			s.handle(int(e.Fd), e.Events)
		}
		s.writeAll()
	}
}

func (s *saturator) handle(fd int, events uint32) {
	if fd == s.listener {
		s.accept()
		return
	}
	c := &s.conns[fd]
	if events&syscall.EPOLLOUT != 0 && c.blocked {
		c.blocked = false
		s.active = append(s.active, fd)
	}
	if events&(syscall.EPOLLIN|syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		if !receive(fd, s.read, &c.have, func(b []byte) ([]byte, bool) { return s.requests(fd, c, b) }) {
			s.drop(fd, c)
		}
	}
}

func (s *saturator) accept() {
	s.gate.accept(func(fd int) {
		s.conns[fd] = satConn{}
		s.counts.Conns++
	})
}

func (s *saturator) working() bool { return len(s.active) > 0 }

// accept takes the connections that wait, and tells of each before its first event.
func (g gate) accept(tell func(fd int)) {
	for {
		fd, _, err := syscall.Accept4(g.listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		if fd >= maxFD {
			syscall.Close(fd)
			continue
		}
		tell(fd)
		ev := syscall.EpollEvent{Events: edge, Fd: int32(fd)}
		if syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1) != nil ||
			syscall.EpollCtl(g.poll, syscall.EPOLL_CTL_ADD, fd, &ev) != nil {
			syscall.Close(fd)
		}
	}
}

// receive takes what has come and hands it on, behind what was left over the last time; take returns what it leaves. A read that
// does not fill the buffer has emptied the socket, and what comes later is an edge of its own, so there is no second read. false:
// the connection is over.
func receive(fd int, buf []byte, have *[]byte, take func(got []byte) (rest []byte, ok bool)) bool {
	for {
		r, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		if errno == syscall.EAGAIN || errno == syscall.EINTR {
			return true
		}
		if errno != 0 || r == 0 {
			return false
		}
		got := buf[:r]
		if len(*have) > 0 {
			got = append(*have, got...)
		}
		rest, ok := take(got)
		if !ok {
			return false
		}
		*have = append((*have)[:0], rest...)
		if int(r) < len(buf) {
			return true
		}
	}
}

// requests answers the whole requests in b and returns what is left over.
func (s *saturator) requests(fd int, c *satConn, b []byte) ([]byte, bool) {
	for len(b) > 0 {
		n := requestLen(b)
		if n == 0 {
			return b, len(b) < len(s.read)
		}
		b = b[n:]
		s.counts.Requests++
		if c.busy {
			return nil, false // pipelined behind an answer of several parts: no client of ours does that
		}
		c.busy, c.next, c.offset = true, 0, 0
		if len(s.parts) > 1 {
			s.active = append(s.active, fd)
		} else if !s.write(fd, c) {
			return nil, false
		}
	}
	return nil, true
}

// writeAll writes some parts of each answer under way, in turn.
func (s *saturator) writeAll() {
	kept := s.active[:0]
	for _, fd := range s.active {
		c := &s.conns[fd]
		if !c.busy || c.blocked {
			continue // dropped, or waiting for room
		}
		for range burst {
			if !s.write(fd, c) {
				s.drop(fd, c)
			}
			if !c.busy || c.blocked {
				break
			}
		}
		if c.busy && !c.blocked {
			kept = append(kept, fd)
		}
	}
	s.active = kept
}

// write writes what is left of one part; false: the connection is broken.
func (s *saturator) write(fd int, c *satConn) bool {
	p := s.parts[c.next]
	b := p.bytes[c.offset:]
	r, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	switch {
	case errno == syscall.EINTR:
		return true
	case errno == syscall.EAGAIN:
		c.blocked = true
		return true
	case errno != 0:
		return false
	}
	if c.offset += int(r); c.offset < len(p.bytes) {
		c.blocked = len(s.parts) > 1 // the socket is full
		return len(s.parts) > 1
	}
	s.counts.Events += uint64(p.events)
	c.offset = 0
	if c.next++; c.next == len(s.parts) {
		c.busy = false
	}
	return true
}

func (s *saturator) drop(fd int, c *satConn) {
	syscall.Close(fd)
	*c = satConn{}
}

// withParent has the kernel end a command that has not been started when this process ends,
// whatever ends it: a spinning server must not be left behind.
func withParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// requestLen is the length of the whole request that b begins with; 0: it has not come as a whole.
func requestLen(b []byte) int {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return 0
	}
	n := end + 4
	// Of the headers that our clients send only Content-Length ends so, in either case.
	if at := bytes.Index(b[:end], []byte("ontent-")); at >= 0 {
		if at := bytes.Index(b[:end], []byte("ength: ")); at >= 0 {
			size := 0
			for _, d := range b[at+len("ength: ") : end+2] {
				if d < '0' || d > '9' || size > 1<<20 {
					break
				}
				size = size*10 + int(d-'0')
			}
			n += size
		}
	}
	if n > len(b) {
		return 0
	}
	return n
}
