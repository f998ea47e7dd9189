package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/loadline/loadline/cmd/loadline/trust"
	"github.com/loadline/loadline/coordinator"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// certificates makes an authority with the credentials of a coordinator, two agents and a client.
func certificates(t *testing.T, hosts ...string) (authority *trust.Authority, folder string) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "certs")
	authority, err := trust.NewAuthority(folder, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []trust.Identity{
		{Role: trust.Coordinator, Name: "coordinator"}, {Role: trust.Agent, Name: "a1"}, {Role: trust.Agent, Name: "a2"}, {Role: trust.Client, Name: "alice"},
	} {
		if _, err := authority.Make(trust.Order{Identity: id, Hosts: append(hosts, "127.0.0.1"), Valid: time.Hour}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	return authority, folder
}

func credentialsIn(t *testing.T, role trust.Role, parts ...string) *trust.Credentials {
	t.Helper()
	c, err := trust.Read(filepath.Join(parts...), role, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serveStation serves a coordinator in this process, on sockets.
func serveStation(t *testing.T, tlsDir string) (address string) {
	t.Helper()
	o := &coordinatorOptions{listen: "127.0.0.1:0", natsListen: "127.0.0.1:0", data: t.TempDir(), tlsDir: tlsDir, filesMax: "1GiB"}
	a := newTestApp(t, nil, nil)
	a.root()
	o.flags = a.flags["coordinator"]
	listen, natsListen, own, err := o.check()
	if err != nil {
		t.Fatal(err)
	}
	s := &station{log: slog.New(slog.DiscardHandler), own: own}
	if err := s.start(context.WithoutCancel(t.Context()), o, listen, natsListen); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s.listener.Addr().String()
}

func dialWith(t *testing.T, address string, transport credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, dialOptions(transport)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func listRuns(t *testing.T, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := pb.NewControlServiceClient(conn).ListRuns(ctx, &pb.ListRunsRequest{})
	return err
}

// TestStrangersAreRefused is T1 on real sockets: no certificate, wrong authority, expired, wrong role, both directions.
func TestStrangersAreRefused(t *testing.T) {
	authority, certs := certificates(t)
	_, strangers := certificates(t)
	address := serveStation(t, filepath.Join(certs, "coordinator"))
	alice := credentialsIn(t, trust.Client, certs, "clients", "alice")
	if err := listRuns(t, dialWith(t, address, credentials.NewTLS(alice.Dial()))); err != nil {
		t.Fatalf("a client of the authority: %v", err)
	}
	past := time.Now().Add(-time.Hour)
	folder, err := authority.Make(trust.Order{Identity: trust.Identity{Role: trust.Client, Name: "old"}, Valid: time.Minute}, past)
	if err != nil {
		t.Fatal(err)
	}
	old, err := trust.Read(folder, trust.Client, past)
	if err != nil {
		t.Fatal(err)
	}
	stranger := credentialsIn(t, trust.Client, strangers, "clients", "alice").Dial()
	known := alice.Dial()
	known.Certificates = stranger.Certificates
	nobody := alice.Dial()
	nobody.Certificates = nil
	old12 := alice.Dial()
	old12.MinVersion, old12.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for name, transport := range map[string]credentials.TransportCredentials{
		"in the clear":                   insecure.NewCredentials(),
		"no certificate":                 credentials.NewTLS(nobody),
		"a certificate of another":       credentials.NewTLS(known),
		"expired":                        credentials.NewTLS(old.Dial()),
		"an old version of TLS":          credentials.NewTLS(old12),
		"to a coordinator of another":    credentials.NewTLS(stranger),
		"to another name than it serves": credentials.NewTLS(towards(alice.Dial(), "elsewhere.example")),
	} {
		if err := listRuns(t, dialWith(t, address, transport)); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v, want no connection", name, err)
		}
	}
}

// towards makes a configuration that dials another name.
func towards(c *tls.Config, name string) *tls.Config {
	c.ServerName = name
	return c
}

// TestRolesOnSockets tries the methods of one role with the certificate of the other.
func TestRolesOnSockets(t *testing.T) {
	_, certs := certificates(t)
	address := serveStation(t, filepath.Join(certs, "coordinator"))
	alice := dialWith(t, address, credentials.NewTLS(credentialsIn(t, trust.Client, certs, "clients", "alice").Dial()))
	a1 := dialWith(t, address, credentials.NewTLS(credentialsIn(t, trust.Agent, certs, "agents", "a1").Dial()))
	server := dialWith(t, address, credentials.NewTLS(credentialsIn(t, trust.Coordinator, certs, "coordinator").Dial()))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	join := func(conn *grpc.ClientConn, name string) error {
		_, err := pb.NewJoinServiceClient(conn).Join(ctx, pb.JoinRequest_builder{Agent: name}.Build())
		return err
	}
	push := func(conn *grpc.ClientConn, name string) error {
		stream, err := pb.NewResultsServiceClient(conn).PushWindows(ctx)
		if err == nil {
			err = stream.Send(pb.PushWindowsRequest_builder{Hello: pb.Hello_builder{RunId: "r", Agent: name}.Build()}.Build())
		}
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	for name, c := range map[string]struct {
		err  error
		want codes.Code
	}{
		"agent joins":                 {join(a1, "a1"), codes.OK},
		"agent joins as another":      {join(a1, "a2"), codes.PermissionDenied},
		"client joins":                {join(alice, "a1"), codes.PermissionDenied},
		"coordinator joins":           {join(server, "a1"), codes.PermissionDenied},
		"agent pushes, no such run":   {push(a1, "a1"), codes.NotFound},
		"agent pushes as another":     {push(a1, "a2"), codes.PermissionDenied},
		"client pushes":               {push(alice, "a1"), codes.PermissionDenied},
		"agent lists runs":            {listRuns(t, a1), codes.PermissionDenied},
		"coordinator lists runs":      {listRuns(t, server), codes.PermissionDenied},
		"client lists runs":           {listRuns(t, alice), codes.OK},
		"a method that is not listed": {alice.Invoke(ctx, "/loadline.v1.ControlService/New", &pb.ListRunsRequest{}, &pb.ListRunsResponse{}), codes.Unimplemented},
	} {
		if status.Code(c.err) != c.want {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	health, err := grpc_health_v1.NewHealthClient(a1).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil || health.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v %v", health, err)
	}
}

// TestLimitsOfTheServer is T21: messages, headers and calls beyond the limits are refused, and the server goes on.
func TestLimitsOfTheServer(t *testing.T) {
	address := serveStation(t, "")
	conn := dialWith(t, address, insecure.NewCredentials())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	client := pb.NewControlServiceClient(conn)
	huge := pb.ValidateScenarioRequest_builder{Source: make([]byte, coordinator.MaxResultsMessage+1)}.Build()
	if _, err := client.ValidateScenario(ctx, huge, grpc.MaxCallSendMsgSize(2*coordinator.MaxResultsMessage)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a message beyond the limit: %v", err)
	}
	long := metadata.AppendToOutgoingContext(ctx, "x", strings.Repeat("x", 2*maxHeader))
	if _, err := client.ListRuns(long, &pb.ListRunsRequest{}); err == nil {
		t.Error("a header beyond the limit was taken")
	}
	// One stream more than the limit waits for another to end.
	var open []grpc.ServerStreamingClient[grpc_health_v1.HealthCheckResponse]
	for range maxStreams {
		stream, err := grpc_health_v1.NewHealthClient(conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, stream)
	}
	short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	if _, err := client.ListRuns(short, &pb.ListRunsRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("call %d of one connection: %v", len(open)+1, err)
	}
	if err := listRuns(t, dialWith(t, address, insecure.NewCredentials())); err != nil {
		t.Errorf("another client: %v", err)
	}
}

// TestTheWayToTheBus: what the coordinator says cannot make an agent speak in the clear, nor knock in the clear where TLS is spoken.
func TestTheWayToTheBus(t *testing.T) {
	for name, c := range map[string]struct {
		way     pb.JoinResponse_builder
		secured bool
		url     string
		refusal string
	}{
		"its own":                   {pb.JoinResponse_builder{BusPort: 7401}, false, "nats://127.0.0.1:7401", ""},
		"its own, with TLS":         {pb.JoinResponse_builder{BusPort: 7401, BusTls: true}, true, "nats://127.0.0.1:7401", ""},
		"TLS and no credentials":    {pb.JoinResponse_builder{BusPort: 7401, BusTls: true}, false, "", "takes TLS alone, and this agent has no credentials"},
		"another, TLS alone":        {pb.JoinResponse_builder{BusUrls: []string{"tls://bus.example:4222"}, BusTls: true}, false, "", "--tls-dir"},
		"another, with credentials": {pb.JoinResponse_builder{BusUrls: []string{"tls://bus.example:4222"}, BusTls: true}, true, "tls://bus.example:4222", ""},
		"another, in the clear":     {pb.JoinResponse_builder{BusUrls: []string{"nats://bus.example:4222"}}, false, "", "without TLS"},
		"none":                      {pb.JoinResponse_builder{}, false, "", "does not say where the bus is"},
	} {
		url, err := busURL("127.0.0.1:7400", c.way.Build(), c.secured)
		if url != c.url || (err == nil) != (c.refusal == "") || err != nil && !strings.Contains(err.Error(), c.refusal) {
			t.Errorf("%s: %q, %v; want %q, %q", name, url, err, c.url, c.refusal)
		}
	}
}
