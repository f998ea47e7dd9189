// Package wiretest has servers for tests of the wire and of drivers: they send exact bytes, pause,
// and break connections in the ways that real servers do.
package wiretest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/loadline/loadline/internal/measure"
)

// Patience bounds everything a server of this package waits for.
const Patience = 10 * time.Second

// Conn is the server's end of a connection.
type Conn struct {
	net.Conn
	br *bufio.Reader
}

// On wraps a connection that a test has made itself.
func On(nc net.Conn) *Conn { return &Conn{nc, bufio.NewReader(nc)} }

// Peek waits for the first byte of another request and reports whether it came.
func (c *Conn) Peek() bool {
	_, err := c.br.Peek(1)
	return err == nil
}

// Request reads one request, its body included. It returns nil when none comes within Patience.
func (c *Conn) Request() *http.Request { return c.RequestBy(Patience) }

// Body reads one request and gives its body.
func (c *Conn) Body() (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(Patience))
	r, err := http.ReadRequest(c.br)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(r.Body)
	return string(body), err
}

// RequestBy is Request with a patience of its own.
func (c *Conn) RequestBy(patience time.Duration) *http.Request {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	r, err := http.ReadRequest(c.br)
	if err != nil {
		return nil
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil
	}
	return r
}

// Send writes the pieces, each in a write of its own, with a short pause between them.
func (c *Conn) Send(pieces ...string) {
	for i, p := range pieces {
		if i > 0 {
			time.Sleep(2 * time.Millisecond)
		}
		if _, err := io.WriteString(c.Conn, p); err != nil {
			return
		}
	}
}

// Break ends the connection with a reset instead of an orderly close.
func (c *Conn) Break() {
	if tc, ok := c.Conn.(*net.TCPConn); ok {
		_ = tc.SetLinger(0)
	}
	_ = c.Close()
}

// Hang waits until the client closes the connection.
func (c *Conn) Hang() {
	_ = c.SetReadDeadline(time.Now().Add(Patience))
	_, _ = io.Copy(io.Discard, c.Conn)
}

// Serve listens on a loopback port and plays the script on every connection, the n-th from 0; the
// connection is closed when the script returns. It returns host:port. The server ends with the test.
func Serve(t testing.TB, script func(n int, c *Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for n := 0; ; n++ {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[nc] = true
			mu.Unlock()
			wg.Go(func() {
				defer nc.Close()
				script(n, On(nc))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for nc := range open {
			_ = nc.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// Answer serves the same answer, cut into pieces, to every request of every connection.
func Answer(t testing.TB, pieces ...string) string {
	t.Helper()
	return Serve(t, func(_ int, c *Conn) {
		for c.Request() != nil {
			c.Send(pieces...)
		}
	})
}

// Clock is a clock for a client under test: nanoseconds since it was made.
func Clock() func() measure.Instant {
	begin := time.Now()
	return func() measure.Instant { return measure.Instant(time.Since(begin)) }
}

// Context is the test's context, bounded by Patience.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*Patience)
	t.Cleanup(cancel)
	return ctx
}

// Authority is a certificate authority with one server certificate for 127.0.0.1 and localhost and
// one client certificate, in files of the test's folder.
type Authority struct {
	// CAFile, CertFile and KeyFile are in PEM form; the latter two are the client's.
	CAFile, CertFile, KeyFile string
	// Server is the configuration of a server with the certificate.
	Server *tls.Config
	// Pool holds the authority.
	Pool *x509.CertPool

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Expired is the configuration of a server whose certificate by the authority has expired.
func (a *Authority) Expired(t testing.TB) *tls.Config {
	t.Helper()
	key, c := newKey(t), leaf(4)
	c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{sign(t, c, a.cert, key, a.key)}, PrivateKey: key}}}
}

// NewAuthority makes an authority.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	dir := t.TempDir()
	a := &Authority{
		CAFile: filepath.Join(dir, "ca.pem"), CertFile: filepath.Join(dir, "cert.pem"),
		KeyFile: filepath.Join(dir, "key.pem"), Pool: x509.NewCertPool(),
	}
	caKey := newKey(t)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER := sign(t, ca, ca, caKey, caKey)
	caCert, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	a.Pool.AddCert(caCert)
	a.cert, a.key = caCert, caKey
	writePEM(t, a.CAFile, "CERTIFICATE", caDER)
	server, client := newKey(t), newKey(t)
	serverDER := sign(t, leaf(2), caCert, server, caKey)
	clientDER := sign(t, leaf(3), caCert, client, caKey)
	writePEM(t, a.CertFile, "CERTIFICATE", clientDER)
	keyDER, err := x509.MarshalPKCS8PrivateKey(client)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.KeyFile, "PRIVATE KEY", keyDER)
	a.Server = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{serverDER}, PrivateKey: server}}}
	return a
}

func leaf(serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t testing.TB, c, parent *x509.Certificate, key, by *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func writePEM(t testing.TB, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
