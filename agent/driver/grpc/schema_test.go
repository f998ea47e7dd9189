package grpcdriver

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/reflection"
	rpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/loadline/loadline/agent/wire/wiretest"
	"github.com/loadline/loadline/agent/workload"
	simpb "github.com/loadline/loadline/proto/loadline/sim/v1"
)

const echo = "message: {text: hello}"

// inMemory opens files of a map.
func inMemory(files map[string][]byte) workload.Files {
	return func(name string) (io.ReaderAt, int64, error) {
		data, ok := files[filepath.ToSlash(filepath.Clean(name))]
		if !ok {
			return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return bytes.NewReader(data), int64(len(data)), nil
	}
}

// simSet is the descriptor set of the simulator's services, without the files of protobuf itself.
func simSet(t testing.TB) []byte {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(simpb.File_loadline_sim_v1_sim_proto)}}
	b, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func simProto(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("../../../proto/loadline/sim/v1/sim.proto")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReflectionVersions: v1, v1alpha where the server has no other, and what to do where it has none.
func TestReflectionVersions(t *testing.T) {
	for name, register := range map[string]func(*grpc.Server){
		"both": reflected, "v1": func(w *grpc.Server) { reflection.RegisterV1(w) },
		"v1alpha": func(w *grpc.Server) {
			r := reflection.NewServerV1(reflection.ServerOptions{Services: w})
			desc := rpb.ServerReflection_ServiceDesc
			desc.ServiceName = "grpc.reflection.v1alpha.ServerReflection"
			w.RegisterService(&desc, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, address := serve(t, register)
			r := mustCompile(t, target(address), workloadOf("w", "Unary", echo))
			if o := r.play(t.Context(), 0, 1); o.Class != "" {
				t.Errorf("%+v", o)
			}
		})
	}
	_, address := serve(t, nil)
	_, err := compile(t, target(address), nil, workloadOf("w", "Unary", echo))
	mentions(t, err, "no reflection", "descriptor_set", "proto_files")
}

// TestUnreachable: reflection needs the server.
func TestUnreachable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = compile(t, target(ln.Addr().String()), nil, workloadOf("w", "Unary", echo))
	mentions(t, err, "could not be read", "refused")
}

// TestFiles: the service is described by files, and the server needs no reflection.
func TestFiles(t *testing.T) {
	_, address := serve(t, nil)
	user := []byte(`syntax = "proto3"; package user; import "loadline/sim/v1/sim.proto"; message M { loadline.sim.v1.EchoRequest r = 1; }`)
	files := inMemory(map[string][]byte{
		"svc.binpb": simSet(t), "protos/loadline/sim/v1/sim.proto": simProto(t), "sim.proto": simProto(t),
		"user.proto": user, "junk": []byte("\xff\xff junk"), "bad.proto": []byte("message {"), "lost.proto": []byte(`syntax = "proto3"; import "nowhere.proto";`),
	})
	for _, about := range []string{
		", descriptor_set: svc.binpb", ", proto_files: [sim.proto]", ", proto_files: [protos/loadline/sim/v1/sim.proto], import_paths: [protos]",
		", proto_files: [user.proto, ./protos/loadline/sim/v1/sim.proto], import_paths: [./protos]",
	} {
		r, err := compile(t, target(address)+about, files, workloadOf("w", "Unary", echo)+", checks: [{contains: hello}]")
		if err != nil {
			t.Errorf("%s: %v", about, err)
			continue
		}
		if o := r.play(t.Context(), 0, 1); o.Class != "" {
			t.Errorf("%s: %+v", about, o)
		}
	}
	for about, parts := range map[string][]string{
		", descriptor_set: junk":       {"junk", "--include_imports"},
		", descriptor_set: none.binpb": {"none.binpb", "not exist"},
		", proto_files: [bad.proto]":   {"proto_files", "bad.proto:1:9"},
		", proto_files: [lost.proto]":  {"lost.proto:1:", "nowhere.proto"},
	} {
		_, err := compile(t, target(address)+about, files, workloadOf("w", "Unary", echo))
		mentions(t, err, parts...)
	}
}

