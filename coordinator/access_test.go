package coordinator

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/loadline/loadline/internal/content"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// methods lists everything that a coordinator serves.
func methods(t *testing.T) []string {
	t.Helper()
	c, _ := begin(t)
	files, err := content.Open(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	c.config.Files = files
	server := grpc.NewServer()
	c.Register(server)
	(&Entrance{Log: slog.New(slog.DiscardHandler)}).Register(server)
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	reflection.Register(server)
	var all []string
	for service, info := range server.GetServiceInfo() {
		for _, m := range info.Methods {
			all = append(all, "/"+service+"/"+m.Name)
		}
	}
	return all
}

// A new method that nobody has given a role would be open to nobody: this says so before a user does.
func TestEveryMethodHasARole(t *testing.T) {
	all, roles := methods(t), access()
	if len(all) < 15 {
		t.Fatalf("only %d methods: the test looks in the wrong place", len(all))
	}
	for _, method := range all {
		if roles[method] == "" {
			t.Errorf("%s has no role; say in access who may call it", method)
		}
	}
	if len(roles) != len(all) {
		t.Errorf("%d methods have a role and %d are served", len(roles), len(all))
	}
}

// called is the context of a call with a role's certificate.
func called(t *testing.T) context.Context {
	return peer.NewContext(t.Context(), &peer.Peer{Addr: &net.TCPAddr{}, AuthInfo: credentials.TLSInfo{}})
}

func gateFor(role Role, name string, err error) *gate {
	return &gate{roles: access(), identify: func(tls.ConnectionState) (Role, string, error) { return role, name, err }}
}

// TestEveryMethodForEveryRole is the whole table: each method, each role, and a caller without any.
func TestEveryMethodForEveryRole(t *testing.T) {
	roles := access()
	for _, method := range append(methods(t), "/loadline.v1.ControlService/New", "loadline.v1.ControlService/StartRun", "/", "") {
		for _, role := range []Role{RoleAgent, RoleClient, "coordinator", "", "any"} {
			want := codes.PermissionDenied
			if r := roles[method]; r != "" && (r == role || r == roleAny) && role != "any" {
				want = codes.OK
			}
			if role == "any" && roles[method] == roleAny {
				want = codes.OK // no certificate says so, and it would gain nothing
			}
			_, _, err := gateFor(role, "x", nil).admit(called(t), method)
			if status.Code(err) != want {
				t.Errorf("%s as %q: %v, want %v", method, role, err, want)
			}
		}
		if _, _, err := gateFor("", "", errors.New("no")).admit(called(t), method); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s by nobody: %v", method, err)
		}
		if _, _, err := gateFor(RoleClient, "x", nil).admit(t.Context(), method); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s in the clear: %v", method, err)
		}
	}
}

func TestAnAgentSpeaksInItsOwnNameAlone(t *testing.T) {
	for _, m := range []any{
		pb.JoinRequest_builder{Agent: "a2"}.Build(),
		pb.PushWindowsRequest_builder{Hello: pb.Hello_builder{Agent: "a2"}.Build()}.Build(),
		pb.PushWindowsRequest_builder{Window: pb.Window_builder{Agent: "a2"}.Build()}.Build(),
		pb.PushWindowsRequest_builder{Totals: pb.Totals_builder{Agent: "a2"}.Build()}.Build(),
		pb.PushWindowsRequest_builder{Renew: pb.RenewRequest_builder{Agent: "a2"}.Build()}.Build(),
	} {
		if err := ownName(RoleAgent, "a1", m); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%T %v in another's name: %v", m, m, err)
		}
		if err := ownName(RoleAgent, "a2", m); err != nil {
			t.Errorf("%T in its own name: %v", m, err)
		}
	}
}
