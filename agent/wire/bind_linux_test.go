package wire

import (
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/loadline/loadline/agent/wire/wiretest"
)

// TestThePortIsChosenLate: a port serves once for each target, not once in all.
func TestThePortIsChosenLate(t *testing.T) {
	late := 0
	d := net.Dialer{
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)},
		Control: func(network, address string, rc syscall.RawConn) error {
			err := control(nil, true)(network, address, rc)
			_ = rc.Control(func(fd uintptr) { late, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT) })
			return err
		},
	}
	nc, err := d.DialContext(wiretest.Context(t), "tcp", wiretest.Answer(t, okHead))
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.Close()
	if late != 1 {
		t.Error("the port is chosen when the socket is bound")
	}
}
