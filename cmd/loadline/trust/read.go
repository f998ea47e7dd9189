package trust

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Names of the files in a folder of credentials.
const (
	caFile   = "ca.pem"
	certFile = "cert.pem"
	keyFile  = "key.pem"
	caKey    = "ca.key"
)

// maxFile bounds a file of credentials, in bytes.
const maxFile = 64 << 10

// othersMay are the permissions that nobody but the owner may have on a key.
const othersMay = 0o077

// Read reads the credentials in a folder, which must be of the role and valid at now. Errors say how to mend it; all that
// is wrong is told at once.
func Read(folder string, role Role, now time.Time) (*Credentials, error) {
	ca, caErr := readFile(filepath.Join(folder, caFile))
	cert, certErr := readFile(filepath.Join(folder, certFile))
	key, keyErr := readKey(filepath.Join(folder, keyFile))
	if err := errors.Join(caErr, certErr, keyErr); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, hint(role))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", filepath.Join(folder, caFile))
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s do not belong together: %w", filepath.Join(folder, certFile), keyFile, err)
	}
	c := &Credentials{pair: pair, pool: pool, Ends: pair.Leaf.NotAfter}
	if c.Identity, err = Of(pair.Leaf); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(folder, certFile), err)
	}
	if err := c.check(role, now); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(folder, certFile), err)
	}
	return c, nil
}

func hint(role Role) string {
	if role == Coordinator {
		return "make them with: loadline certs init"
	}
	return fmt.Sprintf("make them with: loadline certs %s NAME", role)
}

// check refuses credentials that nobody would accept, before anything is started with them.
func (c *Credentials) check(role Role, now time.Time) error {
	leaf := c.pair.Leaf
	switch {
	case c.Identity.Role != role:
		return fmt.Errorf("the certificate is that of %s, and one of the role %s is needed; %s", c.Identity, role, hint(role))
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate has ended on %s; %s", leaf.NotAfter.Format(time.DateTime), hint(role))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the certificate begins on %s, and it is %s here: set the clock", leaf.NotBefore.Format(time.DateTime), now.Format(time.DateTime))
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: c.pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return fmt.Errorf("the certificate is not one of the authority in %s: %w", caFile, err)
	}
	return nil
}

// readKey reads a private key, which nobody but its owner may be able to read.
func readKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&othersMay != 0 && runtime.GOOS != "windows" { // which has no such bits
		return nil, fmt.Errorf("%s: others may read this key (mode %04o); run: chmod 600 %s", path, mode, path)
	}
	return readFile(path)
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path) // first, for opening a pipe would wait
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxFile)
	}
	return data, err
}

// block reads the one block of a kind that a file holds.
func block(data []byte, kind, path string) ([]byte, error) {
	b, _ := pem.Decode(data)
	if b == nil || b.Type != kind {
		return nil, fmt.Errorf("%s holds no %s", path, kind)
	}
	return b.Bytes, nil
}

// exists reports whether there is a file of that name.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