// TestProblems: what does not exist or does not fit is told at once, with its place and the nearest names.
func TestProblems(t *testing.T) {
	_, address := serve(t, reflected)
	_, err := compile(t, target(address), nil,
		workloadOf("a", "Unari", echo),
		"name: b, grpc: {method: loadline.sim.v1.EchoServise/Unary}",
		workloadOf("c", "Unary", "message: {txt: a, count: many, payload: 5, text: [x]}"),
		workloadOf("d", "Bidi", "messages: [{}, {text: ok}, {index: 1}]"),
		workloadOf("e", "Unary", "messages: [{}, {}]"),
		workloadOf("f", "Unary", `message: {count: "{{uuid}}"}`),
	)
	mentions(t, err,
		`workloads[0].grpc.method: there is no method "loadline.sim.v1.EchoService/Unari": did you mean Unary? methods are Unary,`,
		`workloads[1].grpc.method: there is no service "loadline.sim.v1.EchoServise": did you mean loadline.sim.v1.EchoService?`,
		"workloads[2].grpc.message.txt: loadline.sim.v1.EchoRequest has no field of this name: did you mean text? its fields are text, payload, count",
		"workloads[2].grpc.message.count: does not fit the field, which is uint32",
		"workloads[2].grpc.message.payload: does not fit the field, which is bytes", "workloads[2].grpc.message.text: does not fit",
		"workloads[3].grpc.messages[2].index: loadline.sim.v1.EchoRequest has no field",
		"workloads[4].grpc.messages: loadline.sim.v1.EchoService/Unary takes one message",
		"workloads[5].grpc.message.count: does not fit",
	)
	if strings.Contains(err.Error(), "many") {
		t.Errorf("a value is quoted: %v", err)
	}
}

// TestNestedProblems: lists, maps and messages within messages.
func TestNestedProblems(t *testing.T) {
	text := `syntax = "proto3"; package n; message In { int32 a = 1; enum E { ZERO = 0; ONE = 1; } E e = 2; }
message Req { In one = 1; repeated In many = 2; map<string, In> named = 3; repeated int32 numbers = 4; oneof o { string x = 5; string y = 6; } }
service S { rpc M(Req) returns (Req); }`
	s, err := (&source{open: inMemory(map[string][]byte{"n.proto": []byte(text)})}).protoFiles(t.Context(), []string{"n.proto"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for message, want := range map[string]string{
		`{"one":{"a":"x"}}`:                   "p.message.one.a: does not fit the field, which is int32",
		`{"one":{"b":1}}`:                     "p.message.one.b: n.In has no field",
		`{"many":[{"a":1},{"e":"TWO"}]}`:      "p.message.many[1].e: does not fit the field, which is one of ZERO, ONE",
		`{"named":{"k":{"a":1},"l":{"c":1}}}`: "p.message.named.l.c: n.In has no field",
		`{"numbers":[1,2.5]}`:                 "p.message.numbers[1]: does not fit, int32 is wanted",
		`{"many":{}}`:                         "p.message.many: does not fit the field, which is a list of n.In",
		`{"x":"a","y":"b"}`:                   "p.message: does not fit n.Req: two of its fields exclude each other",
	} {
		_, err := s.compile(&workload.Request{Call: &workload.Call{Place: "p", Method: "n.S/M", Messages: [][]byte{[]byte(message)}}})
		mentions(t, err, want)
	}
	if _, err := s.compile(&workload.Request{Call: &workload.Call{Place: "p", Method: "n.S/M", Messages: [][]byte{[]byte(`{"many":[{"a":"1"}],"numbers":["3"],"x":"a"}`)}}}); err != nil {
		t.Error(err)
	}
}

// TestTLS: an authority of our own, a client certificate, and what fails.
func TestTLS(t *testing.T) {
	a := wiretest.NewAuthority(t)
	a.Server.ClientAuth, a.Server.ClientCAs = tls.RequireAndVerifyClientCert, a.Pool
	_, address := serve(t, reflected, grpc.Creds(credentials.NewTLS(a.Server.Clone())))
	_, port, _ := net.SplitHostPort(address)
	secure := `url: "grpcs://127.0.0.1:` + port + `", `
	pair := "cert_file: " + a.CertFile + ", key_file: " + a.KeyFile
	r := mustCompile(t, secure+"authority: other.test, tls: {ca_file: "+a.CAFile+", "+pair+"}", workloadOf("w", "Unary", echo))
	if o := r.play(t.Context(), 0, 1); o.Class != "" {
		t.Errorf("%+v", o)
	}
	_, err := compile(t, secure+"tls: {"+pair+"}", nil, workloadOf("w", "Unary", echo))
	mentions(t, err, "could not be read", "certificate")
	files := inMemory(map[string][]byte{"svc.binpb": simSet(t)})
	for _, about := range []string{"tls: {" + pair + "}", "tls: {insecure: true}", "tls: {server_name: wrong.test, ca_file: " + a.CAFile + ", " + pair + "}"} {
		r, err := compile(t, secure+"descriptor_set: svc.binpb, "+about, files, workloadOf("w", "Unary", echo))
		if err != nil {
			t.Fatal(err)
		}
		// A server that misses our certificate tells so only after the handshake: the connection breaks.
		if o := r.play(t.Context(), 0, 1); o.Class != "tls" && !(strings.Contains(about, "insecure") && (o.Class == "reset" || o.Class == "connect")) {
			t.Errorf("%s: %+v", about, o)
		}
	}
}

// TestDetails: the details of a status stand in the example.
func TestDetails(t *testing.T) {
	_, address := serve(t, reflected, grpc.UnaryInterceptor(func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
		st, err := status.New(codes.ResourceExhausted, "too busy").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(1e9)})
		return nil, errors.Join(err, st.Err())
	}))
	r := mustCompile(t, target(address), workloadOf("w", "Unary", echo))
	if o := r.play(t.Context(), 0, 1); o.Class != "grpc_resource_exhausted" || !strings.Contains(o.Err, `too busy; details: {"@type":"google.rpc.RetryInfo","retryDelay":"1s"}`) {
		t.Errorf("%+v", o)
	}
}

