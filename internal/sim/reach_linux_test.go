package sim

import (
	"net"
	"testing"
	"time"
)

// stampedPair is a connection: the end of a client, and that of a server which is stamped.
func stampedPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return client, stampConn(server, func() int64 { return 1 })
}

// TestARequestBeginsWhenItReachesTheMachine: not when somebody gets round to reading it.
func TestARequestBeginsWhenItReachesTheMachine(t *testing.T) {
	s, err := New(quick())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	client, conn := stampedPair(t)
	if got, now := s.reached(conn, 7), int64(7); got != now {
		t.Errorf("before anything came a request begins at %d, when it is handled, not at %d", now, got)
	}
	p := make([]byte, 8)
	for range 100 { // until the kernel has begun to stamp
		before := s.clock.now()
		if _, err := client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		written := s.clock.now()
		time.Sleep(5 * time.Millisecond)
		if n, err := conn.Read(p); n != 5 || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		now := s.clock.now()
		got := s.reached(conn, now)
		if got == now { // without a stamp
			continue
		}
		const width = int64(50 * time.Microsecond) // of the mapping
		if got < before-width || got > written+width {
			t.Errorf("written from %d to %d, read at %d: begun at %d", before, written, now, got)
		}
		return
	}
	t.Error("no read was stamped")
}

// TestAStampedConnectionEnds as any other: with EOF when the peer is gone, with an error when it is closed or late.
func TestAStampedConnectionEnds(t *testing.T) {
	client, conn := stampedPair(t)
	p := make([]byte, 8)
	_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	if n, err := conn.Read(p); n != 0 || err == nil || !err.(net.Error).Timeout() {
		t.Errorf("at the deadline: %d bytes, %v", n, err)
	}
	_ = conn.SetReadDeadline(time.Time{})
	_ = client.Close()
	if n, err := conn.Read(p); n != 0 || err == nil || err.Error() != "EOF" {
		t.Errorf("when the peer is gone: %d bytes, %v", n, err)
	}
	_ = conn.Close()
	if n, err := conn.Read(p); n != 0 || err == nil {
		t.Errorf("when it is closed: %d bytes, %v", n, err)
	}
}
