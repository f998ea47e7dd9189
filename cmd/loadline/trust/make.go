package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// authorityYears is how long an authority is valid.
	authorityYears = 10
	// skew is how far the beginning of a certificate lies in the past, for machines whose clocks are behind.
	skew = time.Hour
	// keyKind and certKind name the blocks of PEM files.
	keyKind  = "PRIVATE KEY"
	certKind = "CERTIFICATE"
)

// Authority signs certificates.
type Authority struct {
	folder string
	cert   *x509.Certificate
	key    crypto.Signer
}

// NewAuthority makes a private authority in a folder, in which there must be none yet.
func NewAuthority(folder string, now time.Time) (*Authority, error) {
	if there, err := exists(filepath.Join(folder, caKey)); err != nil {
		return nil, err
	} else if there {
		return nil, fmt.Errorf("%s holds an authority already; a new one would know none of its certificates: choose another folder", folder)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "loadline authority"},
		NotBefore: now.Add(-skew), NotAfter: now.AddDate(authorityYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a := &Authority{folder: folder, cert: cert, key: key}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	return a, errors.Join(writeKey(filepath.Join(folder, caKey), key), writePEM(filepath.Join(folder, caFile), certKind, der))
}

// OpenAuthority reads an authority from its folder.
func OpenAuthority(folder string, now time.Time) (*Authority, error) {
	certPEM, certErr := readFile(filepath.Join(folder, caFile))
	keyPEM, keyErr := readKey(filepath.Join(folder, caKey))
	if err := errors.Join(certErr, keyErr); err != nil {
		return nil, fmt.Errorf("%w\nan authority is made with: loadline certs init", err)
	}
	der, certErr := block(certPEM, certKind, caFile)
	keyDER, keyErr := block(keyPEM, keyKind, caKey)
	if err := errors.Join(certErr, keyErr); err != nil {
		return nil, err
	}
	cert, certErr := x509.ParseCertificate(der)
	parsed, keyErr := x509.ParsePKCS8PrivateKey(keyDER)
	if err := errors.Join(certErr, keyErr); err != nil {
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds no key that signs", filepath.Join(folder, caKey))
	}
	if now.After(cert.NotAfter) {
		return nil, fmt.Errorf("the authority in %s has ended on %s; make a new one in another folder", folder, cert.NotAfter.Format(time.DateTime))
	}
	return &Authority{folder: folder, cert: cert, key: key}, nil
}

// Order asks for the credentials of one identity.
type Order struct {
	Identity Identity
	// Hosts are the names and addresses under which a coordinator is reached.
	Hosts []string
	// Valid is how long; a certificate never outlives its authority.
	Valid time.Duration
}

// Make makes the credentials of one identity, and returns their folder below the authority's. What is there already is
// never replaced.
func (a *Authority) Make(o Order, now time.Time) (folder string, err error) {
	if err := o.Identity.Check(); err != nil {
		return "", err
	}
	folder = a.Folder(o.Identity)
	if there, err := exists(folder); err != nil {
		return "", err
	} else if there {
		return "", fmt.Errorf("there are credentials of %s already, in %s; remove that folder to make new ones", o.Identity, folder)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	der, err := x509.CreateCertificate(rand.Reader, a.template(o, now), a.cert, key.Public(), a.key)
	if err != nil {
		return "", fmt.Errorf("make the certificate of %s: %w", o.Identity, err)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	return folder, errors.Join(
		writeKey(filepath.Join(folder, keyFile), key),
		writePEM(filepath.Join(folder, certFile), certKind, der),
		writePEM(filepath.Join(folder, caFile), certKind, a.cert.Raw),
	)
}

// Folder is that of an identity's credentials.
func (a *Authority) Folder(id Identity) string {
	if id.Role == Coordinator {
		return filepath.Join(a.folder, string(Coordinator))
	}
	return filepath.Join(a.folder, string(id.Role)+"s", id.Name)
}

// template is the certificate of an order. Only a coordinator's can serve.
func (a *Authority) template(o Order, now time.Time) *x509.Certificate {
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: o.Identity.Name, OrganizationalUnit: []string{string(o.Identity.Role)}},
		NotBefore: now.Add(-skew), NotAfter: now.Add(o.Valid), URIs: []*url.URL{o.Identity.uri()},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	if o.Identity.Role != Coordinator {
		return t
	}
	t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	for _, host := range o.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if !slices.Contains(t.DNSNames, host) {
			t.DNSNames = append(t.DNSNames, host)
		}
	}
	return t
}

// serial is a random number of 128 bits.
func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return new(big.Int).SetBytes(b[:])
}

func writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, keyKind, der)
}

// writePEM writes a new file that its owner alone may read.
func writePEM(path, kind string, der []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = pem.Encode(file, &pem.Block{Type: kind, Bytes: der})
	return errors.Join(err, file.Sync(), file.Close())
}
