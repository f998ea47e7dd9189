package coordinator

import (
	"context"
	"log/slog"

	"google.golang.org/grpc"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Entrance tells agents where the bus is.
type Entrance struct {
	// URLs of a bus that stands by itself; empty: Port.
	URLs []string
	// Port of the bus that the coordinator has brought along.
	Port uint32
	// TLS says that the bus takes nothing else.
	TLS bool
	// Version of the build.
	Version string
	// Log takes who has asked.
	Log *slog.Logger
}

// Register puts the entrance on a gRPC server.
func (e *Entrance) Register(s *grpc.Server) { pb.RegisterJoinServiceServer(s, &entrance{entrance: *e}) }

type entrance struct {
	pb.UnimplementedJoinServiceServer
	entrance Entrance
}

// Join implements JoinService.
func (e *entrance) Join(_ context.Context, q *pb.JoinRequest) (*pb.JoinResponse, error) {
	e.entrance.Log.Info("agent asks the way to the bus", "agent", q.GetAgent(), "version", q.GetVersion())
	return pb.JoinResponse_builder{
		BusUrls: e.entrance.URLs, BusPort: e.entrance.Port, BusTls: e.entrance.TLS, Version: e.entrance.Version,
	}.Build(), nil
}
