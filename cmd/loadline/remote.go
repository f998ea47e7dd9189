package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/loadline/loadline/cmd/loadline/trust"
	"github.com/loadline/loadline/coordinator"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Bounds of connections to a coordinator.
const (
	// aliveEvery is how often a silent connection is tried, aliveWait how long the answer may take.
	aliveEvery = 15 * time.Second
	aliveWait  = 10 * time.Second
	// redialMax bounds the pause between two attempts to connect.
	redialMax = 2 * time.Second
	// callWait bounds one question to a coordinator.
	callWait = 30 * time.Second
)

// remoteOptions are the flags of every command that talks to a coordinator.
type remoteOptions struct {
	coordinator string
	tlsDir      string
}

func (o *remoteOptions) add(f *flags) {
	f.text(&o.coordinator, "coordinator", "", "address `HOST:PORT` of the coordinator, as 127.0.0.1:7400")
	f.text(&o.tlsDir, "tls-dir", "", "folder `DIR` of credentials that loadline certs has made; without it loopback alone")
}

// dial connects in the role; the connection is made in the background and again when it breaks.
func (o *remoteOptions) dial(role trust.Role) (*grpc.ClientConn, *trust.Credentials, error) {
	if o.coordinator == "" {
		return nil, nil, badInput("say where the coordinator is: --coordinator HOST:PORT or %sCOORDINATOR", variablePrefix)
	}
	address, err := parseHostPort("coordinator", o.coordinator)
	if err == nil {
		err = address.checkDialled("coordinator", o.tlsDir != "")
	}
	if err != nil {
		return nil, nil, badInput("%w", err)
	}
	own, err := credentialsOf(o.tlsDir, role)
	if err != nil {
		return nil, nil, badInput("%w", err)
	}
	transport := insecure.NewCredentials()
	if own != nil {
		transport = credentials.NewTLS(own.Dial())
	}
	conn, err := grpc.NewClient("passthrough:///"+address.String(), dialOptions(transport)...)
	return conn, own, err
}

func dialOptions(transport credentials.TransportCredentials) []grpc.DialOption {
	slower := backoff.DefaultConfig
	slower.BaseDelay, slower.MaxDelay = 200*time.Millisecond, redialMax
	return []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: slower, MinConnectTimeout: aliveWait}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: aliveEvery, Timeout: aliveWait, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(coordinator.MaxResultsMessage), grpc.MaxCallSendMsgSize(coordinator.MaxResultsMessage)),
		grpc.WithStaticStreamWindowSize(flowWindow), grpc.WithStaticConnWindowSize(flowWindow),
		grpc.WithNoProxy(),
	}
}

// ask connects as a client, asks, and closes the connection.
func (o *remoteOptions) ask(ctx context.Context, question func(context.Context, pb.ControlServiceClient) error) error {
	conn, _, err := o.dial(trust.Client)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callWait)
	defer cancel()
	err = question(ctx, pb.NewControlServiceClient(conn))
	if err := errors.Join(fromRemote(err, o.coordinator), conn.Close()); err != nil {
		return err
	}
	return nil
}

// credentialsRefused reports whether a call failed because one side does not take the other's credentials: trying again
// would not help.
func credentialsRefused(err error) bool {
	switch status.Code(err) {
	case codes.Unauthenticated, codes.PermissionDenied:
		return true
	case codes.Unavailable:
		// gRPC has no type for a handshake that failed.
		text := status.Convert(err).Message()
		var certificate *tls.CertificateVerificationError
		return errors.As(err, &certificate) || strings.Contains(text, "tls: ") || strings.Contains(text, "x509: ")
	default:
		return false
	}
}

// fromRemote gives an error of a call its exit status, and says what may be wrong where the transport failed.
func fromRemote(err error, address string) error {
	var f *failure
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return err
	case credentialsRefused(err):
		return badInput("the coordinator at %s and this side do not trust each other: %w\n"+
			"both need --tls-dir with credentials of one authority, and the coordinator's must name the address: loadline certs init --host NAME", address, plainError(err))
	case status.Code(err) == codes.Unavailable && strings.Contains(err.Error(), "server preface"):
		return &failure{status: statusUnforeseen, err: fmt.Errorf("the coordinator at %s takes no connection in the clear; give --tls-dir with the folder of your credentials: %w", address, plainError(err))}
	case status.Code(err) == codes.Unavailable:
		return &failure{status: statusUnforeseen, err: errors.Join(errors.New("the coordinator at "+address+" cannot be reached"), plainError(err))}
	default:
		return fromService(err)
	}
}
