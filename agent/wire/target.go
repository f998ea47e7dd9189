package wire

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/loadline/loadline/internal/scenario"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// maxPEM bounds a certificate or key file, in bytes.
const maxPEM = 4 << 20

// ForTarget is the configuration of a client for a target of a scenario. Its error holds every
// problem found, and no part of the URL.
func ForTarget(t *pb.Target, l Local) (Config, error) {
	_, uerr := parseURL(t.GetUrl())
	tc, terr := TLS(t.GetTls())
	sources, serr := parseSources(t.GetConnections().GetSourceAddresses())
	if err := errors.Join(uerr, terr, serr); err != nil {
		return Config{}, fmt.Errorf("target %q: %w", t.GetName(), err)
	}
	return Config{
		URL:      t.GetUrl(),
		TLS:      tc,
		Timeouts: TimeoutsOf(t.GetTimeouts()),
		Idle:     orElse(t.GetConnections().GetIdle(), DefaultIdle),
		Policy:   policy(t.GetConnections().GetPolicy()),
		Max:      int(t.GetConnections().GetMax()),
		HTTP:     version(t.GetConnections().GetHttp()),
		Streams:  int(t.GetConnections().GetStreams()),
		Sources:  sources,
		Local:    l,
	}, nil
}

// TimeoutsOf are the time limits of a target, with the defaults where it gives none.
func TimeoutsOf(o *pb.Timeouts) Timeouts {
	return Timeouts{
		Connect: orElse(o.GetConnect(), scenario.DefaultConnect),
		First:   orElse(o.GetFirstToken(), scenario.DefaultFirstToken),
		Stall:   orElse(o.GetStall(), scenario.DefaultStall),
		Total:   orElse(o.GetTotal(), scenario.DefaultTotal),
	}
}

func version(v pb.HttpVersion) Version {
	switch v {
	case pb.HttpVersion_HTTP_VERSION_HTTP1:
		return HTTP1
	case pb.HttpVersion_HTTP_VERSION_HTTP2:
		return HTTP2
	}
	return Auto
}

func policy(p pb.ConnectionPolicy) Policy {
	switch p {
	case pb.ConnectionPolicy_CONNECTION_POLICY_PER_SESSION:
		return PerSession
	case pb.ConnectionPolicy_CONNECTION_POLICY_PER_REQUEST:
		return PerRequest
	}
	return Reuse
}

func orElse(d *durationpb.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return d.AsDuration()
}

// TLS reads the settings of a target; nil gives the defaults: the system's roots, TLS 1.2 or newer.
// Its error holds every problem found.
func TLS(t *pb.Tls) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if t == nil {
		return cfg, nil
	}
	if t.GetMinVersion() == pb.TlsVersion_TLS_VERSION_TLS13 {
		cfg.MinVersion = tls.VersionTLS13
	}
	cfg.ServerName = t.GetServerName()
	cfg.InsecureSkipVerify = t.GetInsecure() // said by the user, and told in the report
	return cfg, errors.Join(roots(cfg, t.GetCaFile()), identity(cfg, t.GetCertFile(), t.GetKeyFile()))
}

func roots(cfg *tls.Config, file string) error {
	if file == "" {
		return nil
	}
	pem, err := readPEM("ca_file", file)
	if err != nil {
		return err
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("tls.ca_file: %s holds no certificate in PEM form", file)
	}
	return nil
}

func identity(cfg *tls.Config, certFile, keyFile string) error {
	switch {
	case certFile == "" && keyFile == "":
		return nil
	case keyFile == "":
		return errors.New("tls.cert_file needs tls.key_file as well")
	case certFile == "":
		return errors.New("tls.key_file needs tls.cert_file as well")
	}
	certPEM, cerr := readPEM("cert_file", certFile)
	keyPEM, kerr := readPEM("key_file", keyFile)
	if err := errors.Join(cerr, kerr); err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("tls.cert_file and tls.key_file: %w", err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	return nil
}

// readPEM reads a file of the machine's own. Its error names the field and the file.
func readPEM(field, file string) ([]byte, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("tls.%s: %w", field, err)
	}
	if !st.Mode().IsRegular() || st.Size() > maxPEM {
		return nil, fmt.Errorf("tls.%s: %s is not a regular file of at most 4 MiB", field, file)
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("tls.%s: %w", field, err)
	}
	return pem, nil
}
