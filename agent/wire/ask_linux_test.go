package wire

import (
	"context"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loadline/loadline/agent/wire/wiretest"
	"github.com/loadline/loadline/internal/measure"
)

// narrow makes the kernel's buffers of a socket as small as it lets them be.
func narrow(_, _ string, rc syscall.RawConn) (err error) {
	cerr := rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 1) })
	if cerr != nil {
		return cerr
	}
	return err
}

// TestARequestForWhichThereIsNoRoom: one that the socket takes in pieces arrives whole and once, on a new connection
// and on one used before.
func TestARequestForWhichThereIsNoRoom(t *testing.T) {
	type seen struct {
		body string
		conn int
	}
	got := make(chan seen, 4)
	addr := wiretest.Serve(t, func(n int, c *wiretest.Conn) {
		_ = c.Conn.(*net.TCPConn).SetReadBuffer(1)
		for c.Peek() {
			time.Sleep(5 * time.Millisecond) // so that the client finds its socket full
			body, err := c.Body()
			if err != nil {
				return
			}
			got <- seen{body, n}
			c.Send(okHead + "Content-Length: 2\r\n\r\nok")
		}
	})
	client := newClient(t, Config{URL: "http://" + addr, Local: Local{Now: wiretest.Clock(), Control: narrow}})
	for i := range 4 {
		body := strings.Repeat(string(rune('a'+i)), inlineBody)
		var ex Exchange
		if err := client.Do(wiretest.Context(t), post(body), &ex, &recorder{}); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		s := <-got
		if s.body != body || s.conn != 0 || ex.BytesOut < inlineBody || ex.BytesOut > inlineBody+200 {
			t.Errorf("request %d: %d bytes arrived on connection %d, %d counted", i, len(s.body), s.conn, ex.BytesOut)
		}
		checkOrder(t, &ex)
	}
}

// TestAConnectionClosedOneWay: a server that has ended its side of a reused connection, and would read on, is found
// out before anything is written.
func TestAConnectionClosedOneWay(t *testing.T) {
	closed, read := make(chan bool, 1), make(chan int64, 1)
	addr := wiretest.Serve(t, func(n int, c *wiretest.Conn) {
		c.Request()
		c.Send(okHead + "Content-Length: 2\r\n\r\nok")
		if n > 0 {
			c.Hang()
			return
		}
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		closed <- true
		k, _ := io.Copy(io.Discard, c.Conn)
		read <- k
	})
	client := newClient(t, Config{URL: "http://" + addr, Timeouts: Timeouts{First: 5 * time.Second}})
	for i := range 2 {
		var ex Exchange
		if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); err != nil || ex.Stale != uint32(i) || !ex.NewConnection {
			t.Errorf("exchange %d: %v, %d stale, new connection %v", i, err, ex.Stale, ex.NewConnection)
		}
		if i == 0 {
			<-closed
			time.Sleep(2 * time.Millisecond) // the close is on its way
		}
	}
	if k := <-read; k != 0 {
		t.Errorf("%d bytes were written to a connection that had been closed", k)
	}
}

// TestSilenceAfterARequest: while an answer is awaited in the turn that wrote the request, time limits and
// the end of the context hold.
func TestSilenceAfterARequest(t *testing.T) {
	addr := wiretest.Serve(t, func(_ int, c *wiretest.Conn) {
		for range 2 {
			if c.Request() != nil {
				c.Send(okHead + "Content-Length: 2\r\n\r\nok")
			}
		}
		c.Request()
		c.Hang()
	})
	client := newClient(t, Config{URL: "http://" + addr, Timeouts: Timeouts{First: 50 * time.Millisecond}})
	for i, want := range []string{"<nil>", "<nil>", measure.ClassFirstTokenTimeout} {
		var ex Exchange
		err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{})
		if class(err) != want || !ex.Sent.Reached() {
			t.Errorf("exchange %d: %v, sent at %d", i, err, ex.Sent)
		}
	}
}

// TestAServerThatSpeaksFirst: an answer that has come before the request is written is read all the same.
func TestAServerThatSpeaksFirst(t *testing.T) {
	addr := wiretest.Serve(t, func(_ int, c *wiretest.Conn) {
		c.Send(okHead + "Content-Length: 2\r\n\r\nok")
		c.Hang()
	})
	spoken := func(_ context.Context, network, address string) (net.Conn, error) {
		nc, err := net.Dial(network, address)
		if err != nil {
			return nil, err
		}
		// Wait until the answer is there, and so its notice taken.
		rc, err := nc.(*net.TCPConn).SyscallConn()
		if err != nil {
			return nil, err
		}
		return nc, rc.Read(func(fd uintptr) bool { return !idleSocket(fd) })
	}
	client := newClient(t, Config{
		URL: "http://" + addr, Policy: PerRequest, Timeouts: Timeouts{First: 5 * time.Second}, Local: Local{Now: wiretest.Clock(), Dial: spoken},
	})
	for i := range 3 {
		var ex Exchange
		if err := client.Do(wiretest.Context(t), get("/"), &ex, &recorder{}); err != nil || ex.Status != 200 {
			t.Fatalf("exchange %d: status %d, %v", i, ex.Status, err)
		}
	}
}