// TestTurnedAway: a stream that the server turns away unread is not sent again, though gRPC would allow it.
func TestTurnedAway(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var streams atomic.Int64
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			turnAway(conn, &streams)
		}
	}()
	t.Cleanup(func() { <-served })
	t.Cleanup(func() { _ = ln.Close() })
	r, err := compile(t, target(ln.Addr().String())+", descriptor_set: svc.binpb", inMemory(map[string][]byte{"svc.binpb": simSet(t)}), workloadOf("w", "Unary", echo))
	if err != nil {
		t.Fatal(err)
	}
	o := r.play(t.Context(), 0, 1)
	if err := r.driver.Close(); err != nil {
		t.Error(err)
	}
	if o.Class != "reset" || !strings.Contains(o.Err, "not sent again") || streams.Load() != 1 {
		t.Errorf("%d streams, %+v", streams.Load(), o)
	}
}

// turnAway answers every stream of a connection with REFUSED_STREAM.
func turnAway(conn net.Conn, streams *atomic.Int64) {
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	if framer.WriteSettings() != nil {
		return
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = framer.WriteSettingsAck()
			}
		case *http2.HeadersFrame:
			streams.Add(1)
			err = framer.WriteRSTStream(f.StreamID, http2.ErrCodeRefusedStream)
		case *http2.PingFrame:
			err = framer.WritePing(true, f.Data)
		}
		if err != nil {
			return
		}
	}
}

// FuzzDescriptorSet: whatever describes a service, and whatever an answer holds, is read or refused.
func FuzzDescriptorSet(f *testing.F) {
	f.Add(simSet(f), []byte("\n\x05hello"))
	f.Add([]byte("junk"), []byte{0xff})
	f.Fuzz(func(t *testing.T, set, answer []byte) {
		s, err := parseSet(set)
		if err != nil {
			return
		}
		for _, service := range s.serviceNames() {
			m, err := s.compile(&workload.Request{Call: &workload.Call{Method: service + "/Unary", Messages: [][]byte{[]byte("{}")}}})
			if err != nil {
				continue
			}
			_, _ = m.text(answer, []int{len(answer)})
		}
	})
}
