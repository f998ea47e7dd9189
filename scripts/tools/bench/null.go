package main

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"time"
)

// nullServer answers every HTTP request without a body with the same few bytes, as cheaply as it can,
// and remembers when the first one came.
type nullServer struct {
	listener net.Listener
	conns    sync.WaitGroup

	mu    sync.Mutex
	first time.Time
	open  map[net.Conn]bool
}

func nullAnswer() []byte {
	return []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
}

// serveNull starts it on a free loopback port; the caller closes it.
func serveNull() (*nullServer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &nullServer{listener: listener, open: map[net.Conn]bool{}}
	s.conns.Go(s.accept)
	return s, nil
}

func (s *nullServer) addr() string { return s.listener.Addr().String() }

func (s *nullServer) accept() {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		s.mu.Lock()
		s.open[conn] = true
		s.mu.Unlock()
		s.conns.Go(func() { s.serve(conn) })
	}
}

func (s *nullServer) serve(conn net.Conn) {
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.open, conn)
		s.mu.Unlock()
	}()
	answer, end := nullAnswer(), []byte("\r\n\r\n")
	buf := make([]byte, 0, 8<<10)
	for begun := false; ; {
		n, err := conn.Read(buf[len(buf):cap(buf)])
		if n > 0 && !begun {
			begun = true
			s.stamp(time.Now())
		}
		if err != nil {
			return
		}
		buf = buf[:len(buf)+n]
		if !bytes.HasSuffix(buf, end) {
			if len(buf) == cap(buf) {
				return
			}
			continue
		}
		buf = buf[:0]
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

func (s *nullServer) stamp(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first.IsZero() {
		s.first = at
	}
}

// firstSeen is when the first byte of the first request was read, and forgets it.
func (s *nullServer) firstSeen() (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.first
	s.first = time.Time{}
	return at, !at.IsZero()
}

func (s *nullServer) close() {
	s.listener.Close()
	s.mu.Lock()
	for conn := range s.open {
		conn.Close()
	}
	s.mu.Unlock()
	s.conns.Wait()
}
