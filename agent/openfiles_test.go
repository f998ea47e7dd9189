package agent

import (
	"math"
	"strings"
	"testing"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// A limit on open files that is too low is told before the load starts, with what to do about it: the run is refused
// where the load needs more for certain, and there is a warning where it may.
func TestEnoughFiles(t *testing.T) {
	for _, c := range []struct {
		n              sockets
		limit          uint64
		refuses, warns string
	}{
		{sockets{100, 100}, 1024, "", ""},
		{sockets{1024 - ownFiles, 1024 - ownFiles}, 1024, "", ""},
		{sockets{1025 - ownFiles, 1025 - ownFiles}, 1024, "ulimit -n 1025", ""},
		{sockets{10_000, 10_000}, 4096, "ulimit -n 10064", ""},
		{sockets{0, 10_000}, 4096, "", "ulimit -n 10064"},
		{sockets{5_000, 10_000}, 4096, "ulimit -n 5064", ""},
	} {
		warning, err := c.n.within(c.limit)
		if (err == nil) != (c.refuses == "") || err != nil && !strings.Contains(err.Error(), c.refuses) {
			t.Errorf("%v of %d files: %v, want %q", c.n, c.limit, err, c.refuses)
		}
		if (warning == "") != (c.warns == "") || !strings.Contains(warning, c.warns) {
			t.Errorf("%v of %d files: %q, want %q", c.n, c.limit, warning, c.warns)
		}
	}
	if n, ok := raiseOpenFiles(); ok && n == 0 {
		t.Error("no file may be opened")
	}
}

// What targets say of connections decides how many a load needs.
func TestSharing(t *testing.T) {
	two, one, per := pb.HttpVersion_HTTP_VERSION_HTTP2, pb.HttpVersion_HTTP_VERSION_HTTP1, pb.ConnectionPolicy_CONNECTION_POLICY_PER_REQUEST
	streams, most := uint32(7), uint32(3)
	target := func(c pb.Connections_builder) *pb.Target {
		return pb.Target_builder{Protocol: pb.Protocol_PROTOCOL_HTTP.Enum(), Connections: c.Build()}.Build()
	}
	grpc := pb.Target_builder{Protocol: pb.Protocol_PROTOCOL_GRPC.Enum()}.Build()
	for name, c := range map[string]struct {
		targets []*pb.Target
		sharing uint64
		most    uint64
	}{
		"http":          {[]*pb.Target{target(pb.Connections_builder{Max: &most})}, 1, 3},
		"http/1.1":      {[]*pb.Target{target(pb.Connections_builder{Http: &one})}, 1, math.MaxUint64},
		"http/2":        {[]*pb.Target{target(pb.Connections_builder{Http: &two})}, 100, math.MaxUint64},
		"streams":       {[]*pb.Target{target(pb.Connections_builder{Http: &two, Streams: &streams, Max: &most}), grpc}, 7, math.MaxUint64},
		"one a request": {[]*pb.Target{target(pb.Connections_builder{Http: &two, Policy: &per})}, 1, math.MaxUint64},
		"mixed":         {[]*pb.Target{grpc, target(pb.Connections_builder{Max: &most})}, 1, math.MaxUint64},
		"both bounded":  {[]*pb.Target{target(pb.Connections_builder{Max: &most}), target(pb.Connections_builder{Max: &most})}, 1, 6},
	} {
		if s, m := sharing(c.targets), mostConnections(c.targets); s != c.sharing || m != c.most {
			t.Errorf("%s: %d share a connection, %d connections; want %d, %d", name, s, m, c.sharing, c.most)
		}
	}
	if ceilDiv(0, 7) != 0 || ceilDiv(7, 7) != 1 || ceilDiv(8, 7) != 2 {
		t.Error("connections are not rounded up")
	}
}
