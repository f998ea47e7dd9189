package coordinator

import (
	"context"
	"crypto/tls"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Role is what a caller may be.
type Role string

// The roles of callers.
const (
	// RoleAgent may join and send results, in its own name.
	RoleAgent Role = "agent"
	// RoleClient may start, watch and stop runs.
	RoleClient Role = "client"
	// roleAny is for methods that say nothing of runs.
	roleAny Role = "any"
)

// Identify says who is at the other end of a verified connection.
type Identify func(tls.ConnectionState) (role Role, name string, err error)

// access lists who may call what. A method that is not listed is refused to everybody.
func access() map[string]Role {
	return map[string]Role{
		pb.JoinService_Join_FullMethodName:           RoleAgent,
		pb.ResultsService_PushWindows_FullMethodName: RoleAgent,

		pb.ControlService_StartRun_FullMethodName:         RoleClient,
		pb.ControlService_GetRun_FullMethodName:           RoleClient,
		pb.ControlService_WatchRun_FullMethodName:         RoleClient,
		pb.ControlService_StopRun_FullMethodName:          RoleClient,
		pb.ControlService_GetReport_FullMethodName:        RoleClient,
		pb.ControlService_ValidateScenario_FullMethodName: RoleClient,
		pb.ControlService_ListRuns_FullMethodName:         RoleClient,
		pb.ControlService_ListAgents_FullMethodName:       RoleClient,
		pb.ControlService_StopAll_FullMethodName:          RoleClient,
		pb.ControlService_DrainAgent_FullMethodName:       RoleClient,
		pb.ControlService_AdjustRun_FullMethodName:        RoleClient,
		pb.ControlService_DriveRun_FullMethodName:         RoleClient,
		pb.ControlService_GetRunFiles_FullMethodName:      RoleClient,
		pb.ControlService_FetchRun_FullMethodName:         RoleClient,

		pb.FileService_HasFiles_FullMethodName: RoleClient,
		pb.FileService_PutFile_FullMethodName:  RoleClient,
		pb.FileService_GetFile_FullMethodName:  RoleAgent,

		grpc_health_v1.Health_Check_FullMethodName:                             roleAny,
		grpc_health_v1.Health_List_FullMethodName:                              roleAny,
		grpc_health_v1.Health_Watch_FullMethodName:                             roleAny,
		reflectionv1.ServerReflection_ServerReflectionInfo_FullMethodName:      roleAny,
		reflectionv1alpha.ServerReflection_ServerReflectionInfo_FullMethodName: roleAny,
	}
}

// Access makes a server hold every call against the certificate that its caller has shown: the method must be one of the
// caller's role, and what an agent says must be said in its own name.
func Access(identify Identify) []grpc.ServerOption {
	g := &gate{roles: access(), identify: identify}
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(g.unary), grpc.ChainStreamInterceptor(g.stream)}
}

type gate struct {
	roles    map[string]Role
	identify Identify
}

// admit returns the caller's name, or refuses.
func (g *gate) admit(ctx context.Context, method string) (Role, string, error) {
	var info credentials.TLSInfo
	p, ok := peer.FromContext(ctx)
	if ok {
		info, ok = p.AuthInfo.(credentials.TLSInfo)
	}
	if !ok {
		return "", "", status.Error(codes.Unauthenticated, "this coordinator takes calls over TLS alone")
	}
	role, name, err := g.identify(info.State)
	if err != nil {
		return "", "", status.Error(codes.Unauthenticated, err.Error())
	}
	switch wanted, listed := g.roles[method]; {
	case !listed:
		return "", "", status.Errorf(codes.PermissionDenied, "nobody may call %s", method)
	case wanted != roleAny && wanted != role:
		return "", "", status.Errorf(codes.PermissionDenied, "the certificate is that of %s %s, and %s is for the role %s", role, name, method, wanted)
	}
	return role, name, nil
}

func (g *gate) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	role, name, err := g.admit(ctx, info.FullMethod)
	if err == nil {
		err = ownName(role, name, request)
	}
	if err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

func (g *gate) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	role, name, err := g.admit(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return handler(server, &namedStream{ServerStream: stream, role: role, name: name})
}

// namedStream refuses messages that are said in another's name.
type namedStream struct {
	grpc.ServerStream
	role Role
	name string
}

// RecvMsg implements grpc.ServerStream.
func (s *namedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return ownName(s.role, s.name, m)
}

// ownName refuses what an agent says in another's name.
func ownName(role Role, name string, message any) error {
	if role != RoleAgent {
		return nil
	}
	for _, said := range namesIn(message) {
		if said != name {
			return status.Error(codes.PermissionDenied, fmt.Sprintf("the certificate is that of agent %s, and the message is from %q", name, said))
		}
	}
	return nil
}

// namesIn lists the names that a message gives its sender.
func namesIn(message any) []string {
	switch m := message.(type) {
	case *pb.JoinRequest:
		return []string{m.GetAgent()}
	case *pb.PushWindowsRequest:
		switch {
		case m.HasHello():
			return []string{m.GetHello().GetAgent()}
		case m.HasWindow():
			return []string{m.GetWindow().GetAgent()}
		case m.HasTotals():
			return []string{m.GetTotals().GetAgent()}
		case m.HasRenew():
			return []string{m.GetRenew().GetAgent()}
		}
	}
	return nil
}
